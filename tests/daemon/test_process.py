"""The daemon as a process: killed, restarted, drained, misconfigured, watched. Real SQLite, real gRPC, real signals."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped] # ships no stubs

from allocator.client import Client, EndOfSnapshot, Unreachable
from allocator.domain.cluster import NodeHealth
from allocator.domain.errors import AllocatorError
from allocator.domain.job import Job, JobState
from allocator.domain.placement import Epoch
from allocator.domain.queue import Queue
from allocator.intake.commands import ReplicaReport, ReplicaState
from tests.builders import configuration, node, spec
from tests.daemon.process import DaemonProcess, running

pytestmark = pytest.mark.system


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    with running(tmp_path) as started:
        yield started


@pytest.fixture
def client(daemon: DaemonProcess) -> Iterator[Client]:
    with Client(daemon.address) as connected:
        connected.create_queue(Queue("q"))
        connected.register_node(node(gpu=4))
        yield connected


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for: {what}"
        time.sleep(0.05)


def submitted(client: Client, count: int = 1, **fields: float) -> list[Job]:
    answers = client.submit([spec("q", configuration(**fields))] * count, allow_infeasible=True)  # type: ignore[arg-type] # numbers
    assert all(isinstance(answer, Job) for answer in answers)
    return [answer for answer in answers if isinstance(answer, Job)]


def test_what_happens_is_answered_at_once_however_rare_rounds_are(tmp_path: Path) -> None:
    """A job that comes, one that takes the place of another that has ended, and a node that comes."""
    with running(tmp_path, ALLOCATOR_ROUNDS__INTERVAL_SECONDS="3600") as daemon, Client(daemon.address) as client:
        client.create_queue(Queue("q"))
        client.register_node(node(gpu=1))
        first, second = submitted(client, 2, gpu=1)
        wait_for(lambda: client.job(first.id).state is JobState.RUNNING, "a node for the first")
        allocation = client.job(first.id).allocation
        assert allocation is not None
        client.heartbeat("n1", [ReplicaReport(first.id, 0, allocation.epoch, ReplicaState.SUCCEEDED)])
        wait_for(lambda: client.job(second.id).state is JobState.RUNNING, "the first one's place")
        (third,) = submitted(client, 1, gpu=1)
        client.register_node(node("n2", gpu=1))
        wait_for(lambda: client.job(third.id).state is JobState.RUNNING, "the new node")


def test_a_lost_node_that_is_heard_of_again_is_news(tmp_path: Path) -> None:
    settings = {
        "ALLOCATOR_ROUNDS__INTERVAL_SECONDS": "3600",
        "ALLOCATOR_NODES__HEARTBEAT_TIMEOUT_SECONDS": "2",
        "ALLOCATOR_NODES__HEARTBEAT_INTERVAL_SECONDS": "0.5",
    }
    with running(tmp_path, **settings) as daemon, Client(daemon.address) as client:
        client.create_queue(Queue("q"))
        client.register_node(node(gpu=1))
        wait_for(lambda: client.node("n1").health is NodeHealth.LOST, "the node's silence")
        (job,) = submitted(client, 1, gpu=1)

        def runs() -> bool:
            client.heartbeat("n1", [])
            return client.job(job.id).state is JobState.RUNNING

        wait_for(runs, "the node that is back")


def rounds(daemon: DaemonProcess) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.metrics_port}/metrics", timeout=30) as page:
        found = re.findall(rb"^allocator_rounds_total\{.*\} (.*)$", page.read(), re.MULTILINE)
    return sum(map(round, map(float, found)))


def test_what_changes_nothing_is_no_news(tmp_path: Path) -> None:
    with running(tmp_path, ALLOCATOR_ROUNDS__INTERVAL_SECONDS="3600") as daemon, Client(daemon.address) as client:
        client.create_queue(Queue("q"))
        client.register_node(node(gpu=1))
        (first,) = submitted(client, 1, gpu=1)
        wait_for(lambda: client.job(first.id).state is JobState.RUNNING, "its node")
        time.sleep(1)  # the last round for news
        before = rounds(daemon)
        for _ in range(20):
            client.register_node(node(gpu=1))
            client.heartbeat("n1", [ReplicaReport("nobody", 0, Epoch(1, 0), ReplicaState.SUCCEEDED)])
            time.sleep(0.05)
        assert rounds(daemon) == before


def test_what_was_acknowledged_survives_kill_9_under_load(daemon: DaemonProcess, client: Client) -> None:
    """Submitters run while rounds start jobs; the power goes; everything anybody was told is still there."""
    told: list[str] = []
    enough = threading.Event()

    def submit() -> None:
        with Client(daemon.address, timeout=30.0) as own:
            try:
                while True:
                    told.extend(job.id for job in submitted(own, 5))
                    if len(told) > 200:
                        enough.set()
            except AllocatorError:
                return

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert enough.wait(120)
    wait_for(lambda: any(client.jobs(states=[JobState.RUNNING])), "a running job")
    before = {job.id: job for job in client.jobs(states=[JobState.RUNNING])}
    daemon.kill()
    for thread in threads:
        thread.join(60)

    daemon.start()
    after = {job.id: job for job in client.jobs()}
    assert set(told) <= set(after)
    for job_id, job in before.items():
        assert after[job_id].state is JobState.RUNNING
        assert after[job_id].allocation == job.allocation
    running_now = [job for job in after.values() if job.state is JobState.RUNNING]
    assert len(running_now) == 4
    devices = [replica.gpus for job in running_now if job.allocation for replica in job.allocation.placement.replicas]
    assert sorted(devices) == [(0,), (1,), (2,), (3,)]


def test_agent_sees_its_state_again_after_a_restart_and_epochs_grow(daemon: DaemonProcess, client: Client) -> None:
    submitted(client, 2)
    states = client.watch_allocations("n1")
    first = next(state for state in states if len(state.replicas) == 2)
    daemon.kill()
    daemon.start()
    again = next(states)
    assert {(r.job_id, r.epoch) for r in again.replicas} == {(r.job_id, r.epoch) for r in first.replicas}
    assert again.epoch >= first.epoch
    reports = [ReplicaReport(r.job_id, r.replica, r.epoch, ReplicaState.SUCCEEDED) for r in again.replicas]
    client.heartbeat("n1", reports)
    empty = next(state for state in states if not state.replicas)
    assert empty.epoch > first.epoch


def test_watch_resumes_with_its_cursor_after_a_restart(daemon: DaemonProcess, client: Client) -> None:
    """What changed while nobody watched, and before the daemon was killed, is told; what was seen is not told again."""
    submitted(client, 2)
    events = client.watch_jobs()
    cursor = next(event for event in events if isinstance(event, EndOfSnapshot)).cursor
    later = {job.id for job in submitted(client, 3, cpu=100)}
    daemon.kill()
    daemon.start()
    told = set()
    for event in client.watch_jobs(cursor=cursor):
        if isinstance(event, EndOfSnapshot):
            break
        told.add(event.job.id)
    assert later <= told


def test_silent_node_is_lost_and_its_job_runs_elsewhere(tmp_path: Path) -> None:
    quick = {
        "ALLOCATOR_NODES__HEARTBEAT_TIMEOUT_SECONDS": "5.0",
        "ALLOCATOR_NODES__HEARTBEAT_INTERVAL_SECONDS": "0.5",
    }
    with running(tmp_path, **quick) as daemon, Client(daemon.address) as client:
        client.create_queue(Queue("q"))
        client.register_node(node("n1", gpu=1))
        (job,) = submitted(client)
        wait_for(lambda: client.job(job.id).state is JobState.RUNNING, "the job to run")
        assert client.register_node(node("n2", gpu=1)).lease.lease_seconds == 5.0
        stop = threading.Event()

        def beat() -> None:
            with Client(daemon.address) as own:
                while not stop.wait(0.3):
                    own.heartbeat("n2")

        beating = threading.Thread(target=beat)
        beating.start()
        try:
            wait_for(lambda: client.node("n1").health is NodeHealth.LOST, "the silent node to be lost")
            wait_for(
                lambda: (a := client.job(job.id).allocation) is not None and a.placement.nodes == ("n2",), "a move"
            )
        finally:
            stop.set()
            beating.join()
        assert client.node("n2").health is NodeHealth.READY


def test_sigterm_drains(daemon: DaemonProcess, client: Client) -> None:
    """Health says so first, watches end, the exit status is 0, and a second start finds everything."""
    (job,) = submitted(client)
    with grpc.insecure_channel(daemon.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
        seen = health.Watch(health_pb2.HealthCheckRequest())
        assert next(seen).status == health_pb2.HealthCheckResponse.SERVING
        assert daemon.stop() == 0
        assert next(seen).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert '"stopped"' in daemon.log.read_text()
    with pytest.raises(Unreachable):
        client.cancel([job.id], timeout=1.0)
    daemon.start()
    with Client(daemon.address) as another:  # the first one may wait a moment before it tries to connect again
        assert another.job(job.id).spec == job.spec


def test_second_daemon_on_the_same_database_is_refused(daemon: DaemonProcess) -> None:
    other = DaemonProcess(daemon.directory)
    run = subprocess.run(
        [sys.executable, "-m", "allocator", "serve"],
        env=other.environment,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 1
    assert b"cannot start" in run.stderr


def test_taken_port_is_named(daemon: DaemonProcess, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = DaemonProcess(tmp_path / "other", ALLOCATOR_SERVER__PORT=str(daemon.port))
    run = subprocess.run(
        [sys.executable, "-m", "allocator", "serve"],
        env=other.environment,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 1
    assert str(daemon.port).encode() in run.stderr
    assert b"server.port" in run.stderr


def test_metrics_tell_of_rounds_and_commands(daemon: DaemonProcess, client: Client) -> None:
    submitted(client, 3)
    wait_for(lambda: sum(1 for _ in client.jobs(states=[JobState.RUNNING])) == 3, "three running jobs")

    def scraped() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{daemon.metrics_port}/metrics", timeout=10) as answer:
            return str(answer.read(), "utf-8")

    wait_for(lambda: 'allocator_jobs{queue="q",state="running"} 3.0' in scraped(), "the gauge to follow")
    text = scraped()
    assert 'allocator_gpu_allocated_gpus{flavor="a100"} 3.0' in text
    assert 'allocator_commands_total{code="ok",kind="submit_jobs"} 1.0' in text


def test_demonstration_runs_and_drains(tmp_path: Path) -> None:
    """`make run` for a few seconds: jobs get through the public API onto nodes that speak the protocol."""
    command = [sys.executable, "-m", "allocator", "demo", "--directory", str(tmp_path / "demo"), "--seconds", "10"]
    picture = tmp_path / "screen.svg"
    run = subprocess.run(
        [*command, "--picture", str(picture), "--interval", "0.5"], capture_output=True, timeout=120, check=False
    )
    output = run.stdout.decode()
    assert run.returncode == 0, output + run.stderr.decode()
    assert "started" in output
    assert re.search(r"\b0 started", output) is None
    assert "Stopped." in output
    assert picture.read_text().startswith("<svg")
    assert '"stopped"' in (tmp_path / "demo" / "daemon.log").read_text()
