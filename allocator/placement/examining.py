"""What the nodes of a flavor say to a kind of gang: how many refuse it for what, and what the others have room for.

Array work over the nodes of one flavor, most of which are full in a busy cluster: those are counted, and only the rest
is looked at closer. What depends on labels and taints alone is kept by the distinct set of rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from allocator.domain.cluster import Labels
from allocator.domain.constraints import Constraints
from allocator.domain.reason import Examined, Refusal
from allocator.domain.remembered import remembered
from allocator.formulation.live import Live
from allocator.formulation.nodes import NodeArrays
from allocator.placement.bounds import DECLARES, MEMBER, NEAR, Bounds
from allocator.placement.over_limits import NOBODY, Asking, LimitExaminer, LocalRow
from allocator.placement.space import Booleans, Integers, Kinds, Space

_REFUSALS = tuple(Refusal)
_ADMITTED = len(_REFUSALS)
_CODE = {refusal: code for code, refusal in enumerate(_REFUSALS)}

_MOST_KEPT = 64
"""Kinds of which the nodes with room are kept: those of one job, or of those like it."""

Ties = tuple[tuple[int, int], ...]
"""What a job has to do with which bounds: (bound, role), as in `bounds.Bounds`."""


class Answers(NamedTuple):
    """Of the nodes of a kind's flavor."""

    examined: Examined
    pieces: int
    """Replicas that fit on nodes the kind may use at all, each node up to the whole gang, whatever the limits."""


class _Columns(NamedTuple):
    """The free amounts of one flavor's nodes, resource by resource."""

    amount: Integers
    """(R, n)"""
    whole: Integers
    """(n,) idle devices."""
    largest: Integers
    """(n,) milli-GPUs left of the emptiest device."""


class _Asked(NamedTuple):
    """What nodes are, whoever runs there."""

    permitted: Booleans
    """(n,) which take new work and suit the rules."""
    refused: dict[Refusal, int]
    """How many of the others there are."""


class _Able(NamedTuple):
    """The nodes with room for at least one replica."""

    nodes: Integers
    """Positions within the flavor."""
    room: Integers
    """Of each, how many replicas fit, at most the gang."""
    lacking: tuple[tuple[str, int], ...]
    """How many of the permitted nodes lack which resource."""


