"""`allocator queues [list | create | update | delete | cordon | uncordon]`."""

from __future__ import annotations

from typing import Annotated

import typer

from allocator.cli import completion, schema, screen, words
from allocator.cli.app import command, group, named_as_given, session
from allocator.cli.cluster_view import queue_table
from allocator.client import Queue
from allocator.domain.errors import InvalidInput

queues = group("queues", "List and arrange the queues that fairness is between.", "Cluster")

_AS_GIVEN = {"name": "QUEUE", "weight": "--weight", "max_live_jobs": "--max-live-jobs"}
_Name = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name.", autocompletion=completion.queue_names)]


@queues.callback()
def _alone(context: typer.Context) -> None:
    """List and arrange the queues that fairness is between; alone: list."""
    if context.invoked_subcommand is None:
        _list(context)


@command(queues, "list")
def list_(context: typer.Context) -> None:
    """List queues with their weights, jobs, and shares as of the last round."""
    _list(context)


@command(queues, "create")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="QUEUE", help="Its name; research/vision lies below research.")],
    weight: Annotated[float, typer.Option(help="Relative to its siblings.")] = 1.0,
    max_live_jobs: Annotated[
        int | None, typer.Option(metavar="N", help="Most jobs that wait or run in it. Default: no bound.")
    ] = None,
) -> None:
    """Make a queue."""
    with session(context).client() as client, named_as_given(_AS_GIVEN):
        _show_one(context, client.create_queue(Queue(name, weight, max_live_jobs=max_live_jobs)), "created")


@command(queues, "update")
def update(
    context: typer.Context,
    name: _Name,
    weight: Annotated[float | None, typer.Option(help="Relative to its siblings.")] = None,
    max_live_jobs: Annotated[int | None, typer.Option(metavar="N", help="Most jobs that wait or run in it.")] = None,
    unbounded: Annotated[bool, typer.Option("--unbounded", help="Remove the bound on its jobs.")] = False,
) -> None:
    """Change a queue; what is not given stays."""
    if unbounded and max_live_jobs is not None:
        raise InvalidInput.of("--unbounded", "cannot be combined with --max-live-jobs: give one of them")
    if weight is None and max_live_jobs is None and not unbounded:
        raise InvalidInput.of("", "nothing to change: give --weight, --max-live-jobs or --unbounded")
    with session(context).client() as client, named_as_given(_AS_GIVEN):
        changed = client.update_queue(name, weight=weight, max_live_jobs=max_live_jobs, clear_max_live_jobs=unbounded)
        _show_one(context, changed, "updated")


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


def _show_one(context: typer.Context, queue: Queue, done: str) -> None:
    if session(context).json:
        screen.emit_json(schema.queue(queue))
    else:
        bound = "no bound on jobs" if queue.max_live_jobs is None else f"at most {queue.max_live_jobs} jobs"
        screen.line(f"queue {queue.name} {done} (weight {words.weight(queue.weight)}, {bound})")
