"""What is preempted stands still, and goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator.client import OutputPiece
from allocator.domain.cluster import EngineCapability
from allocator.domain.job import JobState
from tests import slurm_cluster
from tests.slurm.driven import TICKS, Driven, driving, ticks

pytestmark = pytest.mark.skipif(bool(slurm_cluster.missing()), reason=f"no Slurm here: {slurm_cluster.missing()}")


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    with driving(tmp_path_factory.mktemp("slurm"), "--preempt=suspend", nodes=2, lease_seconds=20.0) as made:
        yield made


def states(driven: Driven) -> dict[str, str]:
    """Of Slurm's jobs that have not ended, by id."""
    return {number: state for number, state, _ in driven.queue() if state in ("RUNNING", "SUSPENDED")}


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_preempted_job_stands_still_and_goes_on(driven: Driven, tmp_path: Path, replicas: int) -> None:
    assert {node.capabilities for node in driven.client.nodes()} == {frozenset((EngineCapability.SUSPEND,))}
    talking = f"echo begun; {TICKS}; echo over"
    (patient,) = driven.submit("sh", "-c", talking, "patient", str(tmp_path), cores=4, replicas=2)
    file = tmp_path / "patient"
    driven.wait_for("it runs", lambda: {node for _, _, node in ticks(file)} == set(driven.slurm.nodes))
    slurm = ticks(file)[0][1]
    (urgent,) = driven.submit("sleep", "2", cores=4, replicas=replicas, priority_class="high")
    driven.wait_for("the other one runs", lambda: states(driven).get(slurm) == "SUSPENDED" and len(states(driven)) == 2)
    stood = len(ticks(file))
    assert driven.wait_until_ended(urgent)[0].state is JobState.SUCCEEDED
    assert len(ticks(file)) <= stood + 2, "nothing was done meanwhile"
    driven.wait_for("it goes on", lambda: len(ticks(file)) > stood + 10)
    printed = b""
    for event in driven.client.read_output(patient, follow=True):
        (tmp_path / "enough").touch()
        printed += event.content if isinstance(event, OutputPiece) else b""
    words = printed.split()  # among some of Slurm's
    assert (words.count(b"begun"), words.count(b"over")) == (2, 2), "both runs of it print to one log"
    (ended,) = driven.wait_until_ended(patient)
    assert (ended.state, ended.message, ended.preemption_count) == (JobState.SUCCEEDED, "", 1)
    assert {job for _, job, _ in ticks(file)} == {slurm}, "the very same processes"


def test_a_suspended_job_that_is_cancelled_ends(driven: Driven, tmp_path: Path) -> None:
    (patient,) = driven.submit("sh", "-c", TICKS, "patient", str(tmp_path), cores=4, replicas=2)
    file = tmp_path / "patient"
    driven.wait_for("it runs", lambda: ticks(file))
    slurm = ticks(file)[0][1]
    (urgent,) = driven.submit("sleep", "60", cores=4, priority_class="high")
    driven.wait_for("it stands still", lambda: states(driven).get(slurm) == "SUSPENDED")
    driven.client.cancel([patient])
    driven.wait_for("it is gone", lambda: slurm not in states(driven))
    driven.client.cancel([urgent])
    driven.wait_until_ended(patient, urgent)
    before = len(ticks(file))
    time.sleep(0.5)
    assert len(ticks(file)) == before
