"""Batches: their commands see each other, a dropped batch leaves no trace, and the indexes always tell the truth."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.constraints import AtMost, Constraints
from allocator.domain.errors import AllocatorError
from allocator.domain.job import Job, JobSpec, JobState
from allocator.domain.placement import Epoch
from allocator.domain.plan import Change, Commit
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingCause, PendingReason, PreemptionReason, Shortage
from allocator.intake import commands as c
from allocator.intake.ports import Receipt
from allocator.placement import NodeUsage, usage_by_node
from allocator.rounds.commit import desired_state
from allocator.store import steps
from allocator.store.feed import ChangeFeed, Cursor
from allocator.store.image import Image
from allocator.store.memory import MemoryStore
from allocator.store.overlay import Overlay
from allocator.store.state import State
from tests.store.cluster import AnyStore, node, plan, preempt, spec, start

QUEUES = ("a", "a/b", "c")
NODES = ("n0", "n1")


def spread(wanted: JobSpec) -> JobSpec:
    """Jobs of two replicas do not want both on one node."""
    limits = (AtMost(1),) if wanted.configurations[0].replicas == 2 else ()
    return replace(wanted, constraints=Constraints(at_most=limits)) if limits else wanted


queue_names = st.sampled_from(QUEUES)
node_names = st.sampled_from(NODES)
job_ids = st.integers(1, 5).map("j{}".format)
submits = st.builds(
    lambda names, request_id: c.SubmitJobs(
        tuple(spread(spec(queue=name, replicas=1 + index)) for index, name in enumerate(names)), request_id
    ),
    st.lists(queue_names, min_size=1, max_size=3),
    st.sampled_from(["", "once"]),
)
cancels = st.builds(lambda ids: c.CancelJobs(tuple(ids)), st.lists(job_ids, min_size=1, max_size=3))
others = st.one_of(
    st.builds(lambda name: c.CreateQueue(Queue(name, max_live_jobs=3)), queue_names),
    st.builds(c.DeleteQueue, queue_names),
    st.builds(c.CordonQueue, queue_names, st.booleans()),
    st.builds(lambda name: c.RegisterNode(node(name, cores=3)), node_names),
    st.builds(c.LoseNode, node_names),
    st.builds(c.RemoveNode, node_names),
    st.builds(
        lambda job_id, weight: c.UpdateJobs((c.JobUpdate(job_id, weight),)), job_ids, st.sampled_from([1.0, 2.0])
    ),
    st.builds(c.ReportProgress, job_ids, st.sampled_from([1.0, 3.0])),
)
rounds = st.dictionaries(
    job_ids, st.sampled_from([*NODES, *NODES, "n0 n1", "waits", "waits more", "preempt"]), max_size=4
)
finishes = st.tuples(job_ids, st.integers(0, 2))
some_steps = st.sampled_from([submits, cancels, rounds, rounds, finishes, others]).flatmap(lambda kind: kind)
batches = st.lists(
    st.tuples(st.lists(some_steps, min_size=1, max_size=5), st.sampled_from([True, True, False])),
    min_size=1,
    max_size=12,
)
Round = dict[str, str]
"""What a round does with some jobs, by id: starts them on a node, preempts them, or leaves them waiting."""
Finish = tuple[str, int]
"""A job's id, and which of its replicas ends well, if it runs."""
Step = c.Command | Round | Finish
OPENING: list[Step] = [
    c.CreateQueue(Queue("a")),
    c.CreateQueue(Queue("c")),
    *(c.RegisterNode(node(name, cores=3)) for name in NODES),
    c.SubmitJobs((spec(queue="c"), spec(queue="c", replicas=2), spec(queue="c"))),
]


