"""What a job file or flags say about the order of jobs: `after`, by names of jobs further up in the file, or by ids.

after: prepare                         # every job of that name, all of an array; prepare[3]: one of the array
after: [prepare, j17]                  # j17 is one that was submitted before
after: [{job: train, condition: ended}]     # succeeded (as without it), failed or ended

Jobs that are submitted together have no ids yet: in a request an earlier one is named by its position, `#0` the first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from allocator.cli import field_types as f
from allocator.domain.errors import InvalidInput, Violation
from allocator.domain.process import MOST_DEPENDENCIES, Condition, Dependency

_ID = re.compile(r"j[1-9][0-9]*\Z")
_ELEMENT = re.compile(r"(.*)\[(\d{1,7})\]\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reference:
    """Whom a job comes after: the job with an id, or those of the draft `back` places before it: all, or of an array
    the one with an index.
    """

    condition: Condition
    job_id: str = ""
    back: int = 0
    index: int | None = None


def read_after(value: object, path: str) -> tuple[Dependency, ...]:
    """One or several; their `job_id` is the name or id as it was written."""
    several = isinstance(value, list)
    return tuple(
        _one(item, f"{path}[{index}]" if several else path)
        for index, item in enumerate(value if isinstance(value, list) else [value])
    )


def _one(value: object, path: str) -> Dependency:
    if isinstance(value, dict):
        faults: list[Violation] = []
        parsed = f.fields(value, path, faults, {"job": f.text, "condition": read_condition}, "dependency")
        if not faults and not parsed.get("job"):
            faults.append(Violation(f"{path}.job", "is missing: name a job"))
        if faults:
            raise InvalidInput(*faults)
        return Dependency(parsed["job"], parsed.get("condition", Condition.SUCCEEDED))
    name = f.text(value, path)
    if not name:
        raise InvalidInput.of(path, "must name a job, got nothing")
    return Dependency(name)


def read_condition(value: object, path: str) -> Condition:
    try:
        return Condition(value)
    except ValueError:
        known = ", ".join(condition.value for condition in Condition)
        raise InvalidInput.of(path, f"must be one of {known}; got {f.shown(value)}") from None


def read_after_flag(text: str) -> dict[str, str]:
    """`j17` or `j17=ended`, as a file would say it."""
    job_id, separator, condition = text.partition("=")
    if not _ID.match(job_id):
        raise InvalidInput.of("--after", f"must be written JOB or JOB=CONDITION, such as j17=ended; got {text!r}")
    return {"job": job_id} | ({"condition": read_condition(condition, "--after").value} if separator else {})


@dataclass
class Above:
    """The jobs further up in a file: (name, how many it makes, the indices of its array)."""

    jobs: list[tuple[str, int, tuple[int, ...]]] = field(default_factory=list)
    doubtful: bool = False
    """Some name could not be read: then it is nobody's fault that a name is not known."""

    def linked(self, after: Sequence[Dependency], path: str, faults: list[Violation]) -> tuple[Reference, ...]:
        """Whom the next job of the file comes after. What cannot be found becomes faults."""
        found: list[Reference] = []
        meant = 0
        for index, each in enumerate(after):
            where = f"{path}[{index}]" if len(after) > 1 else path
            references, jobs, fault = self._find(each)
            found += references
            meant += jobs
            if fault and not self.doubtful:
                faults.append(Violation(where, fault))
        if meant > MOST_DEPENDENCIES:
            faults.append(Violation(path, f"must mean at most {MOST_DEPENDENCIES} jobs, and means {meant}"))
        return tuple(found)

    def _find(self, after: Dependency) -> tuple[list[Reference], int, str]:
        """(references, how many jobs these are, what is wrong)."""
        name, condition, here = after.job_id, after.condition, len(self.jobs)
        named = [place for place, (known, _, _) in enumerate(self.jobs) if known == name]
        if named:
            return (
                [Reference(condition, back=here - place) for place in named],
                sum(self.jobs[place][1] for place in named),
                "",
            )
        element = _ELEMENT.match(name)
        of_array = [place for place, (known, _, _) in enumerate(self.jobs) if element and known == element[1]]
        if element and of_array:
            number = int(element[2])
            having = [place for place in of_array if number in self.jobs[place][2]]
            count = sum(self.jobs[place][1] // len(self.jobs[place][2]) for place in having)
            found = [Reference(condition, back=here - place, index=number) for place in having]
            return found, count, "" if having else f"job {element[1]!r} has no array with index {number}"
        if _ID.match(name):
            return [Reference(condition, job_id=name)], 1, ""
        close = get_close_matches(name, [known for known, _, _ in self.jobs if known], n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return [], 0, f"must be the name of a job further up in the file, or an id such as j17; got {name!r}{hint}"


def positions(reference: Reference, start: int, jobs: int, array: tuple[int, ...]) -> tuple[Dependency, ...]:
    """The jobs of a draft that a reference means, by position: it makes `jobs` from `start` on."""
    every = range(start, start + jobs)
    if reference.index is not None:
        every = every[array.index(reference.index) :: len(array)]
    return tuple(Dependency(f"#{position}", reference.condition) for position in every)


__all__ = [
    "Above", "Reference", "positions", "read_after", "read_after_flag", "read_condition",
]  # fmt: skip
