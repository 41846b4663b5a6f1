"""The simulated cluster does what it is asked, keeps time exactly, and notices every broken promise."""

from __future__ import annotations

import pytest

from allocator.domain.job import JobSpec
from allocator.domain.placement import DesiredReplica, Epoch, NodeDesired, held
from allocator.intake.commands import RegisterNode
from allocator.store.memory import MemoryStore
from simulations.agenda import Agenda
from simulations.cluster import SimulatedCluster
from simulations.workload import Arrival
from tests.simulations.worlds import node, on, spec

NODES = (node("a"), node("b"), node("fast", "a100"))


class Bench:
    """A cluster of three nodes with one job `j` that would need `duration` seconds at its best."""

    def __init__(self, job: JobSpec, duration: float = 100.0) -> None:
        self.agenda = Agenda(0.0)
        store = MemoryStore()
        for member in NODES:
            store.execute(RegisterNode(member), 0.0).result()
        self.cluster = SimulatedCluster(NODES, self.agenda, store)
        self.job = job
        self.cluster.expect("j", Arrival(0.0, job, duration))

    def push(
        self,
        round_number: int,
        *,
        configuration: int = 0,
        since: int | None = None,
        started: int | None = None,
        millis: int = 1000,
        **places: list[int],
    ) -> None:
        """Send all nodes the state in which they hold these replicas; `since` is the epoch of the gang, `started` that
        of its start if it was resized.
        """
        chosen = self.job.configurations[configuration]
        gang = Epoch(since or round_number, 0)
        start = gang if started is None else Epoch(started, 0)
        demand = held(chosen.demand, millis)
        self.cluster.push(
            tuple(
                NodeDesired(
                    member.name,
                    Epoch(round_number, 0),
                    tuple(
                        DesiredReplica("j", index, chosen.replicas, gang, chosen.flavor, demand, (), start, millis)
                        for index in places.get(member.name, [])
                    ),
                )
                for member in NODES
            )
        )

    @property
    def end(self) -> float | None:
        return self.cluster.work["j"].end


def test_a_job_ends_after_its_run_time() -> None:
    bench = Bench(spec(on()))
    bench.agenda.run_until(10.0)
    bench.push(1, a=[0])
    bench.agenda.run_until(109.9)
    assert bench.end is None
    bench.agenda.run_until(110.0)
    assert bench.end == 110.0
    assert bench.cluster.idle
    assert not bench.cluster.live


def test_a_slower_configuration_takes_longer() -> None:
    bench = Bench(spec(on("t4", throughput=1.0), on("a100", throughput=4.0)))
    bench.push(1, configuration=0, a=[0])
    bench.agenda.run_until(1000.0)
    assert bench.end == 400.0


def test_work_done_is_kept_and_a_restart_costs() -> None:
    bench = Bench(spec(on("t4", throughput=1.0), on("a100", throughput=2.0), restart_cost=7.0))
    bench.push(1, a=[0])
    bench.agenda.run_until(60.0)  # 30 of 100 seconds done, at half the speed
    bench.push(2)
    bench.agenda.run_until(80.0)
    bench.push(3, configuration=1, fast=[0])
    bench.agenda.run_until(1000.0)
    assert bench.end == 80.0 + 7.0 + 70.0
    assert bench.cluster.work["j"].restart_seconds == 7.0


def test_the_same_state_again_changes_nothing() -> None:
    bench = Bench(spec(on(), restart_cost=50.0))
    bench.push(1, a=[0])
    bench.agenda.run_until(50.0)
    bench.push(1, a=[0])
    bench.push(2, since=1, a=[0])
    bench.agenda.run_until(100.0)
    assert bench.end == 100.0
    assert bench.cluster.work["j"].starts == 1


def test_a_gang_halts_with_any_of_its_nodes_and_goes_on_when_it_is_back() -> None:
    bench = Bench(spec(on(replicas=2), restart_cost=5.0))
    bench.push(1, a=[0], b=[1])
    bench.agenda.run_until(40.0)
    bench.cluster.node_down("b")
    bench.agenda.run_until(500.0)
    assert bench.end is None
    bench.cluster.node_up("b")
    bench.agenda.run_until(1000.0)
    assert bench.end == 500.0 + 5.0 + 60.0


def test_a_gang_taken_off_a_lost_node_does_not_come_back_with_it() -> None:
    bench = Bench(spec(on()))
    bench.push(1, a=[0])
    bench.agenda.run_until(40.0)
    bench.cluster.node_down("a")
    bench.push(2, b=[0])
    bench.agenda.run_until(60.0)
    bench.cluster.node_up("a")
    bench.agenda.run_until(200.0)
    assert bench.end == 40.0 + 60.0
    assert not bench.cluster.broken_promises


