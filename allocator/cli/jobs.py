"""`allocator jobs | job | cancel | update`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from allocator.cli import completion, schema, screen
from allocator.cli.app import Session, app, as_given, command, session
from allocator.cli.exits import ExitCode, of_batch
from allocator.cli.job_view import job_table, show_job
from allocator.client import Client, ItemResult, Job, JobExplanation, JobState, JobUpdate
from allocator.domain.errors import AllocatorError, InvalidInput

PANEL = "Jobs"
_AS_GIVEN = {"weight": "--weight", "priority_class": "--priority-class"}


def show_results(settings: Session, results: Sequence[ItemResult], done: str, *, quiet: bool = False) -> ExitCode:
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


@command(app, "jobs", PANEL)
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


@command(app, "job", PANEL)
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


@command(app, "cancel", PANEL)
def cancel(
    context: typer.Context,
    job_ids: Annotated[
        list[str], typer.Argument(metavar="JOB...", help="Ids of jobs.", autocompletion=completion.live_job_ids)
    ],
    message: Annotated[str, typer.Option("--message", "-m", help="Why, for whoever looks at the job later.")] = "",
) -> None:
    """End jobs. A job that was cancelled before stays so."""
    settings = session(context)
    with settings.client() as client:
        results = client.cancel(job_ids, message=message)
    raise typer.Exit(show_results(settings, results, "cancelled"))


@command(app, "update", PANEL)
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
    with settings.client() as client:
        answers = client.update([JobUpdate(job_id, weight, priority_class) for job_id in job_ids])
    results = [as_given(each, _AS_GIVEN) if isinstance(each, InvalidInput) else each for each in answers]
    raise typer.Exit(show_results(settings, results, "updated"))
