"""`allocator queues [list | show | create | update | delete | cordon | uncordon]`; `allocator queue` is the same."""

from __future__ import annotations

from typing import Annotated

import typer

from allocator.cli import completion, schema, screen, words
from allocator.cli.app import app, command, group, named_as_given, session
from allocator.cli.cluster_view import queue_table, show_queue
from allocator.cli.quotas import FLAG, parse_quotas, quota_table, remarks
from allocator.client import Client, Discipline, Queue, Quota
from allocator.domain.errors import InvalidInput

queues = group("queues", "List and arrange the queues that fairness is between.", "Cluster")
app.add_typer(queues, name="queue", hidden=True)

_AS_GIVEN = {
    "name": "QUEUE",
    "weight": "--weight",
    "max_live_jobs": "--max-live-jobs",
    "priority": "--priority",
    "quotas": FLAG,
}
_Name = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name.", autocompletion=completion.queue_names)]
_QUOTA = (
    "What it is guaranteed of a resource on a flavor whenever it asks for it: h100/gpu=16 or h100/memory=512GiB. "
    "Followed by ,borrow=8 it may use at most 8 more while others leave them idle; by ,lend=4 others may use at most "
    "4 of them while it does; without, there is no limit. Repeatable"
)
_DISCIPLINES = "fair: its jobs share by weight, all at once; fifo: in order of submission, by priority class"


@queues.callback()
def _alone(context: typer.Context) -> None:
    """List and arrange the queues that fairness is between; alone: list."""
    if context.invoked_subcommand is None:
        _list(context)


@command(queues, "list")
def list_(context: typer.Context) -> None:
    """List queues with their weights, jobs, and shares as of the last round."""
    _list(context)


@command(queues, "show")
def show(context: typer.Context, name: _Name) -> None:
    """Show one queue: its place among the others, its jobs, shares as of the last round, and its quotas."""
    settings = session(context)
    with settings.client() as client:
        found = client.queue(name)
        if settings.json:
            screen.emit_json(schema.queue_status(found))
            return
        usages = client.status().queues
    is_leaf = not any(usage.queue.startswith(f"{name}/") for usage in usages)
    show_queue(found, next((usage for usage in usages if usage.queue == name and is_leaf), None))


@command(queues, "create")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="QUEUE", help="Its name; research/vision lies below research.")],
    weight: Annotated[float, typer.Option(help="Relative to its siblings.")] = 1.0,
    max_live_jobs: Annotated[
        int | None, typer.Option(metavar="N", help="Most jobs that wait or run in it. Default: no bound.")
    ] = None,
    priority: Annotated[
        int, typer.Option(metavar="N", help="Siblings of a higher one get what they can use before it.")
    ] = 0,
    quota: Annotated[
        list[str] | None,
        typer.Option(FLAG, metavar="QUOTA", help=f"{_QUOTA}.", autocompletion=completion.quota_beginnings),
    ] = None,
    discipline: Annotated[
        str, typer.Option(metavar="fair|fifo", help=f"{_DISCIPLINES}.", autocompletion=completion.disciplines)
    ] = "fair",
) -> None:
    """Make a queue.

    allocator queues create research --weight 2 --quota h100/gpu=16,borrow=8,lend=4 --quota a100/gpu=32
    """
    made = Queue(
        name,
        weight,
        max_live_jobs=max_live_jobs,
        priority=priority,
        quotas=parse_quotas(quota or ()),
        discipline=_discipline(discipline),
    )
    with session(context).client() as client, named_as_given(_AS_GIVEN):
        created = client.create_queue(made)
        _show_one(context, created, "created")
        _show_quotas(context, client, created)


