"""Jobs of a real daemon on a Kubernetes API after the documented one: what runs, what ends, who is left alone."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from allocator.client import Client
from allocator.domain.job import Configuration, Job, JobSpec, JobState
from allocator.domain.process import Process
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from tests.daemon.process import DaemonProcess, running
from tests.kubernetes_cluster import Cluster, quantity

PATIENCE = 60.0
RBAC = Path(__file__).parents[2] / "deploy" / "kubernetes" / "rbac.yaml"
"""All that the bridge may do here, too."""


class Driven:
    """A daemon, a cluster of three nodes with four cores each, and the bridge between them, which a test may kill."""

    def __init__(self, folder: Path, cluster: Cluster, daemon: DaemonProcess) -> None:
        self.folder, self.cluster, self.daemon = folder, cluster, daemon
        self.client = Client(daemon.address)
        self._bridge: subprocess.Popen[bytes] | None = None
        cluster.write_kubeconfig(folder / "kubeconfig")

    def drive(self) -> None:
        with (self.folder / "bridge.log").open("ab") as log:
            self._bridge = subprocess.Popen(
                [sys.executable, "-m", "allocator", "kubernetes", "drive", f"--kubeconfig={self.folder / 'kubeconfig'}",
                 "--image=busybox", "--start-within=4", f"--address={self.daemon.address}"],
                stdout=log, stderr=log,
            )  # fmt: skip

    def log(self) -> str:
        return (self.folder / "bridge.log").read_text(encoding="utf-8")

    def kill(self) -> None:
        assert self._bridge is not None
        self._bridge.kill()
        self._bridge.wait()

    def submit(self, *command: str, cores: float = 1, replicas: int = 1, count: int = 1, **process: Any) -> list[str]:
        demand = Resources(cpu_millicores=round(cores * 1000), memory_bytes=64 * 2**20)
        spec = JobSpec("q", (Configuration("cpu", replicas, demand),), process=Process(tuple(command), **process))
        answers = self.client.submit([spec] * count)
        return [answer.id for answer in answers if isinstance(answer, Job)]

    def wait_for(self, what: str, holds: Callable[[], object]) -> None:
        until = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > until:
                pods = [
                    (pod["metadata"]["name"], pod["status"], pod["spec"].get("nodeName")) for pod in self.cluster.ours()
                ]
                raise AssertionError(f"{what}: {pods}\n{self.log()[-3000:]}")
            time.sleep(0.02)

    def wait_until_ended(self, *jobs: str) -> list[Job]:
        self.wait_for("jobs end", lambda: all(self.client.job(job).state.is_final for job in jobs))
        return [self.client.job(job) for job in jobs]

    def wait_until_running(self, job: str, many: int = 1) -> list[dict[str, Any]]:
        def pods() -> list[dict[str, Any]]:
            return [pod for pod in self.cluster.ours(job) if pod["status"]["phase"] == "Running"]

        self.wait_for(f"{job} runs", lambda: len(pods()) == many)
        return pods()

    def nothing_is_left(self) -> bool:
        """Nothing runs, and Jobs that stay for their output hold nobody up."""
        over = all(pod["status"]["phase"] in ("Succeeded", "Failed") for pod in self.cluster.ours())
        return over and all(not job["metadata"].get("finalizers") for job in self.cluster.all("jobs"))

    def close(self) -> None:
        if self._bridge is not None and self._bridge.poll() is None:
            self.kill()
        self.client.close()


@contextmanager
def driving(folder: Path, lease_seconds: float) -> Iterator[Driven]:
    lease = {
        "ALLOCATOR_NODES__HEARTBEAT_TIMEOUT_SECONDS": str(lease_seconds),
        "ALLOCATOR_NODES__HEARTBEAT_INTERVAL_SECONDS": "0.5",
    }
    with Cluster(folder / "cluster") as cluster, running(folder, **lease) as daemon:
        for name in ("n1", "n2", "n3"):
            cluster.add_node(name, cpu="4", memory="4Gi")
        cluster.rules = [
            (document["metadata"].get("namespace"), rule)
            for document in yaml.safe_load_all(RBAC.read_text(encoding="utf-8"))
            for rule in document.get("rules", ())
        ]
        made = Driven(folder, cluster, daemon)
        made.client.create_queue(Queue("q"))
        made.drive()
        made.wait_for("nodes register", lambda: len(list(made.client.nodes())) == 3)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    with driving(tmp_path_factory.mktemp("kubernetes"), lease_seconds=30) as made:
        yield made


def test_gangs_run_where_they_were_placed_with_what_they_need_to_know(driven: Driven, tmp_path: Path) -> None:
    script = 'echo "$ALLOCATOR_JOB_ID $ALLOCATOR_RANK $ALLOCATOR_REPLICAS $ALLOCATOR_PEERS $1" > "$2/$ALLOCATOR_RANK"'
    hostile = "$(touch /tmp/never); $(HOME) $$ `id` 'quoted' \"twice\" {{x}}"
    (job,) = driven.submit("sh", "-c", f"{script}; sleep 0.5", "x", hostile, str(tmp_path), replicas=6, cores=2)
    pods = driven.wait_until_running(job, 6)
    allocation = driven.client.job(job).allocation
    assert allocation is not None
    placed = [replica.node for replica in allocation.placement.replicas]
    (ended,) = driven.wait_until_ended(job)
    assert (ended.state, ended.message) == (JobState.SUCCEEDED, "")
    told = [(tmp_path / str(rank)).read_text().split(" ", 4) for rank in range(6)]
    assert [line[:3] for line in told] == [[job, str(rank), "6"] for rank in range(6)]
    assert {line[4] for line in told} == {hostile + "\n"}
    ranks = {
        next(each["value"] for each in pod["spec"]["containers"][0]["env"] if each["name"] == "ALLOCATOR_RANK"): pod
        for pod in pods
    }
    assert [ranks[str(rank)]["spec"]["nodeName"] for rank in range(6)] == placed
    peers = [f"{ranks[str(rank)]['spec']['hostname']}.allocator-jobs" for rank in range(6)]
    assert {line[3] for line in told} == {",".join(peers)}
    assert len(set(peers)) == 6
    driven.wait_for("all is let go", driven.nothing_is_left)


def test_a_node_that_the_daemon_does_not_take_spoils_no_other(driven: Driven) -> None:
    driven.cluster.add_node("monster", cpu="4", gpus=5000)
    (job,) = driven.submit("true")
    assert driven.wait_until_ended(job)[0].state is JobState.SUCCEEDED
    assert {node.name for node in driven.client.nodes()} >= {"n1", "n2", "n3"}
    driven.wait_for("it was told", lambda: "does not take node monster" in driven.log())
    driven.cluster.remove("nodes", driven.cluster.objects["nodes"]["", "monster"])
    assert driven.log().count("does not take node monster") == 1


def test_a_node_that_was_removed_comes_back(driven: Driven) -> None:
    driven.cluster.change_node("n1", unschedulable=True)
    driven.wait_for("it is closed", lambda: not driven.client.node("n1").takes_new_work)
    driven.client.drain_node("n1")
    driven.client.remove_node("n1")
    driven.wait_for("it is there again, and closed", lambda: [
        node.takes_new_work for node in driven.client.nodes() if node.name == "n1"
    ] == [False])  # fmt: skip
    driven.cluster.change_node("n1", unschedulable=False)
    driven.wait_for("it is open", lambda: driven.client.node("n1").takes_new_work)


def test_failures_are_told_with_their_cause(driven: Driven) -> None:
    failed, missing, unpulled = (
        *driven.submit("sh", "-c", "exit 3"),
        *driven.submit("/no/such/program"),
        *driven.submit("true", environment=(("CONTAINER_IMAGE", "missing/image"),)),
    )
    (hungry,) = driven.submit("sleep", "60")
    (nothing,) = [
        answer.id
        for answer in driven.client.submit([JobSpec("q", (Configuration("cpu", 1, Resources(1000)),))])
        if isinstance(answer, Job)
    ]
    driven.cluster.kill_for_memory(driven.wait_until_running(hungry)[0])
    ended = driven.wait_until_ended(failed, missing, unpulled, hungry, nothing)
    assert {job.state for job in ended} == {JobState.FAILED}
    for job, words in zip(
        ended,
        ("exited with 3", "StartError", "ImagePullBackOff", "more memory than it asked for", "give it a command"),
        strict=True,
    ):
        assert words in job.message


def test_a_cancelled_job_is_told_to_end_and_then_made_to(driven: Driven, tmp_path: Path) -> None:
    gentle = 'trap "echo saved > $0; exit 0" $1; touch $0.up; while :; do sleep 0.05; done'
    deaf = 'trap "" TERM; touch $0.up; while :; do sleep 0.05; done'
    files = [tmp_path / name for name in ("told", "signalled", "deaf")]
    jobs = [
        *driven.submit("sh", "-c", gentle, str(files[0]), "TERM", grace_seconds=30.0),
        *driven.submit("sh", "-c", gentle, str(files[1]), "USR1", grace_seconds=30.0, checkpoint_signal="SIGUSR1"),
        *driven.submit("sh", "-c", deaf, str(files[2]), grace_seconds=1.0),
    ]
    driven.wait_for("all run", lambda: all(Path(f"{file}.up").exists() for file in files))
    driven.client.cancel(jobs)
    driven.wait_for("all end", lambda: not [pod for job in jobs for pod in driven.cluster.ours(job)])
    assert [file.exists() for file in files] == [True, True, False]
    driven.wait_for("their Jobs are gone", lambda: not [
        made for made in driven.cluster.all("jobs") if made["metadata"]["annotations"]["allocator/job-id"] in jobs
    ])  # fmt: skip


def test_what_others_run_is_seen_and_left_alone(driven: Driven) -> None:
    for number in (1, 2):
        driven.cluster.add_pod(f"theirs-{number}", "4", f"n{number}")
    driven.cluster.add_pod("forged", "1", "n3", labels={"app.kubernetes.io/managed-by": "allocator"})

    def free() -> int:
        return sum(driven.client.node(name).capacity.cpu_millicores for name in ("n1", "n2", "n3")) // 1000

    driven.wait_for("their cores are not ours", lambda: free() == 3)
    jobs = driven.submit("sleep", "0.2", cores=3, count=2)
    assert {job.state for job in driven.wait_until_ended(*jobs)} == {JobState.SUCCEEDED}
    theirs = [pod for pod in driven.cluster.all("pods") if pod["metadata"]["namespace"] == "theirs"]
    assert {pod["metadata"]["name"] for pod in theirs} == {"theirs-1", "theirs-2", "forged"}
    assert {pod["spec"]["nodeName"] for pod in driven.cluster.ours(jobs[0])} <= {"n3"}
    for pod in theirs:
        driven.cluster.remove("pods", pod)
    driven.wait_for("their cores are free again", lambda: free() == 12)
    written = {(verb, path.split("/allocator-jobs/jobs")[0]) for verb, path in driven.cluster.writes}
    assert {path for _, path in written} == {"/apis/batch/v1/namespaces"}, "nothing but our Jobs was ever written"


def test_a_job_that_somebody_deletes_has_failed_and_does_not_run_again(driven: Driven) -> None:
    (job,) = driven.submit("sleep", "60", grace_seconds=1.0)
    driven.wait_until_running(job)
    (made,) = [
        each for each in driven.cluster.all("jobs") if each["metadata"]["annotations"]["allocator/job-id"] == job
    ]
    driven.cluster.delete("jobs", "allocator-jobs", made["metadata"]["name"], {"propagationPolicy": "Background"})
    (ended,) = driven.wait_until_ended(job)
    assert "was deleted in Kubernetes" in ended.message
    driven.wait_for("it is gone", lambda: not driven.cluster.ours(job))
    assert sum(name.startswith(made["metadata"]["name"]) for name in driven.cluster.started) == 1


def test_who_is_sent_away_begins_again_where_it_was_or_elsewhere_if_that_is_closed(driven: Driven) -> None:
    (job,) = driven.submit("sleep", "60", grace_seconds=1.0)
    (first,) = driven.wait_until_running(job)
    driven.cluster.evict(first)
    driven.wait_for("another pod of it", lambda: [pod["metadata"]["uid"] for pod in driven.cluster.ours(job)] != [
        first["metadata"]["uid"]
    ] and driven.wait_until_running(job))  # fmt: skip
    (second,) = driven.wait_until_running(job)
    node = second["spec"]["nodeName"]
    assert node == first["spec"]["nodeName"]
    assert driven.client.job(job).preemption_count == 0
    driven.cluster.change_node(node, unschedulable=True)
    driven.cluster.evict(second)
    driven.wait_for("it runs elsewhere", lambda: any(
        pod["spec"].get("nodeName", node) != node and pod["status"]["phase"] == "Running"
        for pod in driven.cluster.ours(job)
    ))  # fmt: skip
    assert driven.client.job(job).failures == 0
    driven.cluster.change_node(node, unschedulable=False)
    driven.wait_for("it is open again", lambda: driven.client.node(node).takes_new_work)
    driven.client.cancel([job])
    driven.wait_for("all is let go", driven.nothing_is_left)


def test_the_share_of_a_running_job_changes_in_place(driven: Driven) -> None:
    demand = Resources(cpu_millicores=12_000)
    process = Process(("sleep", "60"), grace_seconds=1.0)

    def spec(queue: str) -> JobSpec:
        return JobSpec(queue, (Configuration("big", 1, demand),), process=process, divisible=True)

    driven.cluster.add_node("big", cpu="12", memory="8Gi", gpus=1, **{"nvidia.com/gpu.product": "Big"})
    driven.client.create_queue(Queue("r"))
    driven.wait_for("the node is known", lambda: "big" in {node.name for node in driven.client.nodes()})
    (first,) = [answer.id for answer in driven.client.submit([spec("q")]) if isinstance(answer, Job)]
    (pod,) = driven.wait_until_running(first)

    def cores() -> float:
        (now,) = [each for each in driven.cluster.ours(first) if each["metadata"]["uid"] == pod["metadata"]["uid"]]
        return quantity(now["spec"]["containers"][0]["resources"]["limits"]["cpu"])

    assert cores() == 12
    (second,) = [answer.id for answer in driven.client.submit([spec("r")]) if isinstance(answer, Job)]
    driven.wait_for("it gives half away", lambda: 5.5 < cores() < 6.5)
    driven.wait_until_running(second)
    driven.client.cancel([second])
    driven.wait_for("it gets it back", lambda: cores() == 12)
    driven.client.cancel([first])
    driven.wait_for("all is let go", driven.nothing_is_left)
    driven.cluster.change_node("big", unschedulable=True)
    granted = {
        (verb, resource)
        for _, rule in driven.cluster.rules or ()
        for verb in rule["verbs"]
        for resource in rule["resources"]
    }
    assert granted == driven.cluster.used, "what it may do, it needs"


def test_a_gang_that_shrinks_and_grows_leaves_alone_who_stays(driven: Driven) -> None:
    process = Process(("sleep", "60"), grace_seconds=1.0)
    ways = tuple(Configuration("cpu", many, Resources(4000), throughput=many**0.9) for many in (1, 2, 3))
    answers = driven.client.submit([JobSpec("q", ways, process=process, resizable=True)])
    (job,) = [answer.id for answer in answers if isinstance(answer, Job)]
    before = {pod["metadata"]["uid"] for pod in driven.wait_until_running(job, 3)}
    others = driven.submit("sleep", "60", cores=4, count=2, grace_seconds=1.0)
    for other in others:
        driven.wait_until_running(other)
    after = {pod["metadata"]["uid"] for pod in driven.wait_until_running(job, 1)}
    assert after < before
    driven.client.cancel(others)
    assert after < {pod["metadata"]["uid"] for pod in driven.wait_until_running(job, 3)}
    assert driven.client.job(job).preemption_count == 0
    driven.client.cancel([job])
    driven.wait_for("all is let go", driven.nothing_is_left)


def test_nothing_is_lost_or_run_twice_whoever_restarts(driven: Driven, tmp_path: Path) -> None:
    """Answers are lost, the bridge is killed, the API server and then the daemon are restarted, and history is gone."""
    command = (
        "sh",
        "-c",
        'mkdir "$0/$ALLOCATOR_JOB_ID" || touch "$0/twice-$ALLOCATOR_JOB_ID"; sleep 0.3',
        str(tmp_path),
    )
    driven.cluster.lose_answers = 10
    jobs = driven.submit(*command, count=24, cores=2)
    driven.wait_for("some have run", lambda: len(list(tmp_path.iterdir())) > 3)
    driven.kill()
    driven.cluster.forget()
    driven.drive()
    driven.wait_for("more have run", lambda: len(list(tmp_path.iterdir())) > 8)
    driven.cluster.stop()
    time.sleep(0.5)  # while containers end and nobody can be asked
    driven.cluster.start()
    driven.wait_for("still more have run", lambda: len(list(tmp_path.iterdir())) > 12)
    driven.daemon.kill()
    driven.cluster.forget()
    driven.daemon.start()
    ended = driven.wait_until_ended(*jobs)
    assert {(job.state, job.message) for job in ended} == {(JobState.SUCCEEDED, "")}
    assert {job.preemption_count for job in ended} == {0}
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(jobs), "each once, and none twice"


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Driven]:
    with driving(tmp_path, lease_seconds=4) as made:
        yield made


def test_a_node_that_is_gone_is_lost_after_the_lease_and_its_jobs_run_elsewhere(hasty: Driven) -> None:
    driven = hasty
    (job,) = driven.submit("sleep", "60", cores=3, grace_seconds=1.0)
    (pod,) = driven.wait_until_running(job)
    node = pod["spec"]["nodeName"]
    driven.cluster.fail_node(node)
    driven.wait_for("it runs elsewhere", lambda: any(
        each["spec"].get("nodeName", node) != node and each["status"]["phase"] == "Running"
        for each in driven.cluster.ours(job)
    ))  # fmt: skip
    assert (driven.client.job(job).preemption_count, driven.client.job(job).failures) == (1, 0)
    driven.cluster.fail_node(node, ready="True")
    driven.wait_for("what still ran there ends", lambda: len(driven.cluster.ours(job)) == 1)
    driven.client.cancel([job])
    driven.wait_for("all is let go", driven.nothing_is_left)
