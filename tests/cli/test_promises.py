"""Deadlines and learned throughputs as people write and read them."""

from __future__ import annotations

import re
import time
from datetime import UTC, date, datetime

import pytest

from allocator.cli import documents, promise_view
from allocator.cli.jobfile import draft_of_flags, read_drafts
from allocator.cli.promise_fields import read_deadline, read_throughput
from allocator.domain.errors import InvalidInput
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.resources import Resources
from allocator.explain.answers import ConfigurationCost, JobThroughput
from allocator.intake import commands as c
from allocator.rounds.promise import JobPromise, PromiseState
from tests.builders import configuration, node, spec
from tests.cli.conftest import Run
from tests.client.served import Served

GPU = Resources.of({"gpu": 1000})
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


class TestWriting:
    def test_a_deadline_from_now(self) -> None:
        assert read_deadline("6h", "deadline") == pytest.approx(time.time() + 6 * 3600, abs=60)

    @pytest.mark.parametrize(
        "given", ["2026-03-01T12:00Z", "2026-03-01 13:00+01:00", datetime.fromtimestamp(NOON, UTC)]
    )
    def test_a_deadline_as_a_time(self, given: object) -> None:
        assert read_deadline(given, "deadline") == NOON

    @pytest.mark.parametrize("given", ["2026-03-01", date(2026, 3, 1), "2026-W09-7"])
    def test_a_day_as_a_deadline_is_all_of_that_day(self, given: object) -> None:
        assert read_deadline(given, "deadline") == datetime(2026, 3, 2).timestamp()  # noqa: DTZ001 - local, as written

    @pytest.mark.parametrize(
        "given", ["soon", "2026-13-01", "6", "-6h", 6, None, "", "6 parsecs", "2026-03-01T12:00:00+99", "9999-12-31"]
    )
    def test_what_is_no_deadline_says_what_would_be(self, given: object) -> None:
        if given == "6":
            assert read_deadline(given, "deadline") == pytest.approx(time.time() + 6, abs=60)
            return
        with pytest.raises(InvalidInput, match=r"deadline: .*such as 6h"):
            read_deadline(given, "deadline")

    def test_a_throughput_may_be_unknown(self) -> None:
        assert [read_throughput(given, "t") for given in ("unknown", None, 2)] == [None, None, 2.0]

    def test_flavors_without_a_number_are_not_declared(self) -> None:
        draft = draft_of_flags({"queue": "q", "gpu": "1", "flavors": {"a100": None, "t4": 2.0}})
        assert [(way.flavor, way.throughput, way.declared) for way in draft.spec.configurations] == [
            ("a100", 1.0, False),
            ("t4", 2.0, True),
        ]

    def test_a_file_says_all_of_it(self, tmp_path: object) -> None:
        path = f"{tmp_path}/jobs.yaml"
        with open(path, "w") as file:  # noqa: PTH123 - as a user writes it
            file.write(
                "- {queue: q, gpu: 1, flavors: {a100: 4, t4: unknown}, job_class: resnet, expected_duration: 2h,\n"
                "   deadline: 2026-03-01T12:00:00Z, minimum_throughput: 3}\n"
            )
        spec = read_drafts(documents.read(path))[0].spec
        assert (spec.job_class, spec.deadline, spec.minimum_throughput) == ("resnet", NOON, 3.0)
        assert [way.declared for way in spec.configurations] == [True, False]

    def test_a_deadline_without_a_duration_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="--deadline: needs expected_duration"):
            draft_of_flags({"queue": "q", "gpu": "1", "deadline": "6h"})


