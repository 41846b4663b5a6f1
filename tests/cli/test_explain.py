"""explain and prices against a real server; the transcripts in the documentation are what it answers."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

import allocator.explain
from allocator.cli import explain_json
from allocator.cli.explain_view import change
from allocator.domain.job import JobSpec, JobState
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.domain.reason import Examined, PendingCause, PendingReason, Refusal, Shortage
from allocator.explain import answers as a
from allocator.intake import commands as c
from allocator.rounds.report import FlavorUsage
from allocator.v1 import explain_service_pb2, explanation_pb2
from allocator.wire.explanations import PastPrice
from tests.builders import configuration, node, spec
from tests.cli.conftest import Run
from tests.cli.test_schema import _same_fields
from tests.client.served import Served

README = Path(allocator.explain.__file__).parent / "README.md"


def busy(served: Served) -> None:
    """One GPU of each of two flavors, and a job that nobody may stop on the a100."""
    served.populate(("research",), (node("n1", "a100", gpu=1), node("n2", "t4", gpu=1)))
    served.execute(c.SubmitJobs((spec("research", configuration(cpu=0), preemptible=False),)))
    served.round()


def later(served: Served) -> None:
    served.clock.ahead += 10
    served.round()


def test_why_a_job_waits_do_what_it_says_watch_it_start(served: Served, run: Run) -> None:
    busy(served)
    shown = Transcript(run)
    shown("submit", "-q", "research", "--name", "sweep", "--gpu", "1", "--flavor", "a100")
    later(served)
    told = shown("explain", "j2", "--what-helps")
    assert "also accept t4" in told
    shown.pause()
    shown("cancel", "j2")
    shown("submit", "-q", "research", "--name", "sweep", "--gpu", "1", "--flavor", "a100", "--flavor", "t4")
    later(served)
    assert served.store.get_job("j3").state is JobState.RUNNING
    assert "running" in shown("explain", "j3")
    shown.check("flavors")


def test_the_command_that_it_gives_helps(served: Served, run: Run) -> None:
    served.populate((), (node("n1", "a100", gpu=2),))
    served.execute(c.CreateQueue(Queue("research", quotas=(Quota("a100", "gpu", 0, borrowing_limit=1000),))))
    served.execute(c.SubmitJobs((spec("research", configuration(cpu=0)),)))
    served.round()
    shown = Transcript(run)
    shown("submit", "-q", "research", "--gpu", "1", "--flavor", "a100")
    later(served)
    assert served.store.get_job("j2").state is JobState.PENDING
    told = shown("explain", "j2", "--what-helps")
    (given,) = re.findall(r"allocator (queues update .*--quota \S*borrow=2\S*)", told)
    shown(*shlex.split(given))
    later(served)
    assert served.store.get_job("j2").state is JobState.RUNNING
    shown.check("quota")


def test_three_queues_and_two_flavors_by_hand(served: Served, run: Run) -> None:
    served.populate((), (node("n1", "a100", gpu=4), node("n2", "t4", gpu=4)))
    for name, weight in (("speech", 1.0), ("vision", 2.0), ("web", 1.0)):
        served.execute(c.CreateQueue(Queue(name, weight)))
    fast, slow = configuration("a100", cpu=0), configuration("t4", cpu=0, throughput=0.5)
    for name, ways in (("vision", (fast,)), ("speech", (slow,)), ("web", (fast, slow))):
        served.execute(c.SubmitJobs(tuple(spec(name, *ways) for _ in range(6))))
    served.round()
    shown = Transcript(run)
    shown("prices")
    shown.pause()
    shown("explain", "price", "a100/gpu")
    shown.pause()
    shown("explain", "queue", "web")
    shown.check("three queues")
    prices = {(each["flavor"], each["resource"]): each["price"] for each in run("prices", "--json").json["prices"]}
    assert prices["a100", "gpu"] == pytest.approx(1 / 6, rel=1e-3)
    assert prices["t4", "gpu"] == pytest.approx(1 / 12, rel=1e-3)
    payers = run("explain", "price", "a100/gpu", "--json").json["explanation"]["payers"]
    assert {each["queue"]: round(each["amount"], 2) for each in payers} == {"vision": 3.0, "web": 1.0}
    web = run("explain", "queue", "web", "--json").json
    assert {each["flavor"]: round(each["optimum"], 2) for each in web["amounts"]} == {"a100": 1.0, "t4": 1.0}
    assert web["spends"] == pytest.approx(0.25, rel=1e-3)


def test_unknown_subjects_and_wrong_usage(served: Served, run: Run) -> None:
    busy(served)
    assert (run("explain", "nope").code, run("explain", "nope").err) == (3, "error: job 'nope' does not exist\n")
    assert run("explain", "queue", "nope").code == 3
    assert run("explain", "price", "a100/nope").code == 3
    assert run("explain").code == 2
    assert run("explain", "queue").code == 2
    assert run("explain", "a", "b", "c").code == 2
    assert run("explain", "price", "a100").code == 2
    assert run("explain", "queue", "research", "--when").code == 2
    assert run("explain", "j1", "--one-more").code == 2
    assert run("prices", "--watch", "--history", "3").code == 2


def test_before_the_first_round(served: Served, run: Run) -> None:
    served.populate(("q",), (node("n1"),))
    served.execute(c.SubmitJobs((spec("q"),)))
    job = run("explain", "j1", "--what-helps", "--when")
    assert job.code == 0
    assert "no round has looked at it yet" in job.err
    queue = run("explain", "queue", "q")
    assert queue.code == 4
    assert "none has run since the daemon started" in queue.err
    assert run("prices", "--history", "5").code == 0
    assert run("prices", "--history", "5", "--json").json == []


def test_a_queue_a_price_and_its_past(served: Served, run: Run) -> None:
    served.populate(("x", "y"), (node("n1", "a100", gpu=2),))
    one = configuration(cpu=0)
    served.execute(c.SubmitJobs((spec("x", one), spec("x", one), spec("y", one), spec("y", one))))
    served.round()
    later(served)
    queue = run("explain", "queue", "x")
    assert queue.code == 0
    assert "entitled to  50.0 % of all money" in queue.out
    price = run("explain", "price", "a100/gpu", "--one-more", "--history", "5")
    assert "0.5 of all money per GPU of a100" in price.out
    assert "Who would gain by one GPU more" in price.out
    past = run("prices", "--history", "5")
    assert past.out.split("\n")[0].split() == ["ROUND", "AGE", "a100/gpu"]
    assert [line.split()[0] for line in past.out.splitlines()[1:]] == ["2", "1"]
    assert [each["round"] for each in run("prices", "--history", "5", "--json").json] == [2, 1]
    (first, *_) = served.store.list_jobs(states=(JobState.RUNNING,))
    running = run("explain", first.id, "--when", "--what-helps", "--json").json
    assert (running["state"], running["estimate"], running["what_helps"]) == ("running", None, None)


def test_an_estimate_in_words(served: Served, run: Run) -> None:
    served.populate(("x",), (node("n1", "a100", gpu=1),))
    long = JobSpec("x", (configuration(cpu=0),), preemptible=False, expected_duration_seconds=3600.0)
    served.execute(c.SubmitJobs((long, long)))
    served.round()
    told = run("explain", "j2", "--when").out
    assert re.search(r"start +in about 1h", told), told
    assert "nobody else comes" in told


def test_changes_in_words() -> None:
    kinds = {
        a.Change(a.ChangeKind.WEIGHT, weight=4.8): "weight 4.8",
        a.Change(a.ChangeKind.FLAVOR, flavor="t4"): "also accept t4, if it is as fast there",
        a.Change(a.ChangeKind.NODES, flavor="t4", nodes=2): "2 nodes more of t4",
        a.Change(a.ChangeKind.NOMINAL_QUOTA, flavor="t4", queue="q", amounts=(("gpu", 2000),)): (
            "quota of q on t4: 2 GPUs"
        ),
        a.Change(a.ChangeKind.BORROWING_LIMIT, flavor="t4", queue="q", amounts=(("gpu", 1000),)): (
            "borrowing limit of q on t4: 1 GPU"
        ),
        a.Change(a.ChangeKind.LENDING_LIMIT, flavor="t4", queue="q", amounts=(("cpu", 2000),)): (
            "lending limit of q on t4: 2 cores"
        ),
    }
    assert {change(made): words for made, words in kinds.items()} == {words: words for words in kinds.values()}


def test_json_has_the_fields_of_the_api() -> None:
    reason = PendingReason(
        PendingCause.FRAGMENTED,
        (Shortage("a", "gpu", 1),),
        (Examined("a", 1, ((Refusal.FULL, 1),), (("gpu", 1),), 1, 0, 0),),
    )
    outcome = a.Outcome(0.5, None, PendingCause.FRAGMENTED)
    made = a.Change(a.ChangeKind.NOMINAL_QUOTA, flavor="a", queue="q", amounts=(("gpu", 1000),))
    job = a.JobExplanation(
        job_id="j1",
        queue="q",
        state=JobState.PENDING,
        tier=a.Tier.NOT_NOW,
        reason=reason,
        round=1,
        time=0.0,
        configurations=(a.ConfigurationCost(0, "a", 1, 1.0, 0.5, 0.25, 0.0, possible=True),),
        bindings=(a.Binding(a.BindingKind.CAPACITY, "", "a", "gpu", 0.25, 0.125),),
        estimate=a.Estimate((10.0, None), 60.0, 6, (a.Assumption.NO_ARRIVALS,)),
        what_helps=a.WhatHelps(outcome, (a.Counterfactual(made, outcome),), (made,), 60.0, 6, complete=True),
    )
    told = explain_json.job_explanation(job)
    _same_fields(told, explanation_pb2.JobExplanation.DESCRIPTOR)
    assert (told["tier"], told["time"]) == ("not_now", "1970-01-01T00:00:00.000000Z")
    assert told["estimate"]["starts"] == [{"after_seconds": 10.0}, {"after_seconds": None}]
    amounts = a.QueueAmounts(
        "a", "gpu", 1.0, None, 2.0, 1.0, 1.0, 1.0, 1.0, a.Shortfall.CAPACITY, 0.0, 0.0, (a.Borrower("y", 1.0),)
    )
    queue = a.QueueExplanation("q", 1, 0.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25, (amounts,))
    _same_fields(explain_json.queue_explanation(queue), explanation_pb2.QueueExplanation.DESCRIPTOR)
    more = a.OneMore(0.25, 1e-9, (a.Gain("q", 0.25, 1.0),))
    usage = FlavorUsage("a", "gpu", 1000, 1000, 1000, 0.25)
    price = a.PriceExplanation(1, 0.0, usage, (a.ClassPrice(0, 0.25),), (a.Payer("q", 0.25, 1.0),), more)
    told = explain_json.price_explanation(price, (PastPrice(1, 0.0, 0.25),))
    _same_fields(told, explain_service_pb2.ExplainPriceResponse.DESCRIPTOR)


class Transcript:
    """Runs commands, and compares what they print with what the documentation shows. Times differ between runs."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._blocks: list[list[str]] = [[]]

    def __call__(self, *args: str) -> str:
        ran = self._run(*args)
        assert ran.code == 0, ran
        self._blocks[-1].append(f"$ allocator {shlex.join(args)}\n{ran.out}")
        return ran.out

    def pause(self) -> None:
        """Text stands between."""
        self._blocks.append([])

    def check(self, name: str) -> None:
        """With ALLOCATOR_REWRITE set, the documentation is brought up to date instead."""
        text = README.read_text(encoding="utf-8")
        before, mark, after = text.partition(f"<!-- transcript: {name} -->\n")
        if "ALLOCATOR_REWRITE" in os.environ:
            for block in self._blocks:
                passed, _, after = after.partition("```\n")
                before, mark, after = before + mark + passed, f"```\n{''.join(block)}```\n", after.partition("```\n")[2]
            README.write_text(before + mark + after, encoding="utf-8")
            return
        shown = re.findall(r"```\n(.*?)```", after, flags=re.DOTALL)[: len(self._blocks)]
        actual = ["".join(block) for block in self._blocks]
        assert [_timeless(block) for block in shown] == [_timeless(block) for block in actual], "\n".join(
            f"```\n{block}```\n" for block in actual
        )


def _timeless(text: str) -> list[str]:
    """Lines of words, without how long anything takes."""
    return [" ".join(re.sub(r"\b\d+[smh](\d+[sm])?\b", "T", line).split()) for line in text.splitlines()]


@pytest.mark.parametrize("text", ["after 4s", "after 4m54s", "1h05m"])
def test_times_are_left_out_of_the_comparison(text: str) -> None:
    assert _timeless(text)[-1].split()[-1] == "T"
