"""Limits as people meet them: all of them in one table, one explained, one changed in a what-if."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from allocator.domain.applied_policy import PolicyDocument
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.domain.resources import Resources
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.intake import commands as c
from allocator.v1 import explanation_pb2, round_pb2
from tests.builders import configuration, node, spec
from tests.cli.conftest import Run
from tests.cli.test_schema import _same_fields
from tests.client.served import Served

LIMITED = Policy(
    side_constraints=(
        SideConstraint("power", (Term("gpu", 0.5),), most=100.0, unit="kW"),
        SideConstraint("matlab", (Term("matlab"),), most=2.0),
    ),
    floating_resources=("matlab",),
)


def licensed() -> JobSpec:
    demand = Resources(cpu_millicores=1000, gpu_millis=1000, extra=(("matlab", 1),))
    return JobSpec("lab", (Configuration("a100", 1, demand, 1.0),))


@pytest.fixture
def limited(served: Served) -> Served:
    """Two licences for four jobs of lab; team may use three GPUs, and six jobs want one each."""
    served.populate(("lab",), (node("n1", "a100", gpu=8),))
    served.execute(c.CreateQueue(Queue("team", quotas=(Quota("a100", "gpu", 1000, borrowing_limit=2000),))))
    served.execute(c.ApplyPolicy(PolicyDocument(LIMITED), "version = 1"))
    served.execute(c.SubmitJobs((licensed(),) * 4 + (spec("team", configuration("a100")),) * 6))
    served.round()
    return served


def test_all_limits_with_what_is_taken_of_them(limited: Served, run: Run) -> None:
    told = run("prices").out
    lines = {" ".join(line.split()[:2]): line.split()[2:] for line in told.partition("Limits\n")[2].splitlines()}
    assert lines["limit power"][0] == "2.5"
    assert lines["limit power"][-3:] == ["100", "0", "kW"], "without a price, too"
    assert lines["floating matlab"][0] == "2"
    assert float(lines["floating matlab"][-2]) > 0
    assert lines["quota team:a100/gpu"][0] == "3"
    assert lines["quota team:a100/gpu"][3] == "1", "guaranteed"
    assert "matlab" not in told.partition("Limits\n")[0], "under no flavor"
    status = run("status").out
    assert "floating matlab" in status
    assert "matlab" not in status.partition("Limits\n")[0]


def test_json_of_limits_has_the_fields_of_the_api(limited: Served, run: Run) -> None:
    for command in ("prices", "status"):
        found = {each["name"]: each for each in run(command, "--json").json["limit_usage"]}
        assert list(found) == ["power", "matlab", "team:a100/gpu"]
        for each in found.values():
            _same_fields(each, round_pb2.LimitUsage.DESCRIPTOR)
        assert (found["matlab"]["kind"], found["matlab"]["used"], found["matlab"]["most"]) == ("floating", 2.0, 2.0)
    one = run("explain", "price", "limit/matlab", "--one-more", "--json").json
    _same_fields(one, explanation_pb2.LimitExplanation.DESCRIPTOR)


def test_one_limit_explained(limited: Served, run: Run) -> None:
    told = run("explain", "price", "limit/matlab", "--one-more").out
    assert "of all money per unit" in told
    assert "2 (100 %)" in told
    assert "adds " in told
    assert told.rstrip().splitlines()[-1].split()[0] == "lab"
    quota = run("explain", "price", "limit/team:a100/gpu").out
    assert "guaranteed  1 GPU\n" in quota
    assert "3 (100 %)" in quota
    wrong = run("explain", "price", "limit/matlap")
    assert (wrong.code, "did you mean matlab?" in wrong.err) == (3, True)
    wrong = run("explain", "price", "a100/matlab")
    assert (wrong.code, "ask about limit/matlab" in wrong.err) == (2, True)
    wrong = run("explain", "price", "limit/matlab", "--history", "3")
    assert (wrong.code, "--history" in wrong.err) == (2, True)


def test_what_if_a_limit_were_another(limited: Served, run: Run) -> None:
    told = run("whatif", "--limit", "matlab=4").out
    (line,) = [line for line in told.splitlines() if line.startswith("floating matlab")]
    assert line.split()[-6:] == ["2", "→", "4", "2", "→", "4", "units"][-6:]
    assert "→ 0 " in line, "and has no price then"
    more = run("whatif", "--limit", "team:a100/gpu=5", "--json").json
    after = {each["name"]: each for each in more["after"]["limits"]}["team:a100/gpu"]
    assert (after["least"], after["most"], after["used"]) == (1.0, 5.0, 5.0)
    less = run("whatif", "--limit", "team:a100/gpu=0", "--json").json
    after = {each["name"]: each for each in less["after"]["limits"]}["team:a100/gpu"]
    assert (after["least"], after["most"]) == (0.0, 0.0), "no more is guaranteed than allowed"
    none = run("whatif", "--limit", "team:a100/gpu=none", "--limit", "power=50%", "--json").json
    after = {each["name"]: each for each in none["after"]["limits"]}
    assert after["team:a100/gpu"]["most"] is None
    assert after["power"]["most"] == 2.0


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ("matlap=4", 2, "--limit: is no limit of the policy in force: 'matlap'; known: power, matlab"),
        ("matlab", 2, "--limit: must be NAME=VALUE"),
        ("matlab=many", 2, "--limit: must be a number, got 'many'"),
        ("matlab=50%", 2, "--limit: matlab floats"),
        ("team:gpu=4", 2, "--limit: write QUEUE:FLAVOR/RESOURCE=AMOUNT"),
        ("nobody:a100/gpu=4", 3, "nobody"),
    ],
)
def test_a_limit_that_cannot_be_asked_about(limited: Served, run: Run, given: str, code: int, says: str) -> None:
    ran = run("whatif", "--limit", given)
    assert (ran.code, says in ran.err) == (code, True), ran


def test_where_all_is_held_for_good_who_would_start_with_more_is_a_what_if(served: Served, run: Run) -> None:
    served.populate(("lab",), (node("n1", "a100", gpu=8),))
    served.execute(c.ApplyPolicy(PolicyDocument(LIMITED), "version = 1"))
    served.execute(c.SubmitJobs((replace(licensed(), preemptible=False),) * 2 + (licensed(),)))
    served.round()
    served.round()
    told = run("explain", "price", "limit/matlab", "--one-more").out
    assert "changes nobody's share; who would start with more: allocator whatif --limit matlab=3" in told
    assert re.search(r"started +0 → 1", run("whatif", "--limit", "matlab=3").out)


def test_where_all_gpus_are_held_for_good_who_would_start_with_more_is_a_what_if(served: Served, run: Run) -> None:
    served.populate(("lab",), (node("n1", "a100", gpu=2),))
    mine = spec("lab", configuration("a100"))
    served.execute(c.SubmitJobs((replace(mine, preemptible=False),) * 2 + (mine,)))
    served.round()
    served.round()
    told = run("explain", "price", "a100/gpu", "--one-more").out
    assert "changes nobody's share; who would start with more: allocator whatif --add-node a100\n" in told
    assert re.search(r"started +0 → 1", run("whatif", "--add-node", "a100").out)


def test_a_dry_run_tells_prices_of_limits(limited: Served, run: Run, tmp_path: Path) -> None:
    job = "--gpu", "1", "--resource", "matlab=1", "--flavor", "a100"
    told = run("submit", "-q", "team", *job, "--weight", "50", "--dry-run").out
    assert "Limits (as things are → with these jobs)" in told
    assert "floating matlab" in told
