"""Constraints on where a job may run. Values are not judged here: the domain does that."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf import json_format

from allocator.domain.cluster import NODE_DOMAIN, Labels
from allocator.domain.constraints import MOST_ENTRIES, MOST_VALUES, UNCONSTRAINED, AtMost, Constraints, Near, NodeRule
from allocator.domain.errors import InvalidInput
from allocator.v1 import constraints_pb2


def constraints_to_proto(constraints: Constraints) -> constraints_pb2.Constraints | None:
    """None where there are none: the field stays absent."""
    if constraints == UNCONSTRAINED:
        return None
    return constraints_pb2.Constraints(
        nodes=[
            constraints_pb2.NodeRule(key=rule.key, values=rule.values, negated=rule.negated)
            for rule in constraints.nodes
        ],
        at_most=[
            constraints_pb2.AtMost(replicas=limit.replicas, per=limit.per, of=dict(limit.of))
            for limit in constraints.at_most
        ],
        near=[constraints_pb2.Near(per=near.per, of=dict(near.of)) for near in constraints.near],
        within=constraints.within,
        tolerations=[constraints_pb2.Toleration(key=key, value=value) for key, value in constraints.tolerations],
    )


def constraints_from_proto(message: constraints_pb2.Constraints) -> Constraints:
    """UNCONSTRAINED itself where there are none. Raises InvalidInput where there is too much of something."""
    for field, count in (
        ("nodes", len(message.nodes)),
        ("at_most", len(message.at_most)),
        ("near", len(message.near)),
        ("tolerations", len(message.tolerations)),
    ):
        _bounded(field, count, MOST_ENTRIES)
    for index, rule in enumerate(message.nodes):
        _bounded(f"nodes[{index}].values", len(rule.values), MOST_VALUES)
    found = Constraints(
        tuple(NodeRule(rule.key, tuple(rule.values), rule.negated) for rule in message.nodes),
        tuple(
            AtMost(limit.replicas, limit.per or NODE_DOMAIN, _of(limit.of, f"at_most[{index}].of"))
            for index, limit in enumerate(message.at_most)
        ),
        tuple(
            Near(near.per or NODE_DOMAIN, _of(near.of, f"near[{index}].of")) for index, near in enumerate(message.near)
        ),
        message.within,
        tuple(sorted({(toleration.key, toleration.value) for toleration in message.tolerations})),
    )
    return UNCONSTRAINED if found == UNCONSTRAINED else found


def constraints_to_json(constraints: Constraints) -> str:
    """As the API writes them, on one line; {} where there are none."""
    message = constraints_to_proto(constraints)
    return "{}" if message is None else json_format.MessageToJson(message, indent=None)


def constraints_from_json(text: str) -> Constraints:
    """Raises InvalidInput for what is not what `constraints_to_json` writes."""
    try:
        message = json_format.Parse(text, constraints_pb2.Constraints())
    except json_format.ParseError as error:
        said = str(error).splitlines()[0][:120]
        raise InvalidInput.of("constraints", f"must be JSON as the API takes it: {said}") from None
    return constraints_from_proto(message)


def _of(labels: Mapping[str, str], where: str) -> Labels:
    _bounded(where, len(labels), MOST_ENTRIES)
    return tuple(sorted(labels.items()))


def _bounded(where: str, count: int, most: int) -> None:
    if count > most:
        raise InvalidInput.of(where, f"must hold at most {most} entries, got {count}")