class Examiner:
    """The nodes as they are in one space. `bounds`, `reserved` (N,) and `limits`: who is where, what is kept for
    others, and what side constraints leave.
    """

    def __init__(
        self,
        live: Live,
        kinds: Kinds,
        space: Space,
        bounds: Bounds | None = None,
        reserved: Booleans | None = None,
        limits: LimitExaminer | None = None,
    ) -> None:
        self._live, self._kinds, self._space = live, kinds, space
        self._bounds, self._reserved, self._rows = bounds, reserved, limits
        self._column = {name: position for position, name in enumerate(live.nodes.resources)}
        self._columns: dict[int, _Columns] = {}
        self._asked: dict[tuple[int, int], _Asked] = {}
        self._able: dict[int, _Able] = {}
        self._free: dict[tuple[int, int, bool], dict[str, int]] = {}
        self._answers: dict[tuple[int, Ties, bool, Asking], Answers] = {}

    def nodes(self, kind: int) -> slice:
        """The nodes of its flavor."""
        flavor, starts = int(self._kinds.flavor[kind]), self._space.flavor_starts
        return slice(int(starts[flavor]), int(starts[flavor + 1])) if flavor >= 0 else slice(0, 0)

    def permitted(self, kind: int, barred: bool = False) -> Booleans:
        """(nodes of its flavor,) which take new work and suit its rules; `barred`: those kept for others do not."""
        found = self._ask_all(kind).permitted
        return found & ~self._reserved[self.nodes(kind)] if barred and self._reserved is not None else found

    def room(self, kind: int, barred: bool = False) -> Integers:
        """(nodes of its flavor,) how many replicas fit on each permitted one, at most the gang."""
        nodes, able = self.nodes(kind), self._with_room(kind)
        found = np.zeros(nodes.stop - nodes.start, dtype=np.int64)
        found[able.nodes] = able.room
        return np.where(self.permitted(kind, barred), found, 0) if barred else found

    def free(self, kind: int, barred: bool = False) -> dict[str, int]:
        """What is free in total on the permitted nodes, by resource; Python integers, which do not overflow."""
        key = (int(self._kinds.flavor[kind]), int(self._kinds.mask[kind]), barred)
        found = self._free.get(key)
        if found is None:
            permitted, amount = self.permitted(kind, barred), self._of_flavor(kind).amount
            found = {name: exact_sum(amount[column][permitted]) for name, column in self._column.items()}
            found["gpu"] = exact_sum(self._space.devices[self.nodes(kind)][permitted].ravel())
            self._free[key] = found
        return found

    def ask(self, kind: int, ties: Ties = (), asking: Asking = NOBODY, *, barred: bool = False) -> Answers:
        """What the nodes say to a gang of this kind, of a job with these ties; `barred`: kept nodes refuse it. Side
        constraints are asked as `asking`.
        """
        key = (kind, ties, barred, asking)
        found = self._answers.get(key)
        if found is None:
            found = self._answers[key] = self._hear(kind, ties, barred, asking)
        return found

    def _hear(self, kind: int, ties: Ties, barred: bool, asking: Asking) -> Answers:
        nodes, replicas = self.nodes(kind), int(self._kinds.replicas[kind])
        asked, (able, room, lacking) = self._ask_all(kind), self._with_room(kind)
        codes = np.full(len(able), _ADMITTED, dtype=np.int64)
        if barred and self._reserved is not None:
            codes[self._reserved[nodes][able]] = _CODE[Refusal.RESERVED]
        pieces = int(room[codes == _ADMITTED].sum())
        rows = () if self._rows is None else self._rows.local_rows(asking, kind)
        for local in rows:
            each = local.each[able]
            codes[(each > 0) & (each > local.left)] = _CODE[Refusal.LIMIT]
        self._mark_bound(kind, ties, able, codes)
        left = codes == _ADMITTED
        fitting = int(room[left].sum())
        codes[left], places = self._within_limits(kind, ties, able[left], room[left], rows)
        refused = dict(asked.refused)
        refused[Refusal.FULL] = int(np.count_nonzero(asked.permitted)) - len(able)
        for code, count in enumerate(np.bincount(codes, minlength=_ADMITTED + 1)[:_ADMITTED].tolist()):
            refused[_REFUSALS[code]] = refused.get(_REFUSALS[code], 0) + count
        examined = Examined(
            flavor=self._live.kinds[kind].flavor,
            nodes=nodes.stop - nodes.start,
            refused=tuple((refusal, refused[refusal]) for refusal in _REFUSALS if refused[refusal]),
            lacking=lacking,
            replicas=replicas,
            room=min(replicas, fitting),
            places=min(replicas, places),
        )
        return Answers(examined, pieces)

    def _of_flavor(self, kind: int) -> _Columns:
        flavor = int(self._kinds.flavor[kind])
        found = self._columns.get(flavor)
        if found is None:
            nodes = self.nodes(kind)
            found = self._columns[flavor] = _Columns(
                amount=np.ascontiguousarray(self._space.free[nodes].T),
                whole=self._space.whole[nodes],
                largest=self._space.devices[nodes].max(axis=1, initial=0),
            )
        return found

    def _ask_all(self, kind: int) -> _Asked:
        """Whether nodes are closed, tainted, have other labels or an engine that cannot do it."""
        key = (int(self._kinds.flavor[kind]), int(self._kinds.mask[kind]))
        found = self._asked.get(key)
        if found is None:
            nodes = self.nodes(kind)
            permitted = self._space.open[nodes].copy()
            troubled = int(np.count_nonzero(self._live.nodes.troubled[nodes] & ~permitted))
            closed = len(permitted) - int(np.count_nonzero(permitted))
            refused = {Refusal.CLOSED: closed - troubled, Refusal.TROUBLE: troubled}
            if key[1] >= 0:
                tolerated = tolerated_by(self._live.nodes, self._live.kinds[kind].constraints.tolerations)[nodes]
                refused[Refusal.TAINT] = int(np.count_nonzero(permitted & ~tolerated))
                permitted &= tolerated
                admits = self._kinds.masks[key[1], nodes]
                unable = permitted & self._unable(kind)[nodes]
                refused[Refusal.ENGINE] = int(np.count_nonzero(unable))
                permitted &= ~unable
                refused[Refusal.LABEL] = int(np.count_nonzero(permitted & ~admits))
                permitted &= admits
            found = self._asked[key] = _Asked(permitted, refused)
        return found

    def _unable(self, kind: int) -> Booleans:
        """(N,) nodes whose engines cannot give what the kind asks for."""
        found = np.zeros(len(self._live.nodes.nodes), dtype=np.bool_)
        for need in self._live.kinds[kind].needs:
            if need in self._live.nodes.able:
                found |= ~self._live.nodes.able[need]
        return found

    def _with_room(self, kind: int) -> _Able:
        """Which permitted nodes have room for how many, and what the others lack, in order of the demand."""
        found = self._able.get(kind)
        if found is not None:
            return found
        kinds, columns, permitted = self._kinds, self._of_flavor(kind), self._ask_all(kind).permitted
        fits = permitted.copy()
        lacking = []
        for name, amount in self._live.kinds[kind].demand.items():
            if name == "gpu" and kinds.devices[kind]:
                short = columns.whole < kinds.devices[kind]
            elif name == "gpu":
                short = columns.largest < kinds.part[kind]
            elif name in self._column:
                short = columns.amount[self._column[name]] < amount
            else:
                short = np.ones(len(permitted), dtype=np.bool_)
            short &= permitted
            count = int(np.count_nonzero(short))
            if count:
                lacking.append((name, count))
                fits &= ~short
        able = np.flatnonzero(fits)
        if len(self._able) >= _MOST_KEPT:
            self._able.clear()
        found = self._able[kind] = _Able(able, self._room_on(kind, able), tuple(lacking))
        return found

    def _room_on(self, kind: int, able: Integers) -> Integers:
        """(able,) how many replicas fit on each of these nodes of its flavor, at most the gang."""
        kinds, columns = self._kinds, self._of_flavor(kind)
        room = np.full(len(able), kinds.replicas[kind], dtype=np.int64)
        for resource in np.flatnonzero(kinds.amount[kind]).tolist():
            room = np.minimum(room, columns.amount[resource][able] // kinds.amount[kind, resource])
        if kinds.devices[kind]:
            room = np.minimum(room, columns.whole[able] // kinds.devices[kind])
        elif kinds.part[kind]:
            devices = self._space.devices[self.nodes(kind)][able]
            room = np.minimum(room, (devices // kinds.part[kind]).sum(axis=1))
        return room

    def _mark_bound(self, kind: int, ties: Ties, able: Integers, codes: Integers) -> None:
        """Set the codes (able,) of nodes where bounds on others allow not one replica."""
        crowded, lonely = np.zeros(len(able), dtype=np.bool_), np.zeros(len(able), dtype=np.bool_)
        for bound, role in ties:
            assert self._bounds is not None
            domain = self._bounds.domain[bound, self.nodes(kind)][able]
            members = self._bounds.members[bound][domain]
            if role & NEAR:
                lonely |= members < 1
            if role & MEMBER:
                crowded |= self._binds(bound, role, domain) & (members >= self._bounds.most[bound])
            elif role & DECLARES:
                crowded |= members > self._bounds.most[bound]
        codes[lonely] = _CODE[Refusal.NEAR]
        codes[crowded] = _CODE[Refusal.AT_MOST]

    def _binds(self, bound: int, role: int, domain: Integers) -> Booleans:
        """Whether the bound is in force where the job would be, in each of these domains."""
        assert self._bounds is not None
        found: Booleans = self._bounds.declarers[bound][domain] > 0
        return found | bool(role & DECLARES)

    def _within_limits(
        self, kind: int, ties: Ties, able: Integers, room: Integers, rows: Sequence[LocalRow]
    ) -> tuple[Integers, int]:
        """(able,) codes: WITHIN where the domain does not take the whole gang; and replicas that have a place."""
        kinds = self._kinds
        codes = np.full(len(able), _ADMITTED, dtype=np.int64)
        room = np.minimum(room, kinds.cap[kind])
        if kinds.within[kind] < 0:
            everywhere = np.zeros(len(able), dtype=np.int64)
            return codes, int(self._limited(kind, ties, able, room, everywhere, rows).sum())
        _, group = np.unique(kinds.domains[kinds.within[kind], self.nodes(kind)][able], return_inverse=True)
        places = self._limited(kind, ties, able, room, group, rows)
        codes[places[group] < kinds.replicas[kind]] = _CODE[Refusal.WITHIN]
        return codes, int(places.max(initial=0))

    def _limited(
        self,
        kind: int,
        ties: Ties,
        able: Integers,
        room: Integers,
        group: Integers,
        rows: Sequence[LocalRow],
    ) -> Integers:
        """(groups,) replicas that each group of nodes takes, under each limit alone."""
        count = int(group.max(initial=-1)) + 1
        places = _sums(room, group, count)
        places = _within_rows(rows, able, room, group, places)
        for domain, most in self._limits(kind, ties, able) if len(able) else ():
            pairs, pair = np.unique(group * len(most) + domain, return_inverse=True)
            together = np.minimum(_sums(room, pair, len(pairs)), most[pairs % len(most)])
            places = np.minimum(places, _sums(together, pairs // len(most), count))
        return places

    def _limits(self, kind: int, ties: Ties, able: Integers) -> Iterator[tuple[Integers, Integers]]:
        """Per limit on its own replicas: (able,) domains, and (domains,) how many of them each may still have."""
        kinds, nodes = self._kinds, self.nodes(kind)
        for which in range(kinds.spread.shape[1]):
            if kinds.spread[kind, which] >= 0:
                domain = kinds.domains[kinds.spread[kind, which], nodes][able]
                yield domain, np.full(int(domain.max()) + 1, kinds.most[kind, which], dtype=np.int64)
        for bound, role in ties:
            if role & MEMBER:
                assert self._bounds is not None
                members = self._bounds.members[bound]
                in_force = self._binds(bound, role, np.arange(len(members)))
                left = np.where(in_force, np.maximum(0, self._bounds.most[bound] - members), kinds.replicas[kind])
                yield self._bounds.domain[bound, nodes][able], left


def _within_rows(
    rows: Sequence[LocalRow], able: Integers, room: Integers, group: Integers, places: Integers
) -> Integers:
    """(groups,) at most so many of `places` that side constraints on single nodes leave: exact where these share no
    nodes and take the same of all of theirs; otherwise under each alone.
    """
    less, inside_any = np.zeros(len(places), dtype=np.int64), np.zeros(len(able), dtype=np.int64)
    fewest = places
    for local in rows:
        each = local.each[able]
        inside = each > 0
        if inside.any():
            together = _sums(np.where(inside, room, 0), group, len(places))
            beyond = np.maximum(0, together - max(0, local.left) // int(each[inside].min()))
            less += beyond
            fewest = np.minimum(fewest, places - beyond)
            inside_any += inside
    return places - less if (inside_any <= 1).all() else fewest


def _sums(values: Integers, group: Integers, groups: int) -> Integers:
    """(groups,) sums of values by group."""
    found = np.zeros(groups, dtype=np.int64)
    np.add.at(found, group, values)
    return found


def exact_sum(values: Integers) -> int:
    """The sum, however large: halves of 32 bits are added up apart."""
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())


@remembered
def _taints(nodes: NodeArrays) -> tuple[Integers, tuple[Labels, ...]]:
    """(N,) number of each node's set of taints, and the sets."""
    number: dict[Labels, int] = {}
    found = np.array([number.setdefault(node.taints, len(number)) for node in nodes.nodes], dtype=np.int64)
    return found, tuple(number)


def tolerated_by(nodes: NodeArrays, tolerations: Labels) -> Booleans:
    """(N,) whether a job with these tolerations accepts all taints of a node."""
    which, taints = _taints(nodes)
    job = Constraints(tolerations=tolerations)
    found: Booleans = np.array([job.tolerates(each) for each in taints], dtype=np.bool_)[which]
    return found
