"""`allocator submit | jobs | job | cancel | update`."""

from __future__ import annotations

import time
from typing import Annotated
from uuid import uuid4

import typer

from allocator.cli import completion, documents, schema, screen
from allocator.cli.app import Session, app, as_given, command, session
from allocator.cli.exits import ExitCode, of_batch
from allocator.cli.job_flags import flavors_of, pairs_of, replicas_of
from allocator.cli.job_view import job_table, show_job
from allocator.cli.jobfile import JobDraft, as_flag, draft_of_flags, read_drafts
from allocator.cli.place_fields import PlaceFlags, read_curve_flag
from allocator.cli.whatif import dry_run as tell_dry_run
from allocator.cli.whatif import specs_of
from allocator.client import Client, ItemResult, Job, JobChange, JobExplanation, JobState, JobUpdate
from allocator.domain.errors import AllocatorError, InvalidInput

_PANEL = "Jobs"
_AS_GIVEN = {"weight": "--weight", "priority_class": "--priority-class"}
BATCH = 1000
"""Jobs sent in one request."""


@command(app, "submit", _PANEL)
def submit(
    context: typer.Context,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", "-f", metavar="FILE", help="Jobs in YAML or JSON; - is standard input.", show_default=False
        ),
    ] = None,
    queue: Annotated[
        str | None, typer.Option("--queue", "-q", help="Queue to wait in.", autocompletion=completion.queue_names)
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    replicas: Annotated[int | None, typer.Option(help="Size of the gang; all start together. Default: 1.")] = None,
    cpu: Annotated[str | None, typer.Option(metavar="CORES", help="Per replica: 4, 0.5 or 500m.")] = None,
    gpu: Annotated[
        str | None, typer.Option(metavar="GPUS", help="Per replica: 2, or a part of one such as 0.5.")
    ] = None,
    memory: Annotated[str | None, typer.Option(metavar="SIZE", help="Per replica: 16GiB, 2GB or 512Mi.")] = None,
    bandwidth: Annotated[str | None, typer.Option(metavar="RATE", help="Per replica: 10Gbit/s or 1GB/s.")] = None,
    disk: Annotated[str | None, typer.Option(metavar="SIZE", help="Per replica: 100GiB or 1TB.")] = None,
    resource: Annotated[
        list[str] | None, typer.Option(metavar="NAME=COUNT", help="Any other resource, per replica. Repeatable.")
    ] = None,
    flavor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=THROUGHPUT]",
            help="A kind of node it accepts, and its work per second there. Without a number nobody knows: it is "
            "learned. Repeatable. Without any: every flavor that the cluster has now.",
            autocompletion=completion.flavor_names,
        ),
    ] = None,
    weight: Annotated[float | None, typer.Option(help="Relative to the queue's other jobs. Default: 1.")] = None,
    priority_class: Annotated[
        str | None,
        typer.Option(help="low, normal or high, or what the policy has.", autocompletion=completion.priority_classes),
    ] = None,
    non_preemptible: Annotated[
        bool, typer.Option("--non-preemptible", help="Once started, never stopped for others.")
    ] = False,
    restart_cost: Annotated[
        str | None, typer.Option(metavar="TIME", help="Work lost with each restart: 30s, 5m.")
    ] = None,
    expected_duration: Annotated[
        str | None, typer.Option(metavar="TIME", help="Run time in its best configuration: 2h, 1h30m.")
    ] = None,
    job_class: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Kind of work: jobs of a class learn from each other how fast they run on a flavor."
        ),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When it wants to have ended: 6h (from now), 2026-03-01T18:00, or 2026-03-01 (the end of that day).",
        ),
    ] = None,
    minimum_throughput: Annotated[
        float | None, typer.Option(metavar="X", help="Work per second, over time, that it wants at least.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="For your own use, and for others' --near and --away-from. Repeatable."),
    ] = None,
    min_replicas: Annotated[
        int | None, typer.Option(metavar="N", help="Least size of the gang, instead of --replicas.")
    ] = None,
    max_replicas: Annotated[int | None, typer.Option(metavar="N", help="Largest size of the gang.")] = None,
    throughput_curve: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,..",
            help="Work per second of each size from --min-replicas to --max-replicas. Default: in proportion.",
        ),
    ] = None,
    resizable: Annotated[bool, typer.Option("--resizable", help="It can change its size without a restart.")] = False,
    divisible: Annotated[
        bool, typer.Option("--divisible", help="It can hold a part of its cpu and bandwidth, all the time.")
    ] = False,
    node_label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY[=VALUE]", help="Only nodes with this label. Repeatable; values of one key are alternatives."
        ),
    ] = None,
    not_node_label: Annotated[
        list[str] | None, typer.Option(metavar="KEY[=VALUE]", help="Only nodes without this label. Repeatable.")
    ] = None,
    tolerate: Annotated[
        list[str] | None, typer.Option(metavar="KEY[=VALUE]", help="A taint that it accepts. Repeatable.")
    ] = None,
    max_per_node: Annotated[
        int | None, typer.Option(metavar="N", help="At most N of its replicas on one node.")
    ] = None,
    max_per: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=N", help="At most N of its replicas per value of a node label: rack=2. Repeatable."
        ),
    ] = None,
    within: Annotated[
        str | None, typer.Option(metavar="LABEL", help="All replicas in one rack (or other node label), or one node.")
    ] = None,
    near: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[LABEL:]KEY=VALUE", help="On nodes (rack:..: in racks) where a job so labelled runs. Repeatable."
        ),
    ] = None,
    away_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[LABEL:]KEY=VALUE",
            help="Not on nodes (rack:..: in racks) where a job so labelled runs. Repeatable.",
        ),
    ] = None,
    count: Annotated[int | None, typer.Option(metavar="N", help="Submit N such jobs. Default: 1.")] = None,
    request_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Submitting again with the same id and jobs changes nothing.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the jobs until all have ended.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would become of them, with the exit code of the submit.")
    ] = False,
    allow_infeasible: Annotated[
        bool,
        typer.Option("--allow-infeasible", help="Take also what no node could ever run now: nodes may come."),
    ] = False,
) -> None:
    """Submit one job described by flags, or the jobs of a file.

    A file is a list of jobs, or a mapping with 'jobs' and 'defaults'; its fields are named as the flags are.
    A malformed file is told fault by fault, and then nothing is submitted.
    """
    place = PlaceFlags(
        node_label or [], not_node_label or [], tolerate or [], max_per_node, max_per or [], within, near or [],
        away_from or [],
    )  # fmt: skip
    labels = pairs_of("--label", label)
    flags = {
        "queue": queue, "name": name, "replicas": replicas_of(replicas, min_replicas, max_replicas),
        "cpu": cpu, "gpu": gpu, "memory": memory,
        "bandwidth": bandwidth, "disk": disk, "resources": pairs_of("--resource", resource),
        "flavors": flavors_of(flavor), "weight": weight, "priority_class": priority_class,
        "preemptible": False if non_preemptible else None, "restart_cost": restart_cost,
        "expected_duration": expected_duration, "labels": labels, "count": count,
        "job_class": job_class, "deadline": deadline, "minimum_throughput": minimum_throughput,
        "throughput": None if throughput_curve is None else read_curve_flag(throughput_curve),
        "resizable": resizable or None, "divisible": divisible or None,
        "constraints": place.constraints(tuple((labels or {}).items())),
    }  # fmt: skip
    drafts = _drafts(file, {key: value for key, value in flags.items() if value is not None})
    if dry_run and wait:
        raise InvalidInput.of("--dry-run", "cannot be combined with --wait: nothing is submitted")
    settings = session(context)
    with settings.client() as client:
        if dry_run:
            specs = specs_of(client, drafts)
            raise typer.Exit(tell_dry_run(settings, client, specs, allow_infeasible=allow_infeasible))
        results = _submit_all(client, drafts, request_id, allow_infeasible=allow_infeasible)
        code = _show_results(settings, results, "submitted", quiet=wait and settings.json)
        if wait:
            code = max(code, _follow(settings, client, [r.id for r in results if isinstance(r, Job)]))
    raise typer.Exit(code)


