"""What is scarce, and who pays for it, as explanations tell it; units as in `answers`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from allocator.rounds.report import FlavorUsage, LimitUsage


class BindingKind(Enum):
    """What holds a job back, by what would have to grow."""

    CAPACITY = "capacity"
    """All of it is used: more nodes."""
    BORROWING = "borrowing"
    """Its queue, or one above it, uses as much as it may: a larger quota or borrowing limit."""
    LENDING = "lending"
    """Another queue keeps some of it to itself: a larger lending limit there."""
    LIMIT = "limit"
    """A side constraint of the policy is used up: a larger one."""
    PIECES = "pieces"
    """What there is lies in pieces too small for it, or on nodes that do not admit it: other nodes or labels."""


@dataclass(frozen=True, slots=True)
class ScarceLimit:
    """A side constraint, or what there is in pieces of one size or on the nodes that admit some jobs."""

    name: str
    """Of the side constraint; of several about different nodes that only together are a limit, joined by '+'. Empty for
    pieces.
    """
    unit: str
    """Of the amounts, as the side constraint has it. Of pieces they are a number, of nodes display units."""
    size: float
    """GPUs of one piece; 0: it is not about pieces."""
    some_nodes: bool
    """Whether it is about the nodes alone that admit certain jobs, by labels or taints."""
    most: float
    """What a side constraint allows; else what jobs that stay leave of it."""
    used: float | None
    """After the round; None unless it is a side constraint."""
    wanted: float
    """If all jobs that it counts ran, each where it takes most."""
    jobs: int
    """How many those are: they want something, and could run where it counts them."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Something that is scarce for the job and that it pays for. `queue` is the one whose limit it is; empty: none. A
    side constraint has neither flavor nor resource; its price, and that of pieces, is per unit of `limit`.
    """

    kind: BindingKind
    queue: str
    flavor: str
    resource: str
    price: float
    paid: float
    """By this job, for the share that it is owed."""
    limit: ScarceLimit | None = None
    """Of the kinds LIMIT and PIECES."""


@dataclass(frozen=True, slots=True)
class Payer:
    """A queue, what it pays for something, and how much of it it gets, in display units."""

    queue: str
    paid: float
    amount: float


@dataclass(frozen=True, slots=True)
class LimitPrice:
    """The price of a side constraint, or of pieces, per unit of `limit`, as of the lowest class that pays it."""

    kind: BindingKind
    flavor: str
    resource: str
    price: float
    limit: ScarceLimit
    payers: tuple[Payer, ...]
    """The largest first; amounts in units of the limit."""


@dataclass(frozen=True, slots=True)
class LimitPrices:
    """Those that have a price, side constraints first, in the order of the policy; and every limit that there is."""

    round: int
    time: float
    limits: tuple[LimitPrice, ...]
    usages: tuple[LimitUsage, ...] = ()
    """Side constraints in the order of the policy, other floating resources, quotas by queue; binding or not."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What a change of the cluster means to one queue: in the objective, at the budgets before it, and in utility (one
    job running all the time in its fastest configuration is 1).
    """

    queue: str
    objective: float
    utility: float


@dataclass(frozen=True, slots=True)
class OneMore:
    """The optimum with one unit more. `objective` is close to the price where budgets stay as they are."""

    objective: float
    accuracy: float
    """Nothing below it means anything."""
    gains: tuple[Gain, ...]
    """The largest first."""


@dataclass(frozen=True, slots=True)
class ClassPrice:
    """What a priority class saw, relative to its own budgets, which add up to 1."""

    priority: int
    price: float


@dataclass(frozen=True, slots=True)
class PriceExplanation:
    """One price, who pays it, and what one more unit would bring."""

    round: int
    time: float
    usage: FlavorUsage
    classes: tuple[ClassPrice, ...]
    payers: tuple[Payer, ...]
    """The largest first."""
    one_more: OneMore | None = None


@dataclass(frozen=True, slots=True)
class LimitExplanation:
    """One limit: what is taken of it, who pays for it, and what one more unit would bring."""

    round: int
    time: float
    usage: LimitUsage
    together: tuple[str, ...] = ()
    """The others, with which it has its price, because only all of them together bind."""
    payers: tuple[Payer, ...] = ()
    """Queues that the optimum gives something of it, who pays most first; amounts in units of the limit."""
    one_more: OneMore | None = None
