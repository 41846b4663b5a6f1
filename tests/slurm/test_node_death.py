"""A node that nobody can reach, and one that is dead: their jobs run elsewhere, and never at two places at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator.domain.job import JobState
from tests import slurm_cluster
from tests.slurm.driven import TICKS, Driven, driving, ticks

pytestmark = pytest.mark.skipif(bool(slurm_cluster.missing()), reason=f"no Slurm here: {slurm_cluster.missing()}")


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    with driving(tmp_path_factory.mktemp("slurm"), "--fence=2", nodes=3, lease_seconds=5.0) as made:
        yield made


@pytest.mark.parametrize("dies", [False, True], ids=["its daemon only", "all of it"])
def test_a_job_runs_elsewhere_but_never_twice_at_once(driven: Driven, tmp_path: Path, dies: bool) -> None:
    (job,) = driven.submit("sh", "-c", TICKS, "ticks", str(tmp_path), cores=4)
    file = tmp_path / "ticks"
    driven.wait_for("it runs", lambda: ticks(file))
    _, first, node = ticks(file)[0]
    (driven.slurm.power_off if dies else driven.slurm.kill)(node)
    driven.slurm.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    driven.wait_for("it runs elsewhere", lambda: any(slurm != first for _, slurm, _ in ticks(file)))
    driven.slurm.start_node(node)  # which takes it up again by itself: ReturnToService
    before = len(ticks(file))
    driven.wait_for("it goes on", lambda: len(ticks(file)) > before + 10)
    (tmp_path / "enough").touch()
    (ended,) = driven.wait_until_ended(job)
    assert (ended.state, ended.message) == (JobState.SUCCEEDED, "")
    found = ticks(file)
    assert max(when for when, slurm, _ in found if slurm == first) < min(
        when for when, slurm, _ in found if slurm != first
    )
    assert len({slurm for _, slurm, _ in found}) == 2
    driven.wait_for("the node is back", lambda: all(line.split()[1] == "idle" for line in sinfo(driven)))


def test_a_gang_whose_node_dies_while_the_rest_ends_well_runs_again(driven: Driven, tmp_path: Path) -> None:
    """Its srun ends with 0 then. It is not the first node that dies, on which srun is."""
    command = (
        'echo "$ALLOCATOR_RANK $SLURM_JOB_ID $SLURMD_NODENAME begun" >> "$0/told"; '
        'while [ ! -e "$0/enough" ]; do sleep 0.1; done; echo "$ALLOCATOR_RANK $SLURM_JOB_ID - ended" >> "$0/told"'
    )
    (job,) = driven.submit("sh", "-c", command, str(tmp_path), replicas=2, cores=4)

    def told(what: str) -> list[list[str]]:
        lines = (tmp_path / "told").read_text().splitlines() if (tmp_path / "told").exists() else []
        return [line.split()[:3] for line in lines if line.endswith(what)]

    driven.wait_for("both run", lambda: len(told("begun")) == 2)
    rank, first, node = max(told("begun"))
    driven.slurm.power_off(node)
    (tmp_path / "enough").touch()
    driven.wait_for("the other one ends", lambda: len(told("ended")) == 1)
    driven.slurm.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    (ended,) = driven.wait_until_ended(job)
    driven.slurm.start_node(node)
    assert (ended.state, ended.message) == (JobState.SUCCEEDED, "")
    assert [slurm != first for which, slurm, _ in told("ended") if which == rank] == [True]


def sinfo(driven: Driven) -> list[str]:
    return driven.slurm.call("sinfo", "--noheader", "--Node", "-o", "%N %T").splitlines()