class TestReading:
    def test_a_promise_at_risk_says_what_would_do(self) -> None:
        found = JobPromise(PromiseState.AT_RISK, NOON, None, 0.8, 0.5, NOON + 900, 2.3)
        told = promise_view.promise(found, NOON - 3600)
        assert told.startswith("deadline at risk: needs 80.0 % of the time in its best configuration, gets 50.0 %\n")
        assert "- it would hold if its queue had weight 2.3\n- at that share it ends " in told

    def test_one_that_nothing_can_save(self) -> None:
        found = JobPromise(PromiseState.AT_RISK, NOON, None, 1.5, 0.0, None)
        told = promise_view.promise(found, NOON - 3600)
        assert "even all its time would not do" in told
        assert "it would never end" in told

    def test_kept_and_missed(self) -> None:
        kept = promise_view.promise(JobPromise(PromiseState.KEPT, None, 3.0, 0.75, 0.8, None), NOON)
        assert kept == "minimum throughput kept: needs 75.0 % of the time in its best configuration, gets 80.0 %"
        missed = promise_view.promise(JobPromise(PromiseState.MISSED, NOON, None, 0.0, 0.0, None), NOON + 60)
        assert missed == "deadline missed 1m ago; the job goes on"

    def test_throughputs(self) -> None:
        ways = [ConfigurationCost(i, f, 1, 0, 0, 0, 0, possible=True) for i, f in enumerate(("a100", "t4"))]
        found = [
            JobThroughput(0, 4.0, 2.0, 3.0, 0.05, 2.1, wrong=True),
            JobThroughput(1, None, None, 0.0, 0.0, 3.0, wrong=False),
        ]
        assert promise_view.throughputs(ways, found).splitlines() == [
            "a100: declared 4, measured 2 +- 5.0 % of 3: wrong",
            "t4: not declared, guessed at 3 until it was tried",
        ]

    def test_nobody_knows_any_speed(self) -> None:
        ways = [ConfigurationCost(i, f, 1, 0, 0, 0, 0, possible=True) for i, f in enumerate(("a100", "t4"))]
        found = [JobThroughput(i, None, None, 0.0, 0.0, 1.0, wrong=False) for i in (0, 1)]
        assert promise_view.throughputs(ways, found).startswith("not declared, and not tried yet")
        assert promise_view.marks(found) == {0: "?", 1: "?"}
        assert promise_view.legend(["?", "", "?"]) == "? nobody knows yet: not declared, and not tried"

    def test_in_short(self) -> None:
        risky = JobPromise(PromiseState.AT_RISK, NOON, None, 0.8, 0.5, NOON + 900)
        told = promise_view.in_short(risky)
        assert told.startswith("deadline at risk: needs 80.0 % of the time in its best configuration, gets 50.0 %, and")
        assert told.count("2026-03-01") == 2, "when it would end, and when it should"
        assert promise_view.in_short(JobPromise(PromiseState.MISSED, NOON, None, 0, 0, None)) == "deadline missed"

    def test_a_job_tells_its_own_wrong_declarations(self) -> None:
        spec = JobSpec("q", (Configuration("a100", 1, GPU, 4.0), Configuration("t4", 1, GPU, 1.0)))
        job = Job("j1", 1, spec, 0.0, measured_throughput=(("a100", 2.0), ("t4", 1.1)))
        assert promise_view.misdeclared(job) == "a100: declared 4, measured 2"


class TestAsking:
    """Two jobs of the same weight share a GPU: who needs more than half of it is told so, before and after."""

    def test_a_deadline_at_risk_is_told_before_and_after(self, served: Served, run: Run) -> None:
        served.populate(("q", "other"), (node("n1", "a100", gpu=1),))
        served.execute(c.SubmitJobs((spec("other", configuration("a100")),)))
        served.round()
        asked = (
            "submit",
            "-q",
            "q",
            "--gpu",
            "1",
            "--flavor",
            "a100",
            "--expected-duration",
            "1h",
            "--deadline",
            "70m",
        )
        told = run(*asked, "--dry-run")
        assert told.code == 0, told
        assert "deadline at risk: needs 8" in told.out
        assert ", and would end " in told.out
        later = run(*asked[:-1], "9h", "--dry-run").out
        assert "deadline kept, " in later
        (job,) = run(*asked).out.split()
        served.round()
        page = run("job", job).out
        assert re.search(r"promise +deadline at risk: needs 8", page), page
        assert run("whatif", "--queue-weight", "q=50", "--job", job).out.count("deadline at risk") == 1

    def test_speeds_that_nobody_knows_are_marked_from_the_start(self, served: Served, run: Run) -> None:
        served.populate(("q",), (node("n1", "a100"), node("n2", "t4")))
        (job,) = run("submit", "-q", "q", "--gpu", "1", "--flavor", "a100", "--flavor", "t4=unknown").out.split()
        (only,) = run("submit", "-q", "q", "--gpu", "1", "--flavor", "a100").out.split()
        page = run("job", job)
        assert page.out.count("1?") == 2
        assert "? nobody knows yet" in page.err
        assert "1?" not in run("job", only).out, "nothing to compare it with"
        served.round()
        told = run("explain", job)
        assert told.out.count("1?") == 2
        assert "? nobody knows yet" in told.err
