"""What the Slurm comparison makes of what jobs wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.slurm_jobs import BenchJob, Lives, Stamps, jobs_of, least_seconds, verdict_of


def lives_of(text: str, folder: Path, tasks: tuple[int, ...], died: float = 0.0) -> Lives:
    jobs = [BenchJob(number, "amber", 0.0, many, 1, 4) for number, many in enumerate(tasks)]
    (folder / "stamps").unlink(missing_ok=True)
    stamps = Stamps(folder / "stamps", jobs)
    for part in (text[:75], text[75:]):  # the first one ends within a line
        with stamps.path.open("a") as file:
            file.write(part)
        stamps.ended()
    found = stamps.lives(died)
    assert stamps.ended() == found.ended
    return found


def test_lives(tmp_path: Path) -> None:
    text = (
        "0 start 10.0 1\n1 start 10.5 2\n0 end 14.0 1\n"
        "1 start 25.0 2\n"  # requeued with the same id, after its node died at 20
        "2 start 11.0 3\n2 end 16.0 3\n2 start 17.0 4\n2 end 22.0 4\n"
        "1 end 29.0 2\n3 start 19.0 5\n"
        "4 start 12.0 6\n4 part 0 6\n4 end 16.0 6\n"  # its third task died with its node
        "4 start 30.0 7\n4 part 0 7\n4 end 34.0 7\n4 part 0 7\n"
    )
    found = lives_of(text, tmp_path, (1, 1, 1, 1, 3), died=20.0)
    assert sorted(found.runs) == [
        *((0, 10.0, 14.0), (1, 10.5, 20.0), (1, 25.0, 29.0)),
        *((2, 11.0, 16.0), (2, 17.0, 22.0), (3, 19.0, 20.0)),
        *((4, 12.0, 16.0), (4, 30.0, 34.0)),
    ]
    assert (found.ended, found.ran_twice) == (4, 1)
    assert found.first_start == {0: 10.0, 1: 10.5, 2: 11.0, 3: 19.0, 4: 12.0}
    assert found.ended_at == {0: 14.0, 1: 29.0, 2: 16.0, 4: 34.0}


def test_no_schedule_ends_sooner() -> None:
    jobs = (BenchJob(0, "amber", 0.0, 1, 1, 4), BenchJob(1, "blue", 1.0, 2, 2, 10), BenchJob(2, "coral", 9.0, 1, 1, 20))
    assert least_seconds(jobs, 100) == 29.0, "the last one takes its time"
    assert least_seconds(jobs, 1) == 64.0, "all work, on one core"


def test_the_same_jobs_each_time() -> None:
    jobs = jobs_of(300, 64)
    assert jobs == jobs_of(300, 64)
    assert [job.number for job in jobs] == list(range(300))
    assert len({(job.tasks, job.cores, job.seconds) for job in jobs}) == 20
    assert {job.queue for job in jobs} == {"amber", "blue", "coral"}


def test_a_fair_schedule_is_told_from_an_unfair_one(tmp_path: Path) -> None:
    """Two queues of equal demand; weights 1 and 2 of three cores."""
    jobs = tuple(BenchJob(n, queue, 0.0, 1, 1, 10) for n, queue in enumerate(["amber"] * 3 + ["blue"] * 3))
    submitted = dict.fromkeys(range(6), 100.0)

    def error(order: list[list[int]]) -> float:
        lines = [
            f"{number} start {100 + 10 * turn} {number}\n{number} end {110 + 10 * turn} {number}\n"
            for turn, numbers in enumerate(order)
            for number in numbers
        ]
        return verdict_of(jobs, submitted, lives_of("".join(lines), tmp_path, (1,) * 6), 100.0, 3).error

    assert error([[0, 3, 4], [1, 2, 5]]) < 0.5 * error([[0, 1, 2], [3, 4, 5]])
    perfect = verdict_of(jobs[:3], submitted, lives_of("0 start 100 1\n0 end 110 1\n", tmp_path, (1,) * 6), 100.0, 3)
    assert perfect.used == pytest.approx(1 / 3)
