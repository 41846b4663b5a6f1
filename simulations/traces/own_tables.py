"""Rows of a table that may be Parquet or comma-separated text: the same to whoever reads them, as text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simulations.output import require_pyarrow
from simulations.traces.errors import TraceError
from simulations.traces.rows import MOST_JOBS, Row, check_header, read_rows, require_folder
from simulations.traces.text import head

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".parquet", ".csv", ".csv.gz")
PARQUET_MAGIC = "PAR1"
LARGEST_GROUP = 4 << 30
"""Bytes, unpacked, of one row group."""
_BATCH = 1 << 14
_SECOND = 1e6


def find_table(folder: Path, name: str, *, needed: bool) -> Path | None:
    """The one file with this table. Raises TraceError for several, or none where one is needed."""
    require_folder(folder, ("nodes and jobs (.parquet or .csv)",))
    found = [file for suffix in SUFFIXES if (file := folder / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        raise TraceError(folder, f"holds {' and '.join(file.name for file in found)}; keep one of them")
    if not found and needed:
        raise TraceError(folder, f"holds no {name}.parquet, {name}.csv or {name}.csv.gz")
    return found[0] if found else None


def read_table(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Rows that have at least `columns`; numbers as text that is exactly the number. Raises TraceError."""
    if head(file, 4) == PARQUET_MAGIC or file.suffix == ".parquet":
        return _parquet_rows(file, columns)
    return read_rows(file, columns)


def parquet_columns(file: Path) -> list[str]:
    """Names of the columns of a Parquet file; none if it is not sound."""
    require_pyarrow()
    import pyarrow as pa  # noqa: PLC0415 - see require_pyarrow
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        return list(pq.read_schema(file).names)
    except (OSError, pa.ArrowException):
        return []


def _parquet_rows(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    require_pyarrow()
    import pyarrow as pa  # noqa: PLC0415 - see require_pyarrow
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(file) as stored:
            names = stored.schema_arrow.names
            check_header(file, names, columns)
            _check_promises(file, stored)
            index = {name: place for place, name in enumerate(names)}
            count = 0
            for batch in stored.iter_batches(_BATCH):
                texts = [_texts(file, name, values) for name, values in zip(names, batch.columns, strict=True)]
                for fields in zip(*texts, strict=True):
                    count += 1
                    yield Row(file, count, index, fields, unit="row")
    except FileNotFoundError:
        raise TraceError(file, "does not exist") from None
    except PermissionError:
        raise TraceError(file, "may not be read by this user") from None
    except (OSError, pa.ArrowException) as error:
        said = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise TraceError(file, f"is not a sound Parquet file ({said}): get it again") from None


def _check_promises(file: Path, stored: object) -> None:
    """Before anything is unpacked, that what the file says it holds can be held."""
    metadata = stored.metadata  # type: ignore[attr-defined]  # a ParquetFile; pyarrow is imported where it is needed
    if metadata.num_rows > MOST_JOBS:
        raise TraceError(file, f"promises {metadata.num_rows:,} rows; at most {MOST_JOBS:,} can be read: split it")
    for index in range(metadata.num_row_groups):
        size = metadata.row_group(index).total_byte_size
        if size > LARGEST_GROUP:
            what = f"promises {size:,} bytes in row group {index}; write groups of at most {LARGEST_GROUP:,}"
            raise TraceError(file, what)


def _texts(file: Path, name: str, values: pa.Array) -> list[str]:  # type: ignore[type-arg]  # of any kind
    """Null as empty text."""
    import pyarrow as pa  # noqa: PLC0415 - see require_pyarrow

    kind = values.type
    if pa.types.is_dictionary(kind):
        return _texts(file, name, values.dictionary_decode())  # type: ignore[attr-defined]  # of such arrays
    if pa.types.is_boolean(kind):
        return ["" if value is None else "true" if value else "false" for value in values.to_pylist()]
    if pa.types.is_timestamp(kind):
        moments = values.cast(pa.timestamp("us", tz=kind.tz), safe=False).cast(pa.int64()).to_pylist()
        return ["" if value is None else repr(value / _SECOND) for value in moments]
    if pa.types.is_duration(kind):
        lengths = values.cast(pa.duration("us"), safe=False).cast(pa.int64()).to_pylist()
        return ["" if value is None else repr(value / _SECOND) for value in lengths]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind):
        return ["" if value is None else str(value) for value in values.to_pylist()]
    if pa.types.is_floating(kind):
        return ["" if value is None or math.isnan(value) else _number(value) for value in values.to_pylist()]
    if pa.types.is_null(kind):
        return [""] * len(values)
    raise TraceError(file, f"holds {kind}; it must hold numbers, text, true or false, or times", column=name)


def _number(value: float) -> str:
    """Whole numbers without a point, so that they can stand where integers must."""
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
