"""queues, nodes, prices, rounds, status and watch; exit codes of everything that can go wrong on the way."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from allocator.cli import reasons, screen
from allocator.client import Queue
from allocator.domain.cluster import EngineCapability
from allocator.domain.reason import PendingCause, PendingReason, Shortage
from allocator.intake import commands as c
from tests.builders import configuration, node, spec
from tests.cli.conftest import Run
from tests.client.served import Served


def test_queues(served: Served, run: Run) -> None:
    assert run("queues").err.startswith("no queues")
    assert run("queues", "create", "research").out == "queue research created (weight 1, no bound on jobs)\n"
    created = run("queues", "create", "research/vision", "--weight", "2.5", "--max-live-jobs", "3", "--json")
    assert created.json == {
        "name": "research/vision",
        "weight": 2.5,
        "cordoned": False,
        "max_live_jobs": 3,
        "priority": 0,
        "quotas": [],
        "discipline": "fair",
    }
    assert run("queues", "cordon", "research/vision").code == 0
    served.execute(c.CreateQueue(Queue("prod")))
    served.execute(c.SubmitJobs((spec("prod"),)))
    served.round()
    assert run("queues", "list").out == run("queues").out
    lines = {line.split()[0]: line for line in run("queues").out.splitlines()}
    assert lines["research/vision"].endswith("cordoned")
    assert lines["prod"].split()[1:4] == ["1", "1", "0"]
    assert [(q["name"], q["pending_jobs"]) for q in run("queues", "--json").json] == [
        ("prod", 1),
        ("research", 0),
        ("research/vision", 0),
    ]
    assert "at most 9 jobs" in run("queues", "update", "research/vision", "--max-live-jobs", "9").out
    assert "no bound on jobs" in run("queues", "update", "research/vision", "--unbounded").out
    assert run("queues", "uncordon", "research/vision").code == 0
    assert run("queues", "delete", "research/vision").out == "queue research/vision deleted\n"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("queues", "create", "Bad Name"), 2, "error: QUEUE: must be one or more segments"),
        (("queues", "create", "q"), 4, "queue 'q' already exists"),
        (("queues", "create", "nope/below"), 3, "queue 'nope' does not exist"),
        (("queues", "delete", "nope"), 3, "queue 'nope' does not exist"),
        (("queues", "delete", "q"), 4, "q"),
        (("queues", "update", "q"), 2, "nothing to change: give --weight, --max-live-jobs"),
        (("queues", "update", "q", "--unbounded", "--max-live-jobs", "1"), 2, "cannot be combined"),
        (("queues", "frobnicate"), 2, "No such command 'frobnicate'"),
        (("nodes", "drain", "nope"), 3, "node 'nope' does not exist"),
        (("nodes", "remove", "n1"), 4, "n1"),
        (("job", "j99"), 3, "job 'j99' does not exist"),
        (("job",), 2, "Missing argument 'JOB'"),
        (("rounds", "99"), 3, "round '99' does not exist"),
        (("rounds", "-n", "0"), 2, "Invalid value for '--limit'"),
        (("jobs", "--state", "asleep"), 2, "Invalid value for '--state'"),
        (("watch", "--rounds", "--queue", "q"), 2, "--rounds: cannot be combined with --queue"),
        (("queues", "create", "big", "--weight", "0"), 2, "error: --weight: must be"),
        (("queues", "create", "big", "--max-live-jobs", "-1"), 2, "error: --max-live-jobs: must be"),
        (("queues", "update", "q", "--weight", "-1"), 2, "error: --weight: must be"),
        (("watch", "--after", "3"), 2, "--after: needs --rounds"),
        (("watch", "--cursor", "nonsense"), 2, "cursor"),
        (("status", "--timeout", "0"), 2, "--timeout: must be a number of seconds above 0"),
        (("status", "--address", "nowhere"), 2, "address: must be host:port such as"),
        (("--address", "nowhere", "status"), 2, "address: must be host:port such as"),
        (("config", "check", "--set", "server.prt=1"), 2, "server.prt: is not a setting"),
        (("config", "check", "--set", "port"), 2, "--set: must be written SECTION.KEY=VALUE"),
        (("config", "show", "-c", "/does/not/exist"), 2, "/does/not/exist: no such file"),
        (("config", "check", "-c", "/"), 2, "/: is a directory; name a TOML file"),
    ],
)
def test_what_goes_wrong_is_told_in_a_line_and_an_exit_code(
    served: Served, run: Run, args: tuple[str, ...], code: int, message: str
) -> None:
    served.populate(("q",), (node("n1"),))
    served.execute(c.SubmitJobs((spec("q"),)))
    ran = run(*args)
    assert message in " ".join(ran.err.replace("│", " ").split())
    assert (ran.code, ran.out) == (code, "")


def test_nobody_there(served: Served, run: Run) -> None:
    address = served.address
    served.stop()
    ran = run("status", "--timeout", "0.3", address=address)
    assert ran.code == 5
    assert f"no daemon answers at {address}" in ran.err
    assert "allocator serve" in ran.err
    as_json = run("jobs", "--timeout", "0.3", "--json", address=address)
    assert (as_json.code, as_json.out) == (5, "")
    assert '"kind": "Unreachable"' in as_json.err


def test_what_the_engine_of_a_node_can_do(served: Served, run: Run) -> None:
    able = frozenset({EngineCapability.CHANGE_REPLICAS, EngineCapability.RESIZE_CPU})
    served.populate(
        (), (node("n1"), replace(node("n2", gpu=2), capabilities=able), replace(node("n3"), capabilities=frozenset()))
    )
    assert run("nodes", "show", "n1").out.splitlines()[-1] == "engine can  everything: it says nothing else"
    assert run("nodes", "show", "n2").out.splitlines()[:4] == [
        "node        n2",
        "flavor      a100",
        "state       ready",
        "has         32 cores, 2 GPUs, 256 GiB memory",
    ]
    assert run("nodes", "show", "n2").out.splitlines()[4:] == [
        "engine can  resize_cpu: CPU of what runs can change",
        "            change_replicas: gangs can grow and shrink while they run",
        "cannot      resize_gpu: GPUs of what runs can change",
        "            suspend: what runs can be halted, and go on later",
        "            limit_bandwidth: bandwidth is kept to, and can change while something runs",
        "            split_cores: a replica may have a part of a core",
        "            split_gpus: a replica may have a part of a GPU",
        "            place_replicas: each node of a gang is given as many of its replicas as decided",
    ]
    assert "engine can  none of these" in run("nodes", "show", "n3").out
    assert [each["capabilities"] for each in run("nodes", "--json").json] == [
        None,
        {"can": ["change_replicas", "resize_cpu"]},
        {"can": []},
    ]
    assert run("nodes", "show", "n2", "--json").json["capabilities"] == {"can": ["change_replicas", "resize_cpu"]}
    assert run("nodes", "show", "n9").code == 3


def test_a_node_in_trouble_says_why(served: Served, run: Run) -> None:
    served.populate(("q",), (replace(node("n1"), trouble="No space left on device (/var/lib/allocator)"), node("n2")))
    header, first, second = run("nodes").out.splitlines()
    assert header.endswith("TROUBLE")
    assert "in trouble" in first
    assert first.endswith("No space left on device (/var/lib/allocator)")
    assert second.endswith("-")
    assert "trouble     can begin nothing: No space left on device (/var/lib/" in run("nodes", "show", "n1").out
    assert [each["trouble"] for each in run("nodes", "--json").json] == [
        "No space left on device (/var/lib/allocator)",
        "",
    ]
    served.execute(c.SubmitJobs((spec("q", configuration(gpu=4)),) * 2))
    served.round()
    assert "1 open, 1 in trouble" in run("status").out
    assert "1 in trouble (see allocator nodes)" in run("explain", "j2").out


def test_a_job_says_what_it_keeps_for_lack_of_an_engine(served: Served, run: Run) -> None:
    served.populate(("q",), (replace(node("n1"), capabilities=frozenset()),))
    (job,) = served.execute(c.SubmitJobs((spec("q", configuration(gpu=0, cpu=8), divisible=True),)))
    served.round()
    served.round()
    assert "keeps" in run("explain", job.id).out
    assert "its part of its demand: an engine there cannot change the CPU of what runs" in run("explain", job.id).out
    assert run("explain", job.id, "--json").json["lacking"] == ["resize_cpu", "split_cores"]


def test_nodes(served: Served, run: Run) -> None:
    assert "no nodes" in run("nodes").err
    served.populate((), (node("n1", "a100", cpu=8, gpu=4, memory_gib=64), node("n2", "t4")))
    header, first, _ = run("nodes").out.splitlines()
    assert header.split() == ["NODE", "FLAVOR", "STATE", "CORES", "GPUS", "MEMORY", "GiB", "AGENT", "LABELS"]
    assert first.split()[:6] == ["n1", "a100", "ready", "8", "4", "64"]
    assert run("nodes", "cordon", "n1").out == "node n1 is cordoned\n"
    assert run("nodes", "uncordon", "n1").out == "node n1 is open\n"
    assert run("nodes", "drain", "n1", "--json").json["availability"] == "draining"
    assert run("nodes", "remove", "n1").code == 0
    served.execute(c.LoseNode("n2"))
    assert run("nodes", "list", "--flavor", "t4").out.splitlines()[1].split()[2] == "lost"
    assert run("nodes", "list", "--flavor", "a100", "--json").json == []


def test_prices_add_up_to_the_flavor_s_part_of_the_budget(served: Served, run: Run) -> None:
    served.populate(("q",), (node("n1", "a100", cpu=32, gpu=4),))
    assert "no round has run yet" in run("prices").err
    served.execute(c.SubmitJobs(tuple(spec("q", configuration(cpu=1, gpu=1)) for _ in range(8))))
    served.round()
    # Eight equal jobs want the four GPUs: all of the budget of 1 goes to them.
    encoded = run("prices", "--json").json
    (share,) = encoded["flavors"]
    assert share["budget_share"] == pytest.approx(1.0, abs=1e-3)
    prices = {entry["resource"]: entry for entry in encoded["prices"]}
    assert prices["gpu"]["price"] == pytest.approx(0.25, abs=1e-3)
    assert prices["gpu"]["unit"] == "GPUs"
    assert prices["cpu"]["price"] == pytest.approx(0.0, abs=1e-6)
    lines = {tuple(line.split()[:2]): line for line in run("prices").out.splitlines()}
    assert lines["a100", "gpu"].split() == ["a100", "gpu", "0.25", "GPU", "4", "100", "%", "100.0", "%"]
    assert lines["a100", "cpu"].split()[-2:] == ["100.0", "%"]


def test_rounds(served: Served, run: Run) -> None:
    assert "no round has run yet" in run("rounds").err
    served.populate(("q",), (node("n1"),))
    served.execute(c.SubmitJobs((spec("q"), spec("q", configuration("v100")))))
    for _ in range(3):
        served.round()
    lines = run("rounds", "-n", "2").out.splitlines()
    assert [line.split()[0] for line in lines] == ["ROUND", "3", "2"]
    page = run("rounds", "1").out
    assert "outcome        optimal" in page
    assert "jobs           1 started, 0 moved, 0 kept" in page
    assert "waiting        1 no eligible flavor" in page
    assert run("rounds", "1", "--json").json["started_jobs"] == 1
    assert [summary["round"] for summary in run("rounds", "--json").json] == [3, 2, 1]


def test_status_is_one_screen(served: Served, run: Run) -> None:
    served.populate(("q",), (node("n1"), node("n2", "t4")))
    assert "none yet" in run("status").out
    served.execute(c.SubmitJobs((spec("q", configuration(gpu=2)),)))
    served.execute(c.LoseNode("n2"))
    served.round()
    out = run("status").out
    assert "nodes       1 open, 1 lost" in out
    assert "jobs        1 running, 0 waiting" in out
    assert re.search(r"last round  1, \d+s ago: optimal", out)
    assert [line.split()[:4] for line in out.splitlines() if line.startswith("a100")] == [
        ["a100", "cpu", "32", "1"],
        ["a100", "gpu", "4", "2"],
        ["a100", "memory", "256", "0"],
    ]
    assert len(out.splitlines()) < 24
    assert run("status", "--json").json["running_jobs"] == 1


def test_reasons_in_words() -> None:
    lacking = (Shortage("a100", "gpu", 4000), Shortage("a100", "memory", 2**30), Shortage("t4", "license", 2))
    assert reasons.missing(PendingReason(PendingCause.INSUFFICIENT_CAPACITY, lacking)) == [
        "needs 4 more GPUs and 1 GiB more memory on a100",
        "needs 2 more license on t4",
    ]
    assert reasons.missing(PendingReason(PendingCause.FRAGMENTED, (Shortage("a100", "gpu", 1000),))) == [
        "a replica lacks 1 more GPU on the a100 node that comes closest"
    ]
    assert all(reasons.why_waiting(PendingReason(cause)) for cause in PendingCause)


def test_a_job_s_name_cannot_move_the_cursor() -> None:
    table = screen.Table([screen.Column("NAME")])
    table.add("red\x1b[31m\nnext")
    assert [line.plain for line in table.lines(None)] == ["NAME", "red�[31m�next"]
