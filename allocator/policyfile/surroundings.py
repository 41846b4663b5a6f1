"""What may surprise about a policy file among the nodes and queues that there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches

from allocator.domain.cluster import Labels, Node
from allocator.domain.queue import Queue
from allocator.domain.side_constraint import Term
from allocator.policyfile.positions import Path
from allocator.policyfile.read import Reading
from allocator.policyfile.tables import Remark, Remarks

_NOTHING: Mapping[str, str] = {}


def remarks_against(
    reading: Reading,
    nodes: Sequence[Node],
    queues: Iterable[Queue],
    *,
    prune: bool = False,
    exceeded: Mapping[str, str] = _NOTHING,
) -> tuple[Remark, ...]:
    """The reading's own warnings, and those that only the cluster shows: flavors and labels that no node has, queues
    that the file does not have, limits that are `exceeded` as things are: what is to be said of each, by its name, of a
    quota `QUEUE:FLAVOR/RESOURCE`. A queue above another one that is there already needs no warning.
    """
    document = reading.document
    if document is None:
        return reading.warnings
    odd = Remarks(reading.where)
    flavors = {node.flavor for node in nodes}
    labels = {pair for node in nodes for pair in node.labels}
    there = {queue.name for queue in queues}
    for path, flavor in _flavors(reading):
        if flavor not in flavors:
            near = get_close_matches(flavor, flavors, 1)
            odd.add(path, f"no node has flavor {flavor} now{_meant(near)}; it holds as soon as one does")
    for path, pairs in _node_labels(reading):
        for key, value in pairs:
            if (key, value) not in labels:
                odd.add((*path, key), f"no node has the label {key}={value} now; it counts as soon as one does")
    for path, name in _limits(reading):
        if name in exceeded:
            odd.add(path, exceeded[name])
    said = {queue.name for queue in document.queues}
    for name in sorted(there - said) if said else ():
        what = "is removed" if prune else "stays as it is; --prune removes what is not in the file"
        odd.add((), f"queue {name} is not in the file and {what}")
    odd.found += [remark for remark in reading.warnings if not _is_about_a_parent_that_is_there(remark, reading, there)]
    return odd.in_order()


def _flavors(reading: Reading) -> Iterator[tuple[Path, str]]:
    document = reading.document
    assert document is not None
    for index, queue in enumerate(document.queues):
        for place, quota in enumerate(queue.quotas):
            yield ("queue", index, "quota", place, "flavor"), quota.flavor
    for index, limit in enumerate(document.policy.side_constraints):
        for number, term in enumerate(limit.terms):
            for place, flavor in enumerate(term.flavors):
                yield ("limit", index, "term", number, "flavors", place), flavor


def _node_labels(reading: Reading) -> Iterator[tuple[Path, Labels]]:
    assert reading.document is not None
    for index, limit in enumerate(reading.document.policy.side_constraints):
        for number, term in enumerate(limit.terms):
            yield ("limit", index, "term", number, "node_labels"), term.node_labels


def _limits(reading: Reading) -> Iterator[tuple[Path, str]]:
    """Where the amount of each limit stands, and its name."""
    document = reading.document
    assert document is not None
    for index, limit in enumerate(document.policy.side_constraints):
        floats = limit.name in document.policy.floating_resources and limit.terms == (Term(limit.name),)
        yield ("floating", limit.name) if floats else ("limit", index, "most"), limit.name
    for index, queue in enumerate(document.queues):
        for place, quota in enumerate(queue.quotas):
            path = ("queue", index, "quota", place, "borrow")
            yield path, f"{queue.name}:{quota.flavor}/{quota.resource}"


def _is_about_a_parent_that_is_there(remark: Remark, reading: Reading, there: set[str]) -> bool:
    assert reading.document is not None
    for index, queue in enumerate(reading.document.queues):
        if remark.field == f"queue[{index}].name":
            return queue.parent in there
    return False


def _meant(near: Sequence[str]) -> str:
    return f" (did you mean {near[0]}?)" if near else ""
