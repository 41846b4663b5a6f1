"""What a site wants of every pod of a job: volumes, accounts, tolerations, an image. Read once, and judged at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from allocator.domain.errors import InvalidInput, Violation

_SAFE_POD = {
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
}
_SAFE_CONTAINER = {"securityContext": {"allowPrivilegeEscalation": False}}
_DECIDED_HERE = ("nodeName", "hostname", "subdomain", "restartPolicy", "terminationGracePeriodSeconds")


@dataclass(frozen=True, slots=True)
class Template:
    """`pod` is a PodSpec of which `container` is the only container; what a job says goes on top of both."""

    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    pod: dict[str, Any] = field(default_factory=lambda: dict(_SAFE_POD))
    container: dict[str, Any] = field(default_factory=lambda: dict(_SAFE_CONTAINER))

    @property
    def image(self) -> str:
        """For jobs that name none; empty: there is none."""
        return str(self.container.get("image") or "")

    @property
    def tolerated(self) -> tuple[tuple[str, str, str], ...]:
        """(key, value, effect) of its tolerations, "" for any."""
        return tuple(
            (
                str(each.get("key") or ""),
                "" if each.get("operator") == "Exists" else str(each.get("value") or ""),
                str(each.get("effect") or ""),
            )
            for each in self.pod.get("tolerations") or ()
        )


def template_of(document: object, image: str = "") -> Template:
    """From a Pod or PodTemplate as YAML has it, or nothing. `image`: instead of the template's.

    Raises InvalidInput, naming the field.
    """
    document = {} if document is None else document
    if not isinstance(document, dict) or document.get("kind", "Pod") not in ("Pod", "PodTemplate"):
        raise InvalidInput.of("pod template", "must be a Pod or a PodTemplate")
    body = document.get("template", document) if document.get("kind") == "PodTemplate" else document
    metadata, spec = _mapping(body, "metadata"), _mapping(body, "spec")
    containers = spec.pop("containers", None) or [{}]
    if not isinstance(containers, list) or len(containers) != 1 or not isinstance(containers[0], dict):
        raise InvalidInput.of("pod template", "spec.containers must be one: a job is held to what it asks for alone")
    faults = list(_faults(spec, containers[0]))
    if faults:
        raise InvalidInput(*faults)
    container = {**_SAFE_CONTAINER, **containers[0]}
    if image:
        container["image"] = image
    return Template(_mapping(metadata, "labels"), _mapping(metadata, "annotations"), {**_SAFE_POD, **spec}, container)


def _faults(spec: dict[str, Any], container: dict[str, Any]) -> Iterable[Violation]:
    for name in _DECIDED_HERE:
        if name in spec:
            yield Violation(f"spec.{name}", "is decided here; leave it out")
    for name in ("command", "args", "resources", "workingDir", "lifecycle"):
        if name in container:
            yield Violation(f"spec.containers[0].{name}", "is the job's; leave it out")
    tolerations = spec.get("tolerations") or []
    if not isinstance(tolerations, list) or not all(isinstance(each, dict) for each in tolerations):
        yield Violation("spec.tolerations", "must be a list of tolerations")
    environment = container.get("env") or []
    if not isinstance(environment, list) or not all(isinstance(each, dict) for each in environment):
        yield Violation("spec.containers[0].env", "must be a list of variables")


def _mapping(holder: dict[str, Any], name: str) -> dict[str, Any]:
    found = holder.get(name) or {}
    if not isinstance(found, dict):
        raise InvalidInput.of("pod template", f"{name} must be a mapping")
    return dict(found)