class Forgotten:
    """An archive of what left the live facts, filled by hand."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.receipts: dict[str, Receipt] = {}

    def job(self, job_id: str) -> Job | None:
        return self.jobs.get(job_id)

    def receipt(self, request_id: str) -> Receipt | None:
        return self.receipts.get(request_id)


def take(overlay: Overlay, step: Step) -> object:
    """The answer, or the refusal's text."""
    try:
        if isinstance(step, tuple):
            return finish(overlay, *step)
        if not isinstance(step, dict):
            return shown(steps.execute(overlay, step, 1.0))
        changes: list[Change] = []
        waiting: dict[str, PendingReason] = {}
        for job_id, what in step.items():
            job = overlay.job(job_id)
            if job is None:
                continue
            if what.startswith("waits"):
                waiting[job_id] = PendingReason(PendingCause.FRAGMENTED, (Shortage("a100", "cpu", len(what)),))
            elif what == "preempt":
                changes.append(preempt(job, PreemptionReason.PRIORITY, PendingReason(PendingCause.FRAGMENTED)))
            else:
                nodes = what.split() * job.spec.configurations[0].replicas
                changes.append(start(job, *nodes[: job.spec.configurations[0].replicas]))
        seen = overlay.state.snapshot(0.0)
        return steps.commit(overlay, plan(seen, *changes, waiting=waiting), 2.0)
    except AllocatorError as refusal:
        return str(refusal)


def finish(overlay: Overlay, job_id: str, replica: int) -> object:
    job = overlay.job(job_id)
    if job is None or job.allocation is None or replica >= len(job.allocation.placement.replicas):
        return None
    report = c.ReplicaReport(job_id, replica, job.allocation.epoch, c.ReplicaState.SUCCEEDED)
    return shown(steps.execute(overlay, c.Heartbeat(job.allocation.placement.replicas[replica].node, (report,)), 3.0))


def shown(answer: object) -> object:
    """Errors have no equality: their texts do."""
    items = answer if isinstance(answer, tuple) else (answer,)
    return tuple(str(item) if isinstance(item, AllocatorError) else item for item in items)


def check_indexes(state: State) -> None:
    """Every index equals what one pass over the facts gives."""
    jobs = state.live_jobs()
    counts: dict[str, list[int]] = {}
    placed: dict[str, set[str]] = {}
    for job in jobs:
        counts.setdefault(job.spec.queue, [0, 0])[job.state is JobState.RUNNING] += 1
        for name in job.allocation.placement.nodes if job.allocation else ():
            placed.setdefault(name, set()).add(job.id)
    children: dict[str, set[str]] = {}
    for queue in state.queues.values():
        if queue.parent is not None:
            children.setdefault(queue.parent, set()).add(queue.name)
    assert (state.counts, state.placed, state.children) == (counts, placed, children)
    used = usage_by_node(jobs)
    assert {name: held(state.used.get(name, NodeUsage())) for name in placed} == {
        name: held(used.get(name, NodeUsage())) for name in placed
    }
    assert state.used.keys() == placed.keys()
    limited = {name: {job_id for job_id in ids if state.jobs[job_id].spec.constraints.at_most}
               for name, ids in placed.items()}  # fmt: skip
    assert state.limited == {name: ids for name, ids in limited.items() if ids}
    for name in state.told.keys() & state.nodes.keys() - state.unpushed:
        assert state.told[name] == desired_state(name, state.jobs_on(name), Epoch(0, 0)).replicas
    assert state.told.keys() <= state.nodes.keys()
    assert all(state.jobs[job_id].state is JobState.PENDING for job_id in state.fresh)
    assert [job.sequence for job in jobs] == sorted(job.sequence for job in jobs)
    assert all(state.jobs[job.id] is job and not job.state.is_final for job in jobs)


def held(usage: NodeUsage) -> tuple[dict[str, int], dict[int, int]]:
    return usage.amounts, {device: millis for device, millis in usage.devices.items() if millis}


