"""A fork decides what a round would decide if the changes were made; nothing else changes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.errors import AllocatorError, InvalidInput, NotFound
from allocator.domain.giving_way import giving_way
from allocator.domain.job import Job
from allocator.domain.reason import PendingCause
from allocator.intake import commands as c
from allocator.solvers import ChainSolver
from allocator.whatif.answers import AddNodes, Question, RemoveNode, SetPolicy
from allocator.whatif.fork import Live, first_round, fork, rounds
from allocator.whatif.simulator import Simulator
from tests.whatif.worlds import INTERVAL, World, commands, gpus, node, small, spec, worlds


def live(world: World) -> Live:
    return Live(world.store.snapshot(world.time), world.store.memory(), world.policy)


def possible(world: World, wanted: list[c.Command]) -> list[c.Command]:
    """Those that are not refused, one after the other."""
    kept: list[c.Command] = []
    for command in wanted:
        try:
            fork(live(world), [*kept, command])
        except AllocatorError:
            continue
        kept.append(command)
    return kept


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_what_if_is_what_happens(data: st.DataObject) -> None:
    """The same changes made to the store, and a round on it: the same plan; and the rounds after it, too."""
    world = data.draw(worlds())
    wanted = data.draw(st.lists(commands(world), max_size=4))
    wanted = possible(world, wanted)
    revision = world.store.current_revision()
    forked = fork(live(world), wanted)
    first = first_round(forked.live, ChainSolver())
    replayed = list(rounds(forked, first, 2, INTERVAL, ChainSolver()))
    assert world.store.current_revision() == revision

    for command in wanted:
        world.do(command)
    for passed in replayed:
        real = world.round()
        for mine, theirs in zip(passed.snapshot.jobs, real.snapshot.jobs, strict=True):
            assert (mine.id, mine.sequence, mine.spec, mine.state) == (
                theirs.id,
                theirs.sequence,
                theirs.spec,
                theirs.state,
            )
        plan = passed.decision.plan
        assert (plan.changes, plan.kept, plan.waiting) == (real.plan.changes, real.plan.kept, real.plan.waiting)
        assert not passed.commit.rejected
        assert passed.decision.solution.shares.tolist() == real.solution.shares.tolist()


def test_nothing_is_committed() -> None:
    world = small()
    world.submit(spec())
    world.round()
    before, memory = world.store.snapshot(world.time), world.store.memory()
    changes = (AddNodes("a", 3), c.SubmitJobs((spec(),) * 5), c.CancelJobs(("j1",)), SetPolicy((("fairness", "2"),)))
    world.simulator.ask(Question(changes, rounds=3), world.just_before)
    assert world.store.snapshot(world.time) == before
    assert world.store.memory() is memory
    with pytest.raises(NotFound):
        world.store.get_node("new-a-1")


def test_more_nodes_start_who_waits() -> None:
    """One node of 4 GPUs, six jobs of one GPU: two wait; with a second node nobody does, and nothing is scarce."""
    world = small()
    jobs = world.submit(*(spec(),) * 6)
    outcome = world.simulator.ask(Question((AddNodes("a"),), (jobs[5].id,)), world.just_before)
    assert (outcome.before.summary.started, outcome.after.summary.started) == (4, 6)
    prices = [usage.price for usage in outcome.before.summary.flavors if usage.resource == "gpu"]
    assert prices == [pytest.approx(1 / 4, rel=1e-3)], "the budget of 1 buys 4 GPUs"
    assert [usage.price for usage in outcome.after.summary.flavors] == [pytest.approx(0, abs=1e-4)] * 2
    (queue,) = outcome.before.queues
    gpu = next(amount for amount in queue.amounts if amount.resource == "gpu")
    assert (gpu.demand, gpu.held) == (6.0, 4.0)
    assert queue.money == pytest.approx(1.0)
    assert gpu.optimum == pytest.approx(4.0, rel=1e-3)
    (job,) = outcome.jobs
    assert job.before is not None
    assert job.after is not None
    assert (job.before.starts, job.after.starts) == (False, True)
    assert job.before.share == pytest.approx(4 / 6, rel=1e-3)
    assert job.after.share == pytest.approx(1.0, rel=1e-3)


def test_a_removed_node_stops_what_runs_there() -> None:
    world = small(nodes=(node("n1"), node("n2")))
    world.submit(*(spec(gpu=4),) * 2)
    world.round()
    outcome = world.simulator.ask(Question((RemoveNode("n1"),)), world.just_before)
    assert dict(outcome.after.summary.preempted) == {"node_lost": 1}
    assert outcome.before.summary.preempted == ()


def test_weights_change_shares() -> None:
    """Two queues of one job each that want all of one node: 1 : 1 is a half each, 3 : 1 three quarters."""
    world = small(("p", "q"))
    one, other = world.submit(spec("p", gpu=4), spec("q", gpu=4))
    change = c.UpdateQueue("p", weight=3.0)
    outcome = world.simulator.ask(Question((change,), (one.id, other.id)), world.just_before)
    assert [job.before and job.before.share for job in outcome.jobs] == [pytest.approx(0.5, rel=1e-3)] * 2
    assert [job.after and job.after.share for job in outcome.jobs] == [
        pytest.approx(0.75, rel=1e-3),
        pytest.approx(0.25, rel=1e-3),
    ]


def test_rounds_tell_when_a_job_will_start() -> None:
    """It waits for one that runs for five minutes more, at a round a minute."""
    world = small()
    world.submit(spec(gpu=4, preemptible=False, expected_duration_seconds=360.0))
    world.round()
    question = Question((c.SubmitJobs((spec(gpu=4),)),), rounds=20)
    (job,) = world.simulator.ask(question, world.just_before).jobs
    assert job.starts_after == 300.0
    assert job.before is None
    world.submit(spec(gpu=4))
    seen = 0
    while world.store.get_job(job.job.id).allocation is None:
        seen += 1
        if world.time - world.store.get_job("j1").last_start_time >= 360.0:  # type: ignore[operator] # it runs
            world.do(c.CancelJobs(("j1",)))
        world.round()
    assert (seen - 1) * INTERVAL == job.starts_after


def test_replaying_ends_when_told_to() -> None:
    world = small()
    world.submit(spec(gpu=4, preemptible=False))
    world.round()
    patience = iter([True, True, False])
    question = Question((c.SubmitJobs((spec(gpu=4),)),), rounds=100)
    outcome = world.simulator.ask(question, world.just_before, lambda: next(patience))
    assert outcome.rounds == 2
    assert outcome.jobs[0].starts_after is None


def test_one_bad_item_spoils_no_other() -> None:
    world = small()
    submit = c.SubmitJobs((spec(), spec("nowhere"), spec(gpu=8)))
    outcome = world.simulator.ask(Question((submit,)), world.just_before)
    good, unknown, large = outcome.submitted
    assert isinstance(unknown, NotFound)
    assert isinstance(good, Job)
    assert isinstance(large, Job)
    fates = {view.job.id: view.after for view in outcome.jobs}
    starts, too_large = fates[good.id], fates[large.id]
    assert starts is not None
    assert starts.starts
    assert too_large is not None
    assert too_large.share is None
    assert too_large.reason is not None
    assert too_large.reason.cause is PendingCause.EXCEEDS_NODE


def test_a_new_job_does_not_inherit_the_credit_of_one_that_ended() -> None:
    world = small()
    world.submit(*(spec(gpu=4),) * 3)
    for _ in range(3):
        world.round()
    last = world.store.list_jobs()[-1]
    assert world.store.memory().credit(last.sequence, world.time) != 0
    world.do(c.CancelJobs((last.id,)))
    forked = fork(live(world), [c.SubmitJobs((spec(gpu=4),))])
    (new,) = forked.submitted
    assert isinstance(new, Job)
    assert new.sequence > last.sequence


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "field"),
        [
            (AddNodes("unheard-of"), "changes[1].capacity"),
            (AddNodes("a", 0), "changes[1].count"),
            (AddNodes("b", capacity=gpus(-1)), "changes[1].capacity.gpu_millis"),
            (SetPolicy((("fairness", "-1"),)), "changes[1].policy.fairness"),
            (SetPolicy((("fairness", "many"),)), "changes[1].policy.fairness"),
            (SetPolicy((("iterations", "many"),)), "changes[1].policy.iterations"),
            (SetPolicy((("unfairness", "1"),)), "changes[1].policy.unfairness"),
            (SetPolicy((("placement", "anywhere"),)), "changes[1].policy.placement"),
            (c.UpdateQueue("q", weight=-1.0), "changes[1].weight"),
            (c.UpdateJobs((c.JobUpdate("j1", weight=-1.0),)), "changes[1].updates[0].weight"),
        ],
    )
    def test_bad_input_names_the_change_and_the_field(self, change: object, field: str) -> None:
        world = small()
        world.submit(spec())
        with pytest.raises(InvalidInput) as refused:
            fork(live(world), [AddNodes("a"), change])  # type: ignore[list-item] # of any kind
        assert refused.value.violations[0].field == field

    def test_what_does_not_exist_is_named(self) -> None:
        world = small()
        for change in (RemoveNode("n9"), c.CancelJobs(("j9",)), c.UpdateQueue("z", weight=1.0)):
            with pytest.raises(NotFound):
                fork(live(world), [change])
        with pytest.raises(NotFound):
            world.simulator.ask(Question(job_ids=("j9",)), world.just_before)

    def test_too_much_is_refused(self) -> None:
        world = small()
        with pytest.raises(InvalidInput, match="rounds"):
            world.simulator.ask(Question(rounds=100_000), world.just_before)
        with pytest.raises(InvalidInput, match="changes"):
            fork(live(world), [AddNodes("a")] * 1001)
        with pytest.raises(InvalidInput, match=r"changes\[1\].count"):
            fork(live(world), [AddNodes("a", 6000), AddNodes("a", 6000)])


def test_it_gives_way_between_its_stages() -> None:
    """So that a round that comes meanwhile waits for a stage at most."""
    world, asked = small(), []
    simulator = Simulator(world.store, ChainSolver(), lambda: world.policy, INTERVAL)
    world.submit(spec())
    with giving_way(lambda: asked.append(1)):
        simulator.ask(Question((AddNodes("a"),)), world.just_before)
        stages = len(asked)
        assert stages >= 6, "two rounds: formulate, solve, place"
        simulator.ask(Question((AddNodes("a"),)), world.just_before)
    assert len(asked) - stages <= 2 * stages // 3, "the next round as things are is known already"
