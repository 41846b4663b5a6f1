"""Mistakes: all of them at once, each at its place, each saying what would be right."""

from __future__ import annotations

import re

import pytest

from allocator.domain.applied_policy import MOST_POLICY_TEXT, PolicyDocument
from allocator.domain.cluster import Node
from allocator.domain.policy import Policy
from allocator.domain.priority_class import PriorityClass
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.policyfile import differences, read, remarks_against
from allocator.policyfile.tables import MOST_TOLD
from tests.builders import node

TERM = '[[limit.term]]\nresource = "gpu"\n'
MISTAKES: list[tuple[str, str]] = [
    ("", "1:1: version is missing; begin the file with `version = 1`"),
    ("version = 2", "1:1: version: must be 1, the only one"),
    ("version = 1\nx = ", "2:5: is not valid TOML"),
    ("version = 1\n[queue", "2:7: is not valid TOML: .*at the end of the file"),
    ("version = 1\nqueues = 3", "2:1: queues: is not known here; did you mean queue?"),
    ("version = 1\nqueue = 3", r"2:1: queue: must be tables, each begun with \[\[queue\]\]; got 3"),
    ('version = 1\n[queue]\nname = "a"', r"2:1: queue: is one table and must be a list of them; write \[\[queue\]\]"),
    ("version = 1\nqueue = [3]", r"2:10: queue\[0\]: must be a table"),
    ("version = 1\nobjective = 3", r"2:1: objective: must be a table, begun with \[objective\]; got 3"),
    ("version = 1\n[objective]\nminimum_rum = 3", "3:1: objective.minimum_rum: .*did you mean minimum_run?"),
    ("version = 1\n[objective]\ngap = 3", r"3:1: objective.gap: .*gap belongs into \[solver\], not into \[objective\]"),
    ('version = 1\n[objective]\nname = "1.5"', "3:1: objective.name: must be a name; write alpha = 1.5"),
    ('version = 1\n[objective]\nname = "max-mim"', "3:1: objective.name: must be one of .*did you mean max-min?"),
    ('version = 1\n[objective]\nname = "drf"\nalpha = 2', "3:1: objective.name: goes without alpha"),
    ('version = 1\n[objective]\nutility = "throughput"', "3:1: objective.utility: goes with alpha only"),
    ("version = 1\n[objective]\nalpha = -1", "3:1: objective.alpha: must be a number, at least 0, or inf; got -1"),
    ("version = 1\n[objective]\nalpha = nan", "3:1: objective.alpha: must be a number, got nan"),
    ("version = 1\n[objective]\nhysteresis = true", "3:1: objective.hysteresis: must be a time such as"),
    ('version = 1\n[objective]\nhysteresis = "3x"', "3:1: objective.hysteresis: unknown unit 'x'"),
    ('version = 1\n[objective]\nhysteresis = "3h"', r"3:1: objective.hysteresis: must be at most credit_limit \("),
    ("version = 1\n[objective]\nhorizon = inf", "3:1: objective.horizon: must be a finite number above 0"),
    ('version = 1\n[objective]\nplacement = "bestfit"', "3:1: objective.placement: .*did you mean best-fit?"),
    ("version = 1\n[solver]\niterations = 1.5", "3:1: solver.iterations: must be a whole number, got 1.5"),
    ("version = 1\n[solver]\niterations = 0", "3:1: solver.iterations: must be at least 1, got 0"),
    ("version = 1\n[[queue]]\nweight = 2", r"2:1: queue\[0\]: name is missing; write name = "),
    ('version = 1\n[[queue]]\nname = "A"', r"3:1: queue\[0\].name: must be one or more segments"),
    ('version = 1\n[[queue]]\nname = "a"\nweight = "2"', r"4:1: queue\[0\].weight: must be a number, got '2'"),
    ('version = 1\n[[queue]]\nname = "a"\nweight = 0', r"4:1: queue\[0\].weight: must be a finite number from 1e-06"),
    ('version = 1\n[[queue]]\nname = "a"\ncordoned = 1', r"4:1: queue\[0\].cordoned: must be true or false, got 1"),
    ('version = 1\n[[queue]]\nname = "a"\ndiscipline = "fif"', r"4:1: queue\[0\].discipline: .*did you mean fifo"),
    ('version = 1\n[[queue]]\nname = "a"\n[[queue]]\nname = "a"', r"5:1: queue\[1\].name: 'a' was given .* in line 2"),
    (
        'version = 1\n[[queue]]\nname = "a"\n[[queue.quota]]\nflavor = "t4"\nresource = "gpu"\nnominal = 4\nlend = 5',
        r"8:1: queue\[0\].quota\[0\].lend: must be at most the nominal quota",
    ),
    (
        'version = 1\n[[queue]]\nname = "a"\nquota = [{ flavor = "t4", resource = "memory", nominal = 4 }]',
        r"4:48: queue\[0\].quota\[0\].nominal: a unit is missing in '4'",
    ),
    ('version = 1\n[[priority_class]]\nname = "a"\npriority = 1', "2:1: priority_class: must hold 'normal'"),
    ('version = 1\n[[priority_class]]\nname = "normal"', r"2:1: priority_class\[0\]: priority is missing"),
    ('version = 1\n[[limit]]\nname = "a"\n' + TERM, r"2:1: limit\[0\]: most is missing; write most = 12.5"),
    ('version = 1\n[[limit]]\nname = "a"\nmost = 1', r"2:1: limit\[0\]: has no terms"),
    ('version = 1\n[[limit]]\nname = "a"\nmost = "40"\n' + TERM, r'4:1: limit\[0\].most: .*a part such as "40 %"'),
    ('version = 1\n[[limit]]\nname = "a"\nmost = "140 %"\n' + TERM, r"4:1: limit\[0\].most: must be from 0 % to 100 %"),
    ('version = 1\n[[limit]]\nname = "a"\nmost = -1\n' + TERM, r"4:1: limit\[0\].most: must be a finite number from 0"),
    (
        'version = 1\n[[limit]]\nname = "a"\nmost = 1\nsoft = true\n' + TERM,
        r"5:1: limit\[0\].soft: .*never broken; what",
    ),
    (
        'version = 1\n[[queue]]\nname = "batch"\n[[limit]]\nname = "a"\nmost = 1\n' + TERM + 'queues = ["batchh"]',
        r"9:11: limit\[0\].term\[0\].queues\[0\]: names 'batchh', and the file has no such queue; did you mean batch?",
    ),
    (
        'version = 1\n[[limit]]\nname = "a"\nmost = 1\n' + TERM + "per_unit = 0",
        r"7:1: limit\[0\].term\[0\].per_unit: must be a finite number",
    ),
    (
        'version = 1\n[[limit]]\nname = "a"\nmost = 1\n' + TERM + "node_labels = { rack = 7 }",
        r"7:1: limit\[0\].term\[0\].node_labels: must be a table of texts",
    ),
    ("version = 1\n[floating]\ngpu = 3", "3:1: floating.gpu: gpu belongs to nodes"),
    ('version = 1\n[floating]\nmatlab = "3"', "3:1: floating.matlab: must be how many there are"),
    ("version = 1\n[floating]\nmatlab = -3", "3:1: floating.matlab: most: must be a finite number from 0"),
    (
        'version = 1\n[floating]\nm = 3\n[[limit]]\nname = "m"\nmost = 1\n' + TERM,
        r"3:1: floating.m: a \[\[limit\]\] is called 'm', too",
    ),
    ("x" * (MOST_POLICY_TEXT + 1), "1:1: must be at most 1048576 characters"),
    ("a = " + "[" * 100_000, "1:[0-9]+: is (not valid TOML|nested too deeply)"),
]


