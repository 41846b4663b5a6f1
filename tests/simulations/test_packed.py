"""Columns that are packed as they grow give back what was put in, bit by bit, however it is kept in between."""

from __future__ import annotations

import tracemalloc
from array import array
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from simulations.columns import Column, Kind, Table
from simulations.output import read_table, write_table
from simulations.packed import BLOCK, Numbers, Texts

ROWS = 2 * BLOCK + 1000
COLUMNS = (
    Column("round", Kind.INTEGER, "", "repeats"),
    Column("share", Kind.FLOAT, "1", "does not repeat"),
    Column("none", Kind.FLOAT, "1", "is nowhere known"),
    Column("queue", Kind.TEXT, "", "repeats"),
    Column("job", Kind.TEXT, "", "does not repeat"),
)


def rows() -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], list[str], list[str]]:
    number = np.arange(ROWS)
    return (
        number // 7,
        np.random.default_rng(0).random(ROWS),
        np.full(ROWS, np.nan),
        [f"q{each % 5}" for each in range(ROWS)],
        [f"j{each}" for each in range(ROWS)],
    )


def added(values: NDArray[np.float64] | NDArray[np.int64]) -> Numbers:
    """The column, one value after another."""
    column = Numbers("d" if values.dtype == np.float64 else "q")
    for number, value in enumerate(values.tolist(), 1):
        column.append(value)
        if number % BLOCK == 0:
            column.pack()
    return column


@pytest.mark.parametrize(
    "values",
    [
        np.full(ROWS, np.nan),
        np.where(np.arange(ROWS) % 3 == 0, -0.0, 0.0),
        np.repeat(np.arange(ROWS / 8), 8)[:ROWS],
        np.random.default_rng(1).random(ROWS),
        np.random.default_rng(2).random(5000)[np.random.default_rng(3).integers(0, 800, ROWS)],
        np.array([np.nan, -0.0, 0.0, np.inf])[np.arange(ROWS) % 4],
        np.arange(ROWS) % 100 - 50,
        np.arange(ROWS) * 2**40,
        np.where(np.arange(ROWS) % 2 == 0, 2**63 - 1, -(2**63)),
        np.zeros(0),
    ],
)
def test_numbers_come_back_bit_by_bit(values: NDArray[np.float64] | NDArray[np.int64]) -> None:
    whole, pieces = (Numbers("d" if values.dtype == np.float64 else "q") for _ in range(2))
    whole.extend(values)
    for piece in np.split(values, [1, 1000, BLOCK + 1, BLOCK + 1]):
        pieces.extend(piece)
    for column in (added(values), whole, pieces):
        assert len(column) == len(values)
        assert column.unpacked(values.dtype).tobytes() == values.tobytes()


def test_few_values_in_any_order_take_a_quarter() -> None:
    """As shares of queues do, in order of rounds: no two in a row are equal."""
    values = np.random.default_rng(2).random(800)[np.arange(BLOCK) * 7919 % 800]
    column = Numbers("d")
    tracemalloc.start()
    column.extend(values)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 0.3 * values.nbytes
    assert column.unpacked(np.float64).tobytes() == values.tobytes()


def test_texts_come_back_and_are_numbered_in_order_of_their_first_rows() -> None:
    few, many = Texts(), Texts()
    few.extend([f"q{(each // 3) % 4}" for each in range(ROWS)])
    many.extend([f"j{each}" for each in range(ROWS)])
    assert few.unpacked() == [f"q{(each // 3) % 4}" for each in range(ROWS)]
    names, which = few.numbered()
    assert names == ["q0", "q1", "q2", "q3"]
    assert which[:7].tolist() == [0, 0, 0, 1, 1, 1, 2]
    names, which = many.numbered()
    assert names == many.unpacked()
    assert (which == np.arange(ROWS)).all()


def test_a_table_that_grew_is_the_one_made_at_once_and_can_be_widened() -> None:
    values = rows()
    grown, whole = Table("t", COLUMNS), Table.of("t", COLUMNS, values)
    for row in zip(*(list(column) for column in values), strict=True):
        grown.add(*row)
    assert len(grown) == len(whole) == ROWS
    for column in COLUMNS:
        one, other = grown.values(column.name), whole.values(column.name)
        assert one == other or (isinstance(one, array) and one.tobytes() == array("d", other).tobytes())  # NaN
    wider = grown.widened((Column("more", Kind.INTEGER, "", ""),), (np.arange(ROWS),))
    assert wider.numbers("more")[-1] == ROWS - 1
    with pytest.raises(ValueError, match="differ in length"):
        grown.widened((Column("more", Kind.INTEGER, "", ""),), (np.arange(3),))


def test_a_file_has_a_row_group_per_block_and_reads_back(tmp_path: Path) -> None:
    table = Table.of("t", COLUMNS, rows())
    write_table(tmp_path / "t.parquet", table)
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 3
    found = read_table(tmp_path / "t.parquet")
    for name in ("queue", "job"):
        assert found.values(name) == table.values(name)
    for name in ("round", "share", "none"):
        np.testing.assert_array_equal(found.numbers(name), table.numbers(name))


def test_a_table_without_rows_is_a_file_that_reads_back(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", Table("t", COLUMNS))
    assert len(read_table(tmp_path / "t.parquet")) == 0
