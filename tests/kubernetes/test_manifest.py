"""The Jobs that are made: what the schemas of several versions say of them, and what containers then see."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.errors import InvalidInput
from allocator.domain.placement import DesiredReplica, Epoch
from allocator.domain.process import Process
from allocator.domain.resources import NOTHING, Resources
from allocator.engine.runs import Run, Wanted
from allocator.kubernetes.manifest import Surroundings, job_manifest, name_of, resize_patch, unsuitable
from allocator.kubernetes.template import Template, template_of
from tests.kubernetes_api import check_job
from tests.kubernetes_cluster import expanded

EPOCH = Epoch(7, 41)
AROUND = Surroundings("jobs", template_of(None, "busybox:1"))
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
WORDS = st.text(LETTERS, max_size=12)
HOSTILE = st.one_of(
    WORDS, st.sampled_from(["$(HOME)", "$$(HOME)", "$", "$$$(A)", "{{x}}", "'\"`", "\n- a: b", "--", "\\"])
)


PROCESS = Process(("true",))


def replica(process: Process | None = PROCESS, **changes: Any) -> DesiredReplica:
    demand = Resources(cpu_millicores=1500, memory_bytes=2**30)
    made = DesiredReplica("j1", 0, 2, EPOCH, "cpu", demand, (), EPOCH, process=process, peers=("n1", "n2"))
    return replace(made, **changes)


def manifest(wanted: DesiredReplica, around: Surroundings = AROUND, offered: Resources = NOTHING) -> dict[str, Any]:
    run = Run(wanted.job_id, EPOCH)
    names = [name_of(run, node, 0) for node in ("n1", "n2")]
    return job_manifest(run, Wanted("n1", wanted), names[0], names, around, offered)


def seen(made: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Command and environment as a container finds them."""
    (container,) = made["spec"]["template"]["spec"]["containers"]
    variables: dict[str, str] = {}
    for each in container["env"]:
        variables[each["name"]] = expanded(each["value"], variables)
    return [expanded(word, variables) for word in container["command"]], variables


@pytest.mark.parametrize("version", ["1.31", "1.33", "1.37"])
def test_schemas_of_old_and_new_servers_take_it(version: str) -> None:
    process = Process(
        ("train", "--lr", "3"),
        (("A", "b"),),
        "/work",
        "o-%j-%r",
        "e-%n",
        checkpoint_signal="SIGUSR1",
        grace_seconds=0.5,
    )
    demand = Resources(2500, 2000, 2**31, 10**9, 2**33, (("example.com/fpga", 1), ("matlab", 2)))
    wanted = replica(process, demand=demand, array_index=3)
    made = manifest(wanted, offered=Resources(extra=(("example.com/fpga", 4),)))
    assert kubernetes_validate.validate(made, version, strict=True) == version
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {
        "cpu": "2500m", "memory": "2147483648", "ephemeral-storage": "8589934592", "nvidia.com/gpu": "2",
        "example.com/fpga": "1",
    }  # fmt: skip
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert (pod["terminationGracePeriodSeconds"], container["workingDir"]) == (1, "/work")
    assert container["lifecycle"]["preStop"]["exec"]["command"][2].startswith("kill -s USR1 1;")
    assert made["spec"]["template"]["metadata"]["annotations"] == {"kubernetes.io/egress-bandwidth": "8000000000"}
    assert made["spec"]["suspend"] is True


def test_it_is_bound_to_its_node_whatever_else_the_site_wants() -> None:
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term, {}]}},
        "podAntiAffinity": {},
    }
    around = replace(AROUND, template=template_of({"spec": {"affinity": affinity}}, "x"))
    found = manifest(replica(), around)["spec"]["template"]["spec"]["affinity"]
    here = [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]
    terms = found["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms == [{**term, "matchFields": here}, {"matchFields": here}]
    assert "podAntiAffinity" in found


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.text(LETTERS, min_size=1, max_size=300),
    WORDS,
    st.lists(HOSTILE, max_size=4),
    HOSTILE,
    st.sampled_from(["", "out-%r"]),
)
def test_no_words_of_a_job_break_it_or_mean_anything(
    job_id: str, queue: str, words: list[str], value: str, output: str
) -> None:
    process = Process(("program", *words), (("A", value), ("HOME", "/root")), output=output)
    wanted = replica(process, job_id=job_id, queue=queue)
    made = manifest(wanted)
    check_job(made)
    command, variables = seen(made)
    assert command[-1 - len(words) :] == ["program", *words]
    assert variables["A"] == value
    assert (variables["ALLOCATOR_JOB_ID"], variables["ALLOCATOR_QUEUE"]) == (wanted.job_id, queue)


