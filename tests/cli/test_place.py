"""Constraints, gangs of several sizes and divisible jobs: as files and flags say them, and as they are shown."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

import allocator.cli
from allocator.__main__ import app
from allocator.cli import documents, schema, words
from allocator.cli.jobfile import read_drafts
from allocator.domain.constraints import AtMost, Constraints, Near, NodeRule
from allocator.domain.errors import InvalidInput
from allocator.domain.job import JobSpec
from allocator.intake import commands as c
from tests.builders import configuration, node, spec
from tests.cli.conftest import Run
from tests.client.served import Served

FULL = """
- queue: q
  cpu: 1
  flavors: [a]
  constraints:
    nodes: [{key: zone, values: [a, b]}, {key: spot, negated: true}, {key: disk, values: ssd}]
    at_most: [{replicas: 2, per: rack}, {replicas: 0, of: {noisy: "true"}}]
    near: [{per: rack, of: {app: db}}, {of: {tier: "1", app: web}}]
    within: room
    tolerations: [dedicated=web, spot]
"""
WANTED = Constraints(
    (NodeRule("zone", ("a", "b")), NodeRule("spot", negated=True), NodeRule("disk", ("ssd",))),
    (AtMost(2, "rack"), AtMost(0, of=(("noisy", "true"),))),
    (Near("rack", (("app", "db"),)), Near("node", (("app", "web"), ("tier", "1")))),
    "room",
    (("dedicated", "web"), ("spot", "")),
)


def read(text: str, flavors: tuple[str, ...] = ()) -> JobSpec:
    (draft,) = read_drafts(documents.parse(text, "jobs.yaml"))
    return draft.specs(flavors)[0]


def sizes(spec: JobSpec) -> list[tuple[str, int, float]]:
    return [(way.flavor, way.replicas, way.throughput) for way in spec.configurations]


def test_a_file_says_all_constraints() -> None:
    assert read(FULL).constraints == WANTED
    assert read(FULL.replace("[dedicated=web, spot]", "{dedicated: web, spot: ''}")).constraints == WANTED


def test_defaults_hold_constraints_for_jobs_without_their_own() -> None:
    text = "{defaults: {queue: q, cpu: 1, flavors: [a], constraints: {within: rack}}, jobs: [{}, {constraints: {}}]}"
    drafts = read_drafts(documents.parse(text, "f.yaml", "YAML"))
    assert [draft.spec.constraints.within for draft in drafts] == ["rack", ""]


def test_a_range_of_replicas_becomes_a_configuration_per_size() -> None:
    text = "- {queue: q, gpu: 1, replicas: {min: 2, max: 4}, throughput: [1, 1.5, 1.75], flavors: {a: 2, b: 1}}"
    assert sizes(read(text)) == [
        (f, n, s * t) for f, s in (("a", 2), ("b", 1)) for n, t in ((2, 1), (3, 1.5), (4, 1.75))
    ]
    proportional = "- {queue: q, gpu: 1, replicas: {min: 1, max: 3}, resizable: true}"
    found = read(proportional, ("x", "y"))
    assert found.resizable
    assert sizes(found) == [("x", 1, 1), ("x", 2, 2), ("x", 3, 3), ("y", 1, 1), ("y", 2, 2), ("y", 3, 3)]


@pytest.mark.parametrize(
    ("fields", "expect"),
    [
        ("constraints: {nodes: {zone: a}}", "f:2: [0].constraints.nodes: must be a list"),
        ("constraints: {nodes: [{values: [a]}]}", "f:2: [0].constraints.nodes[0]: must have key"),
        ("constraints: {node: []}", "f:2: [0].constraints.node: unknown field; did you mean nodes?"),
        (
            "constraints:\n    at_most:\n    - {replicas: 1}\n    - {per: rack,\n       replicas: 0}",
            "f:6: [0].constraints.at_most[1].replicas: must be from 1 to 100000",
        ),
        ("constraints: {at_most: [{per: rack}]}", "f:2: [0].constraints.at_most[0]: must have replicas"),
        ("constraints: {near: [{per: rack, of: {}}]}", "f:2: [0].constraints.near[0].of: must hold at least one label"),
        ("constraints: {near: [{of: {a: 1}}]}", "f:2: [0].constraints.near[0].of.a: must be text"),
        ("constraints: {tolerations: spot}", "f:2: [0].constraints.tolerations: must be a list such as"),
        ("constraints: rack", "f:2: [0].constraints: must be a mapping"),
        ("replicas: {min: 3, max: 2}", "f:2: [0].replicas.max: must be from min, 3,"),
        ("replicas: {min: 1, max: 257}", "f:2: [0].replicas.max: must be from min, 1, to 256; got 257"),
        ("replicas: {min: 3}", "f:2: [0].replicas: must have both min and max"),
        ("replicas: {min: 0, max: 2}", "f:2: [0].replicas.min: must be a whole number between 1"),
        ("replicas: {min: 1, max: 2}\n  throughput: [1]", "f:3: [0].throughput: must have 2 numbers, one for each of"),
        ("throughput: [1]", "f:2: [0].throughput: goes with replicas {min, max}"),
        ("throughput: 2", "f:2: [0].throughput: must be a list of numbers"),
        (
            "replicas: {min: 1, max: 2}\n  throughput: [1, -1]",
            "f:3: [0].throughput[1]: must be 0 or a number from 1e-09 to 1e+12, got -1",
        ),
        (
            "replicas: {min: 1, max: 2}\n  throughput: [0, 0]",
            "f:3: [0].throughput: must have at least one number above 0",
        ),
        ("constraints: {within: ''}", "f:2: [0].constraints.within: must be the key of a node label such as rack"),
        ("constraints:\n    within: 3", "f:3: [0].constraints.within: must be text"),
        ("divisible: true\n  gpu: 1", "f:2: [0].divisible: only jobs of one replica that ask for nothing but cpu"),
        ("resizable: 1", "f:2: [0].resizable: must be true or false"),
    ],
)
def test_a_fault_is_told_with_its_line_and_path(fields: str, expect: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_drafts(documents.parse(f"- queue: q\n  {fields}\n  cpu: 1\n  flavors: [a]", "f"))
    assert str(caught.value.violations[0]).startswith(expect)
    assert len(caught.value.violations) == 1


def test_a_range_does_not_go_with_configurations() -> None:
    text = "- {queue: q, cpu: 1, replicas: {min: 1, max: 2}, configurations: [{flavor: a}]}"
    with pytest.raises(InvalidInput, match=r"\[0\].replicas: must be a number where there are configurations"):
        read(text)


def test_flags_say_the_same(served: Served, run: Run) -> None:
    served.populate(("q",), (node("n1", "a100"),))
    ran = run(
        *("submit", "-q", "q", "--gpu", "1", "--flavor", "a100=2", "--label", "app=web"),
        *("--min-replicas", "2", "--max-replicas", "3", "--throughput-curve", "1,1.5", "--resizable"),
        *("--node-label", "zone=a", "--node-label", "zone=b", "--node-label", "disk", "--not-node-label", "spot"),
        *("--tolerate", "dedicated=web", "--tolerate", "spot", "--max-per-node", "2", "--max-per", "rack=4"),
        *("--within", "room", "--near", "rack:app=db", "--away-from", "app=web", "--away-from", "rack:noisy=true"),
        "--allow-infeasible",
    )
    assert (ran.code, ran.err) == (0, "")
    job = served.store.get_job("j1").spec
    assert job.constraints == Constraints(
        (NodeRule("zone", ("a", "b")), NodeRule("disk"), NodeRule("spot", negated=True)),
        (AtMost(2), AtMost(4, "rack"), AtMost(1, "node", (("app", "web"),)), AtMost(0, "rack", (("noisy", "true"),))),
        (Near("rack", (("app", "db"),)),),
        "room",
        (("dedicated", "web"), ("spot", "")),
    )
    assert job.resizable
    assert not job.divisible
    assert [(way.replicas, way.throughput) for way in job.configurations] == [(2, 2.0), (3, 3.0)]


@pytest.mark.parametrize(
    ("flags", "expect"),
    [
        (("--max-per", "rack"), "--max-per: must be written LABEL=COUNT"),
        (("--near", "app"), "--near: must be written KEY=VALUE or DOMAIN:KEY=VALUE"),
        (("--away-from", ":app=x"), "--away-from: must be written KEY=VALUE"),
        (("--max-per-node", "0"), "--max-per-node: must be a whole number between 1 and"),
        (("--max-per", "rack=0"), "--max-per: must be a whole number between 1 and"),
        (("--not-node-label", "=a"), "--not-node-label: must be written KEY or KEY=VALUE"),
        (("--node-label", ""), "--node-label: must be written KEY or KEY=VALUE"),
        (("--within", ""), "--within: must be the key of a node label"),
        (("--replicas", "1", "--min-replicas", "1"), "--replicas: cannot be combined"),
        (("--min-replicas", "1"), "--max-replicas: must be given"),
        (("--min-replicas", "2", "--max-replicas", "1"), "--max-replicas: must be from min"),
        (("--throughput-curve", "1;2"), "--throughput-curve: must be numbers"),
        (("--throughput-curve", "1,2"), "--throughput-curve: goes with"),
        (
            ("--min-replicas", "1", "--max-replicas", "2", "--throughput-curve", "1,-2"),
            "--throughput-curve: must be 0 or a number from 1e-09 to 1e+12, got -2.0",
        ),
        (
            ("--min-replicas", "1", "--max-replicas", "2", "--throughput-curve", "1,nan"),
            "--throughput-curve: must be 0 or a number from 1e-09 to 1e+12, got nan",
        ),
        (
            ("--min-replicas", "1", "--max-replicas", "2", "--throughput-curve", "1,2,3"),
            "--throughput-curve: must have 2 numbers, one for each of 1 to 2 replicas; got 3",
        ),
        (("--divisible",), "--divisible: only jobs of one replica"),
        (("--file", "x.yaml", "--within", "rack", "--resizable"), "--within"),
    ],
)
def test_wrong_flags_are_named(served: Served, run: Run, flags: tuple[str, ...], expect: str) -> None:
    served.populate(("q",), (node("n1", "a100"),))
    described = () if "--file" in flags else ("-q", "q", "--gpu", "1", "--flavor", "a100")
    ran = run("submit", *described, *flags)
    assert (ran.code, ran.out) == (2, "")
    assert expect in ran.err


def test_a_job_s_page_and_json_tell_its_constraints(served: Served, run: Run) -> None:
    served.populate(("q",), (node("n1", "a100"),))
    served.execute(c.SubmitJobs((spec("q", configuration(gpu=0), constraints=WANTED, divisible=True),)))
    page = run("job", "j1").out
    for line in words.constraints(WANTED):
        assert line in page
    assert "holds its share of its demand all the time" in page
    shown = json.loads(run("job", "j1", "--json").out)["spec"]
    assert (shown["resizable"], shown["divisible"]) == (False, True)
    assert shown["constraints"] == {
        "nodes": [
            {"key": "zone", "values": ["a", "b"], "negated": False},
            {"key": "spot", "values": [], "negated": True},
            {"key": "disk", "values": ["ssd"], "negated": False},
        ],
        "at_most": [{"replicas": 2, "per": "rack", "of": {}}, {"replicas": 0, "per": "node", "of": {"noisy": "true"}}],
        "near": [{"per": "rack", "of": {"app": "db"}}, {"per": "node", "of": {"app": "web", "tier": "1"}}],
        "within": "room",
        "tolerations": [{"key": "dedicated", "value": "web"}, {"key": "spot", "value": ""}],
    }


def test_what_json_shows_of_constraints_a_file_can_say(tmp_path: Path) -> None:
    shown: dict[str, Any] = schema.constraints(WANTED)
    shown["tolerations"] = {entry["key"]: entry["value"] for entry in shown["tolerations"]}
    text = json.dumps([{"queue": "q", "cpu": 1, "flavors": ["a"], "constraints": shown}])
    assert read(text).constraints == WANTED


def test_the_words_for_constraints() -> None:
    assert words.constraints(WANTED) == [
        "only nodes with zone=a or zone=b",
        "only nodes without spot",
        "only nodes with disk=ssd",
        "at most 2 of its replicas per rack",
        "no replicas of jobs with noisy=true per node",
        "each replica in a rack where a job with app=db runs",
        "each replica on a node where a job with app=web, tier=1 runs",
        "all replicas in one room",
        "tolerates dedicated=web",
        "tolerates spot",
    ]


def test_the_readme_s_flags_and_constraints_are_understood(served: Served, run: Run) -> None:
    text = (Path(allocator.cli.__file__).parent / "README.md").read_text()
    table = text[text.index("| flag of `submit` | says |") :].partition("\n\n")[0]
    flags = {flag.partition(" ")[0] for flag in re.findall(r"`(--[^`]*)`", table)} | set(
        re.findall(r"(--[a-z-]+) ", table)
    )
    root = get_command(app)
    assert isinstance(root, TyperGroup)
    known = {option for parameter in root.commands["submit"].params for option in parameter.opts}
    assert len(flags) >= 13
    assert flags <= known
    example = next(
        block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if block.startswith("constraints:")
    )
    indented = example.replace("\n", "\n  ")
    wanted = read(f"- queue: q\n  cpu: 1\n  flavors: [a]\n  {indented}").constraints
    assert (len(wanted.nodes), len(wanted.at_most), len(wanted.near), wanted.within) == (2, 3, 1, "rack")


def test_taints_come_and_go(served: Served, run: Run) -> None:
    served.populate((), (node("n1"),))
    assert run("nodes", "taint", "n1", "dedicated=web", "spot").out == "node n1 has the taints dedicated=web, spot\n"
    changed = run("nodes", "taint", "n1", "dedicated=db", "--remove", "spot", "--json")
    assert changed.json["taints"] == {"dedicated": "db"}
    assert run("nodes", "taint", "n1", "--remove", "dedicated").out == "node n1 has no taints\n"
    nothing = run("nodes", "taint", "n1")
    assert (nothing.code, nothing.out) == (2, "")
    assert "nothing to change" in nothing.err
    assert run("nodes", "taint", "n9", "spot").code == 3


def test_taints_are_listed_where_there_are_any(served: Served, run: Run) -> None:
    served.populate((), (node("n1"), replace(node("n2"), taints=(("dedicated", "web"), ("spot", "")))))
    listed = run("nodes").out
    assert "TAINTS" in listed
    assert "dedicated=web, spot" in listed
    assert [shown["taints"] for shown in json.loads(run("nodes", "--json").out)] == [
        {},
        {"dedicated": "web", "spot": ""},
    ]
