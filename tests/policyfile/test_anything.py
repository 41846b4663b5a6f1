"""Whatever stands in a file, reading it ends with a document or with mistakes that have places in it."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from allocator.policyfile import fields as f
from allocator.policyfile import read, written
from allocator.policyfile.fields import written_text
from tests.policyfile.documents import documents

WORDS = sorted(
    {*f.TOP, *f.QUEUE, *f.QUOTA, *f.PRIORITY_CLASS, *f.LIMIT, *f.TERM, *f.keys_of(f.OBJECTIVE), *f.keys_of(f.HISTORY)}
)
KEYS = st.sampled_from([*WORDS, "a.b", "é"])
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        [0, -1, 1, 10**30, 0.5, float("inf"), float("nan"), True, "", "normal", "gpu", "40 %", "-3 %", "5m"]
    ),
    st.sampled_from(["research", "research/x", "drf", "fifo", "1e400", "1" * 40, "%", "\u200b", "NaN %", "sNaN%"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=12
)


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{written_text(key)} = {toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return written_text(value)
    return repr(value).lower()


def judge(text: str) -> None:
    reading = read(text)
    assert (reading.document is None) == bool(reading.mistakes)
    lines = text.split("\n")
    for remark in (*reading.mistakes, *reading.warnings):
        assert 1 <= remark.line <= len(lines)
        assert 1 <= remark.column <= len(lines[remark.line - 1]) + 1
    if reading.document is not None:
        assert not reading.document.violations()
        assert read(written(reading.document)).document == reading.document


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_known_words_with_any_values(content: dict[str, Any]) -> None:
    judge("\n".join(["version = 1", *(f"{written_text(key)} = {toml(each)}" for key, each in content.items())]))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(documents(), st.data())
def test_a_good_file_with_one_line_gone_or_twice(document: Any, data: st.DataObject) -> None:
    lines = written(document).splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    judge("\n".join(lines[:at] + lines[at + 1 :]))
    judge("\n".join([*lines[: at + 1], *lines[at:]]))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.text(max_size=40)
    | st.lists(st.sampled_from(["[", "]", "=", '"', "'", "\n", "a", ".", "{", "}", "#", "1"])).map("".join)
)
@example("a = 1979-05-27 07:32:00\nb = 1")
@example("\ufeffversion = 1")
@example("version = 1\r\n[objective]\r\nx = 1\r\n")
def test_any_text(text: str) -> None:
    judge(text)