def test_usage_is_integrated_exactly() -> None:
    bench = Bench(spec(on(cores=2.0)))
    bench.push(1, a=[0])
    bench.agenda.run_until(50.0)
    bench.cluster.node_down("fast")
    bench.agenda.run_until(200.0)
    held, offered = bench.cluster.usage.totals(200.0)
    assert held["cpu"] == 2000 * 100
    assert offered["cpu"] == 24_000 * 50 + 16_000 * 150


@pytest.mark.parametrize(
    ("second", "noticed"),
    [
        ({"round_number": 0, "a": [0], "b": [1]}, "epoch 0.0 after 1.0"),
        ({"round_number": 2, "a": [0]}, "1 of 2 replicas: half a gang"),
        ({"round_number": 2, "a": [0], "b": [0]}, "2 of 2 replicas: half a gang"),
        ({"round_number": 2, "a": [0, 0], "b": [1]}, "run a replica twice"),
        ({"round_number": 2, "since": 1, "fast": [0, 1]}, "started in epoch 1.0 after 1.0"),
    ],
)
def test_broken_promises_of_the_push_are_noticed(second: dict[str, object], noticed: str) -> None:
    bench = Bench(spec(on(replicas=2)))
    bench.push(1, a=[0], b=[1])
    assert not bench.cluster.broken_promises
    bench.push(**second)  # type: ignore[arg-type]  # a table of keyword arguments
    assert any(noticed in note for note in bench.cluster.broken_promises), bench.cluster.broken_promises


def test_a_job_that_was_done_must_not_start_again() -> None:
    bench = Bench(spec(on()))
    bench.push(1, a=[0])
    bench.agenda.run_until(100.0)
    bench.push(2, b=[0])
    assert any("was done, and started again" in note for note in bench.cluster.broken_promises)


def test_a_job_in_two_epochs_at_once_runs_twice() -> None:
    bench = Bench(spec(on()))
    bench.push(1, a=[0])
    chosen = bench.job.configurations[0]
    replica = DesiredReplica("j", 0, 1, Epoch(2, 0), "t4", chosen.demand, (), Epoch(2, 0))
    bench.cluster.push((NodeDesired("b", Epoch(2, 0), (replica,)),))
    assert any("runs twice" in note for note in bench.cluster.broken_promises)


def test_a_resized_gang_goes_on_at_its_new_speed_without_a_restart() -> None:
    bench = Bench(spec(on("t4", throughput=1.0), on("t4", replicas=2, throughput=2.0), restart_cost=50.0))
    bench.push(1, configuration=1, a=[0], b=[1])
    bench.agenda.run_until(20.0)  # 20 of 100 seconds done
    bench.push(2, configuration=0, started=1, b=[0])
    bench.agenda.run_until(50.0)  # 15 more, at half the speed
    bench.push(3, configuration=1, started=1, b=[0], a=[1])
    bench.agenda.run_until(1000.0)
    assert bench.end == 50.0 + 65.0
    assert not bench.cluster.broken_promises
    assert (bench.cluster.work["j"].starts, bench.cluster.work["j"].restart_seconds) == (1, 0.0)


def test_what_is_left_of_a_restart_is_not_forgiven_by_a_resize() -> None:
    bench = Bench(spec(on("t4", throughput=1.0), on("t4", replicas=2, throughput=2.0), restart_cost=30.0))
    bench.push(1, configuration=1, a=[0], b=[1])
    bench.agenda.run_until(20.0)
    bench.push(2, configuration=1, b=[0], a=[1])  # a start of its own: it costs
    bench.agenda.run_until(30.0)
    bench.push(3, configuration=0, started=2, b=[0])
    bench.agenda.run_until(1000.0)
    assert bench.end == 20.0 + 30.0 + 160.0
    assert bench.cluster.work["j"].restart_seconds == 30.0


def test_a_job_that_holds_a_part_of_its_demand_has_that_part_of_its_speed() -> None:
    bench = Bench(spec(on(cores=1.0)))
    bench.push(1, millis=500, a=[0])
    bench.agenda.run_until(100.0)
    bench.push(2, millis=250, started=1, a=[0])
    bench.agenda.run_until(1000.0)
    assert bench.end == 100.0 + 50.0 / 0.25
    assert not bench.cluster.broken_promises