def test_replicas_are_told_what_an_agent_tells_them() -> None:
    process = Process(("x",), (("PATH", "/mine"),))
    _, variables = seen(manifest(replica(process, array_index=4, failures=2, queue="q")))
    first, second = (name_of(Run("j1", EPOCH), node, 0) for node in ("n1", "n2"))
    assert variables == {
        "PATH": "/mine",
        "ALLOCATOR_JOB_ID": "j1",
        "ALLOCATOR_QUEUE": "q",
        "ALLOCATOR_RANK": "0",
        "ALLOCATOR_REPLICAS": "2",
        "ALLOCATOR_PEERS": f"{first}.allocator-jobs,{second}.allocator-jobs",
        "ALLOCATOR_CORES": "1.5",
        "ALLOCATOR_ARRAY_INDEX": "4",
        "ALLOCATOR_ATTEMPT": "3",
    }


@pytest.mark.parametrize(("output", "errors"), [("o-%r", ""), ("", "e-%j"), ("$(o)-%r", "e'%%")])
def test_what_it_prints_goes_into_files_without_a_shell_reading_their_names(
    tmp_path: Path, output: str, errors: str
) -> None:
    script = "import sys; sys.stdout.write('out'); sys.stderr.write(sys.argv[1])"
    process = Process(("python3", "-c", script, "$(touch never)"), output=output, errors=errors)
    command, _ = seen(manifest(replica(process)))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = {file.name: file.read_text() for file in tmp_path.iterdir()}
    told = "$(touch never)"
    assert (found, done.stdout, done.stderr) == {
        "o-%r": ({"o-0": f"out{told}"}, "", ""),
        "": ({"e-j1": told}, "out", ""),
        "$(o)-%r": ({"$(o)-0": "out", "e'%": told}, "", ""),
    }[output]


def test_names_tell_runs_apart_and_never_change() -> None:
    runs = [Run("j1", EPOCH), Run("j1", Epoch(7, 42)), Run("j", EPOCH), Run("J1", EPOCH), Run("é" * 400, EPOCH)]
    names = {name_of(run, node, number) for run in runs for node in ("n1", "n2") for number in (0, 1)}
    assert len(names) == len(runs) * 4
    assert all(len(name) <= 57 for name in names)
    assert name_of(runs[0], "n1", 0) == "allocator-j1-" + name_of(runs[0], "n1", 0)[-16:]


def test_what_kubernetes_cannot_run_is_told() -> None:
    assert unsuitable(replica(), AROUND.template) is None
    assert "give it a command" in (unsuitable(replica(None), AROUND.template) or "")
    part = replica(demand=Resources(1000, gpu_millis=500))
    assert "whole ones" in (unsuitable(part, AROUND.template) or "")
    assert "no container image" in (unsuitable(replica(), Template()) or "")
    own = replica(Process(("x",), (("CONTAINER_IMAGE", " theirs:2 "),)))
    assert unsuitable(own, Template()) is None
    assert manifest(own)["spec"]["template"]["spec"]["containers"][0]["image"] == "theirs:2"


def test_a_template_adds_what_a_site_needs_and_nothing_that_is_decided_here() -> None:
    found = template_of(
        {
            "kind": "Pod",
            "metadata": {"labels": {"team": "a"}},
            "spec": {
                "volumes": [{"name": "v", "emptyDir": {}}],
                "tolerations": [{"key": "gpu", "operator": "Exists"},
                                {"key": "x", "value": "y", "effect": "NoSchedule"}],
                "containers": [{"image": "site", "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                                "env": [{"name": "A", "value": "site"}]}],
            },
        }
    )  # fmt: skip
    assert found.tolerated == (("gpu", "", ""), ("x", "y", "NoSchedule"))
    made = manifest(replica(Process(("x",), (("A", "job"),))), replace(AROUND, template=found))
    check_job(made)
    pod = made["spec"]["template"]
    assert pod["metadata"]["labels"]["team"] == "a"
    assert pod["spec"]["containers"][0]["image"] == "site"
    assert seen(made)[1]["A"] == "job"
    for wrong, where in (
        ([], "pod template"),
        ({"kind": "Deployment"}, "pod template"),
        ({"spec": {"containers": [{}, {}]}}, "pod template"),
        ({"spec": {"nodeName": "n"}}, "spec.nodeName"),
        ({"spec": {"containers": [{"command": ["x"]}]}}, "spec.containers[0].command"),
        ({"spec": {"tolerations": {}}}, None),
        ({"spec": {"tolerations": "x"}}, "spec.tolerations"),
    ):
        if where is None:
            template_of(wrong)
            continue
        with pytest.raises(InvalidInput) as refused:
            template_of(wrong)
        assert refused.value.violations[0].field == where


def test_a_resize_changes_cores_alone() -> None:
    cores = {"cpu": "2250m"}
    assert resize_patch(Resources(2250, memory_bytes=5)) == {
        "spec": {"containers": [{"name": "main", "resources": {"requests": cores, "limits": cores}}]}
    }
