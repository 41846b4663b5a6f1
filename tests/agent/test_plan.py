"""The plan by itself: what is wanted comes about, nothing runs twice, and room is given back before it is used."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.agent.plan import Adjust, Begin, Forget, Phase, Run, Stop, leaving, plan
from allocator.domain.placement import DesiredReplica, JobStart, NodeDesired
from allocator.domain.resources import Resources
from tests.agent.wanted import desired, replica

ROOM = Resources(cpu_millicores=1000, memory_bytes=2**32, gpu_millis=2000)


def run(run_id: str, is_: DesiredReplica, phase: Phase = Phase.RUNNING) -> Run:
    return Run(run_id, is_, phase)


def test_what_is_wanted_begins_and_what_is_not_stops() -> None:
    new, old = replica("new"), replica("old")
    assert plan(desired(new), [], ROOM) == (Begin(new),)
    assert plan(desired(), [run("a", old)], ROOM) == (Stop("a"),)
    assert plan(desired(), [run("a", old, Phase.STOPPING)], ROOM) == ()
    assert plan(desired(old), [run("a", old)], ROOM) == ()


def test_an_end_is_remembered_as_long_as_it_is_asked_for() -> None:
    one = replica()
    assert plan(desired(one), [run("a", one, Phase.ENDED)], ROOM) == ()
    assert plan(desired(), [run("a", one, Phase.ENDED)], ROOM) == (Forget("a"),)


def test_what_was_lost_begins_again() -> None:
    one = replica()
    assert plan(desired(one), [run("a", one, Phase.LOST)], ROOM) == (Forget("a"), Begin(one))


def test_a_new_start_is_another_run() -> None:
    before, after = replica(epoch=1), replica(epoch=2)
    assert plan(desired(after), [run("a", before)], ROOM) == (Stop("a"),), "its folder is still in use"
    assert plan(desired(after), [run("a", before, Phase.ENDED)], ROOM) == (Forget("a"), Begin(after))


def test_a_job_that_waits_begins_nothing_and_what_runs_of_it_goes_on() -> None:
    waiting, other = replica("j1", epoch=2), replica("j2", epoch=2)
    told = replace(desired(waiting, other, epoch=2), waiting=frozenset({"j1"}))
    assert plan(told, [], ROOM) == (Begin(other),)
    assert plan(replace(told, waiting=frozenset()), [], ROOM) == (Begin(waiting), Begin(other))
    assert plan(told, [run("a", waiting), run("b", other)], ROOM) == ()
    assert plan(told, [run("a", replica("j1", epoch=1)), run("b", other)], ROOM) == (Stop("a"),)


def test_what_is_leaving_is_what_lives_and_is_not_wanted() -> None:
    wanted, old = replica("j1", epoch=2), replica("j1", epoch=1)
    first, second = (replica("j2", number=n, replicas=2) for n in (0, 1))
    runs = [run("a", wanted), run("b", old, Phase.STOPPING), run("c", first), run("d", second, Phase.STOPPING)]
    assert leaving(desired(wanted, epoch=2), runs) == (
        JobStart("j1", old.start_epoch),
        JobStart("j2", first.start_epoch),
    )
    assert leaving(desired(wanted, first, epoch=2), runs[2:]) == (JobStart("j2", first.start_epoch),), "one of two"
    for over in (Phase.ENDED, Phase.LOST):
        assert leaving(desired(epoch=2), [run("a", wanted, over)]) == ()


def test_a_resize_renames_what_runs() -> None:
    runs = [run("a", replica(number=1, replicas=3)), run("b", replica(number=2, replicas=3))]
    after = [replica(number=n, replicas=3, epoch=2, start=1) for n in (0, 1, 2)]
    assert plan(desired(*after), runs, ROOM) == (Adjust("a", after[0]), Adjust("b", after[1]), Begin(after[2]))
    assert plan(desired(after[0]), runs, ROOM) == (Stop("b"), Adjust("a", after[0]))


def test_who_has_finished_is_not_who_goes_on() -> None:
    """The daemon names only the replicas that have not finished."""
    runs = [run("a", replica(number=0, replicas=2), Phase.ENDED), run("b", replica(number=1, replicas=2))]
    assert plan(desired(replica(number=1, replicas=2)), runs, ROOM) == (Forget("a"),)


def test_room_is_given_back_before_it_is_used() -> None:
    old, new = replica("old", demand=Resources(600)), replica("new", demand=Resources(600))
    small = replica("small", demand=Resources(100))
    assert plan(desired(new, small), [run("a", old)], ROOM) == (Stop("a"), Begin(small))
    assert plan(desired(new), [run("a", old, Phase.STOPPING)], ROOM) == ()
    assert plan(desired(new), [run("a", old, Phase.LOST)], ROOM) == (Forget("a"), Begin(new))


def test_a_device_is_given_back_before_it_is_used() -> None:
    whole = Resources(gpu_millis=1000)
    old, same = replica("old", demand=whole, gpus=(0,)), replica("same", demand=whole, gpus=(0,))
    other = replica("other", demand=whole, gpus=(1,))
    assert plan(desired(same, other), [run("a", old, Phase.STOPPING)], ROOM) == (Begin(other),)


def test_more_than_there_is_begins_where_nothing_leaves() -> None:
    much = replica(demand=Resources(5000))
    assert plan(desired(much), [], ROOM) == (Begin(much),)


# --- whatever happens

replicas_ = st.builds(
    lambda job, number, epoch, since, cpu: replica(
        job, number=number, replicas=3, epoch=epoch, start=max(1, epoch - since), demand=Resources(cpu)
    ),
    st.sampled_from(["j1", "j2", "j3"]),
    st.integers(0, 2),
    st.integers(1, 3),
    st.integers(0, 2),
    st.sampled_from([100, 400, 900]),
)


@st.composite
def states(draw: st.DrawFn) -> NodeDesired:
    """Of each job one epoch, each replica once: what a daemon may want."""
    wanted: dict[tuple[str, int], DesiredReplica] = {}
    epochs: dict[str, DesiredReplica] = {}
    for one in draw(st.lists(replicas_, max_size=6)):
        first = epochs.setdefault(one.job_id, one)
        wanted[one.job_id, one.replica] = replace(one, epoch=first.epoch, start_epoch=first.start_epoch)
    return desired(*wanted.values())


runs_ = st.lists(st.tuples(replicas_, st.sampled_from(Phase)), max_size=6).map(
    lambda found: [run(f"r{index}", one, phase) for index, (one, phase) in enumerate(found)]
)


def carry_out(wanted: NodeDesired, runs: list[Run], capacity: Resources = ROOM) -> list[Run]:
    after = {each.id: each for each in runs}
    for action in plan(wanted, runs, capacity):
        match action:
            case Begin():
                after[f"new{len(after)}-{action.replica}"] = run(f"new{len(after)}-{action.replica}", action.replica)
            case Adjust():
                after[action.run_id] = replace(after[action.run_id], replica=action.replica)
            case Stop():
                after[action.run_id] = replace(after[action.run_id], phase=Phase.STOPPING)
            case Forget():
                assert not after[action.run_id].alive
                del after[action.run_id]
    return list(after.values())


def without_leaving(runs: list[Run]) -> list[Run]:
    """Those that were told to end have ended."""
    return [replace(each, phase=Phase.LOST) if each.phase is Phase.STOPPING else each for each in runs]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(states(), runs_)
def test_what_is_wanted_comes_about_and_stays(wanted: NodeDesired, runs: list[Run]) -> None:
    once = carry_out(wanted, runs)
    assert carry_out(wanted, once) == once, "doing it twice changes nothing more"
    at_last = carry_out(wanted, without_leaving(once))
    assert plan(wanted, at_last, ROOM) == ()
    assert Counter(each.replica for each in at_last) == Counter(wanted.replicas)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(states(), runs_)
def test_nothing_is_in_two_runs_or_overbooked(wanted: NodeDesired, runs: list[Run]) -> None:
    after = carry_out(wanted, runs)
    names = [
        (each.replica.job_id, each.replica.replica, each.replica.epoch) for each in after if each.phase is Phase.RUNNING
    ]
    assert len(names) == len(set(names))
    if any(each.phase is Phase.STOPPING for each in after):
        begun = [each for each in after if each.id.startswith("new")]
        alive = sum(each.replica.demand.cpu_millicores for each in after if each.alive)
        assert not begun or alive <= ROOM.cpu_millicores


@settings(max_examples=100, deadline=None, derandomize=True)
@given(states(), states())
def test_from_one_wish_to_the_next(first: NodeDesired, second: NodeDesired) -> None:
    runs = carry_out(first, [])
    at_last = carry_out(second, without_leaving(carry_out(second, runs)))
    assert Counter(each.replica for each in at_last) == Counter(second.replicas)
    kept = {each.id for each in at_last} & {each.id for each in runs}
    before = {each.id: each.replica for each in runs}
    for each in at_last:
        if each.id in kept:
            assert each.replica.job_id == before[each.id].job_id
            assert each.replica.start_epoch == before[each.id].start_epoch
