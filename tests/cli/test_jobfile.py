"""Job files: what they mean, and how every kind of fault is told."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.cli import documents
from allocator.cli.jobfile import draft_of_flags, read_drafts
from allocator.domain.errors import FailedPrecondition, InvalidInput
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.resources import Resources

FULL = """
defaults:
  queue: research
  memory: 32GiB
  labels: {team: vision, owner: ada}
jobs:
  - name: train
    replicas: 4
    cpu: 8
    gpu: 1
    bandwidth: 10Gbit/s
    resources: {license: 2}
    flavors: {v100: 2.0, t4: 1}
    weight: 2
    priority_class: high
    preemptible: false
    restart_cost: 30s
    expected_duration: 2h
    labels: {owner: grace}
    count: 3
  - name: elastic
    queue: prod
    cpu: 2
    configurations:
      - {flavor: v100, replicas: 2, gpu: 1, throughput: 2}
      - {flavor: v100, replicas: 4, gpu: 1, throughput: 3.5, memory: 1GiB}
  - cpu: 500m
"""


def test_a_full_file() -> None:
    train, elastic, anywhere = read_drafts(documents.parse(FULL, "jobs.yaml"))
    demand = Resources(
        cpu_millicores=8000,
        gpu_millis=1000,
        memory_bytes=32 * 2**30,
        bandwidth_bytes_per_second=1_250_000_000,
        extra=(("license", 2),),
    )
    assert (
        train.specs(())
        == (
            JobSpec(
                queue="research",
                name="train",
                configurations=(Configuration("v100", 4, demand, 2.0), Configuration("t4", 4, demand, 1.0)),
                weight=2.0,
                priority_class="high",
                preemptible=False,
                restart_cost_seconds=30.0,
                expected_duration_seconds=7200.0,
                labels=(("owner", "grace"), ("team", "vision")),
            ),
        )
        * 3
    )
    assert [(c.replicas, c.throughput, c.demand.memory_bytes // 2**30) for c in elastic.spec.configurations] == [
        (2, 2.0, 32),
        (4, 3.5, 1),
    ]
    assert elastic.spec.queue == "prod"
    assert [c.flavor for c in anywhere.specs(("cpu", "t4"))[0].configurations] == ["cpu", "t4"]
    with pytest.raises(FailedPrecondition, match="has no nodes"):
        anywhere.specs(())


def test_a_list_alone_and_json_mean_the_same() -> None:
    jobs = [{"queue": "q", "cpu": 1, "flavors": ["a", "b"]}, {"queue": "q", "gpu": 0.5, "flavors": "a"}]
    from_list = read_drafts(documents.parse(json.dumps(jobs), "jobs.json", "JSON"))
    assert from_list == read_drafts(documents.parse(json.dumps({"jobs": jobs}), "<stdin>"))
    assert [c.flavor for c in from_list[0].spec.configurations] == ["a", "b"]
    assert from_list[1].spec.configurations[0].demand.gpu_millis == 500


def test_yaml_anchors_and_merge_keys_work_and_plain_words_stay_text() -> None:
    text = """
