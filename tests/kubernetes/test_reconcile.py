"""What is done to Kubernetes, and what is told of it: exact cases, and what holds whatever happened before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.placement import DesiredReplica, Epoch, NodeDesired
from allocator.domain.process import Process
from allocator.domain.resources import NOTHING, Resources
from allocator.engine.runs import Run, Wanted
from allocator.intake.commands import ReplicaState
from allocator.kubernetes.bridge import overdue
from allocator.kubernetes.gangs import Gang, gangs_of
from allocator.kubernetes.manifest import name_of
from allocator.kubernetes.observed import FINALIZER, KubeJob, KubePod
from allocator.kubernetes.reconcile import (
    Create,
    Ended,
    LetGo,
    Release,
    Rename,
    Resize,
    Sight,
    Stop,
    actions,
    belonging,
    outcome,
    reports_of,
    stranded_nodes,
)
from allocator.kubernetes.template import template_of

OLD, EPOCH, NEW = Epoch(1, 1), Epoch(2, 7), Epoch(3, 9)
RUN = Run("j1", EPOCH)
NODES = frozenset("abc")


def replica(rank: int, of: int = 2, epoch: Epoch = EPOCH, nodes: str = "ab", **changes: Any) -> DesiredReplica:
    made = DesiredReplica(
        "j1", rank, of, epoch, "cpu", Resources(1000, memory_bytes=2**20), (), EPOCH, process=Process(("x",)),
        peers=tuple(nodes),
    )  # fmt: skip
    return replace(made, **changes)


def wanted(*nodes: str, **changes: Any) -> dict[Run, Gang]:
    """One gang, its ranks in the order of `nodes`."""
    on = {node: [rank for rank, other in enumerate(nodes) if other == node] for node in nodes}
    return dict(
        gangs_of(
            NodeDesired(
                node, changes.get("epoch", EPOCH),
                tuple(replica(rank, len(nodes), nodes="".join(nodes), **changes) for rank in ranks),
            )
            for node, ranks in on.items()
        )
    )  # fmt: skip


def job(node: str, rank: int, number: int = 0, run: Run = RUN, **changes: Any) -> KubeJob:
    name = name_of(run, node, number)
    made = KubeJob(name, f"uid-{name}", "1", run, rank, run.start, node, finalizers=(FINALIZER,))
    return replace(made, **{"start_time": "" if changes.get("is_suspended") else "2026-01-01T00:00:00Z", **changes})


def pod(of: KubeJob, phase: str = "Running", **changes: Any) -> KubePod:
    node = "" if phase == "Pending" else of.node
    made = KubePod("jobs", f"{of.name}-x", f"pod-{of.uid}", node, phase, NOTHING, of.uid, True, False, False, "",
                   has_started=phase != "Pending", size=Resources(1000, memory_bytes=2**20))  # fmt: skip
    return replace(made, **changes)


def sight(*jobs: KubeJob, pods: tuple[KubePod, ...] = (), **changes: Any) -> Sight:
    by_owner = {each.owner: tuple(pod for pod in pods if pod.owner == each.owner) for each in pods}
    return replace(Sight(jobs, by_owner, NODES, NODES, template_of(None, "image")), **changes)


def test_a_gang_is_whole_when_all_its_nodes_have_said_what_they_know() -> None:
    def said(node: str, *replicas: DesiredReplica, epoch: Epoch = EPOCH) -> NodeDesired:
        return NodeDesired(node, epoch, replicas)

    assert gangs_of([said("a", replica(0)), said("b", replica(1))])[RUN].is_complete
    assert not gangs_of([said("a", replica(0))])[RUN].is_complete, "b has said nothing"
    assert not gangs_of([said("a", replica(0)), said("b", epoch=OLD)])[RUN].is_complete, "b says what was before"
    assert gangs_of([said("a", replica(0)), said("b", epoch=NEW)])[RUN].is_complete, "on b it has finished"


def test_a_gang_is_made_suspended_and_released_when_all_of_it_is_there() -> None:
    gang = wanted("a", "b", "b")
    names = (name_of(RUN, "a", 0), name_of(RUN, "b", 0), name_of(RUN, "b", 1))
    made = actions(gang, sight())
    assert [(each.name, each.wanted.node, each.peers) for each in made if isinstance(each, Create)] == [
        (names[0], "a", names), (names[1], "b", names), (names[2], "b", names),
    ]  # fmt: skip
    held = [job("a", 0, is_suspended=True), job("b", 1, is_suspended=True), job("b", 2, 1, is_suspended=True)]
    (missing,) = actions(gang, sight(*held[:2]))
    assert isinstance(missing, Create)
    assert missing.name == names[2], "nobody is released before"
    assert actions(gang, sight(*held)) == tuple(Release(each) for each in held)
    assert actions(gang, sight(held[0], *(replace(each, is_suspended=False) for each in held[1:]))) == (
        Release(held[0]),
    )
    assert actions({RUN: replace(gang[RUN], is_complete=False)}, sight()) == ()


def test_what_may_still_run_on_nodes_of_others_is_waited_for() -> None:
    """The daemon knows of those. All else is prepared meanwhile."""
    gang = {RUN: replace(wanted("a", "b")[RUN], waits=True)}
    assert [type(each) for each in actions(gang, sight())] == [Create, Create]
    held = [job("a", 0, is_suspended=True), job("b", 1, is_suspended=True)]
    assert actions(gang, sight(*held)) == ()
    told = NodeDesired("a", EPOCH, (replica(0, 1),), frozenset({"j1"}))
    assert gangs_of([told])[RUN].waits
    assert not gangs_of([replace(told, waiting=frozenset())])[RUN].waits


def test_it_waits_until_an_earlier_run_is_gone_from_nodes_that_can_tell() -> None:
    gang, held = wanted("a"), job("a", 0, is_suspended=True)
    before = job("b", 0, run=Run("j1", OLD))
    assert actions(gang, sight(held, before)) == (Stop(before),)
    leaving = replace(before, is_leaving=True, finalizers=("foregroundDeletion",))
    assert actions(gang, sight(held, leaving)) == ()
    assert actions(gang, sight(held, leaving, ready_nodes=frozenset("ac"))) == (Release(held),)
    assert actions(gang, sight(held, replace(before, succeeded=True, finalizers=()))) == (Release(held),)
    orphan = pod(before, job_id="j1")
    assert actions(gang, sight(held, pods=(orphan,))) == (), "its Job was deleted, and it is on its way out"
    for over in (replace(orphan, phase="Failed"), replace(orphan, node="z"), replace(orphan, job_id="j2")):
        assert actions(gang, sight(held, pods=(over,))) == (Release(held),)


def test_what_is_not_wanted_is_stopped_but_not_before_that_is_known() -> None:
    running, ended = job("a", 0), job("b", 1, failed=True)
    assert actions({}, sight(running, ended)) == (Stop(running), LetGo(ended))
    assert actions({}, sight(running, ended, known_nodes=frozenset("c"))) == ()
    assert actions({}, sight(replace(running, is_leaving=True))) == (LetGo(replace(running, is_leaving=True)),)
    assert actions({}, sight(replace(running, is_leaving=True, finalizers=("foregroundDeletion",)))) == ()
    assert actions({}, sight(replace(ended, finalizers=()))) == (), "it stays for its output"


def test_what_has_ended_is_kept_until_the_daemon_knows() -> None:
    for end in (job("a", 0, succeeded=True), job("a", 0, failed=True), job("a", 0, is_leaving=True)):
        assert actions(wanted("a"), sight(end)) == ()


def test_through_a_resize_replicas_keep_their_order_on_each_node() -> None:
    """Of four, the second on each node is given up: the others go on under new numbers."""
    jobs = [job("a", 0), job("a", 1, 1), job("b", 2), job("b", 3, 1)]
    shrunk = wanted("a", "b", epoch=NEW)
    assert actions(shrunk, sight(*jobs)) == (
        Stop(jobs[1]), Stop(jobs[3]),
        Rename(jobs[0], Wanted("a", replica(0, epoch=NEW))), Rename(jobs[2], Wanted("b", replica(1, epoch=NEW))),
    )  # fmt: skip
    done = [replace(jobs[0], epoch=NEW), replace(jobs[2], epoch=NEW, rank=1)]
    assert actions(shrunk, sight(*done)) == ()
    grown = wanted("a", "a", "b", epoch=Epoch(4, 0))
    created = [each for each in actions(grown, sight(*done)) if isinstance(each, Create)]
    assert [(each.name, each.wanted.replica.replica) for each in created] == [(name_of(RUN, "a", 1), 1)]
    assert created[0].peers == (done[0].name, name_of(RUN, "a", 1), done[1].name)


def test_while_a_resize_is_on_its_way_nobody_is_stopped() -> None:
    """Node a still says what was before: b has rank 0 now, as has a."""
    gang = gangs_of([NodeDesired("a", EPOCH, (replica(0),)), NodeDesired("b", NEW, (replica(0, 1, NEW, "b"),))])
    jobs = [job("a", 0), job("b", 1)]
    assert actions(gang, sight(*jobs)) == (Rename(jobs[1], Wanted("b", replica(0, 1, NEW, "b"))),)


def test_sizes_change_in_place_where_the_server_can() -> None:
    running = job("a", 0)
    small = wanted("a", demand=Resources(500, memory_bytes=2**20))
    there = pod(running)
    assert actions(small, sight(running, pods=(there,), resizes=True)) == (
        Resize(there, Resources(500, memory_bytes=2**20)),
    )
    assert actions(small, sight(running, pods=(there,))) == ()
    for unable in ({"is_leaving": True}, {"has_started": False}, {"size": Resources(memory_bytes=2**20)}):
        assert actions(small, sight(running, pods=(replace(there, **unable),), resizes=True)) == ()
    assert actions(wanted("a"), sight(running, pods=(there,), resizes=True)) == ()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_one_replica_is_never_there_twice(data: st.DataObject) -> None:
    """Whatever is seen: what is made has a name that nobody has, and who runs for nobody is stopped."""
    gang = wanted(*data.draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(sorted)))
    kinds: tuple[dict[str, Any], ...] = (
        {"is_suspended": True},
        {},
        {"succeeded": True},
        {"failed": True},
        {"is_leaving": True},
    )
    jobs = [
        job(node, data.draw(st.integers(0, 4)), number, data.draw(st.sampled_from([RUN, Run("j1", OLD)])), **kind)
        for node in "abc"
        for number in range(3)
        if (kind := data.draw(st.sampled_from((*kinds, None)))) is not None
    ]
    is_wanted = data.draw(st.booleans())
    found = actions(gang if is_wanted else {}, sight(*jobs))
    names = [each.name for each in found if isinstance(each, Create)]
    assert len(set(names)) == len(names)
    assert not set(names) & {each.name for each in jobs}
    stopped = {each.job.name for each in found if isinstance(each, Stop)}
    going_on = [each for each in jobs if each.name not in stopped and not each.has_ended and not each.is_leaving]
    for node in "abc":
        places = sum(each.node == node for each in gang[RUN].wanted) if is_wanted else 0
        assert sum(each.node == node for each in going_on) <= places
    released = [each.job for each in found if isinstance(each, Release)]
    assert not (released and names), "nobody is released while somebody is missing"
    assert all(each.run == RUN for each in released)


def test_how_it_ended() -> None:
    (each,) = wanted("a")[RUN].wanted
    done = job("a", 0, succeeded=True)
    assert outcome(each, None, sight()) is None
    assert outcome(each, job("a", 0), sight()) is None
    assert outcome(each, done, sight(done)) == Ended(ReplicaState.SUCCEEDED, exit_code=0)
    failed = job("a", 0, failed=True, reason="PodFailurePolicy", message="Container main failed with exit code 3")

    def told(**changes: Any) -> Ended | None:
        return outcome(each, failed, sight(failed, pods=(pod(failed, "Failed", **changes),)))

    assert told(exit_code=3, ended_by="Error") == Ended(ReplicaState.FAILED, "exited with 3", 3)
    assert told(exit_code=137, ended_by="OOMKilled") == Ended(
        ReplicaState.FAILED, "used more memory than it asked for (exited with 137)", 137
    )
    assert told(exit_code=128, ended_by="StartError", said="no x") == Ended(
        ReplicaState.FAILED, "StartError: no x (exited with 128)", 128
    )
    assert told(ended_by="Evicted", said="The node was low on memory") == Ended(
        ReplicaState.FAILED, "Evicted: The node was low on memory"
    )
    assert told() == Ended(ReplicaState.FAILED, failed.message)
    assert outcome(each, failed, sight(failed)) == Ended(ReplicaState.FAILED, failed.message), "its pod is gone"
    assert outcome(each, failed, sight(failed, pods=(pod(failed),))) is None, "the news of its pod is on its way"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (sight(template=template_of(None)), "no container image"),
        (sight(job("a", 0, is_leaving=True)), "was deleted in Kubernetes"),
        (sight(job("a", 0), overdue=frozenset((name_of(RUN, "a", 0),))), "has not started: no pod of it was made"),
        (sight(job("a", 0), pods=(pod(job("a", 0), "Pending", waits_for="ErrImagePull: no"),),
               overdue=frozenset((name_of(RUN, "a", 0),))), "has not started: ErrImagePull: no"),
        (sight(refused={name_of(RUN, "a", 0): "too long"}), "too long"),
    ],
)  # fmt: skip
def test_what_will_never_run_is_told(found: Sight, words: str) -> None:
    ((report,),) = reports_of(wanted("a"), found).values()
    assert report.state is ReplicaState.FAILED
    assert words in report.message
    assert not [each for each in actions(wanted("a"), found) if isinstance(each, Create | Release)]


def test_reports_are_of_what_is_there_in_the_words_of_the_newest_epoch() -> None:
    gang = wanted("a", "b", epoch=NEW)
    found = reports_of(gang, sight(job("b", 7, succeeded=True)))
    assert list(found) == ["b"]
    (report,) = found["b"]
    assert (report.replica, report.epoch, report.state) == (1, NEW, ReplicaState.SUCCEEDED)


def test_nodes_that_keep_ours_out() -> None:
    running = job("a", 0)
    sent_away, outside = pod(running, is_evicted=True), pod(running, "Pending", waits_for="Unschedulable: no node")
    assert stranded_nodes(sight(running, pods=(sent_away,))) == {"a"}
    assert stranded_nodes(sight(running, pods=(outside,))) == {"a"}
    assert stranded_nodes(sight(running, pods=(sent_away, pod(running)))) == frozenset()
    assert stranded_nodes(sight(running, pods=(replace(outside, waits_for=""),))) == frozenset()
    assert stranded_nodes(sight(replace(running, succeeded=True), pods=(sent_away,))) == frozenset()


def test_who_should_have_started_long_ago() -> None:
    begun = 1767225600.0
    made = job("a", 0)
    late, waiting = sight(made), pod(made, "Pending", created="2026-01-01T00:05:00Z")
    assert overdue(late, begun + 1) == {made.name}
    assert overdue(late, begun - 1) == frozenset()
    assert overdue(sight(made, pods=(waiting,)), begun + 299) == frozenset(), "it was sent away, and begins anew"
    assert overdue(sight(made, pods=(waiting,)), begun + 301) == {made.name}
    assert overdue(sight(made, pods=(pod(made),)), begun + 301) == frozenset()
    assert overdue(sight(job("a", 0, is_suspended=True)), begun + 301) == frozenset()


def test_one_that_was_let_go_belongs_to_nobody_again() -> None:
    (gang,) = wanted("a", epoch=NEW).values()
    assert list(belonging(gang, [job("a", 0, succeeded=True, finalizers=())]).values()) == [None]
    assert list(belonging(gang, [job("a", 0, succeeded=True)]).values()) != [None]
