"""`whatif`, `plan` and `submit --dry-run` on a served cluster: what is told, refused, and left as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import configuration, node, spec
from tests.cli.conftest import Run
from tests.client.served import Served


@pytest.fixture
def busy(served: Served) -> Served:
    """One node of 4 GPUs; two jobs want all of it, and one of them runs."""
    from allocator.intake import commands as c

    served.populate(("q", "other"), (node("n1"),))
    served.execute(c.SubmitJobs((spec("q", configuration(gpu=4)),) * 2))
    served.round()
    return served


def test_another_node_starts_who_waits(busy: Served, run: Run) -> None:
    before = busy.store.current_revision()
    ran = run("whatif", "--add-node", "a100", "--job", "j2")
    assert ran.code == 0, ran
    assert "started        0 → 1" in ran.out
    assert "waiting        1 → 0" in ran.out
    assert "50.0 % → 100.0 %" in ran.out
    assert "waits → starts" in ran.out
    assert busy.store.current_revision() == before


def test_json_has_the_fields_of_the_api(busy: Served, run: Run) -> None:
    found = run("whatif", "--add-node", "a100=2:cpu=32,gpu=4,memory=256GiB", "--job", "j2", "--json").json
    assert set(found) == {"before", "after", "submitted", "jobs", "rounds", "interval_seconds"}
    assert found["after"]["summary"]["started_jobs"] == 1
    (job,) = found["jobs"]
    assert job["before"]["configuration"] is None
    assert job["before"]["pending_reason"]["cause"] == "insufficient_capacity"
    assert job["after"]["configuration"] == 0
    assert found["after"]["changes"][0]["kind"] == "start"
    (queue,) = [queue for queue in found["after"]["queues"] if queue["queue"] == "q"]
    gpu = next(amount for amount in queue["amounts"] if amount["resource"] == "gpu")
    assert (gpu["demand"], gpu["held"]) == (8.0, 8.0)


def test_weights_quotas_policy_and_nodes_can_be_asked_about(busy: Served, run: Run) -> None:
    changes = [
        ("--queue-weight", "q=3"), ("--queue-priority", "q=1"), ("--queue-discipline", "q=fifo"),
        ("--queue-quota", "q:a100/gpu=2,lend=0"), ("--queue-quota", "q:"), ("--policy", "fairness=min-delay"),
        ("--job-weight", "j2=5"), ("--job-priority-class", "j2=high"), ("--cancel", "j1"), ("--drain-node", "n1"),
        ("--cordon-node", "n1"), ("--uncordon-node", "n1"), ("--remove-node", "n1"),
    ]  # fmt: skip
    for flag, value in changes:
        assert run("whatif", flag, value, "--json").code == 0, flag
    assert run("whatif", *[part for change in changes[:3] for part in change]).code == 0


def test_rounds_tell_when_a_job_starts(busy: Served, run: Run, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.yaml"
    jobs.write_text("- {queue: q, name: mine, cpu: 1, gpu: 4, flavors: [a100]}\n")
    found = run("whatif", "--submit", str(jobs), "--cancel", "j2", "--rounds", "200", "--json").json
    (job,) = found["jobs"]
    assert job["job"]["spec"]["name"] == "mine"
    assert job["starts_after_seconds"] > 0
    assert found["rounds"] * found["interval_seconds"] == job["starts_after_seconds"]


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ([], 2, "nothing to ask"),
        (["--add-node", "x9"], 2, "--add-node: capacity"),
        (["--add-node", "a100=many"], 2, "--add-node"),
        (["--add-node", "a100:cpu"], 2, "--add-node"),
        (["--add-node", "a100:memory=16"], 2, "--add-node a100: memory"),
        (["--queue-weight", "q"], 2, "--queue-weight"),
        (["--queue-weight", "q=-1"], 2, "--queue-weight"),
        (["--queue-discipline", "q=lottery"], 2, "--queue-discipline"),
        (["--queue-quota", "q"], 2, "--queue-quota"),
        (["--policy", "gap=7"], 2, "--policy: gap"),
        (["--policy", "mood=7"], 2, "--policy: mood"),
        (["--job-weight", "j1=heavy"], 2, "--job-weight"),
        (["--job-weight", "j1=-3"], 2, "--job-weight"),
        (["--job", "j1", "--rounds", "-1"], 2, "--rounds"),
        (["--job", "j99"], 3, "j99"),
        (["--cancel", "j99"], 3, "j99"),
        (["--remove-node", "n99"], 3, "n99"),
        (["--queue-weight", "nowhere=1"], 3, "nowhere"),
    ],
)
def test_refusals_name_the_flag(busy: Served, run: Run, arguments: list[str], code: int, named: str) -> None:
    ran = run("whatif", *arguments)
    assert ran.code == code, ran
    assert named in ran.err
    assert ran.out == ""


class TestDryRun:
    flags = ("submit", "--queue", "q", "--cpu", "1")

    def test_it_says_what_would_become_of_it_and_submits_nothing(self, busy: Served, run: Run) -> None:
        ran = run(*self.flags, "--gpu", "1", "--flavor", "a100", "--dry-run")
        assert ran.code == 0
        assert ran.out.startswith("would wait: ")
        assert "its share of the time is" in ran.out
        assert len(busy.store.snapshot(0.0).jobs) == 2

    def test_one_that_fits_starts(self, served: Served, run: Run) -> None:
        served.populate(("q",), (node("n1"),))
        ran = run(*self.flags, "--gpu", "1", "--count", "3", "--dry-run")
        assert ran.out.startswith("3 jobs: would start in the next round on 1 × a100; its share of the time is 100")

    def test_it_refuses_as_the_submit_does(self, busy: Served, run: Run) -> None:
        large = (*self.flags, "--gpu", "8", "--flavor", "a100")
        dry, real = run(*large, "--dry-run"), run(*large)
        assert (dry.code, dry.err) == (real.code, real.err)
        assert real.code == 4
        assert "a replica needs 8 GPUs, the largest node of a100 has 4" in real.err
        nowhere = ("submit", "--queue", "nowhere", "--cpu", "1", "--flavor", "a100")
        assert run(*nowhere, "--dry-run").code == run(*nowhere).code == 3

    def test_what_can_never_run_is_taken_when_asked_for(self, busy: Served, run: Run) -> None:
        large = (*self.flags, "--gpu", "8", "--flavor", "a100", "--allow-infeasible")
        assert "would be admitted, and wait for other nodes" in run(*large, "--dry-run").out
        assert run(*large).out.strip() == "j3"

    def test_a_file_is_told_job_by_job(self, busy: Served, run: Run, tmp_path: Path) -> None:
        jobs = tmp_path / "jobs.yaml"
        jobs.write_text("- {queue: q, name: small, cpu: 1}\n- {queue: q, name: big, gpu: 9}\n")
        ran = run("submit", "-f", str(jobs), "--dry-run")
        assert ran.code == 1
        assert "small: would start" in ran.out
        assert "item 1: cluster: can never run this job as it is" in ran.err
        found = run("submit", "-f", str(jobs), "--dry-run", "--json")
        assert found.json["submitted"][1]["error"]["kind"] == "FailedPrecondition"

    def test_it_does_not_go_with_wait(self, run: Run) -> None:
        ran = run(*self.flags, "--flavor", "a100", "--dry-run", "--wait")
        assert ran.code == 2
        assert "--dry-run" in ran.err


class TestPlan:
    def test_it_tells_what_to_buy(self, busy: Served, run: Run) -> None:
        ran = run("plan", "--budget", "100", "--cost", "a100=60")
        assert ran.code == 0, ran
        assert "spent               60, 40 left" in ran.out
        assert "waiting             1 → 0" in ran.out
        found = run("plan", "--budget", "100", "--cost", "a100=60", "--json").json
        assert found["purchases"] == [
            {"flavor": "a100", "count": 1, "cost": 60.0, "worth": pytest.approx(1.0, rel=1e-2)}
        ]
        assert found["gains"][0]["queue"] == "q"

    def test_costs_come_from_a_file_too(self, busy: Served, run: Run, tmp_path: Path) -> None:
        costs = tmp_path / "costs.yaml"
        costs.write_text("a100: 60\nh200: {cost: 30, gpu: 8, cpu: 96, memory: 2TiB}\n")
        found = run("plan", "--budget", "100", "--costs", str(costs), "--json").json
        assert {each["flavor"]: each["count"] for each in found["purchases"]} == {"a100": 1, "h200": 0}
        costs.write_text("a100:\n  gpu: 4\n")
        ran = run("plan", "--budget", "100", "--costs", str(costs))
        assert ran.code == 2
        assert "costs.yaml:1" in ran.err

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (["--budget", "0", "--cost", "a100=1"], "--budget"),
            (["--budget", "1"], "--cost"),
            (["--budget", "1", "--cost", "a100"], "--cost"),
            (["--budget", "1", "--cost", "a100=free"], "--cost"),
            (["--budget", "1", "--cost", "a100=-1"], "--cost"),
            (["--budget", "1", "--cost", "h200=1"], "--cost"),
        ],
    )
    def test_refusals_name_the_flag(self, busy: Served, run: Run, arguments: list[str], named: str) -> None:
        ran = run("plan", *arguments)
        assert ran.code == 2
        assert named in ran.err
