"""Queues with quotas on the command line: what is written, what is shown, and what a slip of the pen is told."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.cli.quantities import format_amount
from allocator.cli.quotas import parse_quotas
from allocator.client import Discipline, Queue, Quota
from allocator.domain.errors import InvalidInput, Violation
from allocator.intake import commands as c
from tests.builders import GIB, node, spec
from tests.cli.conftest import Run
from tests.client.served import Served

RESEARCH = ("--quota", "a100/memory=1TiB,lend=0", "--quota", "a100/gpu=16,borrow=8,lend=4")


def test_a_queue_is_made_with_all_that_it_is_entitled_to(served: Served, run: Run) -> None:
    served.populate((), (node("n1", gpu=16, memory_gib=1024),))
    made = run("queue", "create", "research", "--weight", "2", *RESEARCH, "--discipline", "fifo", "--priority", "5")
    assert (made.code, made.err) == (0, "")
    assert made.out.splitlines() == [
        "queue research created (weight 2, no bound on jobs, priority 5, first in first out)",
        "FLAVOR  RESOURCE  NOMINAL  MAY BORROW  MAY LEND  UNIT",
        "a100    gpu            16           8         4  GPUs",
        "a100    memory       1024    no limit         0  GiB",
    ]
    assert served.store.get_queue("research") == Queue(
        "research",
        2.0,
        priority=5,
        quotas=(Quota("a100", "gpu", 16_000, 8000, 4000), Quota("a100", "memory", 1024 * GIB, lending_limit=0)),
        discipline=Discipline.FIFO,
    )
    first, _ = run("queues", "show", "research", "--json").json["quotas"]
    assert first == {
        "flavor": "a100",
        "resource": "gpu",
        "nominal": 16_000,
        "borrowing_limit": 8000,
        "lending_limit": 4000,
    }


def test_an_update_replaces_all_quotas_and_says_which_are_gone(served: Served, run: Run) -> None:
    served.populate((), (node("n1", gpu=32, memory_gib=1024),))
    run("queues", "create", "research", *RESEARCH)
    kept = run("queues", "update", "research", "--priority", "-2", "--discipline", "fifo")
    assert kept.out == "queue research updated (weight 1, no bound on jobs, priority -2, first in first out)\n"
    assert len(served.store.get_queue("research").quotas) == 2
    changed = run("queues", "update", "research", "--quota", "a100/gpu=24", "--discipline", "fair")
    assert changed.out.splitlines()[2:] == ["a100    gpu            24    no limit  no limit  GPUs"]
    assert changed.err == "the quota of a100/memory is gone: --quota replaces all that there were\n"
    cleared = run("queues", "update", "research", "--clear-quotas")
    assert (cleared.out, cleared.err) == ("queue research updated (weight 1, no bound on jobs, priority -2)\n", "")
    assert served.store.get_queue("research") == Queue("research", priority=-2)


def test_queues_are_listed_with_their_quotas(served: Served, run: Run) -> None:
    served.populate(("batch",), (node("n1"),))
    run("queues", "create", "research", *RESEARCH, "--priority", "5", "--discipline", "fifo")
    served.execute(c.SubmitJobs((spec("batch"), spec("research"))))
    served.round()
    lines = run("queues").out.splitlines()
    assert lines[0].split()[-3:] == ["PRIORITY", "DISCIPLINE", "STATE"]
    assert [line.split()[-3:] for line in lines[1:3]] == [["-", "-", "-"], ["5", "fifo", "-"]]
    assert lines[3:5] == ["", "Quotas"]
    assert [line.split() for line in lines[5:]] == [
        ["QUEUE", "FLAVOR", "RESOURCE", "NOMINAL", "MAY", "BORROW", "MAY", "LEND", "UNIT"],
        ["research", "a100", "gpu", "16", "8", "4", "GPUs"],
        ["research", "a100", "memory", "1024", "no", "limit", "0", "GiB"],
    ]
    page = run("queue", "show", "research").out
    assert "priority    5\ndiscipline  fifo\njobs        1 running, 0 waiting\n" in page
    assert page.endswith(
        "a100    gpu            16           8         4  GPUs\n" + lines[-1].partition("  ")[2] + "\n"
    )
    assert "quotas      none" in run("queues", "show", "batch").out
    assert run("queues", "show", "nope").code == 3


def test_a_quota_for_what_no_node_has_is_kept_and_remarked_upon(served: Served, run: Run) -> None:
    served.populate((), (node("n1", "h100"),))
    made = run("queues", "create", "a", "--quota", "h10/gpu=1", "--quota", "h100/gpus=2", "--quota", "h100/gpu=3")
    assert (made.code, len(served.store.get_queue("a").quotas)) == (0, 3)
    assert made.err.splitlines() == [
        "no node offers h10/gpu now (did you mean h100/gpu?); the quota holds as soon as one does",
        "no node offers h100/gpus now (did you mean h100/gpu?); the quota holds as soon as one does",
    ]


def test_what_is_promised_twice_is_kept_and_remarked_upon(served: Served, run: Run) -> None:
    served.populate((), (node("n1", gpu=16), node("n2", gpu=4)))
    in_need = "when all ask for it, each gets its part in proportion"
    assert run("queues", "create", "a", "--quota", "a100/gpu=16").err == ""
    assert run("queues", "create", "b", "--quota", "a100/gpu=8,lend=0").err == (
        f"a100/gpu: all queues at the top are guaranteed 24 GPUs together, more than there is now, 20: {in_need}\n"
    )
    assert run("queues", "create", "a/x", "--quota", "a100/gpu=10").err == ""
    assert run("queues", "create", "a/y", "--quota", "a100/memory=1GiB", "--quota", "a100/gpu=10").err == (
        f"a100/gpu: the queues below a are guaranteed 20 GPUs together, more than its own, 16: {in_need}\n"
    )
    assert run("queues", "update", "b", "--quota", "a100/gpu=4").err == ""
    again = ("queues", "update", "a", "--quota", "a100/gpu=12")
    assert run(*again).err == (
        f"a100/gpu: the queues below a are guaranteed 20 GPUs together, more than its own, 12: {in_need}\n"
    )
    assert run(*again, "--json").err == run("queues", "update", "a", "--weight", "3").err == ""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--quota", "16"), "--quota: cannot read '16'; write FLAVOR/RESOURCE=AMOUNT such as h100/gpu=16"),
        (("--quota", "h100=16"), "--quota: cannot read 'h100=16'; write FLAVOR/RESOURCE=AMOUNT"),
        (("--quota", "/gpu=16"), "--quota: cannot read '/gpu=16'"),
        (("--quota", "h100/gpu"), "--quota h100/gpu: tells no amount; write h100/gpu=AMOUNT"),
        (("--quota", "h100/gpu="), "--quota h100/gpu: cannot read ''; write 2"),
        (("--quota", "h100/gpu=many"), "--quota h100/gpu: cannot read 'many'"),
        (("--quota", "h100/gpu=-1"), "--quota h100/gpu: cannot read '-1'"),
        (("--quota", "h100/gpu=1.5"), "--quota h100/gpu: must be whole GPUs such as 16, got '1.5'"),
        (("--quota", "h100/memory=16"), "--quota h100/memory: a unit is missing in '16'; write 16GiB"),
        (("--quota", "h100/gpu=1,borow=2"), "--quota h100/gpu: cannot read 'borow=2'; did you mean borrow=?"),
        (("--quota", "h100/gpu=1,2"), "--quota h100/gpu: cannot read '2'; after the amount may follow borrow="),
        (("--quota", "h100/gpu=1,"), "--quota h100/gpu: cannot read ''; after the amount may follow borrow="),
        (("--quota", "h100/gpu=1,lend=x"), "--quota h100/gpu: lend: cannot read 'x'"),
        (("--quota", "h100/gpu=1,borrow=0.5"), "--quota h100/gpu: borrow: must be whole GPUs such as 16, got '0.5'"),
        (("--quota", "h100/gpu=9,lend=1,lend=2"), "--quota h100/gpu: lend= is given twice: each once"),
        (
            ("--quota", "h100/memory=1TiB,lend=1.5TiB"),
            "lend: must be at most the quota itself, 1TiB: nobody lends what is not theirs; got 1.5TiB",
        ),
        (
            ("--quota", "h100/gpu=1", "--quota", "h100/gpu=2"),
            "--quota h100/gpu: was given before: each flavor and resource once",
        ),
        (("--quota", "h100/GPU=1"), "--quota h100/GPU: resource: must be cpu, gpu, memory, bandwidth, disk, or the"),
        (("--discipline", "lifo"), "--discipline: must be fair or fifo, got 'lifo'"),
        (("--priority", "1000001"), "--priority: must be a whole number from -1000000 to 1000000, got 1000001"),
        (("--priority", "high"), "Invalid value for '--priority'"),
    ],
)
@pytest.mark.parametrize("command", ["create", "update"])
def test_bad_input_names_the_flag_and_what_is_right(
    served: Served, run: Run, command: str, args: tuple[str, ...], message: str
) -> None:
    served.populate(("q",))
    ran = run("queues", command, "r" if command == "create" else "q", *args)
    assert message in " ".join(ran.err.replace("│", " ").split())
    assert (ran.code, ran.out) == (2, "")
    assert served.store.queues() == (Queue("q"),)


def test_all_that_is_wrong_is_told_at_once(run: Run) -> None:
    ran = run("queues", "create", "r", "--quota", "h100", "--quota", "a100/gpu=1,lend=2", "--quota", "t4/memory=1")
    assert [line.split()[1:3] for line in ran.err.splitlines()] == [
        ["--quota:", "cannot"],
        ["--quota", "a100/gpu:"],
        ["--quota", "t4/memory:"],
    ]


def test_what_the_daemon_refuses_is_named_by_the_flag(served: Served, run: Run) -> None:
    served.populate(("q",))
    flags = [flag for number in range(257) for flag in ("--quota", f"f{number}/gpu=1")]
    ran = run("queues", "create", "r", *flags)
    assert (ran.code, ran.err) == (2, "error: --quota: must be at most 256, got 257\n")
    both = run("queues", "update", "q", "--quota", "a100/gpu=1", "--clear-quotas")
    assert (both.code, both.out) == (2, "")
    assert "--clear-quotas: cannot be combined with --quota, which replaces all quotas" in both.err
    assert run("queues", "update", "nope", "--quota", "a100/gpu=1").code == 3


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.sampled_from(["cpu", "gpu", "memory", "disk", "bandwidth", "license", "licence/x"]),
    st.integers(0, 2**40),
    st.none() | st.integers(0, 2**40),
    st.none() | st.floats(0, 1),
)
def test_quotas_written_in_units_are_read_exactly(
    resource: str, nominal: int, borrowed: int | None, lent: float | None
) -> None:
    unit = 1000 if resource == "gpu" else 1
    quota = Quota(
        "h100",
        resource,
        nominal * unit,
        None if borrowed is None else borrowed * unit,
        None if lent is None else int(nominal * lent) * unit,
    )
    text = f"h100/{resource}={format_amount(resource, quota.nominal)}"
    if quota.lending_limit is not None:
        text += f", lend={format_amount(resource, quota.lending_limit)}"
    if quota.borrowing_limit is not None:
        text += f",borrow={format_amount(resource, quota.borrowing_limit)}"
    assert parse_quotas([text]) == (quota,)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    st.lists(
        st.text(max_size=12)
        | st.lists(st.sampled_from(["h100", "/", "gpu", "memory", "=", ",", "16", "GiB", "lend", "borrow", "-", "."]))
        .map("".join),
        max_size=3,
    )
)  # fmt: skip
def test_whatever_is_written_is_a_valid_quota_or_bad_input(texts: list[str]) -> None:
    quotas: tuple[Quota, ...] = ()
    faults: tuple[Violation, ...] = ()
    try:
        quotas = parse_quotas(texts)
    except InvalidInput as error:
        faults = error.violations
    assert all(fault.field.startswith("--quota") and fault.description for fault in faults)
    assert Queue("q", quotas=quotas).violations() == ()
    assert len(quotas) == (0 if faults else len(texts))
