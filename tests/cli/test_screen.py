"""Tables fit the terminal as long as anything can give way, and never cut what must not be cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from allocator.cli.screen import Column, Table, bar

COLUMNS = (
    Column("ID"),
    Column("NAME", give_way=2, elastic=True),
    Column("COUNT", right=True, give_way=3),
    Column("STATE"),
    Column("WHY", give_way=1, elastic=True),
)
WORDS = st.text(alphabet="abcdefgh ü漢", min_size=1, max_size=40).map(lambda text: text.strip() or "x")


@given(st.lists(st.tuples(WORDS, WORDS, WORDS, WORDS, WORDS), min_size=1, max_size=5), st.integers(20, 160))
@settings(deadline=None, max_examples=200, derandomize=True)
def test_a_table_fits_or_holds_only_what_cannot_give_way(rows: list[tuple[str, ...]], width: int) -> None:
    table = Table(COLUMNS)
    for row in rows:
        table.add(*row)
    lines = [line.plain for line in table.lines(width)]
    kept = lines[0].split()
    if any(cell_len(line) > width for line in lines):
        assert kept == ["ID", "STATE"]
    for row, line in zip(rows, lines[1:], strict=True):
        assert line.startswith(row[0])
        assert row[3] in line


def test_columns_leave_in_the_stated_order_and_elastic_ones_shrink_first() -> None:
    table = Table(COLUMNS)
    table.add("j1", "n" * 30, "12345", "running", "w" * 30)

    def titles(width: int) -> list[str]:
        return table.lines(width)[0].plain.split()

    assert titles(200) == ["ID", "NAME", "COUNT", "STATE", "WHY"]
    assert titles(54) == ["ID", "NAME", "COUNT", "STATE", "WHY"]
    assert titles(53) == ["ID", "NAME", "STATE", "WHY"]
    assert titles(40) == ["ID", "STATE", "WHY"]
    assert titles(20) == ["ID", "STATE"]
    assert titles(3) == ["ID", "STATE"]
    assert table.lines(54)[1].plain == "j1  nnnnnnnnnnnnnnn…  12345  running  wwwwwwwwwwwwwww…"


def test_piped_tables_are_whole() -> None:
    table = Table(COLUMNS)
    table.add("j1", "n" * 300, "-", "running", "w" * 300)
    header, row = (line.plain for line in table.lines(None))
    assert row == f"j1  {'n' * 300}      -  running  {'w' * 300}"
    assert header.split() == ["ID", "NAME", "COUNT", "STATE", "WHY"]


def test_only_a_full_bar_looks_full() -> None:
    assert [bar(f, 4) for f in (0, 0.5, 0.99, 1, 7)] == ["░░░░", "██░░", "███░", "████", "████"]
