"""The blocking client against a real server: every method once, and the refusals as they were raised."""

from __future__ import annotations

import inspect
import threading
from itertools import islice

import pytest

import allocator.client
from allocator.client import (
    AsyncClient,
    Client,
    Condition,
    Dependency,
    Discipline,
    EndOfSnapshot,
    Job,
    JobChange,
    JobState,
    JobUpdate,
    Process,
    Queue,
    Quota,
    ReplicaReport,
    ReplicaState,
    Retries,
)
from allocator.domain.cluster import NodeAvailability, NodeHealth
from allocator.domain.errors import AlreadyExists, FailedPrecondition, InvalidInput, NotFound, ResourceExhausted
from allocator.domain.placement import Epoch, JobStart
from allocator.intake import commands as c
from tests.builders import configuration, node, resources, spec
from tests.client.served import Served


def test_a_job_s_whole_life(served: Served, client: Client) -> None:
    served.populate(("q",), (node("n1", "a100"),))
    ran, waiting = client.submit(
        [spec("q", name="one", labels=(("k", "v"),)), spec("q", configuration(gpu=9))], allow_infeasible=True
    )
    assert isinstance(ran, Job)
    assert isinstance(waiting, Job)
    assert ran == served.store.get_job(ran.id)
    served.round()
    running = client.job(ran.id)
    assert running.state is JobState.RUNNING
    assert running == served.store.get_job(ran.id)
    assert client.report_progress(ran.id, 2.5).measured_throughput == (("a100", 2.5),)
    (updated,) = client.update([JobUpdate(waiting.id, weight=3.0, priority_class="high")])
    assert isinstance(updated, Job)
    assert (updated.spec.weight, updated.spec.priority_class) == (3.0, "high")
    assert [job.id for job in client.jobs(states=[JobState.PENDING])] == [waiting.id]
    (cancelled,) = client.cancel([waiting.id], message="not needed")
    assert isinstance(cancelled, Job)
    assert (cancelled.state, cancelled.message) == (JobState.CANCELLED, "not needed")
    served.finish(running)
    assert client.job(ran.id).state is JobState.SUCCEEDED


def test_a_pipeline_that_is_tried_again(served: Served, client: Client) -> None:
    served.populate(("q",), (node("n1", "a100"),))
    run = Process(("python", "train.py"), (("A", "1"),), "/srv", "out-%a.txt", "", "SIGUSR1", 5.0)
    first, second, third = client.submit(
        [
            spec("q", process=run, retries=Retries(1, 0.0), array_index=7),
            spec("q", after=(Dependency("#0"),)),
            spec("q", after=(Dependency("#0", Condition.ENDED), Dependency("#1", Condition.FAILED))),
        ]
    )
    assert isinstance(first, Job)
    assert isinstance(second, Job)
    assert isinstance(third, Job)
    assert (first.spec.process, first.spec.retries, first.spec.array_index) == (run, Retries(1, 0.0), 7)
    assert third.spec.after == (Dependency(first.id, Condition.ENDED), Dependency(second.id, Condition.FAILED))
    assert third == client.job(third.id) == served.store.get_job(third.id)
    for state in (ReplicaState.FAILED, ReplicaState.FAILED):
        served.round()
        assert client.job(first.id).state is JobState.RUNNING
        assert client.job(third.id).waits_for == (first.id, second.id)
        served.finish(first, state, "exit code 3")
    told = [client.job(job.id) for job in (first, second, third)]
    assert [job.state for job in told] == [JobState.FAILED, JobState.FAILED, JobState.PENDING]
    assert told[0].failures == 1
    assert told[1].message == f"never started: {first.id} had to succeed first, and failed"
    served.round()
    assert client.job(third.id).state is JobState.RUNNING


def test_one_bad_item_spoils_no_other(served: Served, client: Client) -> None:
    served.populate()
    good, unknown, wrong = client.submit([spec("q"), spec("nowhere"), spec("q", weight=-1.0)])
    assert isinstance(good, Job)
    assert isinstance(unknown, NotFound)
    assert (unknown.kind, unknown.name) == ("queue", "nowhere")
    assert isinstance(wrong, InvalidInput)
    assert wrong.violations[0].field == "jobs[2].weight"


