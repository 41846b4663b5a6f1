"""`allocator policy [show | check | apply | history]`: a file that says what is wanted."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from allocator.cli import schema, screen
from allocator.cli.app import command, group, session
from allocator.cli.exits import ExitCode
from allocator.cli.whatif_json import outcome_json
from allocator.cli.whatif_view import show_outcome
from allocator.client import Client, PolicyCheck, PolicyRecord
from allocator.domain.applied_policy import PolicyDocument
from allocator.domain.errors import FailedPrecondition, InvalidInput, Violation
from allocator.domain.objectives import objective_name
from allocator.intake.commands import ApplyPolicy
from allocator.policyfile import Reading, Remark, differences, read
from allocator.policyfile.compare import Difference

policy = group(
    "policy",
    "Say what is wanted in a file: the objective, queues, priority classes, limits. Once one was applied, it is in "
    "force, and the section \\[policy] of the daemon's configuration is not any more.",
    "Cluster",
)

_File = Annotated[str, typer.Argument(metavar="FILE", help="A policy file in TOML; - is standard input.")]
_Prune = Annotated[bool, typer.Option("--prune", help="Remove queues that the file does not have; else they stay.")]


@policy.callback()
def _alone(context: typer.Context) -> None:
    """Say what is wanted in a file: the objective, queues, priority classes, limits; alone: show.

    Once a policy was applied, it is in force, and the section \\[policy] of the daemon's configuration is not any more.
    """
    if context.invoked_subcommand is None:
        _show(context, None, as_sent=False)


@command(policy, "show")
def show(
    context: typer.Context,
    version: Annotated[int | None, typer.Option(metavar="N", help="An earlier one; default: the one in force.")] = None,
    as_sent: Annotated[bool, typer.Option("--as-sent", help="The file as it was applied, comments and all.")] = False,
) -> None:
    """Print the policy in force as a file that can be applied again, with the queues as they are now.

    allocator policy show > policy.toml
    """
    _show(context, version, as_sent=as_sent)


@command(policy, "check")
def check(
    context: typer.Context,
    file: _File,
    against: Annotated[
        bool,
        typer.Option(
            "--against", help="Ask the daemon, too: what would change, what may surprise, would it be refused."
        ),
    ] = False,
    prune: _Prune = False,
) -> None:
    """Tell everything that is wrong with a policy file, each mistake with line and column; nothing is applied.

    Without --against, no daemon is needed.
    """
    settings = session(context)
    name, text = _read(file)
    reading = read(text)
    checked = PolicyCheck(reading.mistakes, reading.warnings)
    changes: tuple[Difference, ...] = ()
    if against:
        with settings.client() as client:
            checked = client.check_policy(text, prune=prune)
            if reading.document is not None:
                changes = differences(_document(client.policy().text), reading.document, prune=prune)
    if settings.json:
        screen.emit_json(_check_json(checked, changes if against else None))
    else:
        _complain(name, checked.mistakes)
        _remark(name, checked.warnings)
        if not checked.mistakes:
            assert reading.document is not None
            screen.line(f"{name} is valid: {_told(reading.document)}")
            if against:
                _show_changes(changes)
        if checked.refusal:
            screen.complain(f"applying it would be refused: {checked.refusal}")
    if checked.mistakes:
        raise typer.Exit(ExitCode.BAD_INPUT)
    if checked.refusal:
        raise typer.Exit(ExitCode.CONFLICT)


@command(policy, "apply")
def apply(
    context: typer.Context,
    file: _File,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what the next round would do with it; nothing is applied.")
    ] = False,
    prune: _Prune = False,
    comment: Annotated[str, typer.Option(metavar="TEXT", help="Why, for `allocator policy history`.")] = "",
    author: Annotated[str | None, typer.Option(metavar="NAME", help="Who applies it; default: you.")] = None,
    expect_version: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Refuse unless this one is in force; default: the one that the changes shown are from.",
        ),
    ] = None,
) -> None:
    """Make a policy file be in force from the next round on, queues and all at once; what changes is shown.

    Queues that the file does not have stay, unless --prune is given. allocator policy apply policy.toml --dry-run
    """
    settings = session(context)
    name, text = _read(file)
    document = _valid(name, read(text))
    with settings.client() as client:
        warnings = [each for each in client.check_policy(text, prune=prune).warnings if each.field]
        if not settings.json:
            _remark(name, warnings)
        before = client.policy()
        expected = before.version if expect_version is None else expect_version
        if expected != before.version:
            raise FailedPrecondition("policy", f"version {before.version} is in force, and not {expected}")
        changes = differences(_document(before.text), document, prune=prune)
        if dry_run:
            _dry_run(context, client, ApplyPolicy(document, text, expected, prune), changes, warnings)
            return
        after = client.apply_policy(
            text, expected_version=expected, prune=prune, author=_me() if author is None else author, comment=comment
        )
    if settings.json:
        screen.emit_json({"policy": schema.policy(after)} | _told_json(changes, warnings))
        return
    _show_changes(changes)
    if after.version == before.version:
        screen.line(f"policy {after.version} is in force as before")
    else:
        screen.line(f"policy {after.version} is in force from the next round on")


@command(policy, "history")
def history(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="At most so many, the newest.")] = 20,
) -> None:
    """List the policies that were applied, newest first: when, by whom, why."""
    settings = session(context)
    with settings.client() as client:
        found = client.policies(limit)
    if settings.json:
        screen.emit_json(schema.many(schema.policy_in_short, found))
        return
    table = screen.Table(
        (
            screen.Column("VERSION", right=True),
            screen.Column("APPLIED"),
            screen.Column("BY"),
            screen.Column("WHY", elastic=True),
        )
    )
    for record in found:
        when = "-" if record.time is None else screen.local_time(record.time)
        table.add(str(record.version), when, record.author or "-", record.comment or "-")
    screen.show(table, empty="none was applied yet: the daemon's own is in force")


def _show(context: typer.Context, version: int | None, *, as_sent: bool) -> None:
    settings = session(context)
    with settings.client() as client:
        record = client.policy(version)
    if settings.json:
        screen.emit_json(schema.policy(record))
    elif as_sent and record.version:
        sys.stdout.write(record.sent_text if record.sent_text.endswith("\n") else f"{record.sent_text}\n")
    else:
        sys.stdout.write("".join(f"# {line}\n" for line in _origin(record)) + record.text)


def _origin(record: PolicyRecord) -> list[str]:
    if record.time is None:
        return [
            "No policy was applied yet: this is the section [policy] of the daemon's configuration, with the queues."
        ]
    by = f" by {record.author}" if record.author else ""
    lines = [f"Policy {record.version}, applied {screen.local_time(record.time)}{by}."]
    return lines + [line for line in record.comment.splitlines() if line.isprintable()]


def _told_json(changes: Sequence[Difference], warnings: Sequence[Remark]) -> schema.Json:
    return {"changes": [str(change) for change in changes], "warnings": [_remark_json(each) for each in warnings]}


def _dry_run(
    context: typer.Context,
    client: Client,
    change: ApplyPolicy,
    changes: Sequence[Difference],
    warnings: Sequence[Remark],
) -> None:
    try:
        outcome = client.simulate([change])
    except InvalidInput as error:  # the file is read already: only its place among the changes is news
        raise InvalidInput(
            *(Violation(fault.field.removeprefix("changes[0]."), fault.description) for fault in error.violations)
        ) from None
    if session(context).json:
        screen.emit_json(_told_json(changes, warnings) | {"simulation": outcome_json(outcome)})
        return
    _show_changes(changes)
    show_outcome(outcome)
    screen.remark("nothing was applied")


def _read(file: str) -> tuple[str, str]:
    """(name, text). Errors: InvalidInput."""
    name = "<stdin>" if file == "-" else file
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise InvalidInput.of(name, f"cannot be read: {error.strerror or error}") from None
    try:
        return name, content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidInput.of(f"{name}:{line}", "is not UTF-8 text") from None


def _valid(name: str, reading: Reading) -> PolicyDocument:
    if reading.document is None:
        raise InvalidInput(*(mistake.violation(name) for mistake in reading.mistakes))
    return reading.document


def _document(text: str) -> PolicyDocument:
    """Of what the daemon wrote. Errors: InvalidInput if it is of another version."""
    found = read(text)
    if found.document is None:
        raise InvalidInput(*(mistake.violation("the daemon's policy") for mistake in found.mistakes))
    return found.document


def _told(document: PolicyDocument) -> str:
    policy_ = document.policy
    counts = (
        (len(document.queues), "queue"),
        (len(policy_.priority_classes), "priority class"),
        (len(policy_.side_constraints), "limit"),
    )
    parts = [f"objective {objective_name(policy_.fairness, policy_.utility)}"]
    for count, what in counts:
        plural = "es" if what.endswith("s") else "s"
        parts.append(f"{count} {what}{'' if count == 1 else plural}")
    return ", ".join(parts)


def _show_changes(changes: Sequence[Difference]) -> None:
    styles = {"+": "green", "-": "red", "~": "yellow"}
    for change in changes:
        text = str(change)
        screen.line(text, styles[text[0]])
    if not changes:
        screen.line("nothing changes")


def _complain(name: str, remarks: Iterable[Remark]) -> None:
    for remark in remarks:
        screen.complain(str(remark.violation(name)))


def _remark(name: str, remarks: Iterable[Remark]) -> None:
    for remark in remarks:
        screen.remark(f"warning: {remark.violation(name)}")


def _check_json(checked: PolicyCheck, changes: Sequence[Difference] | None) -> schema.Json:
    answer: schema.Json = {
        "valid": not checked.mistakes,
        "mistakes": [_remark_json(remark) for remark in checked.mistakes],
        "warnings": [_remark_json(remark) for remark in checked.warnings],
    }
    if changes is not None:
        answer |= {"refusal": checked.refusal, "changes": [str(change) for change in changes]}
    return answer


def _remark_json(remark: Remark) -> schema.Json:
    return {
        "line": remark.line,
        "column": remark.column,
        "field": remark.field,
        "description": remark.description,
    }


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # nobody with a name
        return ""


__all__ = ["apply", "check", "history", "show"]
