"""Small worlds in which not every job may go everywhere: racks, zones, taints, limits on neighbours, jobs for good."""

from __future__ import annotations

import random
from dataclasses import replace

from allocator.domain.cluster import Labels, Node
from allocator.domain.constraints import AtMost, Constraints, Near, NodeRule
from allocator.domain.job import JobSpec
from tests.placement.small_worlds import SmallWorld, affordable, drawn
from tests.placement.worlds import node, way

WEB, NOISY = (("app", "web"),), (("noisy", "yes"),)
_TAINTS: tuple[Labels, ...] = ((), (), (), (), (("dedicated", "web"),), (("dedicated", "db"), ("spot", "")))
_TOLERATIONS: tuple[Labels, ...] = (
    (),
    (("dedicated", ""),),
    (("dedicated", "web"),),
    (("dedicated", ""), ("spot", "")),
)
_RULES = (NodeRule("zone", ("a",)), NodeRule("zone", ("a",), negated=True), NodeRule("zone"))
_LIMITS = (AtMost(1), AtMost(2), AtMost(1, "rack"), AtMost(2, "rack"))
_ON_OTHERS = (AtMost(1, of=WEB), AtMost(1, "rack", WEB), AtMost(0, "rack", NOISY), AtMost(2, "rack", WEB))


def restricted(seed: int, *, most_nodes: int = 5) -> SmallWorld:
    """The drawn world of this seed, its nodes in racks and zones, its jobs with demands on their places."""
    dice = random.Random(seed + 1_000_000)
    world = drawn(seed, most_nodes=most_nodes)
    return replace(
        world,
        nodes=tuple(_placed(dice, each) for each in world.nodes),
        specs=tuple(_demanding(dice, spec) for spec in world.specs),
    )


def crowded(seed: int) -> SmallWorld:
    """Jobs that nobody may stop, on few nodes: large ones for which nodes are kept, and small ones that would fit."""
    dice = random.Random(seed + 2_000_000)
    world = drawn(seed)
    nodes = tuple(node(f"n{index}", cpu=4, rack=dice.choice(("r1", "r2"))) for index in range(dice.randint(3, 5)))
    specs = tuple(
        JobSpec(
            "q",
            (way(cpu=dice.randint(3, 4), replicas=dice.randint(2, 4)) if large else way(cpu=dice.randint(1, 3)),),
            weight=1.0 + index / 97,
            preemptible=dice.random() < 0.1,
            expected_duration_seconds=dice.choice((None, 40.0, 500.0, 100_000.0)),
            constraints=Constraints(within=dice.choice(("", "", "rack"))) if large else Constraints(),
        )
        for index, large in enumerate([dice.random() < 0.3 for _ in range(dice.randint(6, 12))])
    )
    wished = tuple((1.0 if spec.configurations[0].replicas > 1 else dice.random(),) for spec in specs)
    policy = replace(world.policy, hysteresis_seconds=dice.choice((0.0, 20.0)))
    found = replace(world, nodes=nodes, specs=specs, policy=policy, ages=())
    return replace(found, shares=affordable(found, wished))


def _placed(dice: random.Random, bare: Node) -> Node:
    labels = {"rack": dice.choice(("r1", "r2", "")), "zone": dice.choice(("a", "b", ""))}
    stated = tuple((key, value) for key, value in sorted(labels.items()) if value)
    return replace(bare, labels=stated, taints=dice.choice(_TAINTS))


def _demanding(dice: random.Random, spec: JobSpec) -> JobSpec:
    constraints = Constraints(
        nodes=dice.choice(((), (), (), (), *((rule,) for rule in _RULES))),
        at_most=(
            *dice.sample(_LIMITS, dice.choice((0, 0, 0, 0, 1, 2))),
            *dice.sample(_ON_OTHERS, dice.choice((0, 0, 1))),
        ),
        near=dice.choice(((), (), (), (), (), (Near("rack", WEB),), (Near("node", WEB),))),
        within=dice.choice(("", "", "", "", "rack", "node")),
        tolerations=dice.choice(_TOLERATIONS),
    )
    return replace(
        spec,
        labels=dice.choice(((), (), WEB, NOISY, (*WEB, *NOISY))),
        constraints=constraints,
        preemptible=dice.random() < 0.5,
        expected_duration_seconds=dice.choice((None, None, 50.0, 100_000.0)),
    )
