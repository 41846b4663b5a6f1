"""Facts survive their way through a row exactly, floats to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, StaticPool, create_engine, insert, select

from allocator.domain.cluster import EngineCapability, Node, NodeAvailability, NodeHealth
from allocator.domain.constraints import UNCONSTRAINED, AtMost, Constraints, Near, NodeRule
from allocator.domain.job import Configuration, Job, JobSpec, JobState
from allocator.domain.placement import Allocation, Epoch, Placement, ReplicaPlacement
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.domain.reason import (
    Examined,
    LimitExcess,
    PendingCause,
    PendingReason,
    PreemptionReason,
    QuotaExcess,
    Refusal,
    Shortage,
)
from allocator.domain.resources import MAX_AMOUNT, Resources
from allocator.domain.snapshot import Memory, QueueHistory, WorkKind
from allocator.intake.ports import Receipt
from allocator.rounds.report import FlavorUsage, QueueUsage, RoundOutcome, RoundSummary
from allocator.store import job_mapping, mapping
from allocator.store.summaries import read_summary, round_row, write_summary
from allocator.store.tables import JobRow, MemoryRow, NodeRow, QueueRow, ReceiptRow, Row
from allocator.store.writing import table
from tests import processes

EXACTLY = settings(deadline=None, max_examples=60, derandomize=True)

floats = st.floats(allow_nan=False, allow_infinity=False)
times = st.floats(min_value=0.0, max_value=1e11)
names = st.text("abcXYZ019-_.", min_size=1, max_size=12)
texts = st.text(max_size=20)
amounts = st.integers(0, MAX_AMOUNT)
labels = st.dictionaries(texts, texts, max_size=3).map(lambda found: tuple(sorted(found.items())))
resources = st.dictionaries(
    st.sampled_from(["cpu", "gpu", "memory", "bandwidth", "disk", "licence/x", "fpga"]), amounts, max_size=5
).map(Resources.of)
quotas = st.builds(
    Quota, names, st.sampled_from(["cpu", "gpu", "fpga"]), amounts, st.none() | amounts, st.none() | amounts
)
queues = st.builds(
    Queue,
    name=names,
    weight=floats,
    cordoned=st.booleans(),
    max_live_jobs=st.none() | amounts,
    priority=st.integers(-1_000_000, 1_000_000),
    quotas=st.lists(quotas, max_size=3).map(tuple),
    discipline=st.sampled_from(Discipline),
)
nodes = st.builds(
    Node,
    name=names,
    flavor=names,
    capacity=resources,
    labels=labels,
    availability=st.sampled_from(NodeAvailability),
    health=st.sampled_from(NodeHealth),
    simulated=st.booleans(),
    taints=labels,
    capabilities=st.none() | st.frozensets(st.sampled_from(EngineCapability)),
    trouble=texts,
)
configurations = st.builds(
    Configuration, flavor=names, replicas=st.integers(1, 100_000), demand=resources, throughput=floats
) | st.builds(Configuration, names, st.integers(1, 100_000), resources, st.just(1.0), st.just(False))
constraints = st.builds(
    Constraints,
    st.lists(st.builds(NodeRule, texts, st.lists(texts, max_size=2).map(tuple), st.booleans()), max_size=2).map(tuple),
    st.lists(st.builds(AtMost, amounts, texts, labels), max_size=2).map(tuple),
    st.lists(st.builds(Near, texts, labels), max_size=2).map(tuple),
    texts,
    labels,
)
specs = st.builds(
    JobSpec,
    queue=names,
    configurations=st.lists(configurations, max_size=3).map(tuple),
    name=texts,
    weight=floats,
    priority_class=st.sampled_from(["low", "normal", "high"]),
    preemptible=st.booleans(),
    restart_cost_seconds=floats,
    expected_duration_seconds=st.none() | floats,
    labels=labels,
    constraints=st.just(UNCONSTRAINED) | constraints,
    resizable=st.booleans(),
    divisible=st.booleans(),
    job_class=texts,
    deadline=st.none() | times,
    minimum_throughput=st.none() | floats,
    process=st.none() | processes.processes,
    retries=processes.retries,
    after=processes.dependencies,
    array_index=processes.array_indices,
)
replicas = st.builds(ReplicaPlacement, node=names, gpus=st.lists(st.integers(0, 15), max_size=4).map(tuple))
reasons = st.builds(
    PendingReason,
    cause=st.sampled_from(PendingCause),
    shortages=st.lists(st.builds(Shortage, names, names, amounts, amounts), max_size=3).map(tuple),
    examined=st.lists(
        st.builds(
            Examined,
            flavor=names,
            nodes=amounts,
            refused=st.lists(st.tuples(st.sampled_from(Refusal), amounts), max_size=3).map(tuple),
            lacking=st.lists(st.tuples(names, amounts), max_size=3).map(tuple),
            replicas=amounts,
            room=amounts,
            places=amounts,
        ),
        max_size=3,
    ).map(tuple),
    reserved_for=st.lists(names, max_size=2).map(tuple),
    reserved_until=st.none() | times,
    excesses=st.lists(st.builds(QuotaExcess, names, names, names, amounts, amounts, amounts), max_size=2).map(tuple),
    limits=st.lists(st.builds(LimitExcess, names, amounts, amounts, amounts, names), max_size=2).map(tuple),
)
measurements = st.lists(st.tuples(names, floats), max_size=3).map(tuple)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    job_id = draw(names)
    allocation = Allocation(
        Placement(
            job_id, draw(st.integers(0, 9)), tuple(draw(st.lists(replicas, max_size=4))), draw(st.integers(1, 1000))
        ),
        Epoch(draw(amounts), draw(amounts)),
        draw(times),
        draw(st.frozensets(st.integers(0, 100), max_size=3)),
        draw(st.none() | st.builds(Epoch, amounts, amounts)),
    )
    return Job(
        id=job_id,
        sequence=draw(amounts),
        spec=draw(specs),
        submit_time=draw(times),
        state=draw(st.sampled_from(JobState)),
        revision=draw(amounts),
        allocation=draw(st.sampled_from([None, allocation])),
        pending_reason=draw(st.none() | reasons),
        first_start_time=draw(st.none() | times),
        last_start_time=draw(st.none() | times),
        end_time=draw(st.none() | times),
        preemption_count=draw(amounts),
        last_preemption=draw(st.none() | st.sampled_from(PreemptionReason)),
        measured_throughput=draw(measurements),
        message=draw(texts),
        work_done_seconds=draw(floats),
        work_counted_time=draw(st.none() | times),
        failures=draw(amounts),
        not_before=draw(st.none() | times),
        waits_for=tuple(sorted(draw(st.sets(names, max_size=2)))),
    )


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    Row.metadata.create_all(engine)
    yield engine
    engine.dispose()


def through(engine: Engine, row: type[Row], values: mapping.Row, columns: tuple[str, ...] | None = None) -> Any:
    """Written, read back, and rolled back."""
    target = table(row)
    wanted = [target.c[name] for name in columns] if columns else [target]
    with engine.connect() as connection:
        connection.execute(insert(target), values)
        return connection.execute(select(*wanted)).one()


@EXACTLY
@given(job=jobs())
def test_jobs(engine: Engine, job: Job) -> None:
    assert job_mapping.job_from(through(engine, JobRow, job_mapping.job_row(job), job_mapping.JOB_COLUMNS)) == job


@EXACTLY
@given(job=jobs())
def test_the_changing_part_of_a_job_is_part_of_the_whole(job: Job) -> None:
    assert set(job_mapping.job_changes(job)) == set(job_mapping.MUTABLE_JOB_COLUMNS)
    assert job_mapping.job_changes(job).items() <= job_mapping.job_row(job).items()


def test_every_column_of_a_job_is_written_and_read() -> None:
    columns = {column.name for column in table(JobRow).c}
    assert set(job_mapping.JOB_COLUMNS) == columns


@EXACTLY
@given(queue=queues)
def test_queues(engine: Engine, queue: Queue) -> None:
    assert mapping.queue_from(through(engine, QueueRow, mapping.queue_row(queue))) == queue


@EXACTLY
@given(node=nodes)
def test_nodes(engine: Engine, node: Node) -> None:
    assert mapping.node_from(through(engine, NodeRow, mapping.node_row(node))) == node


@EXACTLY
@given(
    receipt=st.builds(
        Receipt,
        request_id=texts,
        digest=names,
        time=times,
        answers=st.lists(st.tuples(names, texts), max_size=3).map(tuple),
    )
)
def test_receipts(engine: Engine, receipt: Receipt) -> None:
    assert mapping.receipt_from(through(engine, ReceiptRow, mapping.receipt_row(receipt))) == receipt


by_sequence = st.dictionaries(st.integers(1, 2**63 - 1), floats, max_size=4)


@EXACTLY
@given(
    memory=st.builds(
        Memory.of,
        time=times,
        credits=by_sequence,
        pace=by_sequence,
        prices=st.dictionaries(st.tuples(names, names), floats, max_size=4),
        limit_prices=st.dictionaries(st.tuples(names, names, names), floats, max_size=4),
        work=st.lists(st.builds(WorkKind, names, resources, amounts, amounts), max_size=3).map(tuple),
        history=st.dictionaries(names, st.builds(QueueHistory, floats, floats, floats, floats), max_size=4),
    )
)
def test_memory(engine: Engine, memory: Memory) -> None:
    row = through(engine, MemoryRow, {"id": 1, **mapping.memory_row(memory)})
    assert mapping.memory_from(row.content, row.credits, nobody) == memory


def test_a_reason_from_before_it_told_what_nodes_say_is_read() -> None:
    row = job_mapping.job_row(Job("j1", 1, JobSpec("q", ()), 0.0))
    row["pending_reason"] = '{"cause":"fragmented","shortages":[["a100","gpu",500]]}'
    read = job_mapping.job_from([row[name] for name in job_mapping.JOB_COLUMNS])
    assert read.pending_reason == PendingReason(PendingCause.FRAGMENTED, (Shortage("a100", "gpu", 500),))


def nobody(job_id: str) -> int | None:
    raise AssertionError(f"the sequence of {job_id} is not needed")


OLD_MEMORY = '{"time":5.0,"credits":{"b":0.1,"gone":7.0},"pace":{"b":-1.5,"a":0.25},"prices":[["a100","gpu",0.5]]'


@pytest.mark.parametrize("limits", ["}", ',"limit_prices":[["q","a100","gpu",0.75]]}'])
def test_a_memory_from_before_credits_were_binary_is_read(limits: str) -> None:
    limit_prices = {("q", "a100", "gpu"): 0.75} if "limit" in limits else {}
    expected = Memory.of(5.0, {3: 0.1}, {3: -1.5, 2: 0.25}, {("a100", "gpu"): 0.5}, limit_prices)
    assert mapping.memory_from(OLD_MEMORY + limits, None, {"a": 2, "b": 3}.get) == expected


counts = st.integers(0, 10**9)
any_float = st.floats(allow_nan=False)


@EXACTLY
@given(
    summary=st.builds(
        RoundSummary,
        round=counts,
        revision=counts,
        time=times,
        outcome=st.sampled_from(RoundOutcome),
        solver=names,
        iterations=counts,
        fairness=floats | st.just(float("inf")),
        objective=any_float,
        bound=any_float,
        gap=any_float,
        rounding_loss=floats,
        started=counts,
        moved=counts,
        kept=counts,
        rejected=counts,
        preempted=st.lists(st.tuples(names, counts), max_size=2).map(tuple),
        waiting=st.lists(st.tuples(names, counts), max_size=2).map(tuple),
        lost=st.lists(st.tuples(names, names, floats), max_size=2).map(tuple),
        flavors=st.lists(st.builds(FlavorUsage, names, names, counts, counts, counts, floats), max_size=2).map(tuple),
        queues=st.lists(st.builds(QueueUsage, names, floats, counts, counts, floats, floats), max_size=2).map(tuple),
        stages=st.lists(st.tuples(names, floats), max_size=2).map(tuple),
    )
)
def test_summaries(summary: RoundSummary) -> None:
    assert read_summary(write_summary(summary)) == summary
    assert (round_row(summary)["number"], round_row(summary)["time"]) == (summary.round, summary.time)


def test_jobs_that_are_alike_share_their_configurations() -> None:
    spec = JobSpec("q", (Configuration("a100", 1, Resources(1000)),), labels=(("user", "ada"),))
    rows = [job_mapping.job_row(Job(f"j{number}", number, spec, 0.0)) for number in (1, 2)]
    first, second = (job_mapping.job_from([row[name] for name in job_mapping.JOB_COLUMNS]) for row in rows)
    assert first.spec.configurations is second.spec.configurations
    assert first.spec.labels is second.spec.labels


def test_a_job_without_constraints_has_the_one_object_that_says_so(engine: Engine) -> None:
    """Whoever asks whether there are any then need not compare."""
    plain = Job("j1", 1, JobSpec("q", (), constraints=Constraints()), 0.0)
    row = job_mapping.job_row(plain)
    assert row["constraints"] is None
    assert job_mapping.job_from(through(engine, JobRow, row, job_mapping.JOB_COLUMNS)).spec.constraints is UNCONSTRAINED
