"""Instances that ask for network bandwidth: read as documented, and placed without ever overfilling an RNIC."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from allocator.domain.constraints import AtMost
from allocator.domain.resources import Resources
from allocator.rounds.report import RoundReport
from simulations.replay import ReplayOptions, ReplayResult, replay
from simulations.shrinking import on_every_nth_node
from simulations.traces import dlrm
from simulations.traces.window import Window
from simulations.workload import Workload

FIXTURE = Path(__file__).parent / "fixtures" / "dlrm"
GIB = 2**30


class Links:
    """An Observer of what nodes are asked to run: bandwidth by node, and instances of one app on one node."""

    def __init__(self, workload: Workload) -> None:
        self.fullest = 0
        """Most bytes per second that any node was ever asked to give."""
        self.most: Counter[str] = Counter()
        """By app, most of its instances that were ever asked of one node."""
        self.nodes_used: set[str] = set()
        self._capacity = {node.name: node.capacity for node in workload.nodes}

    def observe(self, report: RoundReport) -> None:
        apps = {job.id: dict(job.spec.labels)["app"] for job in report.snapshot.jobs}
        for state in report.commit.desired:
            used = sum(replica.demand.bandwidth_bytes_per_second for replica in state.replicas)
            assert used <= self._capacity[state.node].bandwidth_bytes_per_second
            self.fullest = max(self.fullest, used)
            if state.replicas:
                self.nodes_used.add(state.node)
            for app, count in Counter(apps[replica.job_id] for replica in state.replicas).items():
                self.most[app] = max(self.most[app], count)


def replayed(workload: Workload) -> tuple[ReplayResult, Links]:
    links = Links(workload)
    return replay(workload, ReplayOptions(interval_seconds=300.0, full_check_every=1), observers=[links]), links


def test_dlrm_is_read_as_documented() -> None:
    workload = dlrm.read(FIXTURE)
    workload.require_valid()
    assert workload.dropped == {"fits_no_node": 1, "never_scheduled": 1, "no_run_time": 1}
    assert [queue.name for queue in workload.queues] == ["ads", "feed", "maps"]
    jobs = {arrival.spec.name: arrival for arrival in workload.arrivals}
    assert len(jobs) == 13

    spec = jobs["i-08"].spec
    assert (spec.queue, spec.preemptible, spec.labels) == ("feed", False, (("app", "feed"),))
    assert spec.constraints.at_most == (AtMost(1, per="node", of=(("app", "feed"),)),)
    assert jobs["i-04"].spec.constraints.at_most == (), "-1 is no limit"
    assert jobs["i-08"].fastest.flavor == "cn"
    assert jobs["i-08"].fastest.demand == Resources(
        cpu_millicores=48_000,
        memory_bytes=1875 * GIB // 2,
        bandwidth_bytes_per_second=6_250_000_000,
        disk_bytes=511 * GIB // 2,
    )
    assert jobs["i-15"].fastest.demand.gpu_millis == 500


def test_times_that_the_trace_leaves_open() -> None:
    """(arrival, run time): its last event is at 50,000 s."""
    jobs = {arrival.spec.name: (arrival.time, arrival.duration) for arrival in dlrm.read(FIXTURE).arrivals}
    assert jobs["i-00"] == (0.0, 50_000.0), "there before the trace, and after it"
    assert jobs["i-01"] == (0.0, 40_000.0), "there before the trace"
    assert jobs["i-03"] == (600.0, 29_395.0), "waited for 5 s"
    assert jobs["i-14"] == (1500.0, 48_000.0), "there after the trace"
    assert jobs["i-15"] == (0.0, 3600.0), "asked for before the trace, and placed in it"


def test_a_window_and_what_ran_at_its_start() -> None:
    first = dlrm.read(FIXTURE, Window(1000.0, 1200.0))
    assert [arrival.spec.name for arrival in first.arrivals] == ["i-08", "i-09", "i-10"]
    assert first.dropped == {"never_scheduled": 1}
    carried = dlrm.read(FIXTURE, Window(1000.0, 1200.0, carry_in=True))
    before = {arrival.spec.name: arrival.duration for arrival in carried.arrivals if arrival.time == 1000.0}
    assert (before["i-00"], before["i-03"], before["i-06"]) == (49_000.0, 29_000.0, 14_000.0)
    assert first.nodes == carried.nodes == dlrm.read(FIXTURE).nodes


def test_there_are_as_many_nodes_as_the_busiest_moment_takes() -> None:
    """HN: 4 x 25 % and 2 x 51 % of an RNIC. CN: 2 x 480, 937.5 and 2 x 80 GiB of 1,024. Both need a third node."""
    nodes = dlrm.read(FIXTURE).nodes
    assert Counter(node.flavor for node in nodes) == {"hn": 3, "cn": 3}
    for node in nodes:
        assert node.capacity == dlrm.NODES[node.flavor]
        assert node.capacity.bandwidth_bytes_per_second == dlrm.RNIC_BYTES_PER_SECOND


def test_every_instance_runs_and_no_rnic_is_ever_overfull() -> None:
    workload = dlrm.read(FIXTURE)
    result, links = replayed(workload)
    assert result.summary["jobs"]["by_state"] == {"succeeded": len(workload.arrivals)}
    assert result.summary["preemptions"]["per_job"] == 0
    assert result.summary["invariants"]["checks"] > 0
    assert 0 < links.fullest <= dlrm.RNIC_BYTES_PER_SECOND
    assert result.summary["utilization"]["to_the_end"]["bandwidth"] > 0.1


def test_bandwidth_alone_keeps_instances_waiting() -> None:
    """On one HN node, 8 GPUs would take all six of the first 700 s; its RNIC takes four."""
    workload = on_every_nth_node(dlrm.read(FIXTURE), 3)
    result, links = replayed(workload)
    assert result.summary["jobs"]["by_state"] == {"succeeded": len(workload.arrivals)}
    jobs = result.table("jobs")
    waits = dict(zip(jobs.values("name"), jobs.numbers("wait_s").tolist(), strict=True))
    assert waits["i-04"] > 10_000, "51 % of an RNIC is free only when others have ended"
    assert links.fullest <= dlrm.RNIC_BYTES_PER_SECOND
    assert links.nodes_used == {"hn-0000", "cn-0000"}


def test_all_preemptible_changes_nothing_but_that() -> None:
    workload = dlrm.read(FIXTURE)
    changed = workload.all_preemptible()
    assert all(arrival.spec.preemptible for arrival in changed.arrivals)
    assert [(a.time, a.duration, a.spec.name) for a in changed.arrivals] == [
        (a.time, a.duration, a.spec.name) for a in workload.arrivals
    ]
    assert changed.notes[:-1] == workload.notes


def test_no_node_runs_more_of_an_app_than_it_allows() -> None:
    """At most 2 of ads on an HN node, and 1 of feed on a CN node; nobody waits for ever because of it."""
    workload = dlrm.read(FIXTURE)
    result, links = replayed(workload)
    assert result.summary["jobs"]["by_state"] == {"succeeded": len(workload.arrivals)}
    assert links.most["ads"] <= 2
    assert links.most["feed"] == 1
