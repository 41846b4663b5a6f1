"""`allocator explain`: why a job is where it is, whether a queue gets its share, what a price means."""

from __future__ import annotations

import shlex
import time
from dataclasses import replace
from typing import Annotated

import typer

from allocator.cli import completion, explain_json, screen
from allocator.cli.app import app, command, session
from allocator.cli.explain_view import as_of, quota_flags, show_job, show_price, show_queue
from allocator.cli.limit_view import show_limit
from allocator.client import Client
from allocator.client.exchange import DEFAULT_TIMEOUT
from allocator.domain.errors import InvalidInput, NotFound
from allocator.domain.queue import Queue
from allocator.explain.answers import Change, ChangeKind
from allocator.explain.quotas import with_amounts

_PANEL = "Cluster"
_LIMIT = "limit/"
_PATIENCE = 600.0
"""Seconds for replays, unless --timeout says otherwise."""


@command(app, "explain", _PANEL)
def explain(
    context: typer.Context,
    subject: Annotated[
        list[str],
        typer.Argument(
            metavar="JOB | queue QUEUE | price FLAVOR/RESOURCE | price limit/NAME",
            help="What to explain, as of the last round.",
            autocompletion=completion.subjects,
        ),
    ],
    when: Annotated[bool, typer.Option("--when", help="Estimate when the job will start; may take seconds.")] = False,
    what_helps: Annotated[
        bool, typer.Option("--what-helps", help="Find what would start the job; may take a minute.")
    ] = False,
    most_rounds: Annotated[
        int, typer.Option(metavar="N", min=1, max=10_000, help="How many rounds those two may replay each.")
    ] = 600,
    one_more: Annotated[
        bool, typer.Option("--one-more", help="Of a price: find what one more unit would bring, and to whom.")
    ] = False,
    history: Annotated[
        int, typer.Option(metavar="N", min=0, max=1000, help="Of a price: also what it was in the last N rounds.")
    ] = 0,
) -> None:
    """Say why: of a job that waits or runs, of a queue's share, of a price.

    allocator explain j17 --when --what-helps

    allocator explain queue research/vision

    allocator explain price h100/gpu --one-more

    allocator explain price limit/matlab

    A limit is a side constraint or floating resource of the policy, by its name, or a quota: limit/QUEUE:h100/gpu.
    `allocator prices` lists all of them.
    """
    kind, name = _subject(subject)
    if kind != "job" and (when or what_helps):
        raise InvalidInput.of("--when" if when else "--what-helps", "is about a job")
    if kind != "price" and (one_more or history):
        raise InvalidInput.of("--one-more" if one_more else "--history", "is about a price")
    settings = session(context)
    patience = settings.timeout if settings.timeout != DEFAULT_TIMEOUT else _PATIENCE
    with settings.client() as client:
        if kind == "queue":
            queue = client.explain_queue(name)
            if settings.json:
                screen.emit_json(explain_json.queue_explanation(queue))
            else:
                show_queue(queue, time.time())
        elif kind == "price" and name.startswith(_LIMIT):
            if history:
                raise InvalidInput.of("--history", "is kept of prices of flavors only, not of limits")
            limit = client.explain_limit(
                name.removeprefix(_LIMIT), one_more=one_more, timeout=patience if one_more else None
            )
            if settings.json:
                screen.emit_json(explain_json.limit_explanation(limit))
            else:
                show_limit(limit, as_of(limit.round, limit.time, time.time()), one_more=one_more)
        elif kind == "price":
            flavor, _, resource = name.rpartition("/")
            if not flavor or not resource:
                raise InvalidInput.of("FLAVOR/RESOURCE", f"must be written like h100/gpu or limit/NAME, got {name!r}")
            price, past = client.explain_price(
                flavor, resource, one_more=one_more, history=history, timeout=patience if one_more else None
            )
            if settings.json:
                screen.emit_json(explain_json.price_explanation(price, past))
            else:
                show_price(price, past, time.time(), one_more=one_more)
        else:
            job = client.explain_job(
                name,
                estimate=when,
                what_helps=what_helps,
                most_rounds=most_rounds,
                timeout=patience if when or what_helps else None,
            )
            if settings.json:
                screen.emit_json(explain_json.job_explanation(job))
            else:
                show_job(job, time.time(), lambda change: _command(client, name, change))


def _subject(given: list[str]) -> tuple[str, str]:
    """(job, queue or price; its name)."""
    if len(given) == 1 and given[0] not in ("queue", "price"):
        return "job", given[0]
    if len(given) == 2 and given[0] in ("job", "queue", "price"):
        return given[0], given[1]
    raise InvalidInput.of(
        "JOB",
        f"must be a job, or `queue QUEUE`, `price FLAVOR/RESOURCE` or `price limit/NAME`; got {' '.join(given)!r}",
    )


def _command(client: Client, job_id: str, change: Change) -> str:
    """The command line that makes a change; empty where there is none."""
    if change.also:
        parts = [_command(client, job_id, each) for each in (replace(change, also=()), *change.also)]
        return " && ".join(parts) if all(parts) else ""
    if change.kind is ChangeKind.WEIGHT:
        return f"allocator update {shlex.quote(job_id)} --weight {change.weight:g}"
    if change.kind in (ChangeKind.FLAVOR, ChangeKind.NODES, ChangeKind.LIMIT):
        return ""
    try:
        queue: Queue = client.queue(change.queue).queue
    except NotFound:
        return ""
    arranged = replace(queue, quotas=with_amounts(queue.quotas, change))
    return f"allocator queues update {shlex.quote(queue.name)} {quota_flags(arranged)}"
