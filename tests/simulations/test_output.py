"""What is written: all or nothing, the same bytes for the same tables, every column with its unit, and documented."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import simulations
from allocator.domain.errors import FailedPrecondition
from simulations import output
from simulations.columns import Column, Kind, Table
from simulations.judging.judge import FRAGMENTATION_COLUMNS, JOB_MEASURES, QUEUE_MEASURES
from simulations.judging.runs import RUN_COLUMNS
from simulations.measures import JOB_COLUMNS, PRICE_COLUMNS, QUEUE_COLUMNS, ROUND_COLUMNS, STAGE_COLUMNS
from simulations.output import require_free, write_results

COLUMNS = (
    Column("name", Kind.TEXT, "", "who"),
    Column("amount", Kind.INTEGER, "jobs", "how many"),
    Column("wait_s", Kind.FLOAT, "s", "how long"),
)


def a_table(name: str = "jobs") -> Table:
    table = Table(name, COLUMNS)
    table.add("x", 3, 1.5)
    table.add("y", -1, math.nan)
    return table


def test_values_units_and_meanings_are_written(tmp_path: Path) -> None:
    write_results(tmp_path / "out", [a_table()], {"seed": 1})
    read = pq.read_table(tmp_path / "out" / "jobs.parquet")
    assert read.to_pylist() == [
        {"name": "x", "amount": 3, "wait_s": 1.5},
        {"name": "y", "amount": -1, "wait_s": None},
    ]
    assert read.schema.field("wait_s").metadata == {b"unit": b"s", b"meaning": b"how long"}


def test_what_a_real_clock_filled_says_so(tmp_path: Path) -> None:
    table = Table("rounds", (Column("round", Kind.INTEGER, "", "number"), *STAGE_COLUMNS))
    table.add(1, *(0.5 for _ in STAGE_COLUMNS))
    write_results(tmp_path / "out", [table], {})
    schema = pq.read_schema(tmp_path / "out" / "rounds.parquet")
    measured = [field.name for field in schema if (field.metadata or {}).get(b"measured") == b"real time"]
    assert measured == ["snapshot_s", "formulate_s", "solve_s", "place_s", "commit_s", "push_s"]


def test_an_empty_table_can_be_written_and_read(tmp_path: Path) -> None:
    write_results(tmp_path / "out", [Table("jobs", COLUMNS)], {})
    assert pq.read_table(tmp_path / "out" / "jobs.parquet").num_rows == 0


def test_the_same_tables_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_results(tmp_path / name, [a_table()], {"b": 1, "a": [1.5]})
    for file in ("jobs.parquet", "summary.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted at the last moment: what was there before is still whole, and no scraps lie around."""
    out = tmp_path / "out"
    write_results(out, [a_table()], {"run": 1})
    before = {file.name: file.read_bytes() for file in out.iterdir()}

    def interrupted(summary: dict[str, Any]) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(output, "summary_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_results(out, [a_table("jobs"), a_table("rounds")], {"run": 2})
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    assert list(tmp_path.iterdir()) == [out]


def test_only_files_of_the_same_names_are_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(FailedPrecondition, match=r"is not empty; .* --force"):
        require_free(out, force=False)
    require_free(out, force=True)
    write_results(out, [a_table()], {})
    assert (out / "notes.txt").read_text() == "mine"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(FailedPrecondition, match="is a file"):
        require_free(tmp_path / "out", force=True)


@pytest.mark.parametrize("name", ["out", "deep/down/out", "n" * 250])
@pytest.mark.parametrize("force", [False, True])
def test_what_cannot_be_written_is_found_before_the_replay(name: str, force: bool) -> None:
    """Nobody, not even root, can make a folder in /proc."""
    folder = Path("/proc") / name
    with pytest.raises(FailedPrecondition, match=f"^--out {folder}: cannot be written: .*; name a folder that can"):
        require_free(folder, force=force)
    with pytest.raises(FailedPrecondition, match=f"^--out {folder}: cannot be written"):
        write_results(folder, [a_table()], {})


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FailedPrecondition, match="cannot be written: Not a directory"):
        require_free(tmp_path / "file" / "out", force=False)


def test_looking_whether_it_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    require_free(tmp_path / "deep" / "out", force=False)
    assert not list(tmp_path.iterdir())
    out = tmp_path / "out"
    out.mkdir()
    require_free(out, force=False)
    assert [*tmp_path.rglob("*")] == [out]


def test_every_column_is_documented() -> None:
    readme = (Path(simulations.__file__).parent / "README.md").read_text()
    columns = [*ROUND_COLUMNS, *STAGE_COLUMNS, *QUEUE_COLUMNS, *JOB_COLUMNS, *PRICE_COLUMNS, *RUN_COLUMNS]
    columns += [*JOB_MEASURES, *QUEUE_MEASURES, *FRAGMENTATION_COLUMNS]
    for column in columns:
        assert f"`{column.name}`" in readme, column.name
