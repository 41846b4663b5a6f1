"""`allocator serve | config | db`: the commands that run the daemon or look after its files."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from allocator.domain.errors import InvalidInput

if TYPE_CHECKING:
    from allocator.daemon.config import Settings

_PANEL = "Daemon"


class Session(Protocol):
    """What the program that these commands are attached to keeps as its root context's object."""

    json: bool
    """Whether answers and refusals are told as JSON."""


def _keep_json(context: typer.Context, value: bool) -> bool:
    """Tells the program, too, so that a refusal comes as JSON; `--json` may stand before the command as well."""
    root: Session | None = context.find_root().obj
    if root is None:
        return value
    root.json = root.json or value
    return root.json


_Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Configuration in TOML; default: the file that $ALLOCATOR_CONFIG names, else none.",
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.", callback=_keep_json, is_eager=True)]
_Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Override one setting, such as server.port=50052. Repeatable."),
]
_Url = Annotated[
    str | None, typer.Option("--url", help="SQLAlchemy URL of the database; default: store.url of the configuration.")
]

config = typer.Typer(help="Check or show the daemon's configuration.", no_args_is_help=True)
db = typer.Typer(help="Look after the daemon's database.", no_args_is_help=True)


def attach(app: typer.Typer) -> None:
    """Adds the commands to a program, which turns the refusals they raise into exit codes.

    The object of its root context, if there is one, is a `Session`.
    """
    app.command("serve", rich_help_panel=_PANEL)(serve)
    app.add_typer(config, name="config", rich_help_panel=_PANEL)
    app.add_typer(db, name="db", rich_help_panel=_PANEL)


def serve(
    config_file: _Config = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the API; 0 picks a free one.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port that Prometheus scrapes; 0 picks a free one.")] = None,
    store: Annotated[str | None, typer.Option(metavar="URL", help="Where the facts are kept.")] = None,
    interval: Annotated[float | None, typer.Option(metavar="SECONDS", help="From round to round, at most.")] = None,
    settings: _Set = None,
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; both drain it first."""
    from allocator import daemon  # noqa: PLC0415 - the solver and the store take a second to load

    flags: dict[str, Any] = {
        "server.host": host,
        "server.port": port,
        "metrics.port": metrics_port,
        "store.url": store,
        "rounds.interval_seconds": interval,
    }
    raise typer.Exit(daemon.serve(_load(config_file, settings, flags)))


@config.command("check")
def check(config_file: _Config = None, settings: _Set = None, as_json: _Json = False) -> None:
    """Check the configuration, the environment included, without starting anything."""
    _load(config_file, settings)
    typer.echo(json.dumps({"valid": True}) if as_json else "the configuration is valid")


@config.command("show")
def show(
    config_file: _Config = None,
    settings: _Set = None,
    as_json: _Json = False,
    secrets: Annotated[bool, typer.Option("--show-secrets", help="Print passwords, too.")] = False,
) -> None:
    """Print the settings in force as a configuration file, every key with its meaning."""
    from allocator.daemon.config import show as as_toml  # noqa: PLC0415 - see serve

    text = as_toml(_load(config_file, settings), secrets=secrets)
    typer.echo(json.dumps(tomllib.loads(text), indent=2) if as_json else text.rstrip("\n"))


@db.command("upgrade")
def upgrade(config_file: _Config = None, url: _Url = None, settings: _Set = None, as_json: _Json = False) -> None:
    """Bring the database to the schema of this program, creating it if need be. No daemon may be using it."""
    from allocator.store import migrations  # noqa: PLC0415 - see serve

    version = migrations.upgrade(_database(config_file, url, settings))
    typer.echo(json.dumps({"version": version}) if as_json else f"the database is at schema version {version}")


@db.command("current")
def current(config_file: _Config = None, url: _Url = None, settings: _Set = None, as_json: _Json = False) -> None:
    """Print the schema version of the database, and the one that this program needs."""
    from allocator.store import migrations  # noqa: PLC0415 - see serve

    version, newest = migrations.current(_database(config_file, url, settings)), migrations.head()
    if as_json:
        typer.echo(json.dumps({"version": version, "needed": newest}))
    elif version is None:
        typer.echo(f"the database holds no schema; this program needs version {newest}: run `allocator db upgrade`")
    else:
        typer.echo(f"the database is at schema version {version}; this program needs {newest}")


def _database(config_file: Path | None, url: str | None, settings: list[str] | None) -> str:
    return str(_load(config_file, settings, {"store.url": url}).store.url)


def _load(config_file: Path | None, settings: list[str] | None, flags: dict[str, Any] | None = None) -> Settings:
    """Errors: InvalidInput naming each wrong setting."""
    from allocator.daemon.config import load  # noqa: PLC0415 - see serve

    overrides = dict(flags or {})
    for text in settings or ():
        name, separator, value = text.partition("=")
        if not separator or "." not in name.strip("."):
            raise InvalidInput.of(
                "--set", f"must be written SECTION.KEY=VALUE, such as server.port=50052; got {text!r}"
            )
        overrides[name] = value
    return load(config_file, overrides)
