"""An API server of Kubernetes in this process, after its documented API: lists in pages, watches from a version on,
optimistic concurrency, finalizers, validation of what is written, and access by RBAC rules.

What there is belongs to `objects`; who changes it calls `put` and `remove`, as the controllers of `kubernetes_cluster`
do. A test may take the server away (`stop`, `start`), forget history (`forget`), and lose answers (`lose_answers`).
"""

from __future__ import annotations

import copy
import json
import re
import threading
import time
import uuid
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema  # type: ignore[import-untyped]  # its stubs are a package for one line
import referencing
from kubernetes_validate import utils

Object = dict[str, Any]
KINDS = {"nodes": ("v1", "Node"), "pods": ("v1", "Pod"), "jobs": ("batch/v1", "Job")}
_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>batch)/v1)(?:/namespaces/(?P<namespace>[^/]+))?/(?P<kind>nodes|pods|jobs)"
    r"(?:/(?P<name>[^/]+)(?:/(?P<sub>resize))?)?\Z"
)
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_LABEL_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?\Z")
_QUALIFIED = re.compile(r"([a-z0-9.\-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*\Z")


class Failure(Exception):
    """An answer that is a Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(message)

    @property
    def status(self) -> Object:
        return {
            "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "code": self.code, "reason": self.reason, "message": str(self),
        }  # fmt: skip


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@cache
def _validator(kind: str, group: str, version: str) -> Any:
    folder = f"kubernetes-json-schema/v{version}.0-local-strict"
    schema = utils.schema_contents(f"{folder}/{kind}-{group}.json", version)
    definitions = utils.schema_contents(f"{folder}/_definitions.json", version)
    both = [referencing.Resource.from_contents(each) for each in (definitions, schema)]
    registry: Any = both[0] @ (both[1] @ referencing.Registry())
    return jsonschema.validators.Draft202012Validator(schema, registry=registry)


def check_job(job: Object, version: str = "1.37") -> None:
    """What the schema says, and what the server checks beyond it. Raises Failure."""
    for fault in _validator("job", "batch-v1", version).iter_errors(job):
        raise Failure(422, "Invalid", f"{'.'.join(map(str, fault.path))}: {fault.message[:200]}")
    metadata, template = job["metadata"], job["spec"]["template"]
    pod = template["spec"]
    _insist(_LABEL_NAME.match(metadata["name"]), "metadata.name")
    for labels in (metadata.get("labels"), template.get("metadata", {}).get("labels")):
        for key, value in (labels or {}).items():
            _insist(_QUALIFIED.match(key) and _LABEL_VALUE.match(value) and len(value) <= 63, f"labels {key}={value}")
    for key in (*metadata.get("annotations", {}), *metadata.get("finalizers", ())):
        _insist(_QUALIFIED.match(key), key)
    for name in (pod.get("hostname", "x"), pod.get("subdomain", "x")):
        _insist(_LABEL_NAME.match(name), f"hostname or subdomain {name}")
    _insist(pod.get("restartPolicy") in ("Never", "OnFailure"), "spec.template.spec.restartPolicy")
    for container in pod["containers"]:
        image = container.get("image", "")
        _insist(image and image == image.strip(), f"image {image!r}")
        for variable in container.get("env", ()):
            _insist(_VARIABLE.match(variable["name"]), f"env {variable['name']!r}")
            _insist("\0" not in variable.get("value", ""), "env value")
        asks = container.get("resources", {})
        for name, limit in asks.get("limits", {}).items():
            if "/" in name:
                _insist(asks.get("requests", {}).get(name, limit) == limit, f"limits[{name}]")
    required = pod.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", {})
    for term in required.get("nodeSelectorTerms", ()):
        for field in term.get("matchFields", ()):
            _insist(field["key"] == "metadata.name" and len(field["values"]) == 1, "matchFields")


def _insist(holds: object, what: str) -> None:
    if not holds:
        raise Failure(422, "Invalid", f"Job is invalid: {what}")


def merged(old: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


class ApiServer:
    """`url` once it was started; `writes` are all that was asked to change, by (verb, path)."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.objects: dict[str, dict[tuple[str, str], Object]] = {kind: {} for kind in KINDS}
        self._history: dict[str, list[tuple[int, str, Object]]] = {kind: [] for kind in KINDS}
        self._forgotten = 0
        self._version = 100
        self.resizes = True
        self.rules: list[tuple[str | None, Object]] | None = None
        """(namespace or None for all, rule of RBAC); None: everybody may do everything."""
        self.used: set[tuple[str, str]] = set()
        """(verb, resource) of what was asked."""
        self.writes: list[tuple[str, str]] = []
        self.requests: list[tuple[str, str]] = []
        self.lose_answers = 0
        """So many next writes are done, and nobody hears of it."""
        self._http: ThreadingHTTPServer | None = None
        self.port = 0

    # --- what controllers use

    def put(self, kind: str, item: Object) -> Object:
        """Create or replace; the version is the server's."""
        with self.changed:
            key = (item["metadata"].get("namespace", ""), item["metadata"]["name"])
            self._version += 1
            item = copy.deepcopy(item)
            metadata = item["metadata"]
            metadata["resourceVersion"] = str(self._version)
            metadata.setdefault("uid", str(uuid.uuid4()))
            metadata.setdefault("creationTimestamp", now())
            item["apiVersion"], item["kind"] = KINDS[kind]
            event = "MODIFIED" if key in self.objects[kind] else "ADDED"
            self.objects[kind][key] = item
            self._history[kind].append((self._version, event, item))
            self.changed.notify_all()
            return item

    def remove(self, kind: str, item: Object) -> None:
        with self.changed:
            self._version += 1
            gone = copy.deepcopy(
                self.objects[kind].pop((item["metadata"].get("namespace", ""), item["metadata"]["name"]))
            )
            gone["metadata"]["resourceVersion"] = str(self._version)
            self._history[kind].append((self._version, "DELETED", gone))
            self.changed.notify_all()

    def all(self, kind: str) -> list[Object]:
        with self.changed:
            return [copy.deepcopy(item) for _, item in sorted(self.objects[kind].items())]

    def forget(self) -> None:
        """All history: who watches from before is told 410, now or when it asks again."""
        with self.changed:
            self._forgotten = self._version
            for history in self._history.values():
                history.clear()
            self.changed.notify_all()

    # --- being asked

    def start(self) -> None:
        """On the port that it had before, if it had one."""
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                api._answer(self, "GET")

            def do_POST(self) -> None:
                api._answer(self, "POST")

            def do_PATCH(self) -> None:
                api._answer(self, "PATCH")

            def do_DELETE(self) -> None:
                api._answer(self, "DELETE")

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - a port's
                """Nothing."""

        ThreadingHTTPServer.allow_reuse_address = True
        ThreadingHTTPServer.daemon_threads = True
        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Open watches end, too."""
        http, self._http = self._http, None
        if http is not None:
            http.shutdown()
            http.server_close()
            with self.changed:
                self.changed.notify_all()

    def _answer(self, asked: BaseHTTPRequestHandler, method: str) -> None:
        http = self._http
        parts = urlsplit(asked.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        length = int(asked.headers.get("Content-Length") or 0)
        body = json.loads(asked.rfile.read(length)) if length else None
        with self.changed:
            self.requests.append((method, asked.path))
        try:
            if http is None:
                asked.close_connection = True
                return
            if query.get("watch") == "true":
                self._watch(asked, parts.path, query)
                return
            with self.changed:
                found = self._do(method, parts.path, query, body, asked.headers.get("Content-Type", ""))
                lost = method != "GET" and self.lose_answers > 0
                self.lose_answers -= lost
            if lost:
                asked.close_connection = True
                return
            self._send(asked, 201 if method == "POST" else 200, found)
        except Failure as failure:
            self._send(asked, failure.code, failure.status)
        except (BrokenPipeError, ConnectionResetError):
            asked.close_connection = True

    def _send(self, asked: BaseHTTPRequestHandler, code: int, found: Object) -> None:
        text = json.dumps(found).encode()
        asked.send_response(code)
        asked.send_header("Content-Type", "application/json")
        asked.send_header("Content-Length", str(len(text)))
        asked.end_headers()
        asked.wfile.write(text)

    def _place(self, path: str, verb: str) -> tuple[str, str, str, str]:
        """(kind, namespace, name, subresource) of a path. Raises Failure."""
        found = _PATH.match(path)
        if found is None or (found["group"] == "batch") != (found["kind"] == "jobs"):
            raise Failure(404, "NotFound", f"the server could not find {path}")
        kind, namespace, name, sub = found["kind"], found["namespace"] or "", found["name"] or "", found["sub"] or ""
        group, resource = found["group"] or "", f"{kind}/{sub}" if sub else kind
        if self.rules is not None and not any(
            where in (None, namespace or "*")
            and verb in rule["verbs"]
            and group in rule["apiGroups"]
            and resource in rule["resources"]
            for where, rule in self.rules
        ):
            raise Failure(403, "Forbidden", f"cannot {verb} resource {resource} in the namespace {namespace!r}")
        self.used.add((verb, resource))
        return kind, namespace, name, sub

    def _do(self, method: str, path: str, query: dict[str, str], body: Any, content: str) -> Object:
        if path == "/api/v1":
            names = ["nodes", "pods", *(["pods/resize"] if self.resizes else [])]
            return {"kind": "APIResourceList", "resources": [{"name": name} for name in names]}
        verb = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}.get(method, "get")
        if verb == "get" and path.rsplit("/", 1)[-1] in KINDS:
            verb = "list"
        kind, namespace, name, sub = self._place(path, verb)
        if method != "GET":
            self.writes.append((verb, path))
        match verb:
            case "list":
                return self._list(kind, namespace, query)
            case "get":
                return self._known(kind, namespace, name)
            case "create":
                return self._create(namespace, body)
            case "patch" if sub:
                return self._resize(namespace, name, body, content)
            case "patch":
                return self._patch(kind, namespace, name, body, content)
            case _:
                return self.delete(kind, namespace, name, body or {})

    def _known(self, kind: str, namespace: str, name: str) -> Object:
        found = self.objects[kind].get((namespace, name))
        if found is None:
            raise Failure(404, "NotFound", f'{kind} "{name}" not found')
        return found

    def _selected(self, kind: str, namespace: str, query: dict[str, str], item: Object) -> bool:
        key, _, value = query.get("labelSelector", "").partition("=")
        labels = item["metadata"].get("labels") or {}
        return namespace in ("", item["metadata"].get("namespace", "")) and (not key or labels.get(key) == value)

    def _list(self, kind: str, namespace: str, query: dict[str, str]) -> Object:
        items = [item for _, item in sorted(self.objects[kind].items()) if self._selected(kind, namespace, query, item)]
        version, start = str(self._version), 0
        if "continue" in query:
            version, _, first = query["continue"].partition(":")
            start = int(first)
            if int(version) < self._forgotten:
                raise Failure(410, "Expired", "The provided continue parameter is too old")
        end = start + int(query.get("limit", 0) or len(items) or 1)
        metadata = {"resourceVersion": version} | ({"continue": f"{version}:{end}"} if end < len(items) else {})
        return {"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items[start:end]}

    def _create(self, namespace: str, job: Object) -> Object:
        if (namespace, job["metadata"]["name"]) in self.objects["jobs"]:
            raise Failure(409, "AlreadyExists", f'jobs "{job["metadata"]["name"]}" already exists')
        check_job(job)
        metadata = {**job["metadata"], "namespace": namespace}
        for decided in ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp"):
            metadata.pop(decided, None)
        return self.put("jobs", {**job, "metadata": metadata, "status": {}})

    def _patch(self, kind: str, namespace: str, name: str, body: Object, content: str) -> Object:
        if content != "application/merge-patch+json":
            raise Failure(415, "UnsupportedMediaType", f"{content} is not understood here")
        old = self._known(kind, namespace, name)
        for what in ("uid", "resourceVersion"):
            if body.get("metadata", {}).get(what, old["metadata"][what]) != old["metadata"][what]:
                raise Failure(409, "Conflict", f"the object has been modified: {what}")
        new = merged(old, body)
        check_job({**new, "status": {}})
        if old["spec"]["template"] != new["spec"]["template"] and not old["spec"].get("suspend"):
            raise Failure(422, "Invalid", "spec.template: field is immutable")
        before, after = (set(item["metadata"].get("finalizers") or ()) for item in (old, new))
        if "deletionTimestamp" in old["metadata"] and after - before:
            raise Failure(422, "Forbidden", "metadata.finalizers: no new finalizers can be added to what is deleted")
        new = self.put(kind, new)
        if "deletionTimestamp" in new["metadata"] and not after:
            self.remove(kind, new)
        return new

    def _resize(self, namespace: str, name: str, body: Object, content: str) -> Object:
        if not self.resizes:
            raise Failure(404, "NotFound", "the server could not find the requested resource")
        if content != "application/strategic-merge-patch+json":
            raise Failure(415, "UnsupportedMediaType", f"{content} is not understood here")
        pod = copy.deepcopy(self._known("pods", namespace, name))
        for change in body["spec"]["containers"]:
            (container,) = [each for each in pod["spec"]["containers"] if each["name"] == change["name"]]
            for group, quantities in change["resources"].items():
                if set(quantities) - {"cpu", "memory"} or set(quantities) - set(container["resources"][group]):
                    raise Failure(422, "Invalid", "only cpu and memory can be resized, and the class of service stays")
                container["resources"][group] |= quantities
        return self.put("pods", pod)

    def delete(self, kind: str, namespace: str, name: str, options: Object) -> Object:
        """Only marks what has finalizers, or pods of its own that go first."""
        with self.changed:
            item = copy.deepcopy(self._known(kind, namespace, name))
            metadata = item["metadata"]
            wanted = options.get("preconditions", {}).get("uid", metadata["uid"])
            if wanted != metadata["uid"]:
                raise Failure(409, "Conflict", "Precondition failed: UID")
            finalizers = list(metadata.get("finalizers") or ())
            if options.get("propagationPolicy") == "Foreground" and "foregroundDeletion" not in finalizers:
                finalizers.append("foregroundDeletion")
            metadata["finalizers"] = finalizers
            metadata.setdefault("deletionTimestamp", now())
            if kind == "pods":
                metadata.setdefault("deletionGracePeriodSeconds", item["spec"].get("terminationGracePeriodSeconds", 30))
            item = self.put(kind, item)
            if kind != "pods" and not finalizers:
                self.remove(kind, item)
            return item

    # --- watches

    def _watch(self, asked: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
        http = self._http
        kind, namespace, _, _ = self._place(path, "watch")
        seen = int(query["resourceVersion"])
        until = time.monotonic() + float(query.get("timeoutSeconds", 1800))
        asked.send_response(200)
        asked.send_header("Content-Type", "application/json")
        asked.send_header("Transfer-Encoding", "chunked")
        asked.end_headers()
        bookmark = time.monotonic() + 1.0
        while time.monotonic() < until:
            with self.changed:
                if self._http is not http:
                    asked.close_connection = True
                    return
                events: list[Object] = [
                    {"type": event, "object": item}
                    for version, event, item in self._history[kind]
                    if version > seen and self._selected(kind, namespace, query, item)
                ]
                expired = seen < self._forgotten
                if not events and not expired:
                    self.changed.wait(0.2)
                    if time.monotonic() > bookmark and seen >= self._forgotten:
                        bookmark = time.monotonic() + 1.0
                        api, name = KINDS[kind]
                        mark = {"metadata": {"resourceVersion": str(self._version)}, "kind": name, "apiVersion": api}
                        pending = any(version > seen for version, _, _ in self._history[kind])
                        events = [] if pending else [{"type": "BOOKMARK", "object": mark}]
            if expired:
                gone = Failure(410, "Expired", f"too old resource version: {seen} ({self._forgotten})")
                self._chunk(asked, {"type": "ERROR", "object": gone.status})
                break
            for event in events:
                self._chunk(asked, event)
                seen = int(event["object"]["metadata"]["resourceVersion"])
        asked.wfile.write(b"0\r\n\r\n")

    def _chunk(self, asked: BaseHTTPRequestHandler, event: Object) -> None:
        text = json.dumps(event).encode() + b"\n"
        asked.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
        asked.wfile.flush()
