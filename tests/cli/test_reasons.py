"""Why a job waits, as its page, the table and --json tell it: who holds the place, what refuses it, for whom it is."""

from __future__ import annotations

from dataclasses import replace

from allocator.cli import reasons
from allocator.domain.cluster import NodeAvailability
from allocator.domain.constraints import AtMost, Constraints, Near
from allocator.domain.job import Job
from allocator.domain.reason import (
    Examined,
    LimitExcess,
    PendingCause,
    PendingReason,
    QuotaExcess,
    Refusal,
    Shortage,
)
from allocator.intake import commands as c
from tests.builders import configuration, node, spec
from tests.cli.conftest import Run
from tests.client.served import Served

FIXED = {"preemptible": False}


def page(run: Run, job_id: str) -> str:
    """The lines about one job, spaces aside."""
    return " ".join(run("job", job_id).out.split())


def table_row(run: Run, job_id: str) -> str:
    return next(line for line in run("jobs").out.splitlines() if line.startswith(f"{job_id} "))


def test_jobs_that_may_not_be_stopped_are_named_as_those_who_hold_the_place(served: Served, run: Run) -> None:
    served.populate(("q",), (node("n1", gpu=4), node("n2", gpu=4)))
    served.execute(c.SubmitJobs((spec("q", configuration(gpu=3, replicas=2), **FIXED),)))
    served.round()
    served.execute(c.SubmitJobs((spec("q", configuration(gpu=4)),)))
    served.round()
    told = page(run, "j2")
    assert "no room now: jobs that may not be stopped hold it" in told
    assert "others are owed it more" not in told
    assert "needs 2 more GPUs (held by jobs that may not be stopped) on a100" in told
    assert "2 a100 nodes: 2 full (2 lack GPUs)" in told
    assert table_row(run, "j2").endswith("held by non-preemptible jobs: 2 more GPUs on a100")


def test_where_stopping_others_would_help_nobody_holds_it() -> None:
    stoppable = PendingReason(PendingCause.INSUFFICIENT_CAPACITY, (Shortage("a100", "gpu", 2000),))
    assert reasons.why_waiting(stoppable).splitlines() == [
        "no room now, and others are owed it more",
        "needs 2 more GPUs on a100",
    ]
    partly = replace(stoppable, shortages=(Shortage("a100", "gpu", 3000, 1000), Shortage("t4", "gpu", 3000)))
    assert reasons.why_waiting(partly).splitlines() == [
        "no room now, and others are owed it more",
        "needs 3 more GPUs (1 GPU of that held by jobs that may not be stopped) on a100",
        "needs 3 more GPUs on t4",
    ]


def test_room_on_nodes_that_it_may_not_use_is_no_room(served: Served, run: Run) -> None:
    """It used to be told that there was enough in total, but in pieces."""
    tainted = replace(node("n2", gpu=4), taints=(("dedicated", "web"),))
    served.populate(("q",), (node("n1", gpu=4), tainted, node("n3", gpu=4)))
    served.execute(c.SetNodeAvailability("n3", NodeAvailability.CORDONED))
    served.execute(c.SubmitJobs((spec("q", configuration(gpu=3), **FIXED),)))
    served.round()
    served.execute(c.SubmitJobs((spec("q", configuration(gpu=4)),)))
    served.round()
    told = page(run, "j2")
    assert "needs 3 more GPUs (held by jobs that may not be stopped) on a100" in told
    assert "in pieces" not in told
    assert "3 a100 nodes: 1 closed, 1 with a taint that it does not tolerate, 1 full (1 lack GPUs)" in told


def test_a_constrained_job_is_told_what_refuses_it(served: Served, run: Run) -> None:
    served.populate(("q",), tuple(replace(node(f"n{i}"), labels=(("rack", f"r{i // 2}"),)) for i in range(4)))
    web = (("app", "web"),)
    served.execute(c.SubmitJobs((spec("q", configuration(gpu=1), labels=web, **FIXED),)))
    served.round()
    wanted = Constraints(at_most=(AtMost(1),), near=(Near("rack", web),))
    served.execute(c.SubmitJobs((spec("q", configuration(gpu=1, replicas=3), constraints=wanted),)))
    served.round()
    told = page(run, "j2")
    assert (
        "4 a100 nodes: 2 away from what it must be near to, 2 with room for all of its 3 replicas, "
        "its constraints leave places for 2 of its 3 replicas" in told
    )
    assert table_row(run, "j2").endswith("its constraints leave no room: places for 2 of 3 replicas on a100")
    (said,) = run("job", "j2", "--json").json["pending_reason"]["examined"]
    assert said == {
        "flavor": "a100",
        "nodes": 4,
        "refused": [{"refusal": "near", "nodes": 2}],
        "lacking": [],
        "replicas": 3,
        "room": 3,
        "places": 2,
    }


