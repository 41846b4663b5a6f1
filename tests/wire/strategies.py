"""Domain values at random, valid by themselves where that is asked for."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from allocator.domain.cluster import EngineCapability, Node, NodeAvailability, NodeHealth
from allocator.domain.constraints import UNCONSTRAINED, AtMost, Constraints, Near, NodeRule
from allocator.domain.errors import (
    AllocatorError,
    AlreadyExists,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    ResourceExhausted,
    StoreUnavailable,
    Violation,
)
from allocator.domain.job import PRIORITY_CLASSES, Configuration, Job, JobSpec, JobState
from allocator.domain.placement import (
    Allocation,
    DesiredReplica,
    Epoch,
    JobStart,
    NodeDesired,
    Placement,
    ReplicaPlacement,
)
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
from allocator.intake.commands import ReplicaReport, ReplicaState
from allocator.rounds.report import FlavorUsage, QueueUsage, RoundOutcome, RoundSummary
from tests import processes

amounts = st.integers(0, MAX_AMOUNT)
counts = st.integers(0, 10**6)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
written = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
"""What clients may write for people: no control characters."""
names = st.from_regex(r"[a-z0-9]([a-z0-9.\-]{0,10}[a-z0-9])?", fullmatch=True)
numbers = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(1e-9, 1e9)
weights = st.floats(1e-6, 1e6)
times = st.floats(1e9, 4e9)  # 2001 to 2096: to the nanosecond is exact for these
labels = st.dictionaries(names, written, max_size=3).map(lambda pairs: tuple(sorted(pairs.items())))
epochs = st.builds(Epoch, counts, counts)
extras = st.dictionaries(st.from_regex(r"x[a-z0-9_./-]{0,10}", fullmatch=True), st.integers(1, MAX_AMOUNT), max_size=3)
gpu_amounts = st.one_of(st.integers(0, 1000), st.integers(2, 16).map(lambda gpus: gpus * 1000))
resources = st.builds(
    Resources,
    st.integers(1, MAX_AMOUNT),
    gpu_amounts,
    amounts,
    amounts,
    amounts,
    extras.map(lambda pairs: tuple(sorted(pairs.items()))),
)
configurations = st.builds(Configuration, names, st.integers(1, 100_000), resources, positive) | st.builds(
    Configuration, names, st.integers(1, 100_000), resources, st.just(1.0), st.just(False)
)
some_labels = labels.filter(bool)
constraints = st.builds(
    Constraints,
    st.lists(st.builds(NodeRule, names, st.lists(written, max_size=2).map(tuple), st.booleans()), max_size=2).map(
        tuple
    ),
    st.lists(st.builds(AtMost, st.integers(1, 100_000), names, labels), max_size=2).map(tuple),
    st.lists(st.builds(Near, names, some_labels), max_size=2).map(tuple),
    st.just("") | names,
    labels,
)
specs = st.builds(
    JobSpec,
    names,
    st.lists(configurations, min_size=1, max_size=3, unique_by=lambda c: (c.flavor, c.replicas)).map(tuple),
    written,
    weights,
    st.sampled_from(sorted(PRIORITY_CLASSES)),
    st.booleans(),
    st.floats(0, 1e9),
    st.none() | positive,
    labels,
    st.just(UNCONSTRAINED) | constraints,
    st.booleans(),
    st.just(False),
    written,
    st.none() | times,
    st.none() | positive,
    st.none() | processes.processes,
    processes.retries,
    processes.dependencies,
    processes.array_indices,
).map(lambda spec: replace(spec, deadline=None) if spec.expected_duration_seconds is None else spec)
shortages = st.builds(Shortage, names, names, amounts, amounts)
examined = st.builds(
    Examined,
    names,
    counts,
    st.lists(st.tuples(st.sampled_from(Refusal), counts), max_size=3).map(tuple),
    st.lists(st.tuples(names, counts), max_size=3).map(tuple),
    *(counts, counts, counts),
)
reasons = st.builds(
    PendingReason,
    st.sampled_from(PendingCause),
    st.lists(shortages, max_size=3).map(tuple),
    st.lists(examined, max_size=3).map(tuple),
    st.lists(names, max_size=2).map(tuple),
    st.none() | times,
    st.lists(st.builds(QuotaExcess, names, names, names, amounts, amounts, amounts), max_size=2).map(tuple),
    st.lists(st.builds(LimitExcess, names, amounts, amounts, amounts, names), max_size=2).map(tuple),
)
device_indices = st.lists(st.integers(0, 15), max_size=3).map(tuple)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    job_id = draw(names)
    replicas = draw(st.lists(st.builds(ReplicaPlacement, names, device_indices), max_size=3).map(tuple))
    allocation = Allocation(
        Placement(job_id, draw(st.integers(0, 3)), replicas, draw(st.integers(1, 1000))),
        Epoch(draw(st.integers(1, 10**6)), draw(counts)),
        draw(times),
        frozenset(draw(st.sets(st.integers(0, 10), max_size=3))),
        draw(st.sampled_from([None, Epoch(0, draw(counts))])),
    )
    return Job(
        job_id,
        draw(counts),
        draw(specs),
        draw(times),
        draw(st.sampled_from(JobState)),
        draw(counts),
        draw(st.sampled_from([None, allocation])),
        draw(st.none() | reasons),
        draw(st.none() | times),
        draw(st.none() | times),
        draw(st.none() | times),
        draw(counts),
        draw(st.sampled_from([None, *PreemptionReason])),
        tuple(sorted(draw(st.dictionaries(names, positive, max_size=2)).items())),
        draw(texts),
        draw(positive),
        draw(st.none() | times),
        draw(counts),
        draw(st.none() | times),
        tuple(sorted(draw(st.sets(names, max_size=2)))),
    )


@st.composite
def quotas(draw: st.DrawFn) -> Quota:
    resource = draw(st.sampled_from(["cpu", "gpu", "memory", "bandwidth", "disk", "xlicense"]))
    unit = 1000 if resource == "gpu" else 1
    nominal, borrowed = (draw(st.integers(0, MAX_AMOUNT // unit)) for _ in range(2))
    lent = draw(st.none() | st.integers(0, nominal))
    return Quota(
        draw(names),
        resource,
        nominal * unit,
        draw(st.sampled_from([None, borrowed * unit])),
        None if lent is None else lent * unit,
    )


some_quotas = st.lists(quotas(), max_size=3, unique_by=lambda quota: (quota.flavor, quota.resource)).map(tuple)
priorities = st.integers(-1_000_000, 1_000_000)
queues = st.builds(
    Queue,
    names,
    weights,
    st.booleans(),
    st.none() | counts,
    priorities,
    some_quotas,
    st.sampled_from(Discipline),
)
nodes = st.builds(
    Node,
    names,
    names,
    st.builds(Resources, st.integers(1, MAX_AMOUNT), st.integers(0, 16).map(lambda gpus: gpus * 1000), amounts),
    labels,
    st.sampled_from(NodeAvailability),
    st.sampled_from(NodeHealth),
    st.booleans(),
    labels,
    st.none() | st.frozensets(st.sampled_from(EngineCapability)),
    st.sampled_from(["", "No space left on device"]),
)
desired = st.builds(
    NodeDesired,
    names,
    epochs,
    st.lists(
        st.builds(
            DesiredReplica,
            *(names, counts, counts, epochs, names, resources, device_indices, epochs, st.integers(1, 1000)),
            *(st.none() | processes.processes, st.lists(names, max_size=3).map(tuple), processes.array_indices),
            *(counts, names),
        ),
        max_size=3,
    ).map(tuple),
    st.frozensets(names, max_size=3),
    st.booleans(),
)
job_starts = st.builds(JobStart, names, epochs)
reports = st.builds(
    ReplicaReport,
    *(names, counts, epochs, st.sampled_from(ReplicaState), written),
    *(st.none() | st.integers(0, 255), positive, amounts),
)
usages = st.builds(FlavorUsage, names, names, amounts, amounts, amounts, numbers)
rounds = st.builds(
    RoundSummary,
    round=counts,
    revision=counts,
    time=times,
    outcome=st.sampled_from(RoundOutcome),
    solver=texts,
    iterations=counts,
    fairness=numbers | st.just(float("inf")),
    objective=numbers,
    bound=numbers,
    gap=numbers,
    rounding_loss=numbers,
    started=counts,
    moved=counts,
    kept=counts,
    rejected=counts,
    preempted=st.lists(st.tuples(st.sampled_from([r.value for r in PreemptionReason]), counts), max_size=3).map(tuple),
    waiting=st.lists(st.tuples(st.sampled_from([c.value for c in PendingCause]), counts), max_size=3).map(tuple),
    lost=st.lists(st.tuples(names, names, numbers), max_size=2).map(tuple),
    flavors=st.lists(usages, max_size=3).map(tuple),
    queues=st.lists(st.builds(QueueUsage, names, positive, counts, counts, numbers, numbers), max_size=3).map(tuple),
    stages=st.lists(st.tuples(names, numbers), max_size=3).map(tuple),
    resized=counts,
    policy_version=counts,
)
errors: st.SearchStrategy[AllocatorError] = st.one_of(
    st.lists(st.builds(Violation, texts, texts), max_size=4).map(lambda found: InvalidInput(*found)),
    st.builds(NotFound, names, texts),
    st.builds(AlreadyExists, names, texts, texts),
    st.builds(FailedPrecondition, texts, texts),
    st.builds(ResourceExhausted, texts, texts, st.integers(1, 1000).map(float)),
    st.builds(StoreUnavailable, texts),
)