@pytest.mark.parametrize(("text", "told"), MISTAKES, ids=[told[:40] for _, told in MISTAKES])
def test_a_mistake_is_told_with_its_place_and_what_would_be_right(text: str, told: str) -> None:
    reading = read(text)
    assert reading.document is None
    assert any(re.match(told, str(mistake)) for mistake in reading.mistakes), reading.mistakes


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    reading = read('[objective]\nname = "x"\ngap = 1\n[[queue]]\nname = "A"\nwieght = 1\n[[limit]]\nname = "l"\n')
    places = [(mistake.line, mistake.column) for mistake in reading.mistakes]
    assert places == sorted(places)
    assert [mistake.line for mistake in reading.mistakes] == [1, 2, 3, 5, 6, 7, 7]


def test_of_very_many_mistakes_the_first_are_told() -> None:
    reading = read("version = 1\n" + "".join(f"k{number} = 1\n" for number in range(2000)))
    assert len(reading.mistakes) == MOST_TOLD + 1
    assert str(reading.mistakes[-1]) == "502:1: and 1500 more from here"


def test_everything_is_read_as_it_is_said() -> None:
    reading = read(
        """
        version = 1
        [objective]
        alpha = inf
        utility = "dominant-share"
        minimum_run = "1h30m"
        hysteresis = 90
        aging = "1d"
        [history]
        strength = 1
        half_life = "12h"
        [[queue]]
        name = "r"
        weight = 3
        priority = -1
        discipline = "fifo"
        max_live_jobs = 7
        cordoned = true
        quota = [
            { flavor = "h100", resource = "gpu", nominal = 16, borrow = 8, lend = 0 },
            { flavor = "a100", resource = "memory", nominal = "1.5TiB" },
        ]
        [[queue]]
        name = "r/s"
        [[priority_class]]
        name = "normal"
        priority = 0
        [[priority_class]]
        name = "serving"
        priority = 10
        preemptible = false
        [[limit]]
        name = "power"
        most = 12.5
        unit = "kW"
        [[limit.term]]
        resource = "gpu"
        per_unit = 0.7
        flavors = ["h100"]
        queues = ["r"]
        job_labels = { team = "x" }
        node_labels = { rack = "r7", "zone/a" = "b" }
        [[limit.term]]
        resource = "cpu"
        [[limit]]
        name = "part"
        most = "12.5 %"
        [[limit.term]]
        resource = "cpu"
        [floating]
        matlab = 20
        abaqus = inf
        """
    )
    assert reading.mistakes == ()
    assert reading.document == PolicyDocument(
        Policy(
            fairness=float("inf"),
            utility="dominant-share",
            minimum_run_seconds=5400.0,
            hysteresis_seconds=90.0,
            aging_seconds=86400.0,
            usage_strength=1.0,
            usage_half_life_seconds=43200.0,
            side_constraints=(
                SideConstraint(
                    "power",
                    (
                        Term("gpu", 0.7, ("h100",), ("r",), (("team", "x"),), (("rack", "r7"), ("zone/a", "b"))),
                        Term("cpu"),
                    ),
                    most=12.5,
                    unit="kW",
                ),
                SideConstraint("part", (Term("cpu"),), most_part=0.125),
                SideConstraint("matlab", (Term("matlab"),), most=20.0),
            ),
            floating_resources=("matlab", "abaqus"),
            priority_classes=(PriorityClass("normal", 0), PriorityClass("serving", 10, preemptible=False)),
        ),
        (
            Queue(
                "r",
                3.0,
                cordoned=True,
                max_live_jobs=7,
                priority=-1,
                quotas=(Quota("h100", "gpu", 16_000, 8_000, 0), Quota("a100", "memory", 3 * 2**39)),
                discipline=Discipline.FIFO,
            ),
            Queue("r/s"),
        ),
        frozenset({"r/s"}),
    )