@command(queues, "update")
def update(
    context: typer.Context,
    name: _Name,
    weight: Annotated[float | None, typer.Option(help="Relative to its siblings.")] = None,
    max_live_jobs: Annotated[int | None, typer.Option(metavar="N", help="Most jobs that wait or run in it.")] = None,
    unbounded: Annotated[bool, typer.Option("--unbounded", help="Remove the bound on its jobs.")] = False,
    priority: Annotated[
        int | None, typer.Option(metavar="N", help="Siblings of a higher one get what they can use before it.")
    ] = None,
    quota: Annotated[
        list[str] | None,
        typer.Option(
            FLAG,
            metavar="QUOTA",
            help=f"{_QUOTA}. Those given replace all that it has.",
            autocompletion=completion.quota_beginnings,
        ),
    ] = None,
    clear_quotas: Annotated[bool, typer.Option("--clear-quotas", help="Remove all its quotas.")] = False,
    discipline: Annotated[
        str | None, typer.Option(metavar="fair|fifo", help=f"{_DISCIPLINES}.", autocompletion=completion.disciplines)
    ] = None,
) -> None:
    """Change a queue; what is not given stays. Quotas are replaced all together."""
    if unbounded and max_live_jobs is not None:
        raise InvalidInput.of("--unbounded", "cannot be combined with --max-live-jobs: give one of them")
    if clear_quotas and quota:
        raise InvalidInput.of("--clear-quotas", f"cannot be combined with {FLAG}, which replaces all quotas: give one")
    if not (unbounded or clear_quotas or quota) and {weight, max_live_jobs, priority, discipline} == {None}:
        raise InvalidInput.of(
            "",
            "nothing to change: give --weight, --max-live-jobs, --unbounded, --priority, --quota, --clear-quotas "
            "or --discipline",
        )
    quotas = () if clear_quotas else parse_quotas(quota) if quota else None
    with session(context).client() as client, named_as_given(_AS_GIVEN):
        before = client.queue(name).queue.quotas if quota else ()
        changed = client.update_queue(
            name,
            weight=weight,
            max_live_jobs=max_live_jobs,
            clear_max_live_jobs=unbounded,
            priority=priority,
            quotas=quotas,
            discipline=None if discipline is None else _discipline(discipline),
        )
        _show_one(context, changed, "updated")
        if quotas is not None:
            _show_quotas(context, client, changed, before)


@command(queues, "delete")
def delete(context: typer.Context, name: _Name) -> None:
    """Remove a queue that holds no live jobs and no other queues."""
    settings = session(context)
    with settings.client() as client:
        client.delete_queue(name)
    if settings.json:
        screen.emit_json({"name": name, "deleted": True})
    else:
        screen.line(f"queue {name} deleted")


@command(queues, "cordon")
def cordon(context: typer.Context, name: _Name) -> None:
    """Close a queue for new jobs; what it holds goes on."""
    with session(context).client() as client:
        _show_one(context, client.cordon_queue(name, cordoned=True), "cordoned")


@command(queues, "uncordon")
def uncordon(context: typer.Context, name: _Name) -> None:
    """Open a queue again."""
    with session(context).client() as client:
        _show_one(context, client.cordon_queue(name, cordoned=False), "open")


def _list(context: typer.Context) -> None:
    settings = session(context)
    with settings.client() as client:
        found = list(client.queues())
        if settings.json:
            screen.emit_json(schema.many(schema.queue_status, found))
            return
        usage = {usage.queue: usage for usage in client.status().queues}
    screen.show(queue_table(found, usage), empty="no queues: allocator queues create NAME")
    quotas = quota_table(status.queue for status in found)
    if quotas.rows:
        screen.heading("Quotas")
        screen.show(quotas)


def _show_one(context: typer.Context, queue: Queue, done: str) -> None:
    if session(context).json:
        screen.emit_json(schema.queue(queue))
    else:
        screen.line(f"queue {queue.name} {done} ({words.queue(queue)})")


def _show_quotas(context: typer.Context, client: Client, queue: Queue, before: tuple[Quota, ...] = ()) -> None:
    """Those that it has now. What is odd about them, and which of those `before` are gone, is remarked upon."""
    if session(context).json or not (queue.quotas or before):
        return
    screen.show(quota_table([queue], named=False))
    kept = {(quota.flavor, quota.resource) for quota in queue.quotas}
    for lost in before:
        if (lost.flavor, lost.resource) not in kept:
            screen.remark(f"the quota of {lost.flavor}/{lost.resource} is gone: {FLAG} replaces all that there were")
    if queue.quotas:
        for sentence in remarks(queue, [status.queue for status in client.queues()], client.status()):
            screen.remark(sentence)


def _discipline(name: str) -> Discipline:
    try:
        return Discipline(name)
    except ValueError:
        known = " or ".join(discipline.value for discipline in Discipline)
        raise InvalidInput.of("--discipline", f"must be {known}, got {name!r}") from None
