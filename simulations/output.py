"""What a replay leaves behind: parquet tables and one JSON document, all or nothing.

The same tables give the same bytes: fixed writer options, no time of writing, units and meanings as column metadata.
A column that a real clock filled says so there.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allocator.domain.errors import FailedPrecondition
from simulations.columns import Column, Kind, Table
from simulations.packed import BLOCK

if TYPE_CHECKING:
    import pyarrow as pa

SUMMARY_FILE = "summary.json"


class MissingExtra(Exception):
    """A package is not installed that only replays need."""


def require_pyarrow() -> None:
    """Raise MissingExtra, with what to do, before a long replay rather than after it."""
    try:
        import pyarrow.parquet  # noqa: F401, PLC0415 - only replays need it; the rest must start without
    except ImportError:
        raise MissingExtra(
            "writing parquet needs pyarrow, which is not installed: pip install 'allocator[sim]'"
        ) from None


def require_free(folder: Path, *, force: bool) -> None:
    """Raise FailedPrecondition if `folder` cannot take the results, or not without harm; nothing is left behind.

    Before a long replay rather than after it: a folder is made and removed where results would be, and beside it.
    """
    with _refusing(folder):
        if folder.exists() and not folder.is_dir():
            raise FailedPrecondition(_named(folder), "is a file; name a folder for the results")
        if folder.is_dir() and any(folder.iterdir()) and not force:
            raise FailedPrecondition(
                _named(folder), "is not empty; name another folder, or use --force to replace earlier results in it"
            )
        beside = folder.parent
        while not beside.exists():
            beside = beside.parent
        _workshop(folder, beside).rmdir()
        if folder.is_dir():
            _workshop(folder, folder).rmdir()


def write_results(folder: Path, tables: Iterable[Table], summary: dict[str, Any]) -> None:
    """Write everything beside `folder` first, then put it in place, summary.json last: it vouches for the rest.

    Only files of the names written here are ever replaced. Raises FailedPrecondition if they cannot be written.
    """
    with _refusing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        workshop = _workshop(folder, folder.parent)
        try:
            for table in tables:
                write_table(workshop / f"{table.name}.parquet", table)
            (workshop / SUMMARY_FILE).write_text(summary_text(summary), encoding="utf-8")
            folder.mkdir(exist_ok=True)
            (folder / SUMMARY_FILE).unlink(missing_ok=True)
            for file in sorted(workshop.iterdir(), key=lambda file: file.name == SUMMARY_FILE):
                file.replace(folder / file.name)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)


def _workshop(folder: Path, where: Path) -> Path:
    """A new folder in `where` for what is to go to `folder`."""
    return Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=where))


def _named(folder: Path) -> str:
    """The folder as the user gave it, with the option that it was given by."""
    return f"--out {folder}"


@contextmanager
def _refusing(folder: Path) -> Iterator[None]:
    """Inside, what the system refuses is told as a fault of the folder."""
    try:
        yield
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}; name a folder that can"
        raise FailedPrecondition(_named(folder), what) from error


def summary_text(summary: dict[str, Any]) -> str:
    """The document as it is written."""
    return json.dumps(summary, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_table(file: Path, table: Table) -> None:
    """One parquet file; NaN becomes null, text is dictionary-encoded. Row by row group, so that a table of millions of
    rows is never in memory twice.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415 - see require_pyarrow

    schema = _schema(table)
    with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=True, write_statistics=True) as writer:
        for group in _row_groups(table, schema):
            writer.write_table(group, row_group_size=BLOCK)


def _schema(table: Table) -> pa.Schema:
    """With `unit` and `meaning` in each field's metadata."""
    import pyarrow as pa  # noqa: PLC0415 - see require_pyarrow

    kinds = {
        Kind.TEXT: pa.dictionary(pa.int32(), pa.string()),
        Kind.FLOAT: pa.float64(),
        Kind.INTEGER: pa.int64(),
    }
    fields = []
    for column in table.columns:
        metadata = {"unit": column.unit, "meaning": column.meaning}
        if column.measured:
            metadata["measured"] = "real time"
        fields.append(pa.field(column.name, kinds[column.kind], metadata=metadata))
    return pa.schema(fields)


def _row_groups(table: Table, schema: pa.Schema) -> Iterator[pa.Table]:
    """The table, `BLOCK` rows at a time; one group without rows if it has none."""
    import pyarrow as pa  # noqa: PLC0415 - see require_pyarrow

    columns = [
        _texts_in_groups(table, column.name) if column.kind is Kind.TEXT else _numbers_in_groups(table, column)
        for column in table.columns
    ]
    if not len(table):
        yield schema.empty_table()
    for arrays in zip(*columns, strict=True):
        yield pa.Table.from_arrays(list(arrays), schema=schema)


def _texts_in_groups(table: Table, name: str) -> Iterator[pa.Array[Any]]:
    import pyarrow as pa  # noqa: PLC0415 - see require_pyarrow

    texts, blocks = table.numbered_blocks(name)
    dictionary = pa.array(texts, pa.string())
    for which in blocks:
        yield pa.DictionaryArray.from_arrays(which, dictionary)


def _numbers_in_groups(table: Table, column: Column) -> Iterator[pa.Array[Any]]:
    import pyarrow as pa  # noqa: PLC0415 - see require_pyarrow

    for block in table.blocks(column.name):
        yield pa.array(block, from_pandas=column.kind is Kind.FLOAT)


def read_table(file: Path) -> Table:
    """What `write_table` wrote. FailedPrecondition if there is no such file, or it is another one."""
    import pyarrow as pa  # noqa: PLC0415 - see require_pyarrow
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        stored = pq.read_table(file)
    except FileNotFoundError:
        raise FailedPrecondition(str(file), "is not there; name a folder with the results of a replay") from None
    except (OSError, pa.ArrowException) as error:
        raise FailedPrecondition(str(file), f"cannot be read: {error}") from error
    columns = []
    values: list[Any] = []
    for field in stored.schema:
        kind = _kind(field.type)
        said = {key.decode(): text.decode() for key, text in (field.metadata or {}).items()}
        columns.append(
            Column(field.name, kind, said.get("unit", ""), said.get("meaning", ""), measured="measured" in said)
        )
        column = stored[field.name]
        if kind is Kind.TEXT:
            values.append(column.to_pylist())
        else:
            values.append(column.to_numpy(zero_copy_only=False))
    return Table.of(file.stem, columns, values)


def _kind(stored: object) -> Kind:
    return {"double": Kind.FLOAT, "int64": Kind.INTEGER}.get(str(stored), Kind.TEXT)
