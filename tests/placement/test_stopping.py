"""Whom to stop, where limits on others decide."""

from __future__ import annotations

from dataclasses import replace

from allocator.domain.constraints import AtMost, Constraints
from tests.placement.worlds import decide, node, running, snapshot, told, waiting, way


def test_many_who_would_not_help_do_not_hide_the_one_who_would() -> None:
    """Two replicas that must be in racks of their own; the least owed are all in one rack."""
    crowd = 90
    members = [node(f"n{index:03}", rack="crowded") for index in range(crowd)] + [node("other", rack="other")]
    jobs = [running(waiting(index, way(cpu=8)), members[index].name) for index in range(crowd + 1)]
    apart = Constraints(at_most=(AtMost(1, "rack", (("app", "web"),)),))
    gang = waiting(1000, way(cpu=8, replicas=2))
    gang = replace(gang, spec=replace(gang.spec, labels=(("app", "web"),), constraints=apart))
    owed = {f"j{index}": -900.0 + index for index in range(crowd + 1)} | {"j1000": 900.0}
    story = told(decide(snapshot(members, [*jobs, gang]), credits_owed=owed))
    assert story["j1000"] == "starts on n000 other"
    assert [job for job, what in story.items() if what.startswith("stops")] == ["j0", f"j{crowd}"]
