"""`allocator agent`: runs jobs on this machine, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from allocator.cli.app import app, command, session
from allocator.cli.quantities import parse_amount
from allocator.domain.errors import InvalidInput

_PANEL = "Daemon"
_SYSTEM_STATE = Path("/var/lib/allocator-agent")
_DAY = 86_400.0


@command(app, "agent", _PANEL)
def agent(
    context: typer.Context,
    name: Annotated[str | None, typer.Option(help="The node's name; default: the host's.")] = None,
    flavor: Annotated[str | None, typer.Option(help="Its flavor; default: the GPU's model, or 'cpu'.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label of the node. Repeatable.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(help=f"Folder for what is to outlive the agent; default: {_SYSTEM_STATE}, or below your own."),
    ] = None,
    user: Annotated[
        str, typer.Option(help="Who jobs run as; default: who the agent runs as. Only root can name another.")
    ] = "",
    cpu: Annotated[str | None, typer.Option(help="Cores to offer; default: those that the agent may use.")] = None,
    memory: Annotated[str | None, typer.Option(help="Memory to offer; default: what is there, less 2 %.")] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs to offer; default: those that NVML knows.")] = None,
    network: Annotated[
        str | None,
        typer.Option("--bandwidth", help="Bandwidth to offer; default: the speed of the network device, if it says."),
    ] = None,
    disk: Annotated[str | None, typer.Option(help="Disk space to offer; default: none.")] = None,
    shape: Annotated[
        str,
        typer.Option(
            metavar="DEVICE",
            help="Network device on which to hold jobs to their bandwidth: replaces its queueing discipline by htb. "
            "'default': that of the default route.",
        ),
    ] = "",
    most_processes: Annotated[
        int, typer.Option(help="How many processes and threads a replica may have at a time.", min=1)
    ] = 4096,
    most_file: Annotated[
        str, typer.Option(help="How large a file that a job writes may become; 'none': as large as it likes.")
    ] = "64GiB",
    most_disk: Annotated[
        str,
        typer.Option(
            help="How much all files in a job's own directory may take together, unless it asked for less disk; 'none'."
        ),
    ] = "64GiB",
    keep_days: Annotated[
        float, typer.Option(help="How long working directories and outputs stay after they were last written to.")
    ] = 7.0,
    end_jobs: Annotated[
        bool, typer.Option("--end-jobs", help="When the agent is stopped, end what runs; default: it goes on.")
    ] = False,
    group: Annotated[
        str,
        typer.Option(
            "--cgroup",
            metavar="NAME",
            help="Control group for the jobs, below the agent's own; with a leading slash: below the root. "
            "Default: /allocator-NODE for root, allocator-NODE for others.",
        ),
    ] = "",
) -> None:
    """Offer this machine to the daemon, and run what it is given.

    What runs goes on when the agent stops or is restarted; it is stopped when the daemon was not heard for longer than
    its lease.
    """
    from allocator.agent.instructions import RunnerSettings  # noqa: PLC0415 - other commands need none of it
    from allocator.agent.machine import Given  # noqa: PLC0415 - as above
    from allocator.cli import agent_program  # noqa: PLC0415 - as above

    session_ = session(context)
    given = Given(
        name,
        flavor,
        _labels(label or []),
        _amount("--cpu", "cpu", cpu),
        _amount("--memory", "memory", memory),
        gpus,
        _amount("--bandwidth", "bandwidth", network),
        _amount("--disk", "disk", disk),
    )
    settings = RunnerSettings(
        node="",
        state=state or _default_state(),
        user=user,
        most_processes=most_processes,
        most_file_bytes=None if most_file == "none" else _amount("--most-file", "disk", most_file),
        most_disk_bytes=None if most_disk == "none" else _amount("--most-disk", "disk", most_disk),
        keep_seconds=keep_days * _DAY,
    )
    agent_program.run(
        session_.address, given, settings, shape, group, end_jobs=end_jobs, as_json=session_.json
    )  # fmt: skip


def _labels(given: list[str]) -> tuple[tuple[str, str], ...]:
    found = {}
    for pair in given:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise InvalidInput.of("--label", f"must be KEY=VALUE, got {pair!r}")
        found[key] = value
    return tuple(sorted(found.items()))


def _amount(option: str, resource: str, given: str | None) -> int | None:
    return None if given is None else parse_amount(resource, given, option)


def _default_state() -> Path:
    if os.getuid() == 0:
        return _SYSTEM_STATE
    return Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local/state")) / "allocator-agent"
