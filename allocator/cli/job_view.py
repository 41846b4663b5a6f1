"""How jobs look on a terminal: the table of many, the page about one."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from allocator.cli import held_words, promise_view, reasons, screen, words
from allocator.cli.quantities import age, format_duration, significant
from allocator.cli.screen import Column, Table
from allocator.client import ClusterStatus, Job, JobExplanation
from allocator.domain.job import JobState
from allocator.domain.placement import WHOLE, held
from allocator.domain.process import Condition, Process, Retries

_JOB_COLUMNS = (
    Column("JOB"),
    Column("NAME", give_way=2, elastic=True),
    Column("QUEUE"),
    Column("STATE"),
    Column("ASKS", give_way=4),
    Column("AGE", right=True),
    Column("RAN", right=True, give_way=3),
    Column("PREEMPTED", right=True, give_way=5),
    Column("WHERE / WHY", give_way=1, elastic=True),
)


def job_table(jobs: Iterable[Job], now: float) -> Table:
    """One line per job. `now` is in seconds since the epoch."""
    table = Table(_JOB_COLUMNS)
    for job in jobs:
        table.add(
            job.id,
            job.spec.name or "-",
            job.spec.queue,
            job.state.value,
            words.asks(job),
            age(now - job.submit_time),
            _ran(job, now),
            str(job.preemption_count) if job.preemption_count else "-",
            reasons.why_briefly(job) or "-",
        )
    return table


def event_line(job: Job) -> str:
    """One change of a watch: which job, its state, and where or why."""
    name = f" ({job.spec.name})" if job.spec.name else ""
    detail = reasons.why_briefly(job)
    return f"{job.id}{name} in {job.spec.queue} {job.state.value}" + (f": {detail}" if detail else "")


def show_job(job: Job, status: ClusterStatus, explained: JobExplanation | None, now: float) -> None:
    """The page about one job; `explained` as of the last round, if there is an explanation."""
    screen.facts(_what(job, status, explained, now))
    screen.heading("Configurations (the gang, per replica, and at the last round's prices)")
    marks = _marks(job, explained)
    screen.show(_configuration_table(job, status, explained, marks))
    legend = promise_view.legend(marks)
    if legend:
        screen.remark(f"speed: {legend}")
    screen.heading("History")
    screen.facts(_history(job, now))


def _what(job: Job, status: ClusterStatus, explained: JobExplanation | None, now: float) -> list[tuple[str, str]]:
    spec = job.spec
    runs = job.allocation
    return [
        ("job", job.id),
        ("name", spec.name),
        ("queue", spec.queue + _queue_share(spec.queue, status)),
        ("state", job.state.value),
        ("why", held_words.of_job(job) or reasons.why_waiting(job.pending_reason) if _waits(job) else ""),
        ("message", job.message),
        ("runs on", "\n".join(words.replicas_by_node(runs)) if runs else ""),
        ("ended", f"replicas {words.ranges(sorted(runs.finished))}" if runs and runs.finished else ""),
        ("since", f"{age(now - runs.start_time)} (epoch {runs.epoch})" if runs else ""),
        ("weight", words.weight(spec.weight)),
        ("priority", spec.priority_class),
        ("preemptible", "yes" if spec.preemptible else "no: once started it is never stopped for others"),
        ("restart cost", format_duration(spec.restart_cost_seconds) if spec.restart_cost_seconds else ""),
        ("expected", _expected(spec.expected_duration_seconds)),
        ("class", spec.job_class),
        ("deadline", promise_view.deadline(job, now)),
        ("promise", promise_view.promise(explained.promise, now) if explained and explained.promise else ""),
        ("at least", f"{significant(spec.minimum_throughput)} per second" if spec.minimum_throughput else ""),
        ("labels", "\n".join(f"{key}={value}" for key, value in spec.labels)),
        ("place", "\n".join(words.constraints(spec.constraints))),
        ("resizable", "yes: it changes its number of replicas without a restart" if spec.resizable else ""),
        ("divisible", _part(job) if spec.divisible else ""),
        *_process(spec.process),
        ("array index", "" if spec.array_index is None else str(spec.array_index)),
        ("retries", _retries(spec.retries)),
        ("after", "\n".join(f"{each.job_id} {_ENDED[each.condition]}" for each in spec.after)),
    ]


_ENDED = {Condition.SUCCEEDED: "has succeeded", Condition.ENDED: "has ended", Condition.FAILED: "has failed"}


def _waits(job: Job) -> bool:
    return job.state is JobState.PENDING


def _process(process: Process | None) -> list[tuple[str, str]]:
    """What each replica runs."""
    if process is None:
        return []
    leave = f"{process.checkpoint.name}, and {format_duration(process.grace_seconds)} later SIGKILL"
    return [
        ("command", shlex.join(process.command)),
        ("environment", "\n".join(f"{name}={value}" for name, value in process.environment)),
        ("directory", process.directory),
        ("output", process.output),
        ("errors", process.errors),
        ("told to stop", leave),
    ]


def _retries(retries: Retries) -> str:
    """`up to 3, after 10s, then twice as long each time, at most 1h`."""
    if not retries.limit:
        return ""
    first, most = format_duration(retries.backoff_seconds), format_duration(retries.most_backoff_seconds)
    return f"up to {retries.limit}, after {first}, then twice as long each time, at most {most}"


def _queue_share(queue: str, status: ClusterStatus) -> str:
    """What the last round gave the queue, as dominant shares."""
    usage = next((usage for usage in status.queues if usage.queue == queue), None)
    if usage is None:
        return ""
    return f"  (holds {words.percent(usage.actual_share)} of the cluster, fair share {words.percent(usage.fair_share)})"


def _part(job: Job) -> str:
    """What of its demand a divisible job holds."""
    said = "yes: it holds its share of its demand all the time"
    if job.allocation is None:
        return said
    placement = job.allocation.placement
    now = held(job.spec.configurations[placement.configuration].demand, placement.millis)
    return f"{said}, now {words.percent(placement.millis / WHOLE)}: {words.demand(now)}"


def _expected(seconds: float | None) -> str:
    return f"{format_duration(seconds)} in its best configuration" if seconds is not None else ""


def _marks(job: Job, explained: JobExplanation | None) -> list[str]:
    """(K,) how each speed is known, empty where it is declared, or where there is nothing to compare it with."""
    measured = dict(job.measured_throughput)
    ways = job.spec.configurations
    learned = promise_view.marks(() if explained is None else explained.throughputs)
    found = []
    for index, way in enumerate(ways):
        if way.flavor in measured:
            found.append(promise_view.MEASURED)
        elif way.declared or len(ways) == 1:
            found.append("")
        else:
            found.append(learned.get(index, promise_view.UNKNOWN))
    return found


def _configuration_table(
    job: Job, status: ClusterStatus, explained: JobExplanation | None, marks: Sequence[str]
) -> Table:
    table = Table(
        (
            Column(""),
            Column("FLAVOR"),
            Column("REPLICAS", right=True),
            Column("EACH ASKS FOR", elastic=True),
            Column("SPEED", right=True),
            Column("COST", right=True, give_way=1),
        )
    )
    prices = {(usage.flavor, usage.resource): usage.price for usage in status.flavors}
    used = {} if explained is None else {each.index: each.used for each in explained.throughputs}
    speeds = [used.get(index, job.throughput(each)) for index, each in enumerate(job.spec.configurations)]
    fastest = max(speeds) or 1.0
    current = job.allocation.placement.configuration if job.allocation else None
    for index, configuration in enumerate(job.spec.configurations):
        cost = words.percent(words.price_of(configuration, prices)) if status.last_round else "-"
        table.add(
            ">" if index == current else "",
            configuration.flavor,
            str(configuration.replicas),
            words.demand(configuration.demand),
            f"{significant(speeds[index] / fastest)}{marks[index]}",
            cost,
        )
    return table


def _history(job: Job, now: float) -> list[tuple[str, str]]:
    preempted = f"{job.preemption_count} time{'' if job.preemption_count == 1 else 's'}"
    if job.last_preemption is not None:
        preempted += f", last because {reasons.why_preempted(job.last_preemption)}"
    waited = (job.first_start_time or job.end_time or now) - job.submit_time
    end = f"{_moment(job.end_time)}, {age(now - job.end_time)} ago" if job.end_time is not None else ""
    return [
        ("submitted", f"{_moment(job.submit_time)}, {age(now - job.submit_time)} ago"),
        ("first waited", age(waited)),
        ("first start", _moment(job.first_start_time)),
        ("last start", _moment(job.last_start_time) if job.last_start_time != job.first_start_time else ""),
        ("ended", end),
        ("preempted", preempted),
        ("failed", f"{held_words.times(job.failures)} and was tried again" if job.failures else ""),
        ("measured", ", ".join(f"{significant(v, 6)} per second on {f}" for f, v in job.measured_throughput)),
        ("misdeclared", promise_view.misdeclared(job)),
    ]


def _moment(seconds: float | None) -> str:
    """Local time, to the second, with the zone."""
    return screen.local_time(seconds) if seconds is not None else ""


def _ran(job: Job, now: float) -> str:
    """How long its last run has lasted."""
    if job.last_start_time is None:
        return "-"
    if job.state is JobState.RUNNING:
        return age(now - job.last_start_time)
    return age(job.end_time - job.last_start_time) if job.end_time is not None else "-"
