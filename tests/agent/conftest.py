"""A runner on this machine's real control groups, in a state folder of its own; everything it started ends with it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from allocator.agent import cgroups
from allocator.agent.bandwidth import Unshaped
from allocator.agent.confinement import Confinement
from allocator.agent.instructions import RunnerSettings
from allocator.agent.plan import Phase, plan
from allocator.agent.records import boot_time
from allocator.agent.runner import Runner
from allocator.domain.placement import DesiredReplica, NodeDesired
from allocator.domain.resources import GPU_MILLIS, Resources
from allocator.intake.commands import ReplicaReport, ReplicaState
from tests.agent.wanted import desired

CAPACITY = Resources(cpu_millicores=64_000, memory_bytes=2**40, gpu_millis=8 * GPU_MILLIS)
PATIENCE = 20.0


class Machine:
    """What an agent does with its runner, step by step."""

    def __init__(self, state: Path, confinement: Confinement) -> None:
        self.state = state
        self.confinement = confinement
        self.runner = self.make()
        self.runner.open()
        self.renew()

    def make(self, **settings: object) -> Runner:
        return Runner(RunnerSettings("n", self.state, **settings), self.confinement, Unshaped("not here"))  # type: ignore[arg-type] # fields of the settings

    def renew(self, seconds: float = 600.0) -> None:
        self.runner.renew(boot_time() + seconds, seconds)

    def want(self, *replicas: DesiredReplica, epoch: int = 1) -> NodeDesired:
        """Do what these need now."""
        wanted = desired(*replicas, epoch=epoch)
        self.runner.look()
        for action in plan(wanted, self.runner.runs(), CAPACITY):
            self.runner.perform(action)
        return wanted

    def report(self, job_id: str = "j1", number: int = 0) -> ReplicaReport:
        self.runner.look()
        return next(r for r in self.runner.reports() if (r.job_id, r.replica) == (job_id, number))

    def ended(self, job_id: str = "j1", number: int = 0) -> ReplicaReport:
        """The report of a replica, once it has ended."""
        self.until(lambda: self.report(job_id, number).state is not ReplicaState.RUNNING)
        return self.report(job_id, number)

    def gone(self) -> None:
        """Until nothing runs."""
        self.until(lambda: self.runner.look() is None or all(not run.alive for run in self.runner.runs()))

    def printed(self, job_id: str = "j1") -> str:
        folder = self.state / "output" / job_id
        return "".join(file.read_text() for file in sorted(folder.iterdir())) if folder.exists() else ""

    def says(self, text: str, job_id: str = "j1") -> str:
        """All that was printed, once it holds the text."""
        self.until(lambda: text in self.printed(job_id))
        return self.printed(job_id)

    def until(self, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not happened():
            assert time.monotonic() < deadline, (self.runner.runs(), self.runner.reports(), self.printed())
            time.sleep(0.01)

    def close(self) -> None:
        self.want()
        for known in list(self.runner.runs()):
            if known.phase is Phase.STOPPING:
                self.runner.kill(known.id)
        self.gone()
        self.want()
        self.runner.close()


def this_machines(name: str) -> Confinement:
    return cgroups.find(f"/allocator-test-{os.getpid()}-{name}" if os.getuid() == 0 else name)


@pytest.fixture
def confinement(request: pytest.FixtureRequest) -> Iterator[Confinement]:
    made = this_machines(f"{abs(hash(request.node.nodeid)):x}")
    yield made
    made.close()


@pytest.fixture
def machine(tmp_path: Path, confinement: Confinement) -> Iterator[Machine]:
    made = Machine(tmp_path / "state", confinement)
    yield made
    made.close()


@pytest.fixture
def limited(machine: Machine) -> Machine:
    """A machine that can limit CPU, memory and processes."""
    missing = [f"{each.name} ({each.why})" for each in machine.confinement.capabilities if not each.on]
    if missing:
        pytest.skip(f"THIS MACHINE CANNOT ENFORCE {', '.join(missing)}")
    return machine


def alive(pid: int) -> bool:
    """Whether there is such a process, and it is not only waiting to be noticed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
