"""Who may run a job, as the spool says it."""

from __future__ import annotations

from pathlib import Path

from allocator.domain.placement import Epoch
from allocator.engine.runs import Run
from allocator.slurm.holders import Holders, holder_file, looks_every

FIRST, AGAIN = Run("j1", Epoch(2, 7)), Run("j1", Epoch(9, 30))


class Watch:
    """A stopwatch that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def says(spool: Path) -> list[str]:
    file = holder_file(spool, "j1")
    return file.read_text().split() if file.exists() else []


def test_the_first_one_begins_at_once_and_stays(tmp_path: Path) -> None:
    holders = Holders(tmp_path, 10.0)
    assert holders.claim(FIRST, "17")
    assert says(tmp_path) == ["17", FIRST.file_name]
    assert holders.claim(FIRST, "17")


def test_whoever_displaces_one_that_may_still_be_there_waits_for_the_fence(tmp_path: Path) -> None:
    watch = Watch()
    holders = Holders(tmp_path, 10.0, watch)
    holders.claim(FIRST, "17")
    assert not holders.claim(AGAIN, "18")
    assert says(tmp_path) == ["18", AGAIN.file_name, "17"], "the third word tells its script to wait"
    watch.now += 9.9
    assert not holders.claim(AGAIN, "18")
    restarted = Holders(tmp_path, 10.0, watch)
    assert not restarted.claim(AGAIN, "18"), "it cannot know how long that was"
    watch.now += 0.2
    assert holders.claim(AGAIN, "18")
    assert says(tmp_path) == ["18", AGAIN.file_name]
    assert restarted.claim(AGAIN, "18")


def test_after_a_proper_end_nobody_waits(tmp_path: Path) -> None:
    holders = Holders(tmp_path, 10.0)
    holders.claim(FIRST, "17")
    holders.settle(FIRST, "17")
    assert says(tmp_path) == []
    assert holders.claim(AGAIN, "18")
    holders.settle(FIRST, "17")
    assert says(tmp_path) == ["18", AGAIN.file_name], "who has been displaced settles nothing"


def test_what_nobody_wants_any_more_is_told_to_end_wherever_it_is(tmp_path: Path) -> None:
    holders = Holders(tmp_path, 10.0)
    holders.claim(AGAIN, "18")
    holders.revoke(FIRST)
    assert says(tmp_path)[0] == "18", "another run"
    holders.revoke(AGAIN)
    assert says(tmp_path)[0] == "none"


def test_a_task_looks_twice_within_the_fence() -> None:
    assert 2 * looks_every(10.0) < 10.0