NODES: tuple[Node, ...] = (node("n1", "h100"),)


def test_what_only_the_cluster_shows_is_warned_of() -> None:
    reading = read(
        'version = 1\n[[queue]]\nname = "top/a"\nquota = [{ flavor = "h10", resource = "gpu", nominal = 1 }]\n'
        '[[limit]]\nname = "l"\nmost = 1\n[[limit.term]]\nresource = "gpus"\nflavors = ["t4"]\n'
        'node_labels = { rack = "r7" }\n'
    )
    assert reading.mistakes == ()
    assert [(remark.line, remark.field) for remark in reading.warnings] == [
        (3, "queue[0].name"), (9, "limit[0].term[0].resource"),
    ]  # fmt: skip
    told = [str(remark) for remark in remarks_against(reading, NODES, (Queue("top"), Queue("old")))]
    assert [text.partition(": ")[0] for text in told] == ["1:1", "1:1", "4:12", "9:1", "10:12", "11:17"]
    assert [name in text for name, text in zip(("queue old", "queue top"), told, strict=False)] == [True, True]
    assert "did you mean h100" in told[2]
    assert "did you mean gpu" in told[3]


def test_differences_are_told_in_words() -> None:
    before = PolicyDocument(Policy(), (Queue("a", 1.0, cordoned=True), Queue("old")))
    after = read(
        'version = 1\n[objective]\nname = "drf"\nminimum_run = "10m"\n[[queue]]\nname = "a"\nweight = 2\n'
        '[[queue]]\nname = "b"\n[floating]\nmatlab = 3\n'
    ).document
    assert after is not None
    told = [str(change) for change in differences(before, after)]
    assert told == [
        "~ objective proportional → drf",
        "~ objective: minimum_run 5m → 10m",
        "~ queue a: weight 1 → 2",
        "+ queue b: weight 1",
        "+ floating matlab: 3",
    ]
    assert "- queue old" in [str(change) for change in differences(before, after, prune=True)]


@pytest.mark.parametrize(
    ("limit", "hint"),
    [
        ("most = 0.4\n" + TERM, 'write "40 %"'),
        ("most = 0.05\n" + TERM + "per_unit = 0.1\n", 'write "5 %"'),
        ("most = 0.4\n" + TERM + "per_unit = 0.1\n", ""),
        ('most = 0.4\nunit = "kW"\n' + TERM, ""),
        ("most = 1\n" + TERM, ""),
        ("most = 0\n" + TERM, ""),
        ('most = 0.4\n[[limit.term]]\nresource = "memory"\n', ""),
    ],
)
def test_a_fraction_of_a_gpu_may_be_meant_as_a_part(limit: str, hint: str) -> None:
    reading = read(f'version = 1\n[[limit]]\nname = "few"\n{limit}')
    assert reading.mistakes == ()
    assert [str(each) for each in reading.warnings] == (
        [f"4:1: limit[0].most: allows less than one GPU; for a part of all there are, {hint}"] if hint else []
    )


def test_a_bad_name_of_what_floats_is_one_mistake() -> None:
    (mistake,) = read('version = 1\n[floating]\n"Mat lab" = 20').mistakes
    assert mistake.description.startswith("must be the name of an extra")