def _drafts(file: str | None, flags: dict[str, object]) -> tuple[JobDraft, ...]:
    if file is None:
        return (draft_of_flags(flags),)
    if flags:
        place = flags.pop("constraints", None)
        paths = [*flags, *(f"constraints.{part}" for part in (place if isinstance(place, dict) else ()))]
        named = ", ".join(sorted(map(as_flag, paths)))
        raise InvalidInput.of("--file", f"cannot be combined with {named}: write defaults into the file")
    return read_drafts(documents.read(file))


def _submit_all(
    client: Client, drafts: tuple[JobDraft, ...], request_id: str | None, *, allow_infeasible: bool
) -> list[ItemResult]:
    """In batches; each has its own request id, made from the whole submission's, so that a repetition is one, too."""
    specs = specs_of(client, drafts)
    root = request_id or str(uuid4())
    results: list[ItemResult] = []
    for start in range(0, len(specs), BATCH):
        batch = specs[start : start + BATCH]
        batch_id = root if start == 0 else f"{root}+{start}"
        results += client.submit(batch, request_id=batch_id, allow_infeasible=allow_infeasible)
    return results


def _show_results(settings: Session, results: list[ItemResult], done: str, *, quiet: bool = False) -> ExitCode:
    """Ids on standard output, one per line, so that they can be piped; refusals and the count on standard error."""
    refused = [(index, result) for index, result in enumerate(results) if isinstance(result, AllocatorError)]
    accepted = [result for result in results if isinstance(result, Job)]
    if settings.json:
        if not quiet:
            screen.emit_json(schema.many(schema.item, results))
    else:
        for job in accepted:
            screen.line(job.id)
        for index, error in refused:
            place = f"item {index}: " if len(results) > 1 else ""
            screen.complain(f"{place}{error}")
        if len(results) > 1:
            screen.remark(f"{len(accepted)} {done}, {len(refused)} refused")
    return of_batch([error for _, error in refused], len(results))