def test_refusals_come_back_as_they_were_raised(served: Served, client: Client) -> None:
    served.populate(("q",))
    with pytest.raises(NotFound, match="job 'j99' does not exist"):
        client.job("j99")
    with pytest.raises(AlreadyExists, match="queue 'q' already exists"):
        client.create_queue(Queue("q"))
    with pytest.raises(InvalidInput) as caught:
        client.create_queue(Queue("Bad Name", weight=-2))
    assert [violation.field for violation in caught.value.violations] == ["queue.name", "queue.weight"]
    client.submit([spec("q")])
    with pytest.raises(FailedPrecondition, match="q"):
        client.delete_queue("q")
    client.update_queue("q", max_live_jobs=1)
    (full,) = client.submit([spec("q")])
    assert isinstance(full, ResourceExhausted)
    (final,) = client.cancel(["j1"])
    assert isinstance(final, Job)
    served.populate((), (node("n1"),))
    with pytest.raises(FailedPrecondition, match="n1"):
        client.remove_node("n1")


def test_what_no_message_can_hold_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(InvalidInput, match="cannot be sent"):
        client.job("half a character: \ud800")
    with pytest.raises(InvalidInput, match="cannot be sent"):
        client.submit([spec("q", configuration(replicas=2**40))])
    with pytest.raises(InvalidInput, match="cannot be sent"):
        list(client.jobs(queue="\udcff"))


def test_the_same_request_id_gets_the_same_answer(served: Served, client: Client) -> None:
    served.populate()
    first = client.submit([spec("q")], request_id="r1")
    assert client.submit([spec("q")], request_id="r1") == first
    with pytest.raises(AlreadyExists, match="r1"):
        client.submit([spec("q", name="another")], request_id="r1")
    assert len(list(client.jobs())) == 1
    client.submit([spec("q")])
    client.submit([spec("q")])
    assert len(list(client.jobs())) == 3


def test_pages_are_joined(served: Served, client: Client) -> None:
    served.populate()
    results = client.submit([spec("q") for _ in range(25)])
    assert [job.id for job in client.jobs(page_size=4)] == [job.id for job in results if isinstance(job, Job)]
    assert len(list(islice(client.jobs(page_size=4), 6))) == 6


def test_queues(served: Served, client: Client) -> None:
    served.populate(("research",))
    assert client.create_queue(Queue("research/vision", 2.0, max_live_jobs=5)) == Queue(
        "research/vision", 2.0, False, 5
    )
    client.submit([spec("research/vision")])
    assert [(s.queue.name, s.pending_jobs, s.running_jobs) for s in client.queues()] == [
        ("research", 1, 0),
        ("research/vision", 1, 0),
    ]
    assert client.queue("research/vision").pending_jobs == 1
    assert client.update_queue("research/vision", weight=3.0).max_live_jobs == 5
    assert client.update_queue("research/vision", max_live_jobs=7).max_live_jobs == 7
    assert client.update_queue("research/vision", clear_max_live_jobs=True) == Queue("research/vision", 3.0)
    gpus = Quota("h100", "gpu", 16_000, lending_limit=4000)
    arranged = client.update_queue("research/vision", priority=2, quotas=[gpus], discipline=Discipline.FIFO)
    assert (arranged.priority, arranged.quotas, arranged.discipline) == (2, (gpus,), Discipline.FIFO)
    assert client.queue("research/vision").queue == client.update_queue("research/vision", weight=3.0) == arranged
    assert client.update_queue("research/vision", quotas=()).quotas == ()
    with pytest.raises(InvalidInput, match=r"quotas\[1\]: gpu on h100 was given before"):
        client.update_queue("research/vision", quotas=(gpu for gpu in (gpus, gpus)))
    assert client.cordon_queue("research/vision").cordoned
    assert not client.cordon_queue("research/vision", cordoned=False).cordoned
    client.cancel(["j1"])
    client.delete_queue("research/vision")
    assert [status.queue.name for status in client.queues()] == ["research"]


