"""Nothing of a job begins while an earlier start of it may still run on another node, and nobody waits for ever."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import permutations

import pytest

from allocator.agent.plan import Phase
from allocator.domain.cluster import NodeAvailability, NodeHealth
from allocator.domain.job import Job
from allocator.intake import commands as c
from tests.builders import node
from tests.placement.small_worlds import worlds_to_try
from tests.rpc.departing import LEASE, NOTHING_SEEN, Cluster


def running(*nodes: str, silent: tuple[str, ...] = (), others: tuple[str, ...] = ("y", "z")) -> tuple[Cluster, Job]:
    """A job that runs on `nodes`; `others` are there, too."""
    cluster = Cluster(*(set(nodes) - set(silent)), *others, silent=silent)
    job = cluster.submit(3)
    cluster.place(job, *nodes)
    cluster.calm_down()
    assert cluster.running_on(job) == sorted(nodes)
    return cluster, job


def waits(cluster: Cluster, job: Job, node: str) -> bool:
    return job.id in cluster.departures.shown(cluster.store.desired(node)).waiting


def hear(cluster: Cluster, name: str) -> None:
    """The agent is up to date, and says how everything is."""
    for act in (cluster.connect, cluster.show, cluster.take, cluster.step, cluster.send, cluster.arrive):
        act(name)


def test_a_move_waits_until_the_old_node_says_that_nothing_is_left() -> None:
    cluster, job = running("x")
    cluster.place(job, "y")
    assert waits(cluster, job, "y")
    assert cluster.departures.waiting_jobs() == 1
    assert cluster.departures.shown(cluster.store.desired("x")).is_awaited
    cluster.send("x")
    cluster.arrive("x")
    assert waits(cluster, job, "y"), "it had not seen yet that the job shall leave"
    hear(cluster, "x")
    assert waits(cluster, job, "y"), "it writes its checkpoint"
    cluster.end("x")
    hear(cluster, "x")
    assert not waits(cluster, job, "y")
    assert cluster.departures.waiting_jobs() == 0
    assert not cluster.departures.shown(cluster.store.desired("x")).is_awaited
    cluster.calm_down()
    assert cluster.running_on(job) == ["y"]


def test_what_never_began_is_not_waited_for() -> None:
    cluster, job = running("x")
    cluster.place(job, "y")
    cluster.place(job, "z")
    hear(cluster, "x")
    cluster.end("x")
    hear(cluster, "x")
    assert waits(cluster, job, "z")
    hear(cluster, "y")
    assert not waits(cluster, job, "z")


@pytest.mark.parametrize("order", list(permutations("abc")))
def test_a_gang_waits_for_all_of_it_in_whatever_order_it_ends(order: tuple[str, ...]) -> None:
    """One of its nodes is the same as before: there its agent sees to it that nothing begins too early."""
    cluster, job = running("a", "b", "c")
    cluster.place(job, "c", "y", "z")
    for name in order:
        assert waits(cluster, job, "y")
        assert waits(cluster, job, "c") or order[-1] == "c"
        hear(cluster, name)
        cluster.end(name)
        hear(cluster, name)
    assert not waits(cluster, job, "y")
    cluster.calm_down()
    assert cluster.running_on(job) == ["c", "y", "z"]


def test_what_left_a_gang_that_went_on_is_waited_for_when_the_gang_moves() -> None:
    cluster, job = running("x", "b")
    cluster.resize(job, "x")
    assert not waits(cluster, job, "x"), "the same start"
    cluster.place(job, "y")
    hear(cluster, "x")
    cluster.end("x")
    hear(cluster, "x")
    assert waits(cluster, job, "y"), "a replica may still be there that left before"
    hear(cluster, "b")
    cluster.end("b")
    hear(cluster, "b")
    assert not waits(cluster, job, "y")


def test_a_node_that_is_lost_is_not_waited_for() -> None:
    cluster, job = running("x")
    cluster.place(job, "y")
    cluster.lose("x")
    assert not waits(cluster, job, "y")
    cluster.calm_down()
    assert cluster.running_on(job) == ["y"]


def test_what_was_moved_off_a_lost_node_does_not_wait() -> None:
    cluster, job = running("x")
    cluster.lose("x")
    cluster.place(job, "y")
    assert not waits(cluster, job, "y")


@pytest.mark.parametrize("pushed", [True, False])
def test_a_node_that_is_removed_is_waited_for_until_its_lease_is_over(pushed: bool) -> None:
    cluster, job = running("x")
    cluster.do(c.SetNodeAvailability("x", NodeAvailability.DRAINING))
    cluster.place(job, "y", pushed=pushed)
    cluster.do(c.RemoveNode("x"))
    cluster.push_all()
    cluster.let_pass(LEASE - 1)
    assert waits(cluster, job, "y")
    cluster.let_pass(2)
    assert not waits(cluster, job, "y")


def test_an_agent_that_does_not_say_what_is_leaving_keeps_nobody_waiting() -> None:
    """As those of earlier versions, and engines that see to it by themselves."""
    cluster, job = running("x", silent=("x",))
    cluster.place(job, "y")
    assert not waits(cluster, job, "y")
    cluster.calm_down()
    cluster.place(job, "x")
    cluster.calm_down()
    cluster.restart()
    for name in ("x", "y", "z"):
        hear(cluster, name)
    cluster.place(job, "z")
    assert not waits(cluster, job, "z")


def test_a_node_that_was_never_heard_of_is_waited_for_until_it_says_that_it_says_nothing() -> None:
    cluster = Cluster("y", silent=("x",))
    job = cluster.submit()
    cluster.place(job, "x")
    cluster.place(job, "y")
    assert waits(cluster, job, "y")
    cluster.do(c.Heartbeat("x"))
    assert not waits(cluster, job, "y")


def test_a_node_that_is_removed_and_comes_back_may_have_another_agent() -> None:
    cluster, job = running("y", silent=("x",), others=("z",))
    cluster.remove("x")
    cluster.register_again("x")
    cluster.place(job, "x")
    cluster.place(job, "z")
    assert cluster.departures.shown(cluster.store.desired("x")).is_awaited


def test_whoever_looks_between_commit_and_push_waits_for_the_push() -> None:
    """Only the push tells what leaves for it."""
    cluster, job = running("x")
    cluster.place(job, "y", pushed=False)
    assert waits(cluster, job, "y")
    cluster.push_all()
    assert waits(cluster, job, "y")
    cluster.calm_down()
    assert cluster.running_on(job) == ["y"]


def test_a_job_that_has_ended_is_not_waited_for() -> None:
    cluster, job = running("x")
    cluster.do(c.CancelJobs((job.id,)))
    cluster.commit()
    assert not cluster.departures.shown(cluster.store.desired("x")).is_awaited


def test_after_a_restart_who_was_stopped_before_waits_until_everybody_was_heard() -> None:
    cluster, job = running("x")
    cluster.place(job, "y")
    hear(cluster, "x")
    new = cluster.submit()
    cluster.place(new, "z")
    cluster.restart()
    assert not waits(cluster, new, "z"), "nothing of it can be anywhere"
    assert waits(cluster, job, "y")
    assert cluster.departures.shown(cluster.store.desired("x")).is_awaited
    cluster.do(c.Heartbeat("z", seen=NOTHING_SEEN))
    hear(cluster, "x")
    hear(cluster, "z")
    assert waits(cluster, job, "y"), "it said that it is still there"
    cluster.end("x")
    hear(cluster, "x")
    assert not waits(cluster, job, "y"), "of itself a node knows"
    cluster.calm_down()
    assert cluster.running_on(job) == ["y"]


def test_after_a_restart_a_gang_that_one_node_gave_back_waits_for_what_began_on_the_others() -> None:
    """That is neither a failure nor a preemption, and still an earlier start."""
    cluster, job = running("x", "b")
    cluster.do(c.RegisterNode(replace(node("b", cpu=1000), trouble="no room")))
    allocation = cluster.now_of(job).allocation
    assert allocation is not None
    rank = [replica.node for replica in allocation.placement.replicas].index("b")
    report = c.ReplicaReport(job.id, rank, allocation.epoch, c.ReplicaState.NOT_BEGUN)
    cluster.do(c.Heartbeat("b", (report,), NOTHING_SEEN))
    cluster.let_pass(1.0)
    cluster.place(job, "y")
    cluster.restart()
    assert waits(cluster, job, "y")
    cluster.calm_down()
    assert cluster.running_on(job) == ["y"]


@pytest.mark.parametrize("gone", ["lost", "removed", "silent"])
def test_after_a_restart_a_node_that_says_nothing_is_not_waited_for_for_ever(gone: str) -> None:
    cluster, job = running("x")
    cluster.preempt(job)
    cluster.calm_down()
    cluster.place(job, "y")
    cluster.restart()
    for name in ("x", "y"):
        hear(cluster, name)
    assert waits(cluster, job, "y")
    match gone:
        case "lost":
            cluster.do(c.LoseNode("z"))
        case "removed":
            cluster.remove("z")
            cluster.let_pass(LEASE + 1)
            del cluster.agents["z"]
        case "silent":
            cluster.do(c.Heartbeat("z"))
    cluster.calm_down()
    assert cluster.running_on(job) == ["y"]


def test_after_a_restart_a_word_from_before_is_not_believed() -> None:
    """It was decided that the job leaves, and nobody was told: its agent may be about to begin it."""
    cluster = Cluster("x", "y")
    job = cluster.submit()
    cluster.place(job, "x")
    for act in (cluster.connect, cluster.show, cluster.take):
        act("x")
    cluster.place(job, "y", pushed=False)
    cluster.restart()
    cluster.send("x")
    cluster.arrive("x")
    assert waits(cluster, job, "y")
    cluster.step("x")
    assert cluster.running_on(job) == ["x"]
    hear(cluster, "x")
    assert waits(cluster, job, "y")
    cluster.calm_down()
    assert cluster.running_on(job) == ["y"]


def test_who_comes_back_after_its_removal_is_believed_and_not_its_old_lease() -> None:
    cluster, job = running("x")
    cluster.place(job, "y")
    cluster.remove("x")
    cluster.register_again("x")
    cluster.let_pass(LEASE + 1)
    assert waits(cluster, job, "y"), "it has a new lease"
    hear(cluster, "x")
    assert waits(cluster, job, "y"), "it writes its checkpoint"
    cluster.end("x")
    hear(cluster, "x")
    assert not waits(cluster, job, "y")


def test_where_it_was_before_it_is_not_waited_for_by_the_daemon() -> None:
    """Its agent sees by itself when it may begin: a try that failed begins again at once."""
    cluster, job = running("x")
    cluster.preempt(job)
    cluster.place(job, "x")
    assert not waits(cluster, job, "x")
    assert cluster.agents["x"].step() is False
    cluster.calm_down()
    assert cluster.running_on(job) == ["x"]


def test_what_goes_on_with_another_size_is_not_leaving() -> None:
    cluster, job = running("x")
    cluster.resize(job, "x", "y")
    assert not cluster.departures.shown(cluster.store.desired("x")).is_awaited


def test_a_state_that_nobody_waits_for_is_shown_as_it_is() -> None:
    cluster, _ = running("x")
    desired = cluster.store.desired("x")
    assert cluster.departures.shown(desired) is desired


class History:
    """Everything happens at random, and every message is late. Of agents that do not say what is leaving nothing can be
    known but that they keep nobody waiting for ever.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.silent = ("d",) if seed % 5 == 0 else ()
        self.cluster = Cluster(*sorted(set("abcd") - set(self.silent)), silent=self.silent)
        self.jobs = [self.cluster.submit(3) for _ in range(3)]

    def play(self, steps: int) -> None:
        for _ in range(steps):
            self.happen()
            for job_id, starts in self.cluster.starts_alive().items():
                assert self.silent or len(starts) == 1, f"{job_id} runs since {starts}"

    def happen(self) -> None:
        cluster, rng = self.cluster, self.rng
        name = rng.choice(sorted(cluster.agents))
        usual = [cluster.connect, cluster.show, cluster.take, cluster.step, cluster.end, cluster.send, cluster.arrive]
        weights = {"decide": 10, "push": 5, "fail": 3, "disconnect": 2, "lose": 1, "restart": 1, "remove": 2}
        match rng.choices(["usual", *weights], [80, *weights.values()])[0]:
            case "usual":
                rng.choice(usual)(name)
            case "decide":
                self.decide()
            case "push":
                cluster.push_all()
            case "fail":
                cluster.agents[name].become(Phase.RUNNING, Phase.ENDED)
            case "disconnect":
                cluster.agents[name].watch = None
            case "lose" if name not in cluster.removed:
                cluster.lose(name)
            case "restart" if not cluster.removed:  # who has been removed is forgotten by a restart
                cluster.restart()
            case "remove" if name not in cluster.removed and not cluster.store.desired(name).replicas:
                cluster.remove(name)

    def decide(self) -> None:
        """Rounds commit one after the other, and each pushes before the next."""
        cluster, rng = self.cluster, self.rng
        cluster.push_all()
        ready = [node.name for node in cluster.store.nodes() if node.health is NodeHealth.READY]
        job = cluster.now_of(rng.choice(self.jobs))
        allocation = job.allocation
        kind = rng.choice(["place", "place", "preempt", "resize"])
        held = [] if allocation is None else [replica.node for replica in allocation.placement.replicas]
        if kind == "preempt" and held:
            cluster.preempt(job)
        elif kind == "resize" and allocation is not None and not allocation.finished and set(held) <= set(ready):
            others = sorted(set(ready) - set(held))
            count = rng.randint(1, min(3, len(held) + len(others)))
            if count != len(held):
                cluster.resize(job, *[*held, *rng.sample(others, len(others))][:count])
        elif ready and (held or job.not_before is None or job.not_before <= cluster.now):
            cluster.place(job, *rng.sample(ready, rng.randint(1, min(3, len(ready)))), pushed=rng.random() < 0.7)
        cluster.let_pass(rng.choice([1.0, 10.0, 100.0]))


@pytest.mark.parametrize("number", range(4))
def test_no_two_starts_run_at_once_and_all_that_is_wanted_runs_in_the_end(number: int) -> None:
    worlds = worlds_to_try(60)
    for seed in range(worlds * number // 4, worlds * (number + 1) // 4):
        history = History(seed)
        history.play(300)
        history.cluster.calm_down()
        for job in history.jobs:
            assert history.cluster.is_as_wanted(job), f"seed {seed}: {history.cluster.now_of(job)}"
