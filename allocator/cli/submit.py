"""`allocator submit`, and following what was submitted to its end."""

from __future__ import annotations

from typing import Annotated

import typer

from allocator.cli import completion, documents, schema, screen
from allocator.cli.after_fields import read_after_flag
from allocator.cli.app import SEPARATED, Session, app, command, session
from allocator.cli.exits import ExitCode
from allocator.cli.jobfile import JobDraft, as_flag, draft_of_flags, read_drafts
from allocator.cli.jobs import PANEL, show_results
from allocator.cli.place_fields import PlaceFlags, read_curve_flag
from allocator.cli.promise_fields import UNKNOWN
from allocator.cli.whatif import dry_run as tell_dry_run
from allocator.cli.whatif import specs_of
from allocator.client import Client, Job, JobChange, JobState
from allocator.domain.errors import InvalidInput


@command(app, "submit", PANEL)
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
    command_: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND ARGUMENT...]",
            help="What each replica runs, as it is: there is no shell.",
            show_default=False,
        ),
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A variable of its environment. Repeatable.")
    ] = None,
    chdir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Working directory on the node. Default: one of its own.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="For what it prints, below the directory; %j is the job's id, %r the replica, %a the array index, %n "
            "the node. Default: kept by the agent.",
        ),
    ] = None,
    errors: Annotated[
        str | None, typer.Option(metavar="FILE", help="The same for its standard error. Default: with its output.")
    ] = None,
    checkpoint_signal: Annotated[
        str | None,
        typer.Option(
            metavar="SIGNAL",
            help="Tells it to leave its place for others. Default: SIGTERM.",
            autocompletion=completion.checkpoint_signals,
        ),
    ] = None,
    grace: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long it may take to end once told so. Default: 30s.")
    ] = None,
    retries: Annotated[
        int | None, typer.Option(metavar="N", help="If it fails, try again up to N times, waiting longer each time.")
    ] = None,
    after: Annotated[
        list[str] | None,
        typer.Option(
            metavar="JOB[=CONDITION]",
            help="Start only once that job has succeeded; or failed, or ended, whichever is the condition. Repeatable.",
            autocompletion=completion.live_job_ids,
        ),
    ] = None,
    array: Annotated[
        str | None, typer.Option(metavar="INDICES", help="A job for each index: 0-99, 0-9:2 or 1,5-7.")
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

    allocator submit --queue research --gpu 1 -- python train.py --lr 3e-4

    A file is a list of jobs, or a mapping with 'jobs' and 'defaults'; its fields are named as the flags are.
    A malformed file is told fault by fault, and then nothing is submitted.
    """
    if command_ and not context.meta[SEPARATED]:
        raise InvalidInput.of(
            "COMMAND", f"must stand behind --, as in `-- python train.py`; got {command_[0]!r} (for a file: --file)"
        )
    place = PlaceFlags(
        node_label or [], not_node_label or [], tolerate or [], max_per_node, max_per or [], within, near or [],
        away_from or [],
    )  # fmt: skip
    labels = _pairs("--label", label)
    flags: dict[str, object] = {
        "queue": queue, "name": name, "replicas": _replicas(replicas, min_replicas, max_replicas),
        "cpu": cpu, "gpu": gpu, "memory": memory,
        "bandwidth": bandwidth, "disk": disk, "resources": _pairs("--resource", resource),
        "flavors": _flavors(flavor), "weight": weight, "priority_class": priority_class,
        "preemptible": False if non_preemptible else None, "restart_cost": restart_cost,
        "expected_duration": expected_duration, "labels": labels, "count": count,
        "job_class": job_class, "deadline": deadline, "minimum_throughput": minimum_throughput,
        "throughput": None if throughput_curve is None else read_curve_flag(throughput_curve),
        "resizable": resizable or None, "divisible": divisible or None,
        "constraints": place.constraints(tuple((labels or {}).items())),
        "command": command_ or None, "environment": _pairs("--env", env), "directory": chdir, "output": output,
        "errors": errors, "checkpoint_signal": checkpoint_signal, "grace": grace, "retries": retries,
        "array": array,
    }  # fmt: skip
    flags["after"] = [read_after_flag(text) for text in after or ()] or None
    drafts = _drafts(file, {key: value for key, value in flags.items() if value is not None})
    if dry_run and wait:
        raise InvalidInput.of("--dry-run", "cannot be combined with --wait: nothing is submitted")
    settings = session(context)
    with settings.client() as client:
        if dry_run:
            specs = specs_of(client, drafts)
            raise typer.Exit(tell_dry_run(settings, client, specs, allow_infeasible=allow_infeasible))
        specs = specs_of(client, drafts)
        results = client.submit(specs, request_id=request_id, allow_infeasible=allow_infeasible)
        code = show_results(settings, results, "submitted", quiet=wait and settings.json)
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


def _pairs(flag: str, given: list[str] | None) -> dict[str, str] | None:
    """KEY=VALUE texts as a mapping; None when there are none."""
    if not given:
        return None
    pairs: dict[str, str] = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise InvalidInput.of(flag, f"must be written KEY=VALUE, got {text!r}")
        if key in pairs:
            raise InvalidInput.of(flag, f"{key!r} is given twice: each key once")
        pairs[key] = value
    return pairs


def _replicas(exactly: int | None, least: int | None, most: int | None) -> int | dict[str, int] | None:
    """As a file would say it."""
    if least is None and most is None:
        return exactly
    if exactly is not None:
        raise InvalidInput.of("--replicas", "cannot be combined with --min-replicas and --max-replicas")
    if least is None or most is None:
        missing = "--min-replicas" if least is None else "--max-replicas"
        raise InvalidInput.of(missing, "must be given: the gang has from --min-replicas to --max-replicas replicas")
    return {"min": least, "max": most}


def _flavors(given: list[str] | None) -> dict[str, float | None] | None:
    if not given:
        return None
    flavors: dict[str, float | None] = {}
    for text in given:
        name, separator, throughput = text.partition("=")
        if name in flavors:
            raise InvalidInput.of("--flavor", f"{name!r} is given twice: each flavor once")
        try:
            flavors[name] = float(throughput) if separator and throughput != UNKNOWN else None
        except ValueError:
            raise InvalidInput.of(
                "--flavor", f"must be written NAME or NAME=THROUGHPUT, such as v100=2.0, or unknown; got {text!r}"
            ) from None
    return flavors
