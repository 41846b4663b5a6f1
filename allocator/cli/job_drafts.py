"""Jobs as a file or flags describe them, and the specs that these make once it is known which flavors there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from allocator.cli.after_fields import Reference, positions
from allocator.domain.errors import FailedPrecondition
from allocator.domain.job import JobSpec
from allocator.domain.process import Dependency


@dataclass(frozen=True)
class JobDraft:
    """A job before it is known which flavors exist: `spec.configurations` is a template when `any_flavor`."""

    spec: JobSpec
    any_flavor: bool = False
    copies: int = 1
    array: tuple[int, ...] = ()
    """The indices, if it is an array of jobs."""
    after: tuple[Reference, ...] = ()
    """Whom it comes after; `spec.after` is empty."""

    @property
    def jobs(self) -> int:
        """How many it makes."""
        return self.copies * max(1, len(self.array))

    def specs(self, flavors: tuple[str, ...], after: tuple[Dependency, ...] = ()) -> tuple[JobSpec, ...]:
        """One spec per copy and index of the array; a job that accepts any flavor gets one configuration for each of
        `flavors`.
        """
        spec = self._in_flavors(flavors)
        if after:
            spec = replace(spec, after=after)
        if not self.array:
            return (spec,) * self.copies
        elements = tuple(
            replace(spec, name=f"{spec.name}[{index}]" if spec.name else "", array_index=index) for index in self.array
        )
        return elements * self.copies

    def _in_flavors(self, flavors: tuple[str, ...]) -> JobSpec:
        if not self.any_flavor:
            return self.spec
        if not flavors:
            raise FailedPrecondition(
                "cluster", "has no nodes, so there is no flavor to accept; name the flavors that the job accepts"
            )
        templates = self.spec.configurations
        expanded = tuple(replace(template, flavor=flavor) for flavor in flavors for template in templates)
        return replace(self.spec, configurations=expanded)


def specs_of(drafts: Sequence[JobDraft], flavors: tuple[str, ...]) -> list[JobSpec]:
    """The specs of all drafts. Jobs that come after others of these name them by position in the result: `#0`."""
    specs: list[JobSpec] = []
    starts: list[int] = []
    for number, draft in enumerate(drafts):
        starts.append(len(specs))
        after: dict[str, Dependency] = {}
        for reference in draft.after:
            if reference.job_id:
                after[reference.job_id] = Dependency(reference.job_id, reference.condition)
                continue
            other = drafts[number - reference.back]
            for each in positions(reference, starts[number - reference.back], other.jobs, other.array):
                after[each.job_id] = each
        specs += draft.specs(flavors, tuple(after.values()))
    return specs
