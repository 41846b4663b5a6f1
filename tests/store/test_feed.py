"""The feed of changed jobs: compacted, in order, and honest about where it begins."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.job import Job
from allocator.store.feed import ChangeFeed, Cursor
from tests.store.cluster import spec

changes = st.lists(st.sets(st.integers(1, 6), min_size=1), max_size=15)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(changes=changes, limit=st.none() | st.integers(1, 6), page=st.integers(1, 4))
def test_from_any_cursor_it_gives_the_newest_version_of_all_that_changed_since_or_says_it_cannot(
    changes: list[set[int]], limit: int | None, page: int
) -> None:
    feed = ChangeFeed(limit)
    newest: dict[int, Job] = {}
    for revision, sequences in enumerate(changes, start=1):
        jobs = [Job(f"j{sequence}", sequence, spec(), 0.0, revision=revision) for sequence in sequences]
        feed.append(jobs)
        newest.update({job.sequence: job for job in jobs})
    for revision in range(len(changes) + 2):
        for cursor in (Cursor(revision, 0), Cursor(revision, 3), Cursor.after(revision)):
            expected = sorted((job for job in newest.values() if Cursor.of(job) > cursor), key=Cursor.of)
            found = feed.since(cursor, page)
            if found is None:
                assert limit is not None
                assert len(expected) > 0
                assert cursor < feed.start
            else:
                assert list(found) == expected[:page]


def test_it_begins_where_it_is_told_to() -> None:
    feed = ChangeFeed(2, start=Cursor.after(7))
    job = Job("j1", 1, spec(), 0.0, revision=8)
    feed.append([job])
    assert feed.since(Cursor.after(6), 10) is None
    assert feed.since(Cursor.after(7), 10) == (job,)
    feed.append([replace(job, id=f"j{number}", sequence=number, revision=9) for number in (2, 3)])
    assert feed.since(Cursor.after(7), 10) is None
    assert [found.sequence for found in feed.since(Cursor.of(job), 10) or ()] == [2, 3]
