"""Kubernetes as the engine, experimental: `allocator kubernetes observe | drive`."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from allocator.cli import advice
from allocator.cli.app import command, group, session
from allocator.client import AsyncClient
from allocator.domain.errors import FailedPrecondition, InvalidInput

if TYPE_CHECKING:
    from allocator.kubernetes.observed import Object
    from allocator.kubernetes.template import Template

kubernetes = group(
    "kubernetes", "Look at a Kubernetes cluster, and run what is decided on it. Experimental.", "Cluster"
)
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9\-]{0,61}[a-z0-9])?\Z")

Kubeconfig = Annotated[
    Path | None, typer.Option(help="Whose cluster; default: the pod's own, else $KUBECONFIG, else ~/.kube/config.")
]
Context = Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig; its current one.")]
Gpu = Annotated[str, typer.Option("--gpu-resource", help="The resource that counts GPUs.", metavar="RESOURCE")]
Label = Annotated[str, typer.Option("--flavor-label", help="Node label that names the GPU model.", metavar="KEY")]
_GPU, _LABEL = "nvidia.com/gpu", "nvidia.com/gpu.product"


@command(kubernetes, "observe")
def observe(
    context: typer.Context,
    kubeconfig: Kubeconfig = None,
    cluster: Context = None,
    queues: Annotated[
        str,
        typer.Option(
            help="What of a pod names its queue: namespace, priority-class, or the key of a label.", metavar="WHAT"
        ),
    ] = "namespace",
    weight: Annotated[list[str] | None, typer.Option(help="QUEUE=WEIGHT; 1 unless said.")] = None,
    gpu: Gpu = _GPU,
    flavor_label: Label = _LABEL,
) -> None:
    """Say what would be done with this cluster as it is; nothing is changed anywhere, and no daemon is needed.

    Which pods that wait, and which suspended Jobs, would start now and where, why the others wait, and what a core, a
    GPU and a GiB are worth. What runs stays.
    """
    _require_library()
    from allocator.kubernetes.api import NODES, PODS, ServerAway, ServerRefused  # noqa: PLC0415 - optional
    from allocator.kubernetes.observing import ALL_JOBS, advise  # noqa: PLC0415
    from allocator.kubernetes.translation import Kinds  # noqa: PLC0415

    weights = advice.weights(weight or [])
    try:
        nodes, pods, jobs = asyncio.run(_look(kubeconfig, cluster, (NODES, PODS, ALL_JOBS)))
    except ServerAway as away:
        raise FailedPrecondition("kubernetes", f"does not answer: {away}") from None
    except ServerRefused as refused:
        raise FailedPrecondition("kubernetes", f"refuses to be looked at: {refused}") from None
    found = advise(nodes, pods, jobs, time.time(), Kinds(gpu, flavor_label), queues, weights)
    (advice.emit if session(context).json else advice.show)(found)


async def _look(kubeconfig: Path | None, context: str | None, paths: tuple[str, ...]) -> list[list[Object]]:
    """Everything at these paths, one after the other; once more from the start where a list grew too old."""
    from allocator.kubernetes.api import Expired, Server, ServerAway, configuration  # noqa: PLC0415 - optional

    async with Server(await configuration(kubeconfig, context), "default") as server:
        for _ in range(3):
            with suppress(Expired):
                return [(await server.everything(path))[0] for path in paths]
    raise ServerAway("lists grow too old before they are read")


@command(kubernetes, "drive")
def drive(
    context: typer.Context,
    kubeconfig: Kubeconfig = None,
    cluster: Context = None,
    namespace: Annotated[str, typer.Option(help="Where Jobs are made; for one daemon alone.")] = "allocator-jobs",
    image: Annotated[
        str, typer.Option(help="Container image of jobs that set no CONTAINER_IMAGE in their environment.")
    ] = "",
    pod_template: Annotated[
        Path | None, typer.Option(help="YAML file of a Pod: volumes, tolerations, accounts, ... of all jobs.")
    ] = None,
    subdomain: Annotated[
        str, typer.Option(help="Headless Service in the namespace, by which the replicas of a gang find one another.")
    ] = "allocator-jobs",
    gpu: Gpu = _GPU,
    flavor_label: Label = _LABEL,
    keep_finished: Annotated[
        int, typer.Option(min=0, help="Seconds that Jobs which have ended stay, for logs.")
    ] = 3600,
    start_within: Annotated[
        float, typer.Option(min=1, help="Seconds after which a replica that has not started has failed.")
    ] = 600.0,
) -> None:
    """Register the cluster's nodes, run what the daemon decides as Jobs, and report what becomes of them.

    Pods of others count as used capacity and are never touched. Jobs are made suspended, each bound to its node, and
    released when all of a gang are there. Ends with Ctrl-C; what runs goes on, and is known again by the next one.
    """
    _require_library()
    from allocator.kubernetes.api import Server, ServerRefused, configuration  # noqa: PLC0415 - optional
    from allocator.kubernetes.bridge import Bridge, Settings  # noqa: PLC0415
    from allocator.kubernetes.manifest import Surroundings  # noqa: PLC0415
    from allocator.kubernetes.translation import Kinds  # noqa: PLC0415

    for flag, name in (("--namespace", namespace), ("--subdomain", subdomain)):
        if not _NAMESPACE.match(name):
            raise InvalidInput.of(flag, f"must be lower-case letters, digits and '-', at most 63; got {name!r}")
    around = Surroundings(namespace, _template(pod_template, image), gpu, subdomain)
    settings = Settings(around, Kinds(gpu, flavor_label), keep_seconds=keep_finished, start_seconds=start_within)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")

    async def run() -> None:
        found = await configuration(kubeconfig, cluster)
        async with AsyncClient(session(context).address) as client, Server(found, namespace) as server:
            await Bridge(client, server, settings).run()

    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(run())
    except ServerRefused as refused:
        raise FailedPrecondition("kubernetes", f"refuses to be looked at: {refused}") from None


def _require_library() -> None:
    if importlib.util.find_spec("kubernetes") is None:
        raise FailedPrecondition("kubernetes", "needs the client library: pip install 'allocator[kubernetes]'")


def _template(file: Path | None, image: str) -> Template:
    from allocator.kubernetes.template import template_of  # noqa: PLC0415 - only this group needs it

    try:
        document = None if file is None else yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput.of("--pod-template", f"cannot be read: {error}") from None
    return template_of(document, image)
