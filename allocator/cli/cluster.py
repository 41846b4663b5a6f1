"""`allocator status | prices | rounds | watch`."""

from __future__ import annotations

import time
from itertools import islice
from typing import Annotated

import typer

from allocator.cli import completion, explain_json, schema, screen
from allocator.cli.app import app, command, session
from allocator.cli.cluster_view import flavor_prices, price_table, round_line, round_table, show_round, show_status
from allocator.cli.explain_view import price_history, price_line
from allocator.cli.job_view import event_line
from allocator.cli.limit_view import limit_table, show_fullest, usage_table
from allocator.cli.quantities import age
from allocator.client import Client, JobChange
from allocator.domain.errors import FailedPrecondition, InvalidInput
from allocator.explain.scarcity import LimitPrice
from allocator.rounds.report import LimitUsage, RoundSummary

_PANEL = "Cluster"


@command(app, "status", _PANEL)
def status(context: typer.Context) -> None:
    """Show on one screen how the cluster is: nodes, jobs, use and prices per flavor, queues, limits, the last round."""
    settings = session(context)
    with settings.client() as client:
        found = client.status()
        limits = () if found.last_round is None else _limits(client, None)[1]
        if settings.json:
            screen.emit_json(schema.cluster_status(found) | {"limit_usage": schema.many(schema.limit_usage, limits)})
        else:
            show_status(found, list(client.queues()), client.address, time.time())
            show_fullest(limits)


@command(app, "prices", _PANEL)
def prices(
    context: typer.Context,
    flavor: Annotated[
        str | None, typer.Option(help="Only this flavor.", autocompletion=completion.flavor_names)
    ] = None,
    history: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=1000, help="What they were in the last N rounds.")
    ] = None,
    follow: Annotated[bool, typer.Option("--watch", help="Follow them from round to round, until Ctrl-C.")] = False,
) -> None:
    """Show what one more unit of each resource is worth, and each flavor's part of the total budget.

    Prices are dual variables of the last round, per display unit (core, GPU, GiB, GB/s), as a part of the total budget
    of all queues together, which is 1. Nothing that is left over has a price. Who pays one, and what one more unit
    would bring, `allocator explain price` says. Below them are all limits: quotas, side constraints of the policy,
    floating resources, with what is in use of them, and their prices, per unit of theirs. Then who pays for those that
    have a price, and for what lies in pieces too small for some jobs, or on nodes that do not admit them.
    """
    settings = session(context)
    if history is not None and follow:
        raise InvalidInput.of("--watch", "cannot be combined with --history: give one of them")
    with settings.client() as client:
        if history is not None:
            past = list(islice(client.rounds(page_size=history), history))
            if settings.json:
                screen.emit_json([_prices_then(summary, flavor) for summary in past])
            else:
                table = price_history(past, flavor, time.time())
                screen.show(table, empty="no round has run yet, so no prices")
                if past and not any("/" in column.title for column in table.columns):
                    screen.remark("no resource of a flavor had a price in these rounds")
            return
        if follow:
            for summary in client.watch_rounds():
                if settings.json:
                    screen.emit_json_line(_prices_then(summary, flavor))
                else:
                    screen.line(price_line(summary, flavor))
            return
        found = client.status()
        limits, limit_usages = _limits(client, flavor) if found.last_round is not None else ((), ())
    usages = [usage for usage in found.flavors if flavor is None or usage.flavor == flavor]
    if settings.json:
        screen.emit_json(
            {
                "round": found.last_round.round if found.last_round else None,
                "prices": schema.many(schema.price, usages),
                "flavors": [
                    {"flavor": name, "budget_share": schema.finite(share)}
                    for name, share in flavor_prices(usages).items()
                ],
                "limits": [explain_json.limit_price(each) for each in limits],
                "limit_usage": schema.many(schema.limit_usage, limit_usages),
            }
        )
        return
    if found.last_round is None:
        screen.remark("no round has run yet, so there are no prices")
        return
    screen.show(price_table(usages), empty="no nodes, so no prices")
    if limit_usages:
        screen.heading("Limits")
        screen.show(usage_table(limit_usages))
    if limits:
        screen.heading("Who pays for limits, and for what lies in pieces")
        screen.show(limit_table(limits))
    last = found.last_round
    screen.remark(f"as of round {last.round}, {age(time.time() - last.time)} ago ({last.outcome.value})")


