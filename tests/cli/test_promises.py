"""Deadlines and learned throughputs as people write and read them."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from allocator.cli import documents, promise_view
from allocator.cli.jobfile import draft_of_flags, read_drafts
from allocator.cli.promise_fields import read_deadline, read_throughput
from allocator.domain.errors import InvalidInput
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.resources import Resources
from allocator.explain.answers import ConfigurationCost, JobPromise, JobThroughput, PromiseState

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

    @pytest.mark.parametrize(
        "given", ["soon", "2026-13-01", "6", "-6h", 6, None, "", "6 parsecs", "2026-03-01T12:00:00+99"]
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
        assert "- it would hold if its queue had weight 2.3\n- it would hold until " in told

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

    def test_a_job_tells_its_own_wrong_declarations(self) -> None:
        spec = JobSpec("q", (Configuration("a100", 1, GPU, 4.0), Configuration("t4", 1, GPU, 1.0)))
        job = Job("j1", 1, spec, 0.0, measured_throughput=(("a100", 2.0), ("t4", 1.1)))
        assert promise_view.misdeclared(job) == "a100: declared 4, measured 2"
