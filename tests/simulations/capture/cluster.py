"""A daemon's server with real rounds, captured over real gRPC while a story happens on it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from allocator.client import Client, RetryPolicy
from allocator.domain.cluster import Node, NodeAvailability
from allocator.domain.job import Job, JobSpec
from allocator.domain.resources import Resources
from allocator.intake import commands as c
from simulations.capture.file import CaptureWriter
from simulations.capture.following import Progress, follow
from tests.builders import configuration
from tests.client.served import Served

QUICK = RetryPolicy(attempts=8, first_delay=0.02, longest_delay=0.2)
SECONDS = 30.0
"""From one round to the next."""
PATIENCE = 60.0


def gpu_node(name: str, gpus: int = 4) -> Node:
    return Node(name, "a100", Resources(32_000, gpus * 1000, 256 * 2**30))


def gpu_job(queue: str = "q", gpus: int = 1, replicas: int = 1, **fields: object) -> JobSpec:
    return JobSpec(queue, (configuration("a100", replicas, cpu=1, gpu=gpus),), **fields)  # type: ignore[arg-type]


class Captured:
    """Captures `served` into `path` on a thread of its own, from the first round after `begin` returns."""

    def __init__(self, served: Served, path: Path, rounds: int) -> None:
        self.client = Client(served.address, retry=QUICK)
        self._writer = CaptureWriter(path)
        self._rounds = rounds
        self._changed = threading.Condition()
        self.progress = Progress()
        self.why = ""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        progress, self.why = follow(self.client, self._writer, rounds=self._rounds, on_change=self._see)
        self._see(progress)

    def _see(self, progress: Progress) -> None:
        with self._changed:
            self.progress = progress
            self._changed.notify_all()

    def begin(self) -> None:
        self._thread.start()
        self.until(lambda progress: progress.connections == 1)

    def until(self, condition: Callable[[Progress], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.progress), PATIENCE)

    def close(self) -> Progress:
        """When all rounds were captured."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self.client.close()
        return self.progress


class Story:
    """What happens to a cluster from round to round, and what of it jobs should be found to have needed."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.admitted: list[Job] = []

    def round(self) -> None:
        self.served.round()

    def pass_time(self, seconds: float = SECONDS) -> None:
        self.served.clock.ahead += seconds

    def submit(self, *specs: JobSpec) -> list[Job]:
        jobs = list(self.served.execute(c.SubmitJobs(specs)))
        self.admitted += jobs
        return jobs

    def finish(self, job: Job, state: c.ReplicaState = c.ReplicaState.SUCCEEDED) -> None:
        self.served.finish(job, state)


POLICY = """
version = 1
[objective]
name = "max-min"
minimum_run = "40s"
hysteresis = "30s"
"""


def dozen_rounds(story: Story) -> None:
    """Jobs come, run, are stopped for others, end, fail and are cancelled; a node is lost, one drained, one comes; jobs
    measure what they do; the policy changes on the way.
    """
    served = story.served
    story.submit(gpu_job(gpus=2, name="early", restart_cost_seconds=5.0), gpu_job("p/x", gpus=4, name="other"))
    story.round()
    story.pass_time()
    learning = story.submit(gpu_job("p/x", gpus=1, name="learning", job_class="resnet"))
    story.submit(*(gpu_job("p/y", gpus=2, name=f"many{n}", weight=1.0 + n) for n in range(6)))
    story.round()
    story.pass_time()
    served.execute(c.ReportProgress(learning[0].id, 3.0))
    story.finish(story.admitted[0])
    story.round()
    story.pass_time()
    served.execute(c.LoseNode("n2"))
    story.round()
    story.pass_time()
    served.execute(c.RegisterNode(gpu_node("n2")))
    served.execute(c.RegisterNode(gpu_node("n9", gpus=8)))
    story.round()
    story.pass_time()
    with Client(served.address) as client:
        client.apply_policy(POLICY, comment="on the way")
    story.round()
    story.pass_time()
    served.execute(c.SetNodeAvailability("n1", NodeAvailability.DRAINING))
    story.submit(gpu_job(gpus=8, name="whole", priority_class="high"), gpu_job(gpus=1, name="unlucky"))
    story.round()
    story.pass_time()
    waiting = story.submit(gpu_job(gpus=4, replicas=20, name="never"))
    story.submit(gpu_job(gpus=1, expected_duration_seconds=500.0, name="long"))
    story.round()
    story.pass_time()
    served.execute(c.CancelJobs((waiting[0].id,), "thought better of it"))
    story.round()
    for _ in range(3):
        story.pass_time()
        for job in story.admitted:
            now = served.store.get_job(job.id)
            if now.allocation is not None and now.spec.name.startswith("many"):
                story.finish(job, c.ReplicaState.FAILED if now.spec.name == "many5" else c.ReplicaState.SUCCEEDED)
                break
        story.round()
