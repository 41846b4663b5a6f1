"""explain and prices against a real server; the transcripts in the documentation are what it answers."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import allocator.explain
from allocator.cli import explain_json
from allocator.cli.explain_view import change
from allocator.domain.job import JobSpec, JobState
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.domain.reason import Examined, PendingCause, PendingReason, Refusal, Shortage
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.explain import answers as a
from allocator.explain.scarcity import (
    Binding,
    BindingKind,
    ClassPrice,
    Gain,
    LimitPrice,
    OneMore,
    Payer,
    PriceExplanation,
    ScarceLimit,
)
from allocator.intake import commands as c
from allocator.rounds.promise import JobPromise, PromiseState
from allocator.rounds.report import FlavorUsage
from allocator.v1 import explain_service_pb2, explanation_pb2
from allocator.wire.explanations import PastPrice
from tests.builders import configuration, node, spec
from tests.cli.conftest import Run
from tests.cli.test_schema import _same_fields
from tests.cli.transcripts import Transcript, timeless
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
    shown = Transcript(run, README)
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
    shown = Transcript(run, README)
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
    shown = Transcript(run, README)
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


def test_a_limit_that_holds_jobs_back(served: Served, run: Run) -> None:
    """3.2 kW for 8 a100 of 0.4 kW and 8 t4 of 0.1 kW: power is all that is scarce, and goes by weight."""
    power = (Term("gpu", 0.4, flavors=("a100",)), Term("gpu", 0.1, flavors=("t4",)))
    served.policy = Policy(side_constraints=(SideConstraint("power", power, most=3.2, unit="kW"),))
    served.populate((), (node("n1", "a100", gpu=8), node("n2", "t4", gpu=8)))
    for name, weight in (("speech", 1.0), ("vision", 2.0), ("web", 1.0)):
        served.execute(c.CreateQueue(Queue(name, weight)))
    fast, slow = configuration("a100", cpu=0), configuration("t4", cpu=0, throughput=0.5)
    for name, ways in (("vision", (fast,)), ("speech", (slow,)), ("web", (fast, slow))):
        served.execute(c.SubmitJobs(tuple(spec(name, *ways) for _ in range(12))))
    served.round()
    later(served)
    waiting = next(job for job in served.store.list_jobs(states=(JobState.PENDING,)) if job.spec.queue == "vision")
    shown = Transcript(run, README)
    told = shown("explain", waiting.id)
    assert re.search(r"limit power +- +- +0\.25 +kW +4\.2 %", told), told
    assert re.search(r"power: 3\.2 kW allowed, \S+ in use; 36 jobs would take 10\.8 together", told)
    shown.pause()
    told = shown("prices")
    assert re.search(r"power +- +- +0\.25 +kW +3\.2 +10\.8 +80\.0 % +vision 50\.0 %, web 17\.5 %, speech 12\.5 %", told)
    shown.check("power")
    (limit,) = run("prices", "--json").json["limits"]
    assert (limit["kind"], limit["limit"]["name"], limit["limit"]["unit"]) == ("limit", "power", "kW")
    assert run("prices", "--flavor", "t4", "--json").json["limits"] == [], "it is about more than that flavor"


def test_pieces_that_are_too_small_are_told(served: Served, run: Run) -> None:
    """Each of two nodes has 4 GPUs; a job that stays has one of one of them: one piece of 4 is left, for three jobs."""
    served.populate(("x",), (node("n1", "a100", gpu=4), node("n2", "a100", gpu=4)))
    served.execute(c.SubmitJobs((spec("x", configuration(cpu=0), preemptible=False),)))
    served.round()
    served.execute(c.SubmitJobs((spec("x", configuration(cpu=0, gpu=4)),) * 3))
    later(served)
    told = run("explain", "j4").out
    assert re.search(r"pieces of 4 GPUs +a100 +gpu +1 +piece +33\.3 %", told), told
    assert "pieces of 4 GPUs, a100: 1 beside jobs that stay; 3 jobs want 3" in told
    told = run("prices", "--flavor", "a100").out
    assert re.search(r"pieces of 4 GPUs +a100 +gpu +1 +piece +1 +3 +100\.0 % +x 100\.0 %", told), told


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
    served.round()
    assert "no resource of a flavor had a price in these rounds" in run("prices", "--history", "5").err


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


def test_what_weights_count_in_words(served: Served, run: Run) -> None:
    """On one GPU of which y had nothing while x asked for more than that, for a half-life."""
    served.policy = Policy(usage_strength=1.0, usage_half_life_seconds=3600.0, aging_seconds=900.0)
    served.populate(("x", "y"), (node("n1", "a100", gpu=1),))
    served.execute(c.SubmitJobs((JobSpec("x", (configuration(cpu=0),)),) * 2))
    served.round()
    served.execute(c.SubmitJobs((JobSpec("y", (configuration(cpu=0),)),)))
    served.clock.ahead += 3600.0
    served.round()
    shown = Transcript(run, README)
    told = shown("explain", "queue", "x") + shown("explain", "queue", "y")
    assert re.search(r"weight +1, counts 0.667 times", told), told
    assert "of what was scarce it had 0 %, and 25.0 % was its part (half-life 1h)" in told
    shown.check("paid back")
    told = run("explain", "j1").out
    assert re.search(r"weight +1, counts as 1 in its queue", told), told
    assert "- x 1 by the policy's weighting, having received 1h of run time" in told


def test_a_queue_that_counts_by_its_jobs_says_so(served: Served, run: Run) -> None:
    """x has three jobs, y one: each job alike, so x is entitled to three quarters, whatever the queues weigh."""
    served.policy = Policy(crowd_strength=1.0)
    served.populate(("x", "y"), (node("n1", "a100", gpu=1),))
    served.execute(c.SubmitJobs((JobSpec("x", (configuration(cpu=0),)),) * 3))
    served.execute(c.SubmitJobs((JobSpec("y", (configuration(cpu=0),)),)))
    served.round()
    told = run("explain", "queue", "x").out
    assert re.search(r"weight +1, counts as 3: with the weights of its jobs\n", told), told
    assert re.search(r"entitled to +75.0 %", told), told
    assert re.search(r"weight +1\n", run("explain", "queue", "y").out)


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
        a.Change(a.ChangeKind.LIMIT, limit="power", most=3.6, unit="kW"): "limit power of the policy: 3.6 kW",
        a.Change(a.ChangeKind.LIMIT, limit="licences", most=20.0): "limit licences of the policy: 20",
    }
    assert {change(made): words for made, words in kinds.items()} == {words: words for words in kinds.values()}


def test_json_has_the_fields_of_the_api() -> None:
    reason = PendingReason(
        PendingCause.FRAGMENTED,
        (Shortage("a", "gpu", 1),),
        (Examined("a", 1, ((Refusal.FULL, 1),), (("gpu", 1),), 1, 0, 0),),
    )
    power = ScarceLimit("power", "kW", 0.0, some_nodes=False, most=3.0, used=2.5, wanted=4.0, jobs=8)
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
        bindings=(Binding(BindingKind.LIMIT, "", "", "", 0.25, 0.125, power),),
        estimate=a.Estimate((10.0, None), 60.0, 6, (a.Assumption.NO_ARRIVALS,)),
        what_helps=a.WhatHelps(outcome, (a.Counterfactual(made, outcome),), (made,), 60.0, 6, complete=True),
        weight=a.JobWeight(2.0, 4.0, 0.5, 4.0, 5400.0, 7200.0),
        promise=JobPromise(PromiseState.AT_RISK, 60.0, 1.0, 0.8, 0.5, 90.0, 2.3),
        throughputs=(a.JobThroughput(0, None, 2.0, 3.0, 0.1, 2.2, wrong=False),),
    )
    told = explain_json.job_explanation(job)
    _same_fields(told, explanation_pb2.JobExplanation.DESCRIPTOR)
    assert (told["tier"], told["time"]) == ("not_now", "1970-01-01T00:00:00.000000Z")
    assert told["estimate"]["starts"] == [{"after_seconds": 10.0}, {"after_seconds": None}]
    amounts = a.QueueAmounts(
        "a", "gpu", 1.0, None, 2.0, 1.0, 1.0, 1.0, 1.0, a.Shortfall.CAPACITY, 0.0, 0.0, (a.Borrower("y", 1.0),)
    )
    past = a.PastUsage(0.5, 0.5, 0.25, 86_400.0)
    queue = a.QueueExplanation("q", 1, 0.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25, (amounts,), past)
    _same_fields(explain_json.queue_explanation(queue), explanation_pb2.QueueExplanation.DESCRIPTOR)
    more = OneMore(0.25, 1e-9, (Gain("q", 0.25, 1.0),))
    usage = FlavorUsage("a", "gpu", 1000, 1000, 1000, 0.25)
    price = PriceExplanation(1, 0.0, usage, (ClassPrice(0, 0.25),), (Payer("q", 0.25, 1.0),), more)
    told = explain_json.price_explanation(price, (PastPrice(1, 0.0, 0.25),))
    _same_fields(told, explain_service_pb2.ExplainPriceResponse.DESCRIPTOR)
    limit = LimitPrice(BindingKind.LIMIT, "", "", 0.25, power, (Payer("q", 0.25, 1.0),))
    _same_fields(explain_json.limit_price(limit), explanation_pb2.LimitPrice.DESCRIPTOR)


@pytest.mark.parametrize("text", ["after 4s", "after 4m54s", "1h05m"])
def test_times_are_left_out_of_the_comparison(text: str) -> None:
    assert timeless(text)[-1].split()[-1] == "T"
