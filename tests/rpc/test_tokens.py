"""Page tokens and cursors come back as they were, and nothing a client makes up gets further than an InvalidInput."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.errors import InvalidInput
from allocator.rpc.tokens import LAST, JobCursor, page_after, page_after_number, page_size, page_token

quick = settings(deadline=None, max_examples=200, derandomize=True)
numbers = st.integers(0, LAST)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@quick
@given(numbers, numbers, st.booleans(), texts)
def test_a_cursor_comes_back(revision: int, sequence: int, in_snapshot: bool, queue: str) -> None:
    cursor = JobCursor(revision, sequence, in_snapshot)
    assert JobCursor.read(cursor.written(queue), queue) == cursor


@quick
@given(numbers, st.lists(texts, max_size=3))
def test_a_page_token_comes_back(after: int, filters: list[str]) -> None:
    token = page_token(str(after), *filters)
    assert page_after_number(token, *filters) == after
    with pytest.raises(InvalidInput):
        page_after(token, *filters, "another")


@quick
@given(
    st.text()
    | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode())
    | st.lists(texts, min_size=1, max_size=5).map(lambda parts: base64.b64encode("|".join(parts).encode()).decode())
)
def test_what_is_made_up_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        JobCursor.read(text, "q")
    if text:
        with pytest.raises(InvalidInput):
            page_after_number(text)


@pytest.mark.parametrize("number", [LAST + 1, 10**19])
def test_numbers_that_no_store_can_look_up_are_refused(number: int) -> None:
    with pytest.raises(InvalidInput):
        JobCursor.read(JobCursor(number, 0).written("q"), "q")
    with pytest.raises(InvalidInput):
        page_after_number(page_token(str(number)))


@pytest.mark.parametrize(("asked", "answered"), [(0, 100), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)])
def test_page_sizes(asked: int, answered: int) -> None:
    assert page_size(asked) == answered
