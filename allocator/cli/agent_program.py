"""What `allocator agent` does, apart from its options: other commands need none of what this imports."""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import signal
import sys
from collections.abc import Callable
from dataclasses import replace

from allocator.agent import bandwidth, cgroups
from allocator.agent.agent import Agent
from allocator.agent.confinement import Capability
from allocator.agent.instructions import RunnerSettings
from allocator.agent.machine import Given, default_device, observe
from allocator.agent.runner import Runner
from allocator.cli import schema, screen
from allocator.cli.quantities import approximate
from allocator.client import AsyncClient, RetryPolicy
from allocator.domain.cluster import Node
from allocator.domain.errors import FailedPrecondition, InvalidInput


def run(
    address: str | None,
    given: Given,
    settings: RunnerSettings,
    shape: str,
    group: str,
    *,
    end_jobs: bool = False,
    as_json: bool = False,
) -> None:
    """Until SIGTERM or Ctrl-C. `settings` as they were given: node and memory are filled in from what is found."""
    _check_user(settings.user)
    device = default_device() if shape == "default" else shape
    confinement = cgroups.find(group or _default_group(observe(given, ()).name))
    shaper = bandwidth.find(device, confinement)
    capabilities = (*confinement.capabilities, shaper.capability)
    node = observe(given, capabilities, device)
    settings = replace(settings, node=node.name, most_memory_bytes=node.capacity.memory_bytes)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")

    def registered(known: Node) -> None:
        _tell(known, capabilities, settings.user, as_json=as_json)

    folder = f"folder {settings.state}"
    try:
        asyncio.run(_serve(address, node, Runner(settings, confinement, shaper), registered, end_jobs=end_jobs))
    except BlockingIOError:
        raise FailedPrecondition(folder, "is another agent's, which runs; stop it, or choose another --state") from None
    except OSError as error:
        raise FailedPrecondition(folder, f"cannot be used: {error}") from None
    finally:
        confinement.close()


async def _serve(
    address: str | None, node: Node, runner: Runner, registered: Callable[[Node], None], *, end_jobs: bool
) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    async with AsyncClient(address, retry=RetryPolicy(attempts=1)) as client:
        try:
            await Agent(client, node, runner, registered, end_jobs=end_jobs).run()
        except asyncio.CancelledError:
            return


def _tell(node: Node, capabilities: tuple[Capability, ...], user: str, *, as_json: bool) -> None:
    if as_json:
        screen.emit_json(
            {
                "node": schema.node(node),
                "capabilities": {each.name: {"on": each.on, "why": each.why} for each in capabilities},
            }
        )
    else:
        offered = ", ".join(f"{what} {approximate(what, amount, unit=True)}" for what, amount in node.capacity.items())
        screen.line(f"node {node.name} (flavor {node.flavor}) offers {offered}")
        if os.getuid() == 0 and not user:
            screen.line("  jobs run as root: name another user with --user")
        for each in capabilities:
            screen.line(f"  {each.name}: {'on' if each.on else f'off: {each.why}'}")
    sys.stdout.flush()


def _check_user(user: str) -> None:
    if not user:
        return
    try:
        pwd.getpwnam(user)
    except KeyError:
        raise InvalidInput.of("--user", f"must be a user of this machine, got {user!r}") from None
    if os.getuid() != 0:
        raise InvalidInput.of("--user", "can only be given to an agent that runs as root")


def _default_group(node: str) -> str:
    """At the root: there the jobs outlive the agent's service, and only the rest of the machine competes with them."""
    name = "allocator-" + node.replace("/", "_")
    return f"/{name}" if os.getuid() == 0 else name