- &a {queue: q, cpu: 1, flavors: {x: 1e0}, name: no}
- {<<: *a, name: 2026-01-01}
- *a
"""
    drafts = read_drafts(documents.parse(text, "f.yaml"))
    assert [draft.spec.name for draft in drafts] == ["no", "2026-01-01", "no"]


def test_a_job_s_configurations_replace_the_default_flavors() -> None:
    text = "{defaults: {flavors: [a], cpu: 1, queue: q}, jobs: [{configurations: [{flavor: b}]}]}"
    (draft,) = read_drafts(documents.parse(text, "f.yaml", "YAML"))
    assert [c.flavor for c in draft.spec.configurations] == ["b"]


GOOD = "- {queue: q, cpu: 1, flavors: [a]}\n"

BAD_FILES = [
    ("", "f.yaml: is empty"),
    ("# nothing\n", "f.yaml: is empty"),
    ("jobs: [", "f.yaml:2: not valid YAML: "),
    ("a: b: c", "f.yaml:1: not valid YAML: mapping values are not allowed in this context (column 5)"),
    ("- a\n---\n- b", "f.yaml:2: not valid YAML: but found another document"),
    ("!!python/object:os.system {}", "f.yaml:1: not valid YAML: could not determine a constructor"),
    ("just words", "f.yaml:1: must be a list of jobs, or a mapping with 'jobs'; got 'just words'"),
    ("{}", "f.yaml:1: has no jobs"),
    ("jobs: []", "f.yaml:1: jobs: must be a list of at least one job"),
    ("jobs: {}", "f.yaml:1: jobs: must be a list of at least one job"),
    (GOOD + "- 7", "f.yaml:2: [1]: must be a mapping of a job's fields, got 7"),
    ("jobs:\n" + GOOD + "extra: 1", "f.yaml:3: extra: unknown field: a file holds jobs and, if wanted, defaults"),
    (GOOD + "- queue: q\n  cpu: 1\n  cpu: 2\n", "f.yaml:4: key 'cpu' is given twice: each key once"),
    (GOOD + "- queue: q\n  memroy: 1GiB", "f.yaml:3: [1].memroy: unknown field; did you mean memory?"),
    ("- queue: q\n  zzzzz: 1", "f.yaml:2: [0].zzzzz: unknown field; a job has: name, queue, "),
    ("- queue: q\n  1: 1", "f.yaml:2: [0].1: unknown field"),
    ("jobs:\n- cpu: 1\n  queue: q\n  memory: 16GX", "f.yaml:4: jobs[0].memory: unknown unit 'GX'"),
    (
        "- cpu: 1\n  queue: q\n  memory: 16",
        "f.yaml:3: [0].memory: a unit is missing in '16'; write 16GiB, 2GB or 512Mi",
    ),
    ("- cpu: -1\n  queue: q", "f.yaml:1: [0].cpu: cannot read '-1'; write 4, 0.5 or 500m"),
    ("- {cpu: [1], queue: q}", "f.yaml:1: [0].cpu: must be an amount such as 4, 0.5 or 500m; got [1]"),
    ("- {cpu: 1}", "f.yaml:1: [0].queue: is missing: name the queue that the job belongs to"),
    ("- {cpu: 1, queue: 7}", "f.yaml:1: [0].queue: must be text, got 7; put it in quotes"),
    ("- queue: q", "f.yaml:1: [0]: must ask for something: give at least one of cpu, gpu, memory, bandwidth, disk"),
    ("- {cpu: 1, queue: q, replicas: 1.5}", "f.yaml:1: [0].replicas: must be a whole number between 1 and 100000"),
    ("- {cpu: 1, queue: q, replicas: 0}", "f.yaml:1: [0].replicas: must be a whole number between 1 and 100000, got 0"),
    ("- {cpu: 1, queue: q, count: true}", "f.yaml:1: [0].count: must be a whole number between 1 and 100000, got true"),
    ("- {gpu: 1.5, queue: q}", "f.yaml:1: [0].gpu: must be a fraction of one GPU, or whole GPUs such as 2"),
    ("- {cpu: 1, queue: q, weight: heavy}", "f.yaml:1: [0].weight: must be a number, got 'heavy'"),
    ("- {cpu: 1, queue: q, weight: .nan}", "f.yaml:1: [0].weight: must be a number, got nan"),
    ("- {cpu: 1, queue: q, weight: -1}", "f.yaml:1: [0].weight: must be a finite number"),
    ("- {cpu: 1, queue: q, preemptible: no}", "f.yaml:1: [0].preemptible: must be true or false, got 'no'"),
    (
        "- {cpu: 1, queue: q, priority_class: Urgent}",
        "f.yaml:1: [0].priority_class: must be of a-z 0-9 . _ -, start and end with a letter or digit",
    ),
    ("- {cpu: 1, queue: q, restart_cost: soon}", "f.yaml:1: [0].restart_cost: cannot read 'soon'; write 30s, 5m"),
    ("- {cpu: 1, queue: q, expected_duration: 0s}", "f.yaml:1: [0].expected_duration: must be a finite number above 0"),
    ("- {cpu: 1, queue: q, flavors: {}}", "f.yaml:1: [0].flavors: must name at least one flavor"),
    ("- {cpu: 1, queue: q, flavors: [a, a]}", "f.yaml:1: [0].flavors: 'a' is given twice: each flavor once"),
    ("- {cpu: 1, queue: q, flavors: {a: fast}}", "f.yaml:1: [0].flavors.a: must be a number, got 'fast'"),
    ("- {cpu: 1, queue: q, flavors: {a: -1}}", "f.yaml:1: [0].flavors: must be a finite number, "),
    ("- {cpu: 1, queue: q, flavors: {a: 0}}", "f.yaml:1: [0].flavors: at least one must have a throughput above 0"),
    (
        "- {cpu: 1, queue: q, flavors: [a], configurations: [{flavor: a}]}",
        "f.yaml:1: [0]: has both flavors and configurations: give one of them",
    ),
    ("- {cpu: 1, queue: q, configurations: []}", "f.yaml:1: [0].configurations: must be a list of at least one"),
    (
        "- {cpu: 1, queue: q, configurations: [{replicas: 2}]}",
        "f.yaml:1: [0].configurations[0]: must name its flavor",
    ),
    (
        "- {queue: q, configurations: [{flavor: a, cpu: 1, name: x}]}",
        "f.yaml:1: [0].configurations[0].name: unknown field; a configuration has: flavor, throughput",
    ),
    (
        "- {cpu: 1, queue: q, configurations: [{flavor: a}, {flavor: a}]}",
        "f.yaml:1: [0].configurations[1]: flavor 'a' with 1 replicas was given before: each pair once",
    ),
    ("- {cpu: 1, queue: q, resources: {cpu: 1}}", "f.yaml:1: [0].resources.cpu: is a standard resource: write it"),
    ("- {cpu: 1, queue: q, resources: {A: 1}}", "f.yaml:1: [0].resources: must start with a lower-case letter"),
    ("- {cpu: 1, queue: q, labels: {a: 1}}", "f.yaml:1: [0].labels.a: must be text, got 1; put it in quotes"),
    ("- {cpu: 1, queue: q, labels: [a]}", "f.yaml:1: [0].labels: must be a mapping of keys to text, got ['a']"),
    ("defaults: {memory: 1}\njobs: [{cpu: 1, queue: q}]", "f.yaml:1: defaults.memory: a unit is missing in '1'"),
    ("defaults: [1]\njobs: [{cpu: 1, queue: q}]", "f.yaml:1: defaults: must be a mapping of a job's fields, got [1]"),
]


@pytest.mark.parametrize(("text", "message"), BAD_FILES)
def test_a_bad_file_says_where_and_what_would_be_right(
    tmp_path: Path, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f.yaml").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        read_drafts(documents.read("f.yaml"))
    assert str(caught.value.violations[0]).startswith(message)


BAD_JSON = [
    ('[{"queue": "q",\n "cpu" 1}]', "f.json:2: not valid JSON: Expecting ':' delimiter (column 8)"),
    ('[{"queue": "q", "queue": "r"}]', "f.json: key 'queue' is given twice in one object: each key once"),
    ('[{"weight": NaN}]', "f.json: NaN is not a number in JSON"),
    ('[\n{"queue": "q", "cpu": "x"}]', "f.json:2: [0].cpu: cannot read 'x'"),
    ('[\n\t{"queue": "q", "cpu": "x"}]', "f.json"),
    ("[" * 100_000, "f.json: not valid JSON: "),
]


@pytest.mark.parametrize(("text", "message"), BAD_JSON)
def test_bad_json(tmp_path: Path, text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f.json").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        read_drafts(documents.read("f.json"))
    assert str(caught.value).startswith(message)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"missing\.yaml: cannot be read: No such file or directory"):
        documents.read(str(tmp_path / "missing.yaml"))
    with pytest.raises(InvalidInput, match="cannot be read: Is a directory"):
        documents.read(str(tmp_path))
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(InvalidInput, match=r"latin\.yaml:2: is not UTF-8 text"):
        documents.read(str(tmp_path / "latin.yaml"))


def test_every_fault_is_told_at_once_up_to_twenty() -> None:
    text = "".join("- {queue: q, cpu: x, memory: 1}\n" for _ in range(15))
    with pytest.raises(InvalidInput) as caught:
        read_drafts(documents.parse(text, "f.yaml", "YAML"))
    assert len(caught.value.violations) == 21
    assert str(caught.value.violations[-1]) == "f.yaml: and 10 more"


TOGETHER = [
    ("- {queue: q, memory: 16, gpu: 1.5}", ["[0].memory: a unit is missing", "[0].gpu: must be a fraction"]),
    ("- {memory: 16, weight: -1}", ["[0].memory: a unit", "[0].queue: is missing", "[0].weight: must be"]),
    ("- {queue: 7, gpu: 1.5}", ["[0].queue: must be text", "[0].gpu: must be a fraction"]),
    ("- {queue: q, gpus: 2, weight: -1}", ["[0].gpus: unknown field", "[0].weight: must be"]),
    ("- {queu: q, cpu: 1, weight: -1}", ["[0].queu: unknown field", "[0].weight: must be"]),
    ("- {queue: q, cpu: 1, flavors: [a], configurations: [{flavor: a}], name: 1}", ["[0].name: must", "[0]: has both"]),
    (
        "- {queue: q, gpu: 1.5, configurations: [{flavor: a, cpu: x}, {cpu: 1}]}",
        ["[0].configurations[0].cpu: cannot", "[0].configurations[1]: must name its flavor", "[0].gpu: must be a"],
    ),
    (
        "{defaults: {memory: 16, gpu: 1.5}, jobs: [{queue: q}, {queue: q, gpu: 1, memory: 1GiB}]}",
        ["defaults.memory: a unit", "jobs[0].gpu: must be a fraction"],
    ),
]


@pytest.mark.parametrize(("text", "messages"), TOGETHER)
def test_a_job_is_told_all_its_faults_and_none_that_come_of_another(text: str, messages: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_drafts(documents.parse(text, "f.yaml", "YAML"))
    told = [str(violation).removeprefix("f.yaml:1: ") for violation in caught.value.violations]
    assert len(told) == len(messages), told
    for message, words in zip(told, messages, strict=True):
        assert message.startswith(words)


def test_a_file_that_contains_itself_is_refused_not_followed() -> None:
    with pytest.raises(InvalidInput):
        read_drafts(documents.parse("&a [*a]", "f.yaml", "YAML"))
    letters = "abcdefghijklmnopqrstuvwxyz"
    doublings = "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise(letters))
    with pytest.raises(InvalidInput, match=r"unknown field"):
        read_drafts(documents.parse(f"a: &a [x, x]\n{doublings}jobs: *z", "f.yaml", "YAML"))


@given(st.text(alphabet="-[]{}:,&*!|>'\"#a1 \n\tq", max_size=60))
@settings(deadline=None, max_examples=300, derandomize=True)
def test_no_text_makes_it_crash(text: str) -> None:
    with suppress(InvalidInput):
        assert read_drafts(documents.parse(text, "f"))


def test_flags_name_themselves() -> None:
    with pytest.raises(InvalidInput) as caught:
        draft_of_flags(
            {"queue": "q", "cpu": "x", "restart_cost": "soon", "labels": {"": "v"}, "resources": {"gpu": "1"}}
        )
    named = {violation.field for violation in caught.value.violations}
    assert named == {"--cpu", "--restart-cost", "--resource gpu", "--label"}
    with pytest.raises(InvalidInput, match="--queue: is missing"):
        draft_of_flags({"cpu": "1"})
    with pytest.raises(InvalidInput, match="--label: key must have"):
        draft_of_flags({"queue": "q", "cpu": "1", "labels": {"": "v"}})
    draft = draft_of_flags({"queue": "q", "cpu": "500m", "flavors": {"a": 2.0}, "count": 2})
    assert draft.specs(()) == (JobSpec("q", (Configuration("a", 1, Resources(500), 2.0),)),) * 2
