"""The command line's frame: options that every command takes, and refusals turned into one line and an exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from allocator import __version__
from allocator.cli import schema, screen
from allocator.cli.exits import MEANINGS, ExitCode, exit_code
from allocator.client import Client, RetryPolicy, Unreachable
from allocator.client.exchange import ADDRESS_VARIABLE, DEFAULT_ADDRESS, DEFAULT_TIMEOUT
from allocator.domain.errors import AllocatorError, InvalidInput, Violation

_PANEL = "Every command"
_ORDER = (
    "submit",
    "jobs",
    "job",
    "logs",
    "explain",
    "cancel",
    "update",
    "watch",
    "status",
    "queues",
    "policy",
    "nodes",
    "prices",
    "rounds",
    "whatif",
    "plan",
)

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass
class Session:
    """What the options of every command say."""

    json: bool = False
    address: str | None = None
    timeout: float = DEFAULT_TIMEOUT

    def client(self, retry: RetryPolicy = RetryPolicy()) -> Client:  # noqa: B008 - frozen
        """A client for the daemon that the options name."""
        return Client(self.address, timeout=self.timeout, retry=retry)


def session(context: typer.Context) -> Session:
    """The session of the running command."""
    return context.find_root().ensure_object(Session)


def _keep_json(context: typer.Context, value: bool) -> None:
    if value:
        session(context).json = True


def _keep_address(context: typer.Context, value: str | None) -> None:
    if value is not None:
        session(context).address = value


def _keep_timeout(context: typer.Context, value: float | None) -> None:
    if value is None:
        return
    if not 0 < value < 1e6:
        raise InvalidInput.of("--timeout", f"must be a number of seconds above 0, got {value:g}")
    session(context).timeout = value


def _declare(
    json_: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print JSON with the field names of the API; watches print JSON lines.",
            callback=_keep_json,
            is_eager=True,  # refusals of other options are told as it says
            expose_value=False,
            rich_help_panel=_PANEL,
        ),
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            help=f"The daemon; default: ${ADDRESS_VARIABLE}, else {DEFAULT_ADDRESS}.",
            callback=_keep_address,
            expose_value=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            help=f"How long one call may take, retries included; default: {DEFAULT_TIMEOUT:g}.",
            callback=_keep_timeout,
            expose_value=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
) -> None:
    """Declares the options of every command, for `_shared_options` to copy."""


@cache
def _shared_options() -> tuple[Any, ...]:
    """The options of `_declare`; they hold no state, so all commands share them."""
    declared = typer.Typer(add_completion=False)
    declared.command()(_declare)
    return tuple(typer.main.get_command(declared).params)


SEPARATED = "allocator.separated"
"""In a context's `meta`: whether some arguments stand behind a `--`."""


class Command(TyperCommand):
    """A command with the shared options."""

    def __init__(self, name: str | None, *, params: list[Any] | None = None, **settings: Any) -> None:
        super().__init__(name, params=[*(params or []), *_shared_options()], **settings)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Remembers whether there was a `--`, which is gone afterwards."""
        ctx.meta[SEPARATED] = "--" in args
        return super().parse_args(ctx, args)


class Group(TyperGroup):
    """A group of commands with the shared options."""

    def __init__(self, *, params: list[Any] | None = None, **settings: Any) -> None:
        super().__init__(params=[*(params or []), *_shared_options()], **settings)


class Root(Group):
    """The outermost group: where refusals end. Its commands are listed as people meet them."""

    def list_commands(self, ctx: Any) -> list[str]:
        known = super().list_commands(ctx)
        return sorted(known, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))

    def make_context(self, *args: Any, **settings: Any) -> Any:
        """Parses the root's own options, which may refuse, too."""
        try:
            context = super().make_context(*args, **settings)
        except AllocatorError as error:
            screen.complain(str(error))
            raise typer.Exit(exit_code(error)) from None
        context.ensure_object(Session)  # from here on every command finds one
        return context

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except AllocatorError as error:
            report(error, as_json=session(ctx).json)
            raise typer.Exit(exit_code(error)) from None
        except BrokenPipeError:
            _abandon_output()
            raise typer.Exit(ExitCode.BROKEN_PIPE) from None
        return result


def report(error: AllocatorError, *, as_json: bool) -> None:
    """Tell a refusal on standard error: a line per fault, or one JSON object."""
    if as_json:
        sys.stderr.write(json.dumps({"error": schema.error(error)}, ensure_ascii=False) + "\n")
    elif isinstance(error, InvalidInput) and error.violations:
        for violation in error.violations:
            screen.complain(str(violation))
    else:
        screen.complain(str(error) or type(error).__name__)
        if isinstance(error, Unreachable):
            screen.remark("start a daemon with `allocator serve`, or name another one with --address")


def as_given(error: InvalidInput, names: Mapping[str, str]) -> InvalidInput:
    """The same refusal, naming what is wrong as the user gave it: `updates[3].weight` as `names["weight"]`.

    `names` has flags and arguments by the last part of a field's path; other paths stay as they are.
    """
    return InvalidInput(
        *(
            Violation(names.get(fault.field.rpartition(".")[2], fault.field), fault.description)
            for fault in error.violations
        )
    )


@contextmanager
def named_as_given(names: Mapping[str, str]) -> Iterator[None]:
    """Inside, refusals are told `as_given`."""
    try:
        yield
    except InvalidInput as error:
        raise as_given(error, names) from None


def _abandon_output() -> None:
    """Nobody reads any more: let the interpreter's last flush go nowhere instead of failing."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


EPILOG = "Exit codes: " + "; ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items()) + "."

app = typer.Typer(
    cls=Root,
    name="allocator",
    help="Share a data center's machines among queues of jobs, and say why.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"allocator {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Only its options matter."""


def command(group: typer.Typer, name: str, panel: str | None = None, **settings: Any) -> Callable[[Function], Function]:
    """Registers a function as a command of `group` that takes the shared options and tells the exit codes."""
    return group.command(name, cls=Command, epilog=EPILOG, rich_help_panel=panel, **settings)


def group(name: str, help_: str, panel: str | None = None) -> typer.Typer:
    """A new group of commands below `app`; alone, it does what its callback does."""
    made = typer.Typer(cls=Group, help=help_, epilog=EPILOG, invoke_without_command=True)
    app.add_typer(made, name=name, rich_help_panel=panel)
    return made
