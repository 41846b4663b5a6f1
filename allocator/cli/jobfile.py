"""Job descriptions as people write them (a file, or flags), turned into the specs that the daemon takes.

A file is a list of jobs, or a mapping with `jobs:` and optionally `defaults:`, in YAML or JSON:

    defaults: {queue: research, memory: 32GiB}
    jobs:
      - name: train
        replicas: 4                          # a gang: all four or none
        cpu: 8
        gpu: 1
        flavors: {v100: 2.0, t4: 1.0}        # flavor: throughput, or unknown; also a list of names (all unknown)
        restart_cost: 30s
        job_class: resnet                    # learns how fast it runs where from others of the class
        expected_duration: 2h
        deadline: 6h                         # from now; or a time: 2026-03-01T18:00
        constraints: {within: rack}          # as in `allocator.cli.place_fields`
        command: [python, train.py]          # as in `allocator.cli.process_fields`, and retries and arrays
        after: prepare                       # as in `allocator.cli.after_fields`
        count: 3                             # three such jobs

`FIELDS` lists every field. A value in `defaults` stands wherever a job does not say otherwise; `labels`, `resources`
and `environment` are merged key by key. Instead of `flavors`, `configurations` gives a list of `{flavor, replicas,
throughput, cpu, ..}`, each taking from the job what it leaves out. Without both, the job accepts every flavor of the
cluster.

The faults of a file are reported together, each with its line and path, and then nothing of the file is used. Left out
is only what may come of another fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from allocator.cli import field_types as f
from allocator.cli.after_fields import Above, Reference, read_after
from allocator.cli.documents import Document
from allocator.cli.job_drafts import JobDraft, specs_of
from allocator.cli.place_fields import FLAGS, ReplicaRange, read_constraints, read_curve, read_replicas
from allocator.cli.process_fields import PROCESS_FIELDS, process_of, read_array, read_retries
from allocator.cli.promise_fields import read_deadline, read_throughput
from allocator.cli.quantities import parse_amount, parse_duration
from allocator.domain.cluster import Labels
from allocator.domain.errors import InvalidInput, Violation
from allocator.domain.job import MAX_REPLICAS, Configuration, JobSpec
from allocator.domain.resources import FIELD_BY_RESOURCE, STANDARD_RESOURCES, Resources

MAX_COPIES = 100_000
_SHOWN_FAULTS = 20
_ANY_FLAVOR = "any"


def read_drafts(document: Document) -> tuple[JobDraft, ...]:
    """All jobs of a file. Errors: InvalidInput with the faults (the first twenty), each with file, line and path."""
    faults: list[Violation] = []
    defaults, jobs = _layout(document.value, faults)
    settled, doubts = _parse_fields(defaults, "defaults", faults)
    prefix = "jobs" if isinstance(document.value, dict) else ""
    drafts: list[JobDraft] = []
    above = Above()
    for index, job in enumerate(jobs):
        path = f"{prefix}[{index}]"
        own, own_doubts = _parse_fields(job, path, faults)
        fields, in_doubt = _merge(settled, own), (doubts - own.keys()) | own_doubts
        after = above.linked(fields.get("after", ()), f"{path}.after", faults)
        drafts += [replace(draft, after=after) for draft in _drafted(fields, path, in_doubt, faults)]
        array = fields.get("array", ())
        above.jobs.append((fields.get("name", ""), fields.get("count", 1) * max(1, len(array)), array))
        above.doubtful |= bool(in_doubt & {"name", "array", "count"})
    if faults:
        shown = [document.located(fault) for fault in faults[:_SHOWN_FAULTS]]
        if len(faults) > _SHOWN_FAULTS:
            shown.append(Violation(document.name, f"and {len(faults) - _SHOWN_FAULTS} more"))
        raise InvalidInput(*shown)
    return tuple(drafts)


def draft_of_flags(values: Mapping[str, object]) -> JobDraft:
    """One job from command-line values under the names of `FIELDS`. Errors: InvalidInput naming the flags."""
    faults: list[Violation] = []
    fields, doubts = _parse_fields(dict(values), "", faults)
    drafts = _drafted(fields, "", doubts, faults)
    if faults:
        raise InvalidInput(*(Violation(as_flag(fault.field), fault.description) for fault in faults))
    (draft,) = drafts
    given = tuple(Reference(each.condition, each.job_id) for each in fields.get("after", ()))
    return replace(draft, after=given)


def as_flag(field: str) -> str:
    """`restart_cost` as `--restart-cost`, `labels.k` as `--label k`."""
    if not field:
        return ""
    for path, given_as in FLAGS.items():
        if field.startswith(path):
            return given_as
    head, separator, key = field.partition(".")
    if head.partition("[")[0] == "command":
        return "COMMAND"
    flag = {
        "flavors": "flavor",
        "labels": "label",
        "resources": "resource",
        "preemptible": "non-preemptible",
        "environment": "env",
        "directory": "chdir",
    }
    name = flag.get(head, head).replace("_", "-")
    return f"--{name}{' ' if separator else ''}{key}"


def _layout(value: object, faults: list[Violation]) -> tuple[object, list[Any]]:
    """(defaults, jobs) of either form of file."""
    if isinstance(value, list):
        jobs: object = value
        defaults: object = {}
    elif isinstance(value, dict):
        faults += [
            Violation(str(key), "unknown field: a file holds jobs and, if wanted, defaults")
            for key in value
            if key not in ("jobs", "defaults")
        ]
        if "jobs" not in value:
            faults.append(Violation("", "has no jobs: write a list of jobs, or 'jobs:' with a list under it"))
            return {}, []
        defaults, jobs = value.get("defaults") or {}, value["jobs"]
    else:
        faults.append(Violation("", f"must be a list of jobs, or a mapping with 'jobs'; got {f.shown(value)}"))
        return {}, []
    if not isinstance(jobs, list) or not jobs:
        faults.append(Violation("jobs" if isinstance(value, dict) else "", "must be a list of at least one job"))
        return defaults, []
    return defaults, jobs


def _parse_fields(given: object, path: str, faults: list[Violation]) -> tuple[dict[str, Any], frozenset[str]]:
    """Every known field in its own type; unknown and wrong ones become faults. Second: the fields that these leave in
    doubt. That is what could not be read, and anything if the field meant is not even known.
    """
    before = len(faults)
    parsed = f.fields(given, path, faults, FIELDS, "job")
    if len(faults) == before or not isinstance(given, dict):
        return parsed, frozenset(FIELDS if len(faults) > before else ())
    if any(key not in FIELDS for key in given):
        return parsed, frozenset(FIELDS) - parsed.keys()
    return parsed, frozenset(key for key, value in given.items() if value is not None and key not in parsed)


def _drafted(
    fields: Mapping[str, Any], path: str, doubts: frozenset[str], faults: list[Violation]
) -> tuple[JobDraft, ...]:
    """The job of parsed fields; none, and `faults`, if it is wrong. What may come of fields in doubt is no fault."""
    if "flavors" in fields and "configurations" in fields:
        faults.append(Violation(path, "has both flavors and configurations: give one of them"))
        return ()
    size_fault = _size_fault(fields, path, doubts)
    if size_fault is not None:
        faults.append(size_fault)
        return ()
    try:
        return (_draft(fields, path),)
    except InvalidInput as error:
        faults += (fault for fault in error.violations if not _rests_on(fault.field[len(path) :]) & doubts)
        return ()


def _size_fault(fields: Mapping[str, Any], path: str, doubts: frozenset[str]) -> Violation | None:
    """Whether the range of replicas and the throughputs of its counts go together, and with the rest."""
    replicas, curve = fields.get("replicas"), fields.get("throughput")
    prefix = f"{path}." if path else ""
    if isinstance(replicas, ReplicaRange):
        if "configurations" in fields:
            return Violation(f"{prefix}replicas", "must be a number where there are configurations: these say the rest")
        if curve is not None and len(curve) != len(replicas.counts):
            counts = f"{len(replicas.counts)} numbers, one for each of {replicas.least} to {replicas.most} replicas"
            return Violation(f"{prefix}throughput", f"must have {counts}; got {len(curve)}")
    elif curve is not None and "replicas" not in doubts:
        return Violation(
            f"{prefix}throughput", "goes with replicas {min, max}; with one number of replicas write it with flavors"
        )
    return None


def _rests_on(field: str) -> frozenset[str]:
    """The fields of a job that a fault at this place in it may come of."""
    parts = [part.partition("[")[0] for part in field.split(".") if part]
    if parts and parts[0] in PROCESS_FIELDS:
        return frozenset({parts[0], "command"})
    if parts and parts[0] != "configurations":
        return frozenset(parts[:1])
    return frozenset(
        {"configurations", parts[1]}
        if len(parts) > 1
        else {"configurations", "flavors", "replicas", "throughput", *_DEMAND_FIELDS}
    )


def _merge(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(defaults) | dict(own)
    for key in ("labels", "resources", "environment"):
        if key in defaults and key in own:
            merged[key] = defaults[key] | own[key]
    if "flavors" in own and "configurations" not in own:
        merged.pop("configurations", None)
    if "configurations" in own and "flavors" not in own:
        merged.pop("flavors", None)
    if "command" not in merged:
        return {key: value for key, value in merged.items() if key in own or key not in PROCESS_FIELDS}
    return merged


def _draft(fields: Mapping[str, Any], path: str) -> JobDraft:
    """The job of parsed fields; what the domain finds wrong is named as the file names it."""
    explicit = fields.get("configurations")
    flavors: dict[str, float | None] = fields.get("flavors") or {_ANY_FLAVOR: None}
    if explicit is not None:
        configurations = tuple(_configuration({**fields, **own}, own["flavor"]) for own in explicit)
    else:
        configurations = tuple(
            _configuration({**fields, "replicas": count, "throughput": _speed(throughput, speed)}, flavor)
            for flavor, throughput in flavors.items()
            for count, speed in _sizes(fields)
        )
    labels: Labels = tuple(sorted(fields.get("labels", {}).items()))
    spec = JobSpec(
        queue=fields.get("queue", ""),
        configurations=configurations,
        labels=labels,
        expected_duration_seconds=fields.get("expected_duration"),
        restart_cost_seconds=fields.get("restart_cost", 0.0),
        process=process_of(fields, f"{path}." if path else ""),
        **{key: fields[key] for key in _AS_THEY_ARE if key in fields},
    )
    found = dict.fromkeys(_in_file_words(violation, path, short=explicit is None) for violation in spec.violations())
    if found:
        raise InvalidInput(*found)
    copies, array = fields.get("count", 1), fields.get("array", ())
    if copies * len(array) > MAX_COPIES:
        raise InvalidInput.of(
            f"{path}.count" if path else "count", f"and array must make at most {MAX_COPIES} jobs together"
        )
    return JobDraft(spec, explicit is None and "flavors" not in fields, copies, array)


def _speed(throughput: float | None, size: float | None) -> float | None:
    """On a flavor and with a size, each of which may be unknown: with sizes, that of the flavors is 1 then."""
    return throughput if size is None else (1.0 if throughput is None else throughput) * size


def _sizes(fields: Mapping[str, Any]) -> list[tuple[int, float | None]]:
    """(replicas, throughput) of each size; of a range without throughputs they are proportional to the replicas."""
    replicas = fields.get("replicas", 1)
    if isinstance(replicas, ReplicaRange):
        return list(zip(replicas.counts, fields.get("throughput") or map(float, replicas.counts), strict=True))
    return [(replicas, None)]


def _configuration(fields: Mapping[str, Any], flavor: str) -> Configuration:
    amounts = {name: fields[name] for name in STANDARD_RESOURCES if name in fields} | fields.get("resources", {})
    throughput = fields.get("throughput")
    speed = 1.0 if throughput is None else throughput
    return Configuration(flavor, fields.get("replicas", 1), Resources.of(amounts), speed, throughput is not None)


_AS_THEY_ARE = (
    "name",
    "weight",
    "priority_class",
    "preemptible",
    "constraints",
    "resizable",
    "divisible",
    "job_class",
    "deadline",
    "minimum_throughput",
    "retries",
)
_FILE_NAME = {field: name for name, field in FIELD_BY_RESOURCE.items()} | {
    "extra": "resources",
    "labels": "labels",
    "restart_cost_seconds": "restart_cost",
    "expected_duration_seconds": "expected_duration",
    "grace_seconds": "grace",
    "backoff_seconds": "backoff",
    "most_backoff_seconds": "most_backoff",
}


def _in_file_words(violation: Violation, path: str, *, short: bool) -> Violation:
    """A violation of the domain's spec under the names that the file uses."""
    if violation.field.startswith("process."):
        field = re.sub(r"\Aenvironment\['(.*)'\]\Z", r"environment.\1", violation.field.removeprefix("process."))
        field = _FILE_NAME.get(field, field)
        return Violation(f"{path}.{field}" if path else field, violation.description)
    parts = [part for part in violation.field.split(".") if part != "demand"]
    if short and parts and parts[0].startswith("configurations["):
        parts = parts[1:] or (["flavors"] if violation.field.count(".") == 0 else [])
    parts = [_FILE_NAME.get(part.partition("[")[0], part) for part in parts]
    parts = ["flavors" if short and part in ("throughput", "flavor", "configurations") else part for part in parts]
    description = violation.description
    if violation.field.endswith("demand"):
        description = f"must ask for something: give at least one of {', '.join(STANDARD_RESOURCES)} or resources"
    if violation.field == "queue":
        parts, description = ["queue"], "is missing: name the queue that the job belongs to"
    if violation.field.endswith("gpu_millis") and "multiple" in description:
        description = "must be a fraction of one GPU, or whole GPUs such as 2"
    return Violation(".".join([path, *parts] if path else parts), description)