def _limits(client: Client, flavor: str | None) -> tuple[tuple[LimitPrice, ...], tuple[LimitUsage, ...]]:
    """Prices of limits, and all limits; of one flavor only what is about that alone. None if no round has run in this
    daemon.
    """
    try:
        found = client.limit_prices()
    except FailedPrecondition:
        return (), ()
    return (
        tuple(each for each in found.limits if flavor is None or each.flavor == flavor),
        tuple(each for each in found.usages if flavor is None or each.flavor == flavor),
    )


def _prices_then(summary: RoundSummary, flavor: str | None) -> schema.Json:
    usages = [usage for usage in summary.flavors if flavor is None or usage.flavor == flavor]
    return {
        "round": summary.round,
        "time": schema.time_text(summary.time),
        "prices": schema.many(schema.price, usages),
    }


@command(app, "rounds", _PANEL)
def rounds(
    context: typer.Context,
    number: Annotated[
        int | None, typer.Argument(metavar="[ROUND]", help="Show this round only, with all its figures.", min=0)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, help="How many, newest first.")] = 20,
) -> None:
    """List the last rounds, or show one."""
    settings = session(context)
    with settings.client() as client:
        if number is not None:
            summary = client.round(number)
            if settings.json:
                screen.emit_json(schema.round_summary(summary))
            else:
                show_round(summary)
            return
        found = list(islice(client.rounds(page_size=min(limit, 1000)), limit))
    if settings.json:
        screen.emit_json(schema.many(schema.round_summary, found))
    else:
        screen.show(round_table(found, time.time()), empty="no round has run yet")


@command(app, "watch", _PANEL)
def watch(
    context: typer.Context,
    queue: Annotated[
        str,
        typer.Option(
            "--queue", "-q", help="Only jobs of this queue and those below it.", autocompletion=completion.queue_names
        ),
    ] = "",
    rounds: Annotated[bool, typer.Option("--rounds", "-r", help="Follow rounds instead of jobs.")] = False,
    cursor: Annotated[
        str, typer.Option(metavar="CURSOR", help="Go on after this cursor of an earlier --json watch (jobs).")
    ] = "",
    after: Annotated[
        int | None, typer.Option(metavar="ROUND", help="Go on after this round (with --rounds).", min=0)
    ] = None,
) -> None:
    """Follow jobs as they change (first the live ones as they are), or rounds as they end, until Ctrl-C.

    Survives restarts of the daemon. With --json one line per event, as the API's messages.
    """
    if rounds and (queue or cursor):
        raise InvalidInput.of("--rounds", "cannot be combined with --queue or --cursor")
    if after is not None and not rounds:
        raise InvalidInput.of("--after", "needs --rounds; for jobs use --cursor")
    settings = session(context)
    with settings.client() as client:
        if rounds:
            for summary in client.watch_rounds(after=after):
                if settings.json:
                    screen.emit_json_line(schema.round_summary(summary))
                else:
                    screen.line(round_line(summary), screen.STATE_STYLES.get(summary.outcome.value, ""))
            return
        if queue:
            client.queue(queue)  # refuses if there is none: nothing would ever come
        for event in client.watch_jobs(queue=queue, cursor=cursor):
            if settings.json:
                screen.emit_json_line(schema.job_event(event))
            elif isinstance(event, JobChange):
                screen.line(event_line(event.job), screen.STATE_STYLES.get(event.job.state.value, ""))
            else:
                screen.remark("that is how things are; changes follow")
