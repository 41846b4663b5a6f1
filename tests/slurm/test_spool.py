"""What is kept of runs in the spool."""

from __future__ import annotations

from pathlib import Path

from allocator.domain.placement import Epoch
from allocator.engine.runs import Run
from allocator.slurm.spool import Spool

BEFORE, AFTER = Run("j1", Epoch(2, 7)), Run("j1", Epoch(9, 30))


def test_what_goes_on_as_another_run_has_begun_and_prints_to_the_same_log(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    assert not spool.has_begun(BEFORE)
    (tmp_path / f"{BEFORE.file_name}.started").mkdir()
    assert not spool.has_begun(BEFORE), "its script has, but none of its tasks"
    (tmp_path / f"{BEFORE.file_name}.started" / "0").touch()
    log = tmp_path / f"{BEFORE.file_name}.log"
    log.write_text("one\n")
    for _ in range(2):  # a crash may have come in between
        spool.carry_on(BEFORE, AFTER)
    spool.forget(BEFORE)
    assert (spool.has_begun(BEFORE), spool.has_begun(AFTER)) == (False, True)
    with log.open("a") as more:
        more.write("two\n")
    assert (tmp_path / f"{AFTER.file_name}.log").read_text() == "one\ntwo\n"


def test_a_run_of_which_nothing_is_there_goes_on_too(tmp_path: Path) -> None:
    Spool(tmp_path).carry_on(BEFORE, AFTER)
    assert list(tmp_path.iterdir()) == []