@settings(deadline=None, max_examples=150, derandomize=True)
@given(batches=batches)
def test_batches_equal_single_commands_and_dropped_batches_never_were(
    batches: list[tuple[list[Step], bool]],
) -> None:
    archive, single = Forgotten(), Forgotten()
    state, reference = State(archive, ChangeFeed(None)), State(single, ChangeFeed(None))
    for batch, durable in [(OPENING, True), *batches]:
        overlay = Overlay(state)
        before = state.snapshot(0.0)
        answers = [take(overlay, step) for step in batch]
        if not durable:
            assert state.snapshot(0.0) == before
            continue
        settle(state, archive, overlay)
        expected = []
        for step in batch:
            alone = Overlay(reference)
            expected.append(take(alone, step))
            settle(reference, single, alone)
        assert [untold(answer) for answer in answers] == [untold(answer) for answer in expected]
        assert state.snapshot(0.0) == reference.snapshot(0.0)
        assert state.position == reference.position
        assert state.unpushed == reference.unpushed
        assert (archive.jobs, archive.receipts) == (single.jobs, single.receipts)
        assert state.feed.since(Cursor(), 100) == reference.feed.since(Cursor(), 100)
        check_indexes(state)


def test_the_indexes_follow_jobs_through_their_lives() -> None:
    archive = Forgotten()
    state = State(archive, ChangeFeed(None))
    apart = c.SubmitJobs((spread(spec(queue="c", replicas=2)),))
    story: list[Step] = [*OPENING, apart, {"j4": "waits"}, {"j4": "waits more"}, {"j4": "n0 n1", "j1": "n0"}, ("j4", 0),
                         {"j4": "preempt"}, {"j4": "waits more"}, {"j4": "n1 n0"}, ("j4", 0), ("j4", 1)]  # fmt: skip
    numbers: list[int] = []
    for step in story:
        overlay = Overlay(state)
        take(overlay, step)
        settle(state, archive, overlay)
        check_indexes(state)
        numbers.append(len(state.fresh) + 10 * len(state.limited))
    assert numbers[len(OPENING) :] == [0, 0, 1, 20, 20, 0, 1, 20, 20, 0], "each index was in use, and given up again"
    assert archive.jobs["j4"].state is JobState.SUCCEEDED


def untold(answer: object) -> object:
    return (answer.applied, answer.rejected, answer.desired) if isinstance(answer, Commit) else answer


def settle(state: State, archive: Forgotten, overlay: Overlay) -> None:
    archive.jobs.update({job.id: job for job in overlay.jobs.values() if job.state.is_final})
    archive.receipts.update(overlay.receipts)
    state.merge(overlay)


def test_epochs_of_desired_states_only_grow() -> None:
    store: AnyStore = MemoryStore()
    epochs: list[Epoch] = []

    def look() -> None:
        epochs.append(store.desired("n0").epoch)

    store.execute(c.CreateQueue(Queue("a")), 0.0)
    store.execute(c.RegisterNode(node("n0")), 0.0)
    look()
    jobs = store.execute(c.SubmitJobs((spec(queue="a"), spec(queue="a"))), 0.0).result()
    look()
    for job in jobs:
        done = store.commit(plan(store.snapshot(1.0), start(job, "n0")), 1.0)
        epochs.append(done.desired[0].epoch)
        look()
        store.execute(c.CancelJobs((job.id,)), 2.0)
        look()
    assert epochs == sorted(epochs)
    assert Counter(epochs).most_common(1)[0][1] == 2  # a look right after a commit sees just what was pushed


def test_the_image_is_replaced_whole() -> None:
    image = Image(State(Forgotten(), ChangeFeed(None)))
    heard: list[int] = []
    image.subscribe(heard.append)
    other = State(Forgotten(), ChangeFeed(None))
    overlay = Overlay(other)
    steps.execute(overlay, c.CreateQueue(Queue("a")), 1.0)
    other.merge(overlay)
    image.replace(other)
    assert [queue.name for queue in image.queues()] == ["a"]
    assert heard == [1]
