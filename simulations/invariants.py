"""What must hold after every round of every replay, whatever the workload and the faults.

Checked from what was committed and pushed, not from what was planned. Each round: the plan accounts for every live job
once (of one that may leave jobs out, none twice); no node that was sent a new state is over capacity in any resource or
on any GPU; every gang that changed is whole, on open nodes of its flavor, as its constraints say, and as the engines of
its nodes can do; epochs only grow and no job runs twice (the simulated cluster sees that); the gap is within what the
status claims; as many jobs are live as were admitted and are not done; no side constraint of the policy is exceeded
(`limits_kept`). What a round costs goes by what it changed, not by how many jobs wait and nodes are, but where there
are side constraints, which are added up anew.
Between pushes a node's state does not change, so this covers every node; every `full_every` rounds the whole cluster is
compared and added up anew all the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from operator import attrgetter

from allocator.domain.cluster import Node
from allocator.domain.job import Job, JobState
from allocator.domain.placement import Allocation, NodeDesired, held
from allocator.domain.plan import Move, Preempt, Resize, Start
from allocator.domain.remembered import remembered
from allocator.domain.resources import GPU_MILLIS, NOTHING, Resources
from allocator.domain.snapshot import Snapshot
from allocator.formulation.eligibility import parted
from allocator.placement.verify_constraints import label_violations, own_violations, unfit
from allocator.placement.verify_engine import beyond_engine, indivisible
from allocator.rounds.report import RoundOutcome, RoundReport
from simulations.cluster import SimulatedCluster
from simulations.limits_kept import exceeded

_ROUNDING = 1e-9
"""How far, relative to the larger one, two floating-point numbers may be apart and still be the same."""
_id = attrgetter("id")
_sequence = attrgetter("sequence")


class InvariantBroken(Exception):
    """The scheduler did what it must never do: a defect of the program, not of its input."""

    def __init__(self, round_number: int, time: float, findings: tuple[str, ...]) -> None:
        self.round_number, self.time, self.findings = round_number, time, findings
        shown = "; ".join(findings[:5]) + ("" if len(findings) <= 5 else f"; and {len(findings) - 5} more")
        super().__init__(f"round {round_number} at {time:.3f} s: {shown}")


class Invariants:
    """An Observer that raises InvariantBroken. `checks` counts single facts, `full_checks` whole comparisons."""

    def __init__(self, cluster: SimulatedCluster, *, gap: float, full_every: int = 100) -> None:
        self.checks = 0
        self.full_checks = 0
        self._cluster = cluster
        self._gap = gap
        self._full_every = full_every
        self._rounds = 0
        self._live: int | None = None
        self._settled: Callable[[], bool] | None = None

    def look(self, snapshot: Snapshot) -> None:
        """Right when the scheduler looks at the facts: they and the world are those of one instant."""
        self._live = self._cluster.live
        if self._settled is not None and self._rounds % self._full_every == 0 and self._settled():
            findings = tuple(self._differences(_running_jobs(snapshot)))
            if findings:
                raise InvariantBroken(snapshot.round, snapshot.time, findings)

    def expect_late(self, settled: Callable[[], bool]) -> None:
        """Nodes may know late what they shall run: compare what runs only where `settled`, as scheduler and nodes are
        before a round.
        """
        self._settled = settled

    def observe(self, report: RoundReport) -> None:
        """Check one round."""
        findings = [
            *self._cluster.broken_promises,
            *self._accounting(report),
            *self._claims(report),
            *self._changes(report),
            *self._pushed(report),
            *self._limits(report),
        ]
        if self._rounds % self._full_every == 0:
            self.full_checks += 1
            findings += self._everything(report)
        self._rounds += 1
        if findings:
            raise InvariantBroken(report.summary.round, report.summary.time, tuple(findings))

    def _accounting(self, report: RoundReport) -> Iterable[str]:
        plan, live = report.plan, report.snapshot.jobs
        self.checks += len(live) + 1
        mentioned = [change.job_id for change in plan.changes]
        mentioned += plan.kept
        mentioned += [job_id for job_id, _ in plan.waiting]
        if plan.others_stay:
            yield from self._mentioned_once(report, mentioned)
            return
        known = set(map(_id, live))
        if len(mentioned) != len(known) or set(mentioned) != known:
            counts = Counter(mentioned)
            yield from (f"job {job_id} is in the plan {count} times" for job_id, count in counts.items() if count > 1)
            yield from (f"live job {job_id} is not in the plan" for job_id in sorted(known - set(mentioned)))
            yield from (f"job {job_id} of the plan is not live" for job_id in sorted(set(mentioned) - known))
        yield from self._counted(report)

    def _mentioned_once(self, report: RoundReport, mentioned: list[str]) -> Iterable[str]:
        """Of a plan that may leave jobs out: whom it names is live, and named once."""
        counts = Counter(mentioned)
        yield from (f"job {job_id} is in the plan {count} times" for job_id, count in counts.items() if count > 1)
        strangers = sorted(job_id for job_id in counts if self._find(report.snapshot, job_id) is None)
        yield from (f"job {job_id} of the plan is not live" for job_id in strangers)
        yield from self._counted(report)

    def _counted(self, report: RoundReport) -> Iterable[str]:
        live = len(report.snapshot.jobs)
        expected = self._cluster.live if self._live is None else self._live
        if live != expected:
            yield f"{live} jobs are live in the store, {expected} were admitted and are not done"

    def _find(self, snapshot: Snapshot, job_id: str) -> Job | None:
        """The live job: looked up where its number of admission says, and only if it is not there, everywhere."""
        jobs = snapshot.jobs
        work = self._cluster.work.get(job_id)
        if work is not None:
            place = bisect_left(jobs, work.sequence, key=_sequence)
            if place < len(jobs) and jobs[place].id == job_id:
                return jobs[place]
        return next((job for job in jobs if job.id == job_id), None)

    def _claims(self, report: RoundReport) -> Iterable[str]:
        summary = report.summary
        self.checks += 2
        if summary.outcome in (RoundOutcome.STALE, RoundOutcome.RULED):  # nothing is claimed
            return
        slack = _ROUNDING * max(1.0, abs(summary.bound), abs(summary.objective))
        if not summary.objective <= summary.bound + slack:
            yield f"objective {summary.objective!r} is above its bound {summary.bound!r}"
        if summary.outcome is RoundOutcome.OPTIMAL and not summary.gap <= self._gap * (1 + _ROUNDING):
            yield f"gap {summary.gap!r} is called optimal, but the policy asks for {self._gap!r}"

    def _changes(self, report: RoundReport) -> Iterable[str]:
        """Every committed start, move and resize: a whole gang, on open nodes of its flavor that it accepts, of a
        job in the right state.
        """
        nodes = _by_name(report.snapshot.nodes)
        for applied in report.commit.applied:
            self.checks += 1
            change = applied.change
            job = self._find(report.snapshot, change.job_id)
            if job is None:
                yield f"job {change.job_id} changed, but is not live"
                continue
            expected = JobState.PENDING if isinstance(change, Start) else JobState.RUNNING
            if job.state is not expected:
                yield f"job {job.id} is {job.state.value}, and was changed by {type(change).__name__}"
            if isinstance(change, Preempt):
                continue
            yield from _gang_findings(job, change, nodes)

    def _pushed(self, report: RoundReport) -> Iterable[str]:
        if not report.commit.desired:
            return
        nodes = _by_name(report.snapshot.nodes)
        for state in report.commit.desired:
            self.checks += 1
            node = nodes.get(state.node)
            if node is not None:
                yield from _overfull(node, state, _floating(report))
            elif state.replicas:
                yield f"node {state.node} does not exist, and was asked to run something"

    def _limits(self, report: RoundReport) -> Iterable[str]:
        """Side constraints and floating resources of the policy; other schedulers know nothing of them."""
        if report.policy is None or report.summary.outcome is RoundOutcome.RULED:
            return ()
        self.checks += len(report.policy.side_constraints)
        return exceeded(report, _by_name(report.snapshot.nodes), lambda job_id: self._find(report.snapshot, job_id))

    def _differences(self, placed: Mapping[str, Allocation]) -> Iterable[str]:
        """What runs against what the store says."""
        running = self._cluster.running()
        ended = {job_id for job_id in placed if self._cluster.has_ended(job_id)}  # while the scheduler thought
        yield from (
            f"job {job_id} runs, but the store does not say so" for job_id in sorted(running.keys() - placed.keys())
        )
        missing = placed.keys() - running.keys() - ended
        yield from (f"job {job_id} should run, but does not" for job_id in sorted(missing))
        for job_id, allocation in placed.items():
            replicas = enumerate(allocation.placement.replicas)
            where = {index: replica.node for index, replica in replicas if index not in allocation.finished}
            if job_id in running and running[job_id] != (allocation.epoch, where):
                epoch = running[job_id][0]
                yield f"job {job_id} runs as epoch {epoch}, the store says {allocation.epoch}, or on other nodes"

    def _everything(self, report: RoundReport) -> Iterable[str]:
        """The store's running jobs after this round against the cluster's, and every node added up anew."""
        placed = _running_jobs(report.snapshot)
        for applied in report.commit.applied:
            if applied.allocation is None:
                placed.pop(applied.change.job_id, None)
            else:
                placed[applied.change.job_id] = applied.allocation
        self.checks += len(placed)
        if self._settled is None:
            yield from self._differences(placed)
        jobs = {job.id: job for job in report.snapshot.jobs}
        used: dict[str, Resources] = {}
        for job_id, allocation in placed.items():
            if job_id not in jobs:
                yield f"job {job_id} runs, but is not live"
                continue
            configuration = jobs[job_id].spec.configurations[allocation.placement.configuration]
            demand = held(configuration.demand, allocation.placement.millis)
            for replica in allocation.standing:
                used[replica.node] = used.get(replica.node, NOTHING) + demand
        nodes = _by_name(report.snapshot.nodes)
        yield from label_violations(
            nodes, [replace(jobs[job_id], allocation=found) for job_id, found in placed.items() if job_id in jobs]
        )
        capacity = {node.name: node.capacity for node in report.snapshot.nodes}
        for node, amounts in used.items():
            self.checks += 1
            on_node = parted(amounts, _floating(report))[0]
            for resource, missing in on_node.shortage(capacity.get(node, NOTHING)).items():
                yield f"node {node} is over its {resource} by {missing}"


def _running_jobs(snapshot: Snapshot) -> dict[str, Allocation]:
    return {
        job.id: job.allocation for job in snapshot.jobs if job.state is JobState.RUNNING and job.allocation is not None
    }


@remembered
def _by_name(nodes: tuple[Node, ...]) -> Mapping[str, Node]:
    return {node.name: node for node in nodes}


def _gang_findings(job: Job, change: Start | Move | Resize, nodes: Mapping[str, Node]) -> Iterable[str]:
    placement = change.placement
    configurations = job.spec.configurations
    if not 0 <= placement.configuration < len(configurations):
        yield f"job {job.id} was placed in configuration {placement.configuration}, which it does not have"
        return
    configuration = configurations[placement.configuration]
    if len(placement.replicas) != configuration.replicas:
        yield f"job {job.id} got {len(placement.replicas)} of {configuration.replicas} replicas: half a gang"
    arriving = set(placement.nodes)
    if isinstance(change, Resize) and job.allocation is not None:
        if not job.spec.goes_on(job.allocation.placement, placement):
            yield f"job {job.id} was resized to where it cannot go on"
        beyond = beyond_engine(job, job.allocation.placement, placement, nodes.get)
        if beyond is not None:
            yield f"job {job.id} was resized, but {beyond}"
        arriving = {replica.node for replica in placement.replicas[len(job.allocation.placement.replicas) :]}
    whole = indivisible(job, placement, arriving, nodes.get)
    if whole is not None:
        yield f"job {job.id} was given what cannot be: {whole}"
    broken = own_violations(job.spec.constraints, placement.replicas, nodes)
    yield from (f"job {job.id}: {what}" for what in broken)
    for name in placement.nodes:
        node = nodes.get(name)
        if name in arriving and (node is None or not node.takes_new_work):
            yield f"job {job.id} was placed on node {name}, which takes no new work"
        if node is None:
            continue
        why = unfit(job.spec.constraints, node) if name in arriving else None
        if why is not None:
            yield f"job {job.id} was placed where it does not want to be: {why}"
        if node.flavor != configuration.flavor:
            yield f"job {job.id} was placed on node {name} of flavor {node.flavor}, not {configuration.flavor}"


def _floating(report: RoundReport) -> tuple[str, ...]:
    return () if report.policy is None else report.policy.floating_resources


def _overfull(node: Node, state: NodeDesired, floating: Collection[str]) -> Iterable[str]:
    """What of a node's desired state the node cannot give; `floating` resources are not of any node."""
    used = NOTHING
    devices = [0] * node.gpu_count
    for replica in state.replicas:
        used = used + replica.demand
        where = f"replica {replica.replica} of job {replica.job_id} on node {node.name}"
        if replica.flavor != node.flavor:
            yield f"{where} is meant for flavor {replica.flavor}"
        wanted = replica.demand.gpu_millis
        count = -(-wanted // GPU_MILLIS)
        if len(replica.gpus) != count or len(set(replica.gpus)) != count:
            yield f"{where} asks for {wanted} milli-GPUs and got devices {replica.gpus}"
        for device in replica.gpus:
            if 0 <= device < len(devices):
                devices[device] += min(wanted, GPU_MILLIS)
            else:
                yield f"{where} got device {device}, which does not exist"
    for resource, missing in parted(used, floating)[0].shortage(node.capacity).items():
        yield f"node {node.name} is over its {resource} by {missing}"
    for device, millis in enumerate(devices):
        if millis > GPU_MILLIS:
            yield f"GPU {device} of node {node.name} is promised {millis} times a thousandth"