def _amount(resource: str) -> Callable[[object, str], int]:
    return lambda value, path: parse_amount(resource, value, path)


def _extras(value: object, path: str) -> dict[str, int]:
    amounts = {}
    for name, amount in f.mapping(value, path, "resource names to whole numbers").items():
        if name in FIELD_BY_RESOURCE:
            raise InvalidInput.of(f"{path}.{name}", f"is a standard resource: write it as the field {name}")
        amounts[name] = parse_amount(name, amount, f"{path}.{name}")
    return amounts


def _flavors(value: object, path: str) -> dict[str, float | None]:
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        names = [f.text(name, f"{path}[{index}]") for index, name in enumerate(value)]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise InvalidInput.of(path, f"{twice[0]!r} is given twice: each flavor once")
        value = dict.fromkeys(names)
    throughputs = {
        name: read_throughput(throughput, f"{path}.{name}")
        for name, throughput in f.mapping(value, path, "flavor names to throughputs").items()
    }
    if not throughputs:
        raise InvalidInput.of(path, "must name at least one flavor; leave the field out to accept every flavor")
    return throughputs


def _configurations(value: object, path: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value:
        raise InvalidInput.of(path, f"must be a list of at least one configuration, got {f.shown(value)}")
    faults: list[Violation] = []
    parsed = [
        f.fields(item, f"{path}[{index}]", faults, _CONFIGURATION_FIELDS, "configuration")
        for index, item in enumerate(value)
    ]
    faults += [
        Violation(f"{path}[{index}]", "must name its flavor")
        for index, (item, fields) in enumerate(zip(value, parsed, strict=True))
        if isinstance(item, dict) and not fields.get("flavor") and not item.get("flavor")
        if all(key in _CONFIGURATION_FIELDS for key in item)
    ]
    if faults:
        raise InvalidInput(*faults)
    return parsed


_DEMAND_FIELDS: dict[str, f.Reader] = {
    **{resource: _amount(resource) for resource in STANDARD_RESOURCES},
    "resources": _extras,
}
_CONFIGURATION_FIELDS: dict[str, f.Reader] = {
    "flavor": f.text,
    "throughput": read_throughput,
    "replicas": f.whole(1, MAX_REPLICAS),
    **_DEMAND_FIELDS,
}
FIELDS: dict[str, f.Reader] = {
    "name": f.text,
    "queue": f.text,
    "replicas": read_replicas,
    "throughput": read_curve,
    **_DEMAND_FIELDS,
    "flavors": _flavors,
    "configurations": _configurations,
    "weight": f.number,
    "priority_class": f.text,
    "preemptible": f.truth,
    "restart_cost": parse_duration,
    "expected_duration": parse_duration,
    "labels": f.labels,
    "constraints": read_constraints,
    "resizable": f.truth,
    "divisible": f.truth,
    "job_class": f.text,
    "deadline": read_deadline,
    "minimum_throughput": f.number,
    **PROCESS_FIELDS,
    "retries": read_retries,
    "after": read_after,
    "array": read_array,
    "count": f.whole(1, MAX_COPIES),
}
"""Every field of a job in a file, with what reads it."""

__all__ = ["FIELDS", "JobDraft", "as_flag", "draft_of_flags", "read_drafts", "specs_of"]
