"""Where a job may run beyond what fits: nodes it wants, and how near to or far from other replicas it must be.

A *domain* of `per` is a set of nodes: one node for "node", otherwise all nodes with the same value of the label `per`,
such as all of one rack. A node without that label is a domain of its own. Rules and tolerations are checked when a
replica is placed; a label that changes later stops nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from allocator.domain.bounds import MOST_NAME, MOST_REPLICAS, text_violations
from allocator.domain.cluster import NODE_DOMAIN, Labels, Node, label_violations
from allocator.domain.errors import Violation

MOST_ENTRIES = 16
"""Of each kind: rules, limits, affinities, tolerations, and labels that one of them names."""
MOST_VALUES = 64
"""Of one node rule."""


def carries(labels: Labels, of: Labels) -> bool:
    """Whether all of `of` are among `labels`."""
    return all(pair in labels for pair in of)


@dataclass(frozen=True, slots=True)
class NodeRule:
    """A node qualifies if its label `key` has one of `values` (any value if there are none); `negated`: if it has not.

    A node without the label has none of the values, so it qualifies exactly for negated rules.
    """

    key: str
    values: tuple[str, ...] = ()
    negated: bool = False

    def admits(self, labels: Labels) -> bool:
        """Whether a node with these labels qualifies."""
        return self.negated is not any(
            key == self.key and (not self.values or value in self.values) for key, value in labels
        )

    def violations(self) -> tuple[Violation, ...]:
        """What is wrong with the rule itself; fields are `key` and `values[i]`."""
        found = _key_violations("key", self.key)
        found += _count_violations("values", self.values, MOST_VALUES)
        for index, value in enumerate(self.values):
            found += text_violations(f"values[{index}]", value, MOST_NAME)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class AtMost:
    """In one domain of `per`, at most `replicas` replicas of running jobs that carry all labels `of`.

    Empty `of` means the job's own gang: spread over nodes or racks. Labels mean everybody who carries them, the job
    itself included if it does: anti-affinity. It holds for as long as the declaring job runs, wherever it has a
    replica, so jobs that come later are bound by it too.
    """

    replicas: int
    per: str = NODE_DOMAIN
    of: Labels = ()

    def violations(self) -> tuple[Violation, ...]:
        """What is wrong with the limit itself; fields are `replicas`, `per` and `of`."""
        found = []
        least = 0 if self.of else 1
        if not least <= self.replicas <= MOST_REPLICAS:
            whose = "" if self.of else " where `of` is empty (it is about the job's own replicas)"
            found.append(Violation("replicas", f"must be from {least} to {MOST_REPLICAS}{whose}, got {self.replicas}"))
        found += _key_violations("per", self.per)
        found += _of_violations(self.of)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Near:
    """Affinity: each replica starts only in a domain of `per` where a replica of another running job with all labels
    `of` is. Checked when it starts; what happens to the other job later changes nothing.
    """

    per: str
    of: Labels

    def violations(self) -> tuple[Violation, ...]:
        """What is wrong with the wish itself; fields are `per` and `of`."""
        found = _key_violations("per", self.per)
        if not self.of:
            found.append(Violation("of", "must hold at least one label: what to be near to"))
        found += _of_violations(self.of)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Constraints:
    """Everything a job demands of its place, all of it binding.

    `within`: the whole gang is in one domain of it ("node", "rack", ...); empty: one node, then one rack, then few
    nodes are only preferred. `tolerations`: taints (key, value) the job accepts; "" as value accepts any value.
    """

    nodes: tuple[NodeRule, ...] = ()
    at_most: tuple[AtMost, ...] = ()
    near: tuple[Near, ...] = ()
    within: str = ""
    tolerations: Labels = ()

    def admits(self, node: Node) -> bool:
        """Whether the rules and the node's taints allow a replica there, whoever else runs."""
        return all(rule.admits(node.labels) for rule in self.nodes) and self.tolerates(node.taints)

    def tolerates(self, taints: Labels) -> bool:
        """Whether the job accepts every one of a node's taints."""
        return all(
            any(key == taint and wanted in ("", value) for key, wanted in self.tolerations) for taint, value in taints
        )

    def violations(self) -> tuple[Violation, ...]:
        """What is wrong with the constraints themselves; fields such as `at_most[1].replicas`."""
        found: list[Violation] = []
        kinds: tuple[tuple[str, tuple[NodeRule | AtMost | Near, ...]], ...] = (
            ("nodes", self.nodes),
            ("at_most", self.at_most),
            ("near", self.near),
        )
        for field, entries in kinds:
            found += _count_violations(field, entries, MOST_ENTRIES)
            for index, entry in enumerate(entries):
                found += [violation.under(f"{field}[{index}]") for violation in entry.violations()]
        if self.within:
            found += _key_violations("within", self.within)
        found += _count_violations("tolerations", self.tolerations, MOST_ENTRIES)
        found += label_violations(self.tolerations, "tolerations")
        return tuple(found)


UNCONSTRAINED = Constraints()
"""Of a job that may run wherever it fits; taints still keep it away."""


def _key_violations(field: str, key: str) -> list[Violation]:
    if not key:
        return [Violation(field, "must be the key of a node label, or for a domain 'node'; got nothing")]
    return list(text_violations(field, key, MOST_NAME))


def _count_violations(field: str, entries: Sequence[object], most: int) -> list[Violation]:
    if len(entries) <= most:
        return []
    return [Violation(field, f"must hold at most {most} entries, got {len(entries)}")]


def _of_violations(of: Labels) -> list[Violation]:
    return [*_count_violations("of", of, MOST_ENTRIES), *label_violations(of, "of")]