def test_nodes_and_their_agents(served: Served, client: Client) -> None:
    served.populate()
    registration = client.register_node(node("n1"))
    assert registration.node == node("n1")
    assert 0 < registration.lease.heartbeat_interval_seconds < registration.lease.lease_seconds
    (job,) = client.submit([spec("q")])
    assert isinstance(job, Job)
    allocations = client.watch_allocations("n1")
    assert next(allocations).replicas == ()
    served.round()
    desired = next(allocations)
    (replica,) = desired.replicas
    assert (replica.job_id, replica.replica, replica.replicas) == (job.id, 0, 1)
    report = ReplicaReport(job.id, 0, replica.epoch, ReplicaState.SUCCEEDED)
    still_there = [JobStart("j7", Epoch(0, 1))]
    assert client.heartbeat("n1", [report], seen=desired.epoch, leaving=still_there) == registration.lease
    assert client.job(job.id).state is JobState.SUCCEEDED
    assert client.cordon_node("n1").availability is NodeAvailability.CORDONED
    assert client.cordon_node("n1", cordoned=False).availability is NodeAvailability.OPEN
    assert client.taint_node("n1", {"spot": "", "dedicated": "web"}).taints == (("dedicated", "web"), ("spot", ""))
    assert client.taint_node("n1", {"dedicated": "db"}, remove=["spot", "gone"]).taints == (("dedicated", "db"),)
    assert client.drain_node("n1").availability is NodeAvailability.DRAINING
    assert [n.name for n in client.nodes()] == ["n1"]
    assert client.node("n1").health is NodeHealth.READY
    client.remove_node("n1")
    assert list(client.nodes()) == []
    with pytest.raises(NotFound, match="node 'n1'"):
        client.heartbeat("n1")


def test_rounds_and_status(served: Served, client: Client) -> None:
    served.populate(("q",), (node("n1"),))
    before = client.status()
    assert before.last_round is None
    assert before.nodes.open == 1
    client.submit([spec("q", configuration(cpu=4, gpu=1))])
    summaries = [served.round() for _ in range(3)]
    assert client.round() == summaries[-1]
    assert client.round(summaries[0].round) == summaries[0]
    assert list(client.rounds(page_size=2)) == summaries[::-1]
    assert list(islice(client.watch_rounds(after=summaries[0].round), 2)) == summaries[1:]
    with pytest.raises(NotFound, match="round"):
        client.round(999)
    after = client.status()
    assert after.last_round == summaries[-1]
    assert after.running_jobs == 1
    assert {(u.resource, u.allocated) for u in after.flavors} >= {("cpu", 4000), ("gpu", 1000)}


def test_watching_jobs_begins_with_the_live_ones_and_goes_on_with_changes(served: Served, client: Client) -> None:
    served.populate(("q",), (node("n1"),))
    client.submit([spec("q")])
    events = client.watch_jobs()
    first = next(events)
    assert isinstance(first, JobChange)
    assert first.job.id == "j1"
    assert isinstance(next(events), EndOfSnapshot)
    served.round()
    changed = next(events)
    assert isinstance(changed, JobChange)
    assert changed.job.state is JobState.RUNNING
    # The cursor goes on right behind it, in another watch, too.
    client.cancel(["j1"])
    again = next(iter(client.watch_jobs(cursor=changed.cursor)))
    assert isinstance(again, JobChange)
    assert again.job.state is JobState.CANCELLED


def test_a_watch_goes_on_where_it_was_when_the_server_comes_back(served: Served, client: Client) -> None:
    served.populate()
    client.submit([spec("q"), spec("q")])
    events = client.watch_jobs()
    list(islice(events, 3))
    served.stop()
    served.execute(c.CancelJobs(("j2",)))
    served.start()
    event = next(events)
    assert isinstance(event, JobChange)
    assert (event.job.id, event.job.state) == ("j2", JobState.CANCELLED)


def test_watched_rounds_are_complete_across_a_restart(served: Served, client: Client) -> None:
    served.populate()
    numbers = [served.round().round]
    rounds = client.watch_rounds()
    seen = [next(rounds).round]
    served.stop()
    numbers += [served.round().round, served.round().round]
    served.start()
    seen += [summary.round for summary in islice(rounds, 2)]
    assert seen == numbers


def test_closing_the_client_ends_its_watches(served: Served) -> None:
    served.populate()
    client = Client(served.address)
    events = client.watch_jobs()
    next(events)
    timer = threading.Timer(0.1, client.close)
    timer.start()
    assert list(events) == []


def test_a_foreign_cursor_is_refused(served: Served, client: Client) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        next(client.watch_jobs(cursor="nonsense"))


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(method).parameters)
            for name, method in inspect.getmembers(kind, callable)
            if not name.startswith("_")
        }

    both = methods(AsyncClient)
    del both["offer_output"]  # for agents, which answer while they do other things
    assert methods(Client) == both
    assert all(getattr(AsyncClient, name).__doc__ for name in methods(Client) if name != "close")


def test_the_package_exports_what_it_says() -> None:
    assert all(hasattr(allocator.client, name) for name in allocator.client.__all__)
    assert resources(cpu=1).cpu_millicores == 1000
