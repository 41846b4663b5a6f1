"""Names for the shell's completion, asked of the daemon. Without an answer there are simply none: a shell is no place
for error messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice

import typer

from allocator.cli.app import session
from allocator.client import Client, Discipline, JobState
from allocator.client.retry import NEVER
from allocator.domain.errors import AllocatorError
from allocator.domain.job import PRIORITY_CLASSES
from allocator.domain.process import CHECKPOINT_SIGNALS
from allocator.policyfile import read

_SECONDS = 1.0
_MOST = 200

_Question = Callable[[Client], Iterable[str]]


def queue_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Queues whose name begins so."""
    return _asked(ctx, lambda client: (status.queue.name for status in client.queues()), incomplete)


def live_job_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of pending and running jobs that begin so."""
    live = [JobState.PENDING, JobState.RUNNING]
    return _asked(ctx, lambda client: (job.id for job in client.jobs(states=live)), incomplete)


def job_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of any jobs that begin so."""
    return _asked(ctx, lambda client: (job.id for job in client.jobs()), incomplete)


def node_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Nodes whose name begins so."""
    return _asked(ctx, lambda client: (node.name for node in client.nodes()), incomplete)


def flavor_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Flavors that any node has, whose name begins so."""
    return _asked(ctx, lambda client: sorted({node.flavor for node in client.nodes()}), incomplete)


def quota_beginnings(ctx: typer.Context, incomplete: str) -> list[str]:
    """`FLAVOR/RESOURCE=` for all that the nodes have, that begin so."""
    return _asked(
        ctx, lambda client: (f"{usage.flavor}/{usage.resource}=" for usage in client.status().flavors), incomplete
    )


def checkpoint_signals(incomplete: str) -> list[str]:
    """Signals by which a job can be told to leave its place."""
    return [name for name in CHECKPOINT_SIGNALS if name.startswith(incomplete)]


def disciplines(incomplete: str) -> list[str]:
    """How a queue's jobs may share."""
    return [discipline.value for discipline in Discipline if discipline.value.startswith(incomplete)]


def priority_classes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Those of the policy in force; without a daemon the built-in ones."""
    return _asked(ctx, _classes, incomplete) or [name for name in PRIORITY_CLASSES if name.startswith(incomplete)]


def subjects(ctx: typer.Context, incomplete: str) -> list[str]:
    """What there is to explain: after `queue` queues, after `price` what has one, otherwise jobs."""
    before = tuple(ctx.params.get("subject") or ())
    if before == ("queue",):
        return queue_names(ctx, incomplete)
    if before == ("price",):
        return _asked(ctx, _priced, incomplete)
    kinds = () if before else ("job", "queue", "price")
    return [kind for kind in kinds if kind.startswith(incomplete)] + live_job_ids(ctx, incomplete)


def _priced(client: Client) -> Iterator[str]:
    yield from (f"{usage.flavor}/{usage.resource}" for usage in client.status().flavors)
    with suppress(AllocatorError):  # before the first round nobody knows
        yield from (f"limit/{usage.name}" for usage in client.limit_prices().usages)


def _classes(client: Client) -> list[str]:
    document = read(client.policy().text).document
    return [] if document is None else [each.name for each in document.policy.priority_classes]


def _asked(ctx: typer.Context, ask: _Question, incomplete: str) -> list[str]:
    with suppress(AllocatorError), Client(session(ctx).address, timeout=_SECONDS, retry=NEVER) as client:
        return list(islice(_starting(ask(client), incomplete), _MOST))
    return []


def _starting(names: Iterable[str], incomplete: str) -> Iterator[str]:
    return (name for name in names if name.startswith(incomplete))
