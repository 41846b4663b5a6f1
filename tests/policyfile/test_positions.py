"""Every key's place is the one where it stands, however the file is written."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.policyfile.fields import written_text
from allocator.policyfile.positions import Path, Positions

KEYS = st.sampled_from(["a", "b-1", "c d", 'e"', "f'g", "h.i", "ü", "1"])
SCALARS: st.SearchStrategy[Any] = (
    st.integers(-9, 9) | st.booleans() | st.text(st.characters(blacklist_categories=["Cs"]), max_size=6)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Of everything in a TOML document but the document itself."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, below in value.items():
            yield from paths(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from paths(below, (*path, index))


def inline(draw: st.DrawFn, value: Any) -> str:
    space = draw(st.sampled_from(["", " ", "\t"]))
    lines = draw(st.sampled_from(["", " ", "\n", "\r\n  ", " # ], } = \n"]))
    if isinstance(value, dict):
        pairs = [f"{space}{key(draw, name)}{space}={space}{inline(draw, below)}" for name, below in value.items()]
        return "{" + f"{space},".join(pairs) + space + "}"
    if isinstance(value, list):
        return "[" + "".join(f"{lines}{inline(draw, below)}{lines}," for below in value) + lines + "]"
    if isinstance(value, str):
        styles = [written_text(value)]
        if value.isprintable() and "'" not in value:
            styles += [f"'{value}'", f"'''{value}'''", f"'''\n{value}'''"]
        if value.isprintable() and '"' not in value and "\\" not in value:
            styles += [f'"""{value}"""', f'"""\n{value}\\\n   """', f'"""{value}"" \\"""""']
        return draw(st.sampled_from(styles))
    return str(value).lower()


def key(draw: st.DrawFn, name: str) -> str:
    if name in ("a", "b-1", "1") and draw(st.booleans()):
        return name
    return f"'{name}'" if "'" not in name and draw(st.booleans()) else written_text(name)


@st.composite
def files(draw: st.DrawFn) -> str:
    """Pairs, dotted ones too, tables, and arrays of tables, with comments in between."""
    lines: list[str] = []
    comment = draw(st.sampled_from(["", "# [x] = '", "\t"]))

    def pairs(content: dict[str, Any]) -> None:
        for name, value in content.items():
            if isinstance(value, dict) and value and draw(st.booleans()):
                lines.extend(f"{key(draw, name)} . {key(draw, k)} = {inline(draw, v)}" for k, v in value.items())
            else:
                lines.extend([comment, f"{key(draw, name)} = {inline(draw, value)} {comment}"])

    content = st.dictionaries(KEYS, VALUES, max_size=3)
    pairs(draw(content))
    for name in draw(st.lists(st.sampled_from(["t", "u.v", "'w x'"]), unique=True)):
        for _ in range(draw(st.integers(0, 2))):
            lines.append(f"  [[ {name} ]]")
            pairs(draw(content))
            for below in draw(st.lists(st.sampled_from(["y", "z"]), unique=True)):
                for _ in range(draw(st.integers(1, 2))):
                    lines.append(f"[[{name}.{below}]]{comment}")
                    pairs(draw(content))
            if draw(st.booleans()):
                lines.append(f"[{name}.single.one]")
                pairs(draw(content))
    for name in draw(st.lists(st.sampled_from(["p", "q.r"]), unique=True)):
        lines.append(f"[{name}]")
        pairs(draw(content))
    return "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n# end"]))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(files())
def test_everything_that_is_read_has_a_place_and_nothing_else_has(text: str) -> None:
    found = Positions(text)
    assert set(found.offsets) == set(paths(tomllib.loads(text)))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(files())
def test_at_the_place_stands_the_key_or_the_header(text: str) -> None:
    for path, offset in Positions(text).offsets.items():
        rest = text[offset:]
        spelt = {form for part in path if isinstance(part, str) for form in (part, f"'{part}'", written_text(part))}
        assert isinstance(path[-1], int) or rest.startswith(("[", *spelt))


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("version",), (1, 1)),
        (("queue",), (2, 1)),
        (("queue", 1), (4, 3)),
        (("queue", 1, "name"), (5, 3)),
        (("queue", 1, "quota", 0, "lend"), (6, 27)),
        (("queue", 0, "weight"), (2, 1)),
        (("nowhere", 7, "x"), (1, 1)),
    ],
)
def test_lines_and_columns_are_those_an_editor_shows(path: Path, place: tuple[int, int]) -> None:
    text = 'version = 1\n[[queue]]\nname = "é"\n  [[queue]]\n  name = "b"\n quota = [ { nominal = 3, lend = 4 } ]\n'
    assert Positions(text).of(path) == place