def test_a_job_whose_place_is_kept_is_told_for_whom_and_until_when(served: Served, run: Run) -> None:
    served.populate(("q",), (node("n1"), node("n2")))
    served.execute(c.SubmitJobs((spec("q", configuration(gpu=4), expected_duration_seconds=3600.0, **FIXED),)))
    served.round()
    served.execute(c.SubmitJobs((spec("q", configuration(gpu=4, replicas=2), weight=100.0, **FIXED),)))
    served.round()
    served.clock.ahead += 600
    served.round()
    served.execute(c.SubmitJobs((spec("q", configuration(gpu=4), **FIXED),)))
    served.round()
    told = page(run, "j3")
    assert "it would fit, but the place is reserved" in told
    assert "for j2, expected until " in told
    assert ": a job that ends before may start there" in told
    assert "2 a100 nodes: 1 full (1 lack GPUs), 1 reserved" in told
    assert table_row(run, "j3").endswith("place reserved for j2")
    said = run("job", "j3", "--json").json["pending_reason"]
    assert said["reserved_for"] == ["j2"]
    assert said["reserved_until"].endswith("Z")


def test_nobody_knows_until_when(served: Served, run: Run) -> None:
    kept = PendingReason(PendingCause.RESERVED, reserved_for=("j2", "j7"))
    assert reasons.why_waiting(kept).splitlines()[1:] == ["for j2 and j7, nobody knows until when"]


def test_every_refusal_has_words() -> None:
    refused = tuple((refusal, 2) for refusal in Refusal)
    found = Examined("t4", 23, refused, (("gpu", 2), ("memory", 1)), 4, 2, 0)
    (line,) = reasons.examined(PendingReason(PendingCause.CONSTRAINED, examined=(found,)))
    assert line == (
        "23 t4 nodes: 2 closed, 2 in trouble (see allocator nodes), 2 with a taint that it does not tolerate, "
        "2 with an engine that gives whole cores or GPUs only, 2 without the labels that it asks for, "
        "2 full (2 lack GPUs, 1 lack memory), 2 where a limit on who runs together is reached, "
        "2 away from what it must be near to, 2 where a side constraint leaves too little, 2 reserved, "
        "2 with room, but not all of it in one place, "
        "1 with room for 2 of its 4 replicas, its constraints leave places for none of its 4 replicas"
    )
    (never,) = reasons.examined(PendingReason(PendingCause.EXCEEDS_NODE, examined=(replace(found, nodes=18),)))
    assert "2 too small (2 lack GPUs" in never


def test_the_part_that_a_divisible_job_holds_is_shown(served: Served, run: Run) -> None:
    served.populate(("q",), (node("n1", cpu=8, gpu=0),))
    jobs = [spec("q", configuration(cpu=8, gpu=0), divisible=True, weight=w) for w in (1.0, 3.0)]
    served.execute(c.SubmitJobs(tuple(jobs)))
    served.round()
    served.clock.ahead += 60
    served.round()
    held = {job["id"]: job["allocation"]["millis"] for job in run("jobs", "--json").json}
    assert held["j2"] > held["j1"] > 0
    assert sum(held.values()) <= 1000
    assert f"now {held['j1'] / 10:.1f} %: " in page(run, "j1")
    assert table_row(run, "j1").endswith(f"n1, {held['j1'] / 10:.1f} % of its demand")


def test_quotas_and_side_constraints_are_told_in_numbers() -> None:
    quota = QuotaExcess("prod", "a100", "gpu", 10_000, 10_000, 2000)
    assert reasons.beyond(PendingReason(PendingCause.OVER_QUOTA, excesses=(quota,))) == [
        "prod may use 10 GPUs on a100 and uses all of that: it needs 2 more GPUs"
    ]
    less = replace(quota, used=9000, missing=1000)
    assert reasons.beyond(PendingReason(PendingCause.OVER_QUOTA, excesses=(less,))) == [
        "prod may use 10 GPUs on a100 and uses 9 GPUs: it needs 1 more GPU"
    ]
    lent = replace(quota, queue="")
    assert reasons.beyond(PendingReason(PendingCause.OVER_QUOTA, excesses=(lent,))) == [
        "of 10 GPUs on a100, all are used, or kept by queues that do not lend: it needs 2 more GPUs"
    ]
    power = LimitExcess("power-r7", 11_400_000, 12_000_000, 1_200_000, "kW")
    reason = PendingReason(
        PendingCause.OVER_LIMIT, limits=(power, LimitExcess("licences", 20_000_000, 20_000_000, 10**6))
    )
    assert reasons.why_waiting(reason).splitlines() == [
        "it would bring all that runs beyond a side constraint",
        "power-r7: 11.4 of 12 kW are taken, it would take 1.2 kW",
        "licences: 20 of 20 are taken, it would take 1",
    ]
    job = Job("j1", 1, spec("q", configuration("a100")), submit_time=0.0, pending_reason=reason)
    assert reasons.why_briefly(job) == "over a side constraint: power-r7"
