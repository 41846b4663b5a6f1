"""The kustomize base: its objects keep to the schemas, belong together, and give nobody more than it needs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from allocator.cli.kubernetes import kubernetes
from allocator.daemon.config import ENVIRONMENT_PREFIX, Settings, load
from allocator.kubernetes.observed import MANAGED_BY, OURS
from allocator.kubernetes.template import template_of

BASE = Path(__file__).parents[2] / "deploy" / "kubernetes"
VERSIONS = ("1.31", "1.37")
DEFAULTS = Settings.model_construct()


def resolved(folder: Path) -> list[dict[str, Any]]:
    """All objects that a base names, with its images put in: what kustomize does, as far as it is used here."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    assert set(kustomization) == {"apiVersion", "kind", "resources", "images"}, "the resolver knows no more"
    assert sorted(kustomization["resources"]) == sorted(
        file.name for file in folder.glob("*.yaml") if file.name != "kustomization.yaml"
    )
    images = {each["name"]: f"{each['newName']}:{each['newTag']}" for each in kustomization["images"]}
    found = [
        each
        for name in kustomization["resources"]
        for each in yaml.safe_load_all((folder / name).read_text(encoding="utf-8"))
    ]
    for each in found:
        for container in pod_of(each).get("containers", ()):
            container["image"] = images[container["image"]]
    return found


def pod_of(item: dict[str, Any]) -> dict[str, Any]:
    """Its pod template's spec; empty where it has none."""
    found: dict[str, Any] = item.get("spec", {}).get("template", {}).get("spec", {})
    return found


OBJECTS = resolved(BASE)
BY_NAME = {(each["kind"], each["metadata"]["name"]): each for each in OBJECTS}
PODS = {each["metadata"]["name"]: pod_of(each) for each in OBJECTS if each["kind"] == "Deployment"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("item", OBJECTS, ids=[f"{each['kind']}-{each['metadata']['name']}" for each in OBJECTS])
def test_schemas_of_old_and_new_servers_take_it(item: dict[str, Any], version: str) -> None:
    if item["apiVersion"] == "monitoring.coreos.com/v1":
        (endpoint,) = item["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in BY_NAME["Service", "allocator"]["spec"]["ports"]}
    else:
        assert kubernetes_validate.validate(item, version, strict=True) == version


def test_a_mistake_would_be_noticed() -> None:
    wrong = {**BY_NAME["Deployment", "allocator"], "spec": {"replicas": "one"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@pytest.mark.system
def test_kustomize_builds_the_same() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: kustomize itself is NOT TESTED")
    done = subprocess.run(["kubectl", "kustomize", BASE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")

    def by_name(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(items, key=lambda each: (each["kind"], each["metadata"]["name"]))

    assert by_name(list(yaml.safe_load_all(done.stdout))) == by_name(OBJECTS)


def test_containers_are_confined_as_the_namespace_demands() -> None:
    namespace = BY_NAME["Namespace", "allocator"]["metadata"]["labels"]
    assert namespace["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in PODS.values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= set(container["resources"])
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_only_the_bridge_has_a_token_and_it_may_do_what_it_must() -> None:
    assert {name: pod["automountServiceAccountToken"] for name, pod in PODS.items()} == {
        "allocator": False,
        "allocator-bridge": True,
    }
    assert not any(
        "*" in rule[what]
        for each in OBJECTS
        for rule in each.get("rules", ())
        for what in ("apiGroups", "resources", "verbs")
    )
    role = BY_NAME["Role", "allocator-bridge"]
    assert role["metadata"]["namespace"] == "allocator-jobs"
    for kind in ("RoleBinding", "ClusterRoleBinding"):
        (subject,) = BY_NAME[kind, "allocator-bridge"]["subjects"]
        assert (subject["name"], subject["namespace"]) == (PODS["allocator-bridge"]["serviceAccountName"], "allocator")


def test_the_daemon_is_one_is_probed_and_ends_in_good_order() -> None:
    spec = BY_NAME["Deployment", "allocator"]["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")
    (container,) = PODS["allocator"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": DEFAULTS.server.port, "metrics": DEFAULTS.metrics.port}
    assert container["startupProbe"]["grpc"]["port"] == container["readinessProbe"]["grpc"]["port"] == ports["grpc"]
    assert container["livenessProbe"]["tcpSocket"]["port"] == "grpc"
    assert PODS["allocator"]["terminationGracePeriodSeconds"] > DEFAULTS.server.drain_seconds


def test_services_budgets_and_policies_mean_pods_that_are_there() -> None:
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in OBJECTS if each["kind"] == "Deployment"]
    selectors = [
        BY_NAME["Service", "allocator"]["spec"]["selector"],
        BY_NAME["PodDisruptionBudget", "allocator"]["spec"]["selector"]["matchLabels"],
        *[BY_NAME["NetworkPolicy", name]["spec"]["podSelector"]["matchLabels"] for name in PODS],
    ]
    for selector in selectors:
        assert sum(selector.items() <= each.items() for each in labels) == 1
    assert BY_NAME["Service", "allocator-jobs"]["spec"]["selector"] == {MANAGED_BY: OURS}
    monitored = BY_NAME["ServiceMonitor", "allocator"]["spec"]["selector"]["matchLabels"]
    assert monitored.items() <= BY_NAME["Service", "allocator"]["metadata"]["labels"].items()


def test_settings_and_flags_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)]:
        monkeypatch.delenv(name)
    (daemon,), (bridge,) = PODS["allocator"]["containers"], PODS["allocator-bridge"]["containers"]
    for variable in daemon["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    settings = load()
    assert (settings.log.format, settings.nodes.heartbeat_timeout_seconds) == ("json", 120)
    assert bridge["args"][:2] == ["kubernetes", "drive"]
    drive = typer.main.get_group(kubernetes).commands["drive"]
    known = {option for parameter in drive.params for option in parameter.opts}
    flags = dict(argument.split("=", 1) for argument in bridge["args"][2:])
    assert set(flags) <= known
    service = BY_NAME["Service", "allocator"]
    assert flags["--address"] == f"{service['metadata']['name']}:{DEFAULTS.server.port}"
    jobs = BY_NAME["Service", "allocator-jobs"]["metadata"]
    assert (flags["--subdomain"], flags["--namespace"]) == (jobs["name"], jobs["namespace"])
    (mount,) = [each for each in bridge["volumeMounts"] if each["name"] == "template"]
    file = Path(flags["--pod-template"])
    assert str(file.parent) == mount["mountPath"]
    text = BY_NAME["ConfigMap", "allocator-pod-template"]["data"][file.name]
    assert template_of(yaml.safe_load(text)).image
