"""The API server, asked through the Kubernetes client library: lists, watches, and writes that say what they mean.

Objects are plain JSON, as the documented API has them; making models of every pod of a large cluster would be most of
the work.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from kubernetes.aio import client, config

from allocator.domain.errors import FailedPrecondition
from allocator.kubernetes.observed import FINALIZER, MANAGED_BY, OURS, KubeJob, KubePod, Object

NODES, PODS = "/api/v1/nodes", "/api/v1/pods"
OUR_JOBS = f"{MANAGED_BY}={OURS}"
"""Label selector."""
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
"""There inside of pods."""
_PAGE = 500
_UNREACHABLE = (aiohttp.ClientError, OSError, TimeoutError, ssl.SSLError, ValueError)


class ServerAway(Exception):
    """The API server does not answer now, or asks for patience. Ask again later."""


class ServerRefused(Exception):
    """It says no: `status` by HTTP, and its own words."""

    def __init__(self, status: int, words: str) -> None:
        self.status = status
        super().__init__(words)


class Expired(Exception):
    """What the watch would go on from is too long ago: list again."""


async def configuration(kubeconfig: Path | None, context: str | None) -> client.Configuration:
    """From a kubeconfig, or inside of a pod from its service account. Raises FailedPrecondition."""
    found = client.Configuration()
    try:
        if kubeconfig is None and context is None and await asyncio.to_thread(_ACCOUNT.exists):
            config.load_incluster_config(client_configuration=found)
        else:
            await config.load_kube_config(
                None if kubeconfig is None else str(kubeconfig), context, found, persist_config=False
            )
    except (config.ConfigException, OSError) as error:
        raise FailedPrecondition("kubernetes", f"no way to reach a cluster is configured: {error}") from None
    return found


class Server:
    """`async with Server(configuration, namespace) as server:`. Raises ServerAway and ServerRefused.

    `timeout_seconds` of each call; a watch is asked anew after `watch_seconds`.
    """

    def __init__(
        self,
        settings: client.Configuration,
        namespace: str,
        timeout_seconds: float = 30.0,
        watch_seconds: int = 240,
    ) -> None:
        self._client = client.ApiClient(settings)
        self._client.user_agent = "allocator"
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._watch_seconds = watch_seconds
        # who does not even close a watch when its time is over is gone
        self._watch_timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=timeout_seconds, sock_read=watch_seconds + 15
        )
        self.jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self._pods = f"/api/v1/namespaces/{namespace}/pods"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    # --- looking

    async def everything(self, path: str, selector: str = "") -> tuple[list[Object], str]:
        """All objects, page by page, and the version to watch from. Raises Expired as well."""
        found: list[Object] = []
        following = ""
        while True:
            query = [("limit", str(_PAGE))]
            query += [("labelSelector", selector)] if selector else []
            query += [("continue", following)] if following else []
            try:
                page = await self._call("GET", path, query)
            except ServerRefused as refused:
                if refused.status == 410:
                    raise Expired from None
                raise
            found += page.get("items") or ()
            metadata = page.get("metadata") or {}
            following = metadata.get("continue") or ""
            if not following:
                return found, str(metadata.get("resourceVersion", ""))

    async def watch(self, path: str, version: str, selector: str = "") -> AsyncIterator[tuple[str, Object]]:
        """OPEN as soon as the server has agreed; then ADDED, MODIFIED, DELETED or BOOKMARK with the object, from
        `version` on, until the server has had enough.
        """
        query = [
            ("watch", "true"),
            ("resourceVersion", version),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(self._watch_seconds)),
        ]
        query += [("labelSelector", selector)] if selector else []
        answer = await self._ask("GET", path, query, timeout=self._watch_timeout)
        try:
            if answer.status == 410:
                raise Expired
            if answer.status != 200:
                _judge(answer.status, await answer.read())
            yield "OPEN", {}
            while line := await answer.response.content.readline():
                event = json.loads(line)
                if event.get("type") == "ERROR":
                    status = event.get("object") or {}
                    if status.get("code") == 410:
                        raise Expired
                    raise ServerAway(str(status.get("message", "the watch failed")))
                yield event["type"], event["object"]
        except _UNREACHABLE as error:
            raise ServerAway(_words(error)) from None
        finally:
            answer.response.close()

    async def resizes(self) -> bool:
        """Whether the sizes of running pods can be changed: servers say so where they list what they have."""
        found = await self._call("GET", "/api/v1")
        return any(each.get("name") == "pods/resize" for each in found.get("resources") or ())

    # --- doing

    async def create(self, manifest: dict[str, Any]) -> bool:
        """Whether the Job was made: not if one of that name is there already."""
        try:
            await self._call("POST", self.jobs, body=manifest)
        except ServerRefused as refused:
            if refused.status == 409:
                return False
            raise
        return True

    async def change(self, job: KubeJob, patch: dict[str, Any]) -> None:
        """Merge into the Job that was seen, and into no later version of it: then look again first."""
        seen = {"uid": job.uid, "resourceVersion": job.version}
        body = {**patch, "metadata": {**(patch.get("metadata") or {}), **seen}}
        await self._unless_gone("PATCH", f"{self.jobs}/{job.name}", body, MERGE)

    async def let_go(self, job: KubeJob, keep_seconds: int | None = None) -> None:
        """Take our finalizer away; an ended one is deleted by the server after `keep_seconds`."""
        left = [name for name in job.finalizers if name != FINALIZER]
        patch: dict[str, Any] = {"metadata": {"finalizers": left}}
        if keep_seconds is not None:
            patch["spec"] = {"ttlSecondsAfterFinished": keep_seconds}
        await self.change(job, patch)

    async def delete(self, job: KubeJob) -> None:
        """Its pods first, each with its grace; its name is free when nothing of it is left."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": job.uid},
        }
        await self._unless_gone("DELETE", f"{self.jobs}/{job.name}", body)

    async def resize(self, pod: KubePod, patch: dict[str, Any]) -> None:
        await self._unless_gone("PATCH", f"{self._pods}/{pod.name}/resize", patch, STRATEGIC)

    # --- how

    async def _unless_gone(self, method: str, path: str, body: dict[str, Any], kind: str = "application/json") -> None:
        """What is not there any more, or has changed meanwhile, is looked at again with the next news."""
        try:
            await self._call(method, path, body=body, kind=kind)
        except ServerRefused as refused:
            if refused.status not in (404, 409):
                raise

    async def _call(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]] | None = None,
        body: dict[str, Any] | None = None,
        kind: str = "application/json",
    ) -> dict[str, Any]:
        answer = await self._ask(method, path, query or [], body, kind)
        try:
            text = await answer.read()
            _judge(answer.status, text)
            found = json.loads(text)
        except _UNREACHABLE as error:
            raise ServerAway(_words(error)) from None
        return found if isinstance(found, dict) else {}

    async def _ask(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]],
        body: dict[str, Any] | None = None,
        kind: str = "application/json",
        timeout: aiohttp.ClientTimeout | None = None,  # noqa: ASYNC109 - aiohttp's, which tells connecting from reading
    ) -> client.RESTResponse:
        headers = {"Accept": "application/json", "Content-Type": kind}
        try:
            asked, url, headers, content, form = await self._client.param_serialize(
                method, path, query_params=[*query], header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            return await self._client.call_api(asked, url, headers, content, form, timeout or self._timeout)
        except asyncio.CancelledError:
            raise
        except _UNREACHABLE as error:
            raise ServerAway(_words(error)) from None


def _judge(status: int, text: bytes) -> None:
    """Raises unless all went well."""
    if status < 300:
        return
    try:
        said = json.loads(text)
        words = str(said.get("message") or said.get("reason") or "") if isinstance(said, dict) else ""
    except ValueError:
        words = ""
    words = words or f"the API server answered {status}"
    if status >= 500 or status in (408, 429):
        raise ServerAway(words)
    raise ServerRefused(status, words)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
