"""What jobs say of their progress becomes their throughput: of honest ones, and of those that write anything else."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from allocator.agent import progress
from allocator.agent.confinement import Confinement
from allocator.agent.progress import FIRST_SECONDS, NEXT_SECONDS, Meter, Progress
from allocator.domain.placement import Epoch
from tests.agent.conftest import Machine
from tests.agent.test_agent import agent, now, start, state, submit
from tests.agent.test_following import PATIENT
from tests.agent.wanted import replica, shell
from tests.rpc.serving import serving, until

__all__ = ["state"]
ONE, TWO = Epoch(1, 0), Epoch(2, 0)


def measured(
    numbers: Iterable[tuple[float, float | None]], epoch: Epoch = ONE, meter: Meter | None = None
) -> list[float]:
    """What comes of (time, number) pairs."""
    using = Meter() if meter is None else meter
    return [found for at, work in numbers if (found := using.note(epoch, work, at)) is not None]


def test_the_start_is_not_counted() -> None:
    assert measured([(0, None), (99, None), (100, 5), (105, 10), (110, 25)]) == [2.0]


def test_a_measurement_takes_its_time() -> None:
    steps = [(float(second), 3.0 * second) for second in range(200)]
    found = measured(steps)
    assert found == pytest.approx([3.0] * len(found))
    assert len(found) == 1 + int((199 - 1 - FIRST_SECONDS) // NEXT_SECONDS)


def test_who_stands_still_is_not_measured_while_it_does() -> None:
    assert measured([(0, None), (1, 1), *((second, 1) for second in range(2, 100)), (101, 201)]) == [2.0]


def test_a_number_that_falls_and_another_epoch_begin_anew() -> None:
    meter = Meter()
    assert measured([(0, None), (1, 100), (9, 900), (12, 0), (13, 1)], meter=meter) == []
    assert measured([(20, 8), (22, 10)], meter=meter) == [1.0]
    assert measured([(30, 10), (31, 12), (35, 20)], TWO, meter) == []
    assert measured([(41, 32)], TWO, meter) == [2.0]


@pytest.mark.parametrize(
    "written", ["", "x", "nan", "inf", "-1", "1 2", "1" * 65, "0x10", "\0" * 8, "9" * 400, "1e999"]
)  # fmt: skip
def test_what_is_no_number_is_not_looked_at(tmp_path: Path, written: str) -> None:
    (tmp_path / "p").write_text(written)
    assert progress.read(tmp_path / "p")[0] is None


def test_files_that_are_no_files_and_files_that_grow(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "one").write_text("1")
    (tmp_path / "link").symlink_to(tmp_path / "one")
    (tmp_path / "large").write_bytes(b"1" * 10**6)
    for name in ("pipe", "link", "large", "missing"):
        assert progress.read(tmp_path / name)[0] is None
    assert (tmp_path / "large").stat().st_size == 0
    os.utime(tmp_path / "one", (0, 0))
    assert progress.read(tmp_path / "one") == (1.0, progress.MOST_AGE_SECONDS)


def test_rank_0_counts_for_the_gang_and_the_file_goes_with_the_run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.2)
    script = 'i=0; while :; do i=$((i+1)); echo $i > "$ALLOCATOR_PROGRESS"; sleep 0.02; done'
    machine.want(*(replica(process=shell(script, grace=0.0), number=rank, replicas=2) for rank in range(2)))
    found: list[Progress] = []

    def is_measured() -> bool:
        found.extend(machine.runner.progress())
        return bool(found)

    machine.until(is_measured)
    (one,) = found
    assert (one.job_id, one.epoch) == ("j1", ONE)
    assert 0 < one.throughput <= 75
    assert len(list((machine.state / "progress").iterdir())) == 2
    machine.want(epoch=2)
    machine.gone()
    machine.want(epoch=2)
    assert list((machine.state / "progress").iterdir()) == []


async def test_the_daemon_learns_what_a_job_measures(
    state: Path, confinement: Confinement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.5)
    async with serving(PATIENT) as served, agent(served.port, state, confinement):
        script = 'i=0; while :; do i=$((i+10)); echo $i > "$ALLOCATOR_PROGRESS"; sleep 0.1; done'
        job = submit(served, shell(script, grace=0.0))
        start(served, job)
        await until(lambda: now(served, job).measured_throughput)
        ((flavor, throughput),) = now(served, job).measured_throughput
        assert flavor == job.spec.configurations[0].flavor
        assert 2 < throughput <= 120, "100 a second, if the machine has nothing else to do"