def _follow(settings: Session, client: Client, job_ids: list[str]) -> ExitCode:
    """Tell every change of state until all have ended; FAILED unless all succeeded."""
    open_ids = dict.fromkeys(job_ids, "")
    failed = 0
    if not open_ids:
        return ExitCode.OK
    for event in client.watch_jobs(cursor=""):
        changed = [event.job] if isinstance(event, JobChange) else []
        if not isinstance(event, JobChange):
            # The snapshot holds live jobs only: whoever is missing has ended meanwhile.
            changed = [client.job(job_id) for job_id, seen in open_ids.items() if not seen]
        for job in changed:
            if job.id not in open_ids or open_ids[job.id] == job.state.value:
                continue
            open_ids[job.id] = job.state.value
            _tell(settings, job)
            if job.state.is_final:
                del open_ids[job.id]
                failed += job.state is not JobState.SUCCEEDED
        if not open_ids:
            break
    return ExitCode.FAILED if failed else ExitCode.OK


def _tell(settings: Session, job: Job) -> None:
    if settings.json:
        screen.emit_json_line(schema.job(job))
    else:
        detail = f": {job.message}" if job.message else ""
        screen.line(f"{job.id} {job.state.value}{detail}", screen.STATE_STYLES.get(job.state.value, ""))


@command(app, "jobs", _PANEL)
def jobs(
    context: typer.Context,
    queue: Annotated[
        str,
        typer.Option(
            "--queue", "-q", help="Only of this queue and those below it.", autocompletion=completion.queue_names
        ),
    ] = "",
    state: Annotated[
        list[JobState] | None, typer.Option("--state", "-s", help="Only in this state. Repeatable.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also those that have ended.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", metavar="N", min=1, help="Only the first N. Default: all.")
    ] = None,
) -> None:
    """List jobs in order of admission; without --state or --all those that wait or run."""
    states = list(state or ())
    if not states and not everything:
        states = [JobState.PENDING, JobState.RUNNING]
    settings = session(context)
    found: list[Job] = []
    more = False
    with settings.client() as client:
        page = 1000 if limit is None else min(limit, 1000)
        for job in client.jobs(queue=queue, states=states, page_size=page):
            if len(found) == limit:
                more = True
                break
            found.append(job)
        if queue and not found:
            client.queue(queue)  # refuses if there is none
    if settings.json:
        screen.emit_json(schema.many(schema.job, found))
    else:
        screen.show(job_table(found, time.time()), empty="no such jobs")
    if more:
        screen.remark(f"only the first {limit}: there are more")


@command(app, "job", _PANEL)
def job(
    context: typer.Context,
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="The job's id.", autocompletion=completion.job_ids)],
) -> None:
    """Show one job: its state and why, where it runs, what it asks for and costs, and what has happened to it."""
    settings = session(context)
    with settings.client() as client:
        found = client.job(job_id)
        if settings.json:
            screen.emit_json(schema.job(found))
            return
        show_job(found, client.status(), _explained(client, found), time.time())


def _explained(client: Client, found: Job) -> JobExplanation | None:
    """How the job stands as of the last round: its promise, and what is known of its speeds. A page without that is
    better than none.
    """
    if found.state.is_final:
        return None
    try:
        return client.explain_job(found.id)
    except AllocatorError:
        return None


@command(app, "cancel", _PANEL)
def cancel(
    context: typer.Context,
    job_ids: Annotated[
        list[str], typer.Argument(metavar="JOB...", help="Ids of jobs.", autocompletion=completion.live_job_ids)
    ],
    message: Annotated[str, typer.Option("--message", "-m", help="Why, for whoever looks at the job later.")] = "",
) -> None:
    """End jobs. A job that was cancelled before stays so."""
    settings = session(context)
    results: list[ItemResult] = []
    with settings.client() as client:
        for start in range(0, len(job_ids), BATCH):
            results += client.cancel(job_ids[start : start + BATCH], message=message)
    raise typer.Exit(_show_results(settings, results, "cancelled"))


@command(app, "update", _PANEL)
def update(
    context: typer.Context,
    job_ids: Annotated[
        list[str], typer.Argument(metavar="JOB...", help="Ids of jobs.", autocompletion=completion.live_job_ids)
    ],
    weight: Annotated[float | None, typer.Option(help="New weight relative to the queue's other jobs.")] = None,
    priority_class: Annotated[
        str | None,
        typer.Option(help="low, normal or high, or what the policy has.", autocompletion=completion.priority_classes),
    ] = None,
) -> None:
    """Change the weight or the priority class of live jobs."""
    if weight is None and priority_class is None:
        raise InvalidInput.of("", "nothing to change: give --weight or --priority-class")
    settings = session(context)
    results: list[ItemResult] = []
    with settings.client() as client:
        for start in range(0, len(job_ids), BATCH):
            batch = job_ids[start : start + BATCH]
            answers = client.update([JobUpdate(job_id, weight, priority_class) for job_id in batch])
            results += (
                as_given(answer, _AS_GIVEN) if isinstance(answer, InvalidInput) else answer for answer in answers
            )
    raise typer.Exit(_show_results(settings, results, "updated"))
