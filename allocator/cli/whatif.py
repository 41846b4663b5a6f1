"""`allocator whatif | plan`, and `allocator submit --dry-run`: what would happen, without doing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from allocator.cli import completion, documents, jobfile, screen
from allocator.cli.app import Session, app, as_given, command, session
from allocator.cli.exits import ExitCode, of_batch
from allocator.cli.jobfile import JobDraft, read_drafts
from allocator.cli.whatif_flags import (
    Asked,
    job_changes,
    limit_changes,
    node_changes,
    offers,
    policy_change,
    queue_changes,
)
from allocator.cli.whatif_json import outcome_json, plan_json
from allocator.cli.whatif_view import show_dry_run, show_outcome, show_plan
from allocator.client import Client, JobSpec, Outcome
from allocator.client.batches import from_here
from allocator.domain.errors import AllocatorError, InvalidInput
from allocator.intake.commands import SubmitJobs

_PANEL = "Cluster"
_Texts = list[str] | None


@command(app, "whatif", _PANEL)
def whatif(
    context: typer.Context,
    add_node: Annotated[
        _Texts,
        typer.Option(
            metavar="FLAVOR[=N]",
            help="N more nodes of a flavor (default 1), like most of its nodes; h100=2:cpu=64,gpu=8,memory=512GiB says "
            "what each has. Repeatable, as all the others.",
        ),
    ] = None,
    remove_node: Annotated[
        _Texts, typer.Option(metavar="NODE", help="A node is gone.", autocompletion=completion.node_names)
    ] = None,
    cordon_node: Annotated[
        _Texts, typer.Option(metavar="NODE", help="A node is closed.", autocompletion=completion.node_names)
    ] = None,
    drain_node: Annotated[
        _Texts, typer.Option(metavar="NODE", help="A node is closed and emptied.", autocompletion=completion.node_names)
    ] = None,
    uncordon_node: Annotated[
        _Texts, typer.Option(metavar="NODE", help="A node is open again.", autocompletion=completion.node_names)
    ] = None,
    submit: Annotated[
        _Texts, typer.Option(metavar="FILE", help="The jobs of a job file are submitted; - is standard input.")
    ] = None,
    cancel: Annotated[
        _Texts, typer.Option(metavar="JOB", help="A job is cancelled.", autocompletion=completion.live_job_ids)
    ] = None,
    job_weight: Annotated[_Texts, typer.Option(metavar="JOB=WEIGHT", help="A job has another weight.")] = None,
    job_priority_class: Annotated[
        _Texts, typer.Option(metavar="JOB=CLASS", help="A job is in another priority class.")
    ] = None,
    queue_weight: Annotated[_Texts, typer.Option(metavar="QUEUE=WEIGHT", help="A queue has another weight.")] = None,
    queue_priority: Annotated[_Texts, typer.Option(metavar="QUEUE=N", help="A queue has another priority.")] = None,
    queue_discipline: Annotated[
        _Texts, typer.Option(metavar="QUEUE=fair|fifo", help="A queue has another discipline.")
    ] = None,
    queue_quota: Annotated[
        _Texts,
        typer.Option(
            metavar="QUEUE:QUOTA",
            help="Replace a queue's quotas by those given: research:h100/gpu=16,borrow=8; research: alone by none.",
        ),
    ] = None,
    policy: Annotated[
        _Texts,
        typer.Option(metavar="NAME=VALUE", help="A setting of the policy is another: fairness=min-delay."),
    ] = None,
    limit: Annotated[
        _Texts,
        typer.Option(
            metavar="NAME=AMOUNT",
            help="A limit is another: matlab=40, batch-on-h100=60%, research:h100/gpu=24 (most that a queue may use); "
            "=none: there is no such limit.",
        ),
    ] = None,
    job: Annotated[
        _Texts,
        typer.Option(metavar="JOB", help="Follow this job, too.", autocompletion=completion.live_job_ids),
    ] = None,
    rounds: Annotated[
        int, typer.Option(metavar="N", help="Replay N more rounds, to see when jobs asked about start.")
    ] = 0,
) -> None:
    """Tell what the next round would do if something were different; nothing is changed.

    allocator whatif --add-node h100=2 --queue-weight research=3 --job j17 --rounds 100
    """
    asked = Asked()
    node_changes(asked, add_node or (), remove_node or (), cordon_node or (), drain_node or (), uncordon_node or ())
    queue_changes(asked, queue_weight or (), queue_priority or (), queue_discipline or (), queue_quota or ())
    policy_change(asked, policy or ())
    drafts = [draft for file in submit or () for draft in read_drafts(documents.read(file))]
    settings = session(context)
    with settings.client() as client:
        limit_changes(asked, client, limit or ())
        job_changes(asked, specs_of(client, drafts), cancel or (), job_weight or (), job_priority_class or ())
        if not asked.changes and not job:
            raise InvalidInput.of("", "nothing to ask: give a change such as --add-node, or --job")
        outcome = _ask(client, asked, job or (), rounds)
    if settings.json:
        screen.emit_json(outcome_json(outcome))
    else:
        show_outcome(outcome)
    raise typer.Exit(_refused(settings, outcome))


@command(app, "plan", _PANEL)
def plan(
    context: typer.Context,
    budget: Annotated[float, typer.Option(metavar="AMOUNT", help="What may be spent, in the unit of the costs.")],
    cost: Annotated[
        _Texts,
        typer.Option(
            metavar="FLAVOR=COST",
            help="What a node of a flavor costs; of a flavor that is not there yet also what it has: "
            "h200=40000:cpu=96,gpu=8,memory=2TiB. Repeatable.",
        ),
    ] = None,
    costs: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Costs in YAML or JSON: flavors to cost, or cost and amounts."),
    ] = None,
) -> None:
    """Tell which nodes to buy next for the jobs that are there now, and what that brings.

    allocator plan --budget 100000 --cost h100=30000 --cost v100=8000
    """
    wanted = offers(cost or (), costs)
    settings = session(context)
    with settings.client() as client:
        try:
            found = client.plan_capacity(budget, wanted)
        except InvalidInput as error:
            raise as_given(
                error, {"budget": "--budget", "cost": "--cost", "capacity": "--cost", "flavor": "--cost"}
            ) from None
    if settings.json:
        screen.emit_json(plan_json(found))
    else:
        show_plan(found)


def dry_run(settings: Session, client: Client, specs: Sequence[JobSpec], *, allow_infeasible: bool) -> ExitCode:
    """Tell what a submit would do. The exit code is that of the submit."""
    asked = Asked()
    for start in range(0, len(specs), 10_000):
        batch = tuple(from_here(spec, start, None) for spec in specs[start : start + 10_000])
        asked.add("", SubmitJobs(batch, feasible_only=not allow_infeasible))
    outcome = _ask(client, asked, (), 0)
    if settings.json:
        screen.emit_json(outcome_json(outcome))
    else:
        show_dry_run(outcome)
    return _refused(settings, outcome)


def specs_of(client: Client, drafts: Sequence[JobDraft]) -> list[JobSpec]:
    """One per job; the cluster's flavors where a job accepts any. See `jobfile.specs_of`."""
    flavors: tuple[str, ...] = ()
    if any(draft.any_flavor for draft in drafts):
        flavors = tuple(sorted({node.flavor for node in client.nodes()}))
    return jobfile.specs_of(drafts, flavors)


def _ask(client: Client, asked: Asked, job_ids: Sequence[str], rounds: int) -> Outcome:
    try:
        return client.simulate(asked.changes, job_ids=job_ids, rounds=rounds)
    except InvalidInput as error:
        raise asked.as_given(error) from None


def _refused(settings: Session, outcome: Outcome) -> ExitCode:
    """Complaints about submitted items that would be refused, and the exit code that tells of them."""
    refused = [(index, item) for index, item in enumerate(outcome.submitted) if isinstance(item, AllocatorError)]
    if not settings.json:
        for index, error in refused:
            place = f"item {index}: " if len(outcome.submitted) > 1 else ""
            screen.complain(f"{place}{error}")
    return of_batch([error for _, error in refused], len(outcome.submitted))


__all__ = ["dry_run", "plan", "specs_of", "whatif"]
