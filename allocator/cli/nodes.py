"""`allocator nodes [list | show | drain | cordon | uncordon | taint | remove]`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from allocator.cli import completion, schema, screen, words
from allocator.cli.app import command, group, session
from allocator.cli.quantities import approximate
from allocator.cli.screen import Column, Table
from allocator.client import Client
from allocator.domain.cluster import EngineCapability, Node, NodeAvailability, NodeHealth
from allocator.domain.errors import InvalidInput
from allocator.domain.resources import STANDARD_RESOURCES, display_unit, resource_names

nodes = group("nodes", "List nodes, look at one, and close, empty, reopen, taint or forget them.", "Cluster")

_Name = Annotated[str, typer.Argument(metavar="NODE", help="The node's name.", autocompletion=completion.node_names)]


@nodes.callback()
def _alone(context: typer.Context) -> None:
    """List nodes, and close, empty, reopen, taint or forget them; alone: list."""
    if context.invoked_subcommand is None:
        _list(context, None)


@command(nodes, "list")
def list_(
    context: typer.Context,
    flavor: Annotated[
        str | None, typer.Option(help="Only nodes of this flavor.", autocompletion=completion.flavor_names)
    ] = None,
) -> None:
    """List nodes with what they have."""
    _list(context, flavor)


@command(nodes, "show")
def show(context: typer.Context, name: _Name) -> None:
    """Show one node: what it has, and what its engine can do."""
    settings = session(context)
    with settings.client() as client:
        node = client.node(name)
    if settings.json:
        screen.emit_json(schema.node(node))
    else:
        screen.facts(_page(node))


@command(nodes, "drain")
def drain(context: typer.Context, name: _Name) -> None:
    """Close a node and empty it: preemptible jobs leave at the next round, the others when they end."""
    _change(context, lambda client: client.drain_node(name))


@command(nodes, "cordon")
def cordon(context: typer.Context, name: _Name) -> None:
    """Close a node for new work; what runs there goes on."""
    _change(context, lambda client: client.cordon_node(name, cordoned=True))


@command(nodes, "uncordon")
def uncordon(context: typer.Context, name: _Name) -> None:
    """Open a node that was cordoned or drained."""
    _change(context, lambda client: client.cordon_node(name, cordoned=False))


@command(nodes, "taint")
def taint(
    context: typer.Context,
    name: _Name,
    taints: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY[=VALUE]]...", help="Taints to add; one of the same key is replaced."),
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="KEY", help="A taint to remove. Repeatable.")
    ] = None,
) -> None:
    """Keep a node for jobs that tolerate its taints; what runs there stays."""
    if not taints and not remove:
        raise InvalidInput.of("", "nothing to change: give taints such as dedicated=training, or --remove")
    added = {key: value for key, _, value in (given.partition("=") for given in taints or ())}
    settings = session(context)
    with settings.client() as client:
        node = client.taint_node(name, added, remove=remove or ())
    if settings.json:
        screen.emit_json(schema.node(node))
    else:
        screen.line(
            f"node {node.name} has {'the taints ' + words.labelled(node.taints) if node.taints else 'no taints'}"
        )


@command(nodes, "remove")
def remove(context: typer.Context, name: _Name) -> None:
    """Forget a node that is lost or drained, and empty."""
    settings = session(context)
    with settings.client() as client:
        client.remove_node(name)
    if settings.json:
        screen.emit_json({"name": name, "removed": True})
    else:
        screen.line(f"node {name} removed")


def _list(context: typer.Context, flavor: str | None) -> None:
    settings = session(context)
    with settings.client() as client:
        found = [node for node in client.nodes() if flavor is None or node.flavor == flavor]
    if settings.json:
        screen.emit_json(schema.many(schema.node, found))
    else:
        screen.show(node_table(found), empty="no nodes")


def _page(node: Node) -> list[tuple[str, str]]:
    able = node.capabilities
    can = (
        "everything: it says nothing else"
        if able is None
        else _listed(each for each in EngineCapability if each in able)
    )
    return [
        ("node", node.name),
        ("flavor", node.flavor),
        ("state", node_state(node)),
        ("trouble", node.trouble and f"can begin nothing: {node.trouble}"),
        ("has", words.demand(node.capacity)),
        ("agent", "simulated" if node.simulated else ""),
        ("labels", "\n".join(f"{key}={value}" for key, value in node.labels)),
        ("taints", words.labelled(node.taints)),
        ("engine can", can),
        ("cannot", "" if able is None else _listed(each for each in EngineCapability if each not in able)),
    ]


def _listed(capabilities: Iterable[EngineCapability]) -> str:
    """One line each."""
    return "\n".join(f"{each.value}: {words.CAPABILITIES[each]}" for each in capabilities) or "none of these"


def node_table(found: list[Node]) -> Table:
    """One line per node; a column per resource that any of them has, in its display unit, and one for taints and one
    for troubles if there are any.
    """
    resources = resource_names([node.capacity for node in found])
    tainted, troubled = any(node.taints for node in found), any(node.trouble for node in found)
    table = Table(
        (
            Column("NODE"),
            Column("FLAVOR"),
            Column("STATE"),
            *(
                Column(_title(resource), right=True, give_way=index + 3 if index > 1 else 0)
                for index, resource in enumerate(resources)
            ),
            Column("AGENT", give_way=2),
            Column("LABELS", give_way=1, elastic=True),
            *([Column("TAINTS", give_way=2, elastic=True)] if tainted else []),
            *([Column("TROUBLE", elastic=True)] if troubled else []),
        )
    )
    for node in found:
        table.add(
            node.name,
            node.flavor,
            node_state(node),
            *(approximate(resource, node.capacity.get(resource)) for resource in resources),
            "simulated" if node.simulated else "-",
            words.labelled(node.labels) or "-",
            *([words.labelled(node.taints) or "-"] if tainted else []),
            *([node.trouble or "-"] if troubled else []),
        )
    return table


def node_state(node: Node) -> str:
    """`lost` whatever the operator wants, else what the operator wants, else `in trouble` or `ready`."""
    if node.health is NodeHealth.LOST:
        return "lost"
    ready = "in trouble" if node.trouble else "ready"
    return ready if node.availability is NodeAvailability.OPEN else node.availability.value


def _title(resource: str) -> str:
    if resource not in STANDARD_RESOURCES:
        return resource
    unit = display_unit(resource)[0]
    return unit.upper() if resource in ("cpu", "gpu") else f"{resource.upper()} {unit}"


def _change(context: typer.Context, act: Callable[[Client], Node]) -> None:
    settings = session(context)
    with settings.client() as client:
        node = act(client)
    if settings.json:
        screen.emit_json(schema.node(node))
    else:
        screen.line(f"node {node.name} is {node.availability.value}")
