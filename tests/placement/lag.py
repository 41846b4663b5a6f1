"""Unit jobs that share the places of one flavor: the rule for who runs, in a few lines, and how far credits can get.

**The rule** (`Reference`), for jobs that need one of C places each: whoever waits, most owed first, takes a free place,
or that of the least owed one that has run its minimum m and is owed less by at least h (its hysteresis or restart
cost). Time goes on in steps of D; the credit c of a job with share s grows at the rate s - 1 while it runs, s while it
waits. Old jobs are patient: where a part of its age is more than the hysteresis, that is a job's patience, and its
credit counts times hysteresis / patience.

**The bound** (`most_owed`). Let n > C jobs have shares that add up to at most C. Then no job is ever owed more than

    h' (C / (C + 1) + (l / n) (H_l - 3/2 + (C - 1) (1/2 - 1/l))),    l = n - C + 1,   H_l = 1 + 1/2 + ... + 1/l,
    h' = max(h + 2 D, 2 D ceil(m / D)),

where h is the largest of what ever stands before a swap: the hysteresis, a restart cost, the patience of the oldest,
and with it the part of the hysteresis (or patience) that a job with a share between 0.9 and 1 counts as owed besides
(who has 1 always runs, and leaves a smaller problem to the others);
and if the shares add up to exactly C, none is ahead by more than the same with n - C in place of C. For one place that
is h' (H_n - 1): 0.5 h' for two jobs, 0.83 h' for three, 1.93 h' for ten. The proof is for jobs of one age, which are
equally patient at any time. For jobs of different ages there is none: of what they are owed, counted against their
patience, nothing beyond twice the bound for impatient jobs was ever found.

*Proof.* (1) At any moment, a job w that waits and a job v that runs differ by c_w - c_v <= h'. After a round it is
below h if v may be stopped, for otherwise w would have stopped it or one owed less. If v has not run its minimum, all
who wait were owed no more than v when it started, by the order of the walk; whoever was stopped since was owed no more
than its stopper, who waited; so they differ by at most twice the time since. Until the next round 2 D are added, for
each credit moves by at most 1 a second.

(2) Let S be the k jobs owed most, and a_k the highest value that the mean of their credits ever has. Their sum grows
only while somebody in S waits and somebody outside S runs: otherwise min(k, C) of them run, and their shares do not
add up to more. For k = 1 the job owed most waits, so by (1) the C that run are within h' of it, and
a_1 <= a_(C+1) + h' C / (C + 1). For k > C at most C - 1 of S run, say j; the d = k - j others wait. Let v outside S
run. By (1) c_v is at least the mean of those that wait, less h'. With s_i the highest sum of i credits,
s_k + (s_k - s_j) / d <= s_(k+1) + h', and s_j <= j a_1 <= j (a_(C+1) + h').

(3) Write a_k = a_(C+1) - h' e_k. The inequality becomes e_(k+1) <= (k (d + 1) e_k + k) / (d (k + 1)), which is largest
for j = C - 1, that is d = k - C + 1. Then g_k = k e_k / d grows by at most k / (d (d + 1)) from k to k + 1, and
e_(C+1) = 0; added up to k = n, where a_n <= 0 because the credits of all add up to at most 0, this gives a_(C+1), and
with (2) the bound. Jobs that run and jobs that wait change their parts when all signs are turned: shares 1 - s, places
n - C. That is the bound on the other side.

**Stops.** No job is stopped twice within max(h, m): m because it must run that long; h because credits of two jobs part
by at most 2 seconds a second. Say b stops v, v later stops r and is then stopped by w. If r could be stopped when v
was, it was owed no less than v, so until v stops it h / 2 pass. If it had not run its minimum, it had started a time T
< m ago with no less than b, so it was owed at least h - 2 T more than v, and h - T pass. If it started later, then with
no less than v, and it has run m and h / 2 have passed. Then w, who waited with no more than v when v started, needs
another h / 2, and v has run m. Added up in any of these ways: at least max(h, m). (What patient jobs are owed counts
less, so it parts more slowly; but while they grow older, it also shrinks a little.)

Credits are also kept within the policy's limit; a rate below a thousandth counts as none (`rounds.settle`).
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from allocator.domain.job import JobSpec
from allocator.domain.policy import Policy
from tests.placement.small_worlds import SmallWorld
from tests.placement.standing import part_ahead
from tests.placement.worlds import node, way


@dataclass(frozen=True)
class Sharing:
    """n jobs on `places`; the hysteresis is the largest of what stands before any swap. Seconds."""

    places: int
    shares: tuple[float, ...]
    interval: float
    hysteresis: float
    minimum_run: float
    restart_costs: tuple[float, ...] = ()
    tolerance: float = 0.0
    ages: tuple[float, ...] = ()
    """Of each job when it begins; none: 0."""
    lasting: float = 0.0
    """For how long it goes on; only who grows more patient needs to know."""

    @property
    def spread(self) -> float:
        """h': by how much a job that waits can ever be owed more than one that runs."""
        patience = self.tolerance * (max(self.ages, default=0.0) + self.lasting) if self.hysteresis else 0.0
        ahead = max((part_ahead(share) for share in self.shares if share < 0.999), default=0.0)
        margin = max(self.hysteresis, *self.restart_costs, patience) + ahead * max(self.hysteresis, patience)
        immature = 2 * self.interval * math.ceil(self.minimum_run / self.interval)
        return max(margin + 2 * self.interval, immature)

    @property
    def world(self) -> SmallWorld:
        """The same for the real rounds: one node with a core per place."""
        costs = self.restart_costs or (0.0,) * len(self.shares)
        specs = tuple(
            JobSpec("q", (way(cpu=1),), weight=1.0 + index / 97, restart_cost_seconds=cost)
            for index, cost in enumerate(costs)
        )
        policy = Policy(
            minimum_run_seconds=self.minimum_run,
            hysteresis_seconds=self.hysteresis,
            lag_tolerance=self.tolerance,
            credit_limit_seconds=1e9,
        )
        nodes = (node("n", cpu=self.places),)
        return SmallWorld(0, nodes, specs, policy, self.interval, tuple((share,) for share in self.shares), self.ages)


def most_owed(places: int, jobs: int, spread: float) -> float:
    """The bound, in seconds; 0 when everybody has a place."""
    if jobs <= places:
        return 0.0
    length = jobs - places + 1
    harmonic = sum(1 / i for i in range(1, length + 1))
    rest = (length / jobs) * (harmonic - 1.5 + (places - 1) * (0.5 - 1 / length))
    return spread * (places / (places + 1) + rest)


@dataclass
class Reference:
    """The rule, job by job in plain Python; jobs are numbers in order of admission."""

    sharing: Sharing
    time: float = 0.0
    credits: list[float] = field(default_factory=list)
    since: dict[int, float] = field(default_factory=dict)
    """When each job that runs started."""
    stops: list[tuple[int, float]] = field(default_factory=list)
    """(job, time) of every stop."""

    def __post_init__(self) -> None:
        self.credits = [0.0] * len(self.sharing.shares)

    def decide(self) -> None:
        """Who runs from now on."""
        old = dict(self.since)
        turns = [self._turn(job) for job in range(len(self.credits)) if job not in old]
        heapq.heapify(turns)
        while turns:
            counted, _, job = heapq.heappop(turns)
            if len(self.since) >= self.sharing.places:
                loser = self._loser(old, -counted)
                if loser is None:
                    continue
                del self.since[loser], old[loser]
                self.stops.append((loser, self.time))
                heapq.heappush(turns, self._turn(loser))
            self.since[job] = self.time

    def _loser(self, old: dict[int, float], counted: float) -> int | None:
        able = [
            (self._counted(job), self._steps(job), -job)
            for job, start in old.items()
            if self.time - start >= self.sharing.minimum_run
            and self._counted(job) < counted
            and self._counted(job) + self._margin(job) <= counted
        ]
        return -min(able)[2] if able else None

    def _turn(self, job: int) -> tuple[float, int, int]:
        """Smallest first. Of jobs that are owed the same, the one with the larger share; of those, the first."""
        return (-self._counted(job), -self._steps(job), job)

    def _counted(self, job: int) -> float:
        always = self.sharing.hysteresis * part_ahead(self.sharing.shares[job])
        return self.credits[job] * self._scale(job) + always

    def _scale(self, job: int) -> float:
        ages, hysteresis = self.sharing.ages, self.sharing.hysteresis
        patience = self.sharing.tolerance * (self.time + (ages[job] if ages else 0.0))
        return hysteresis / patience if patience > hysteresis > 0 else 1.0

    def _steps(self, job: int) -> int:
        return math.ceil(self.sharing.shares[job] * 64 - 1e-6)

    def _margin(self, job: int) -> float:
        costs = self.sharing.restart_costs
        return max(self.sharing.hysteresis, costs[job] * self._scale(job) if costs else 0.0)

    def step(self) -> None:
        """Time goes on by the interval."""
        for job, share in enumerate(self.sharing.shares):
            self.credits[job] += (share - (job in self.since)) * self.sharing.interval
        self.time += self.sharing.interval

    def extremes(self, rounds: int, *, counted: bool = False) -> tuple[float, float]:
        """(most owed, furthest ahead) at the ends of so many rounds; `counted`: against each job's patience."""
        most = least = 0.0
        for _ in range(rounds):
            self.decide()
            self.step()
            owed = [self._counted(job) for job in range(len(self.credits))] if counted else self.credits
            most, least = max(most, *owed), min(least, *owed)
        return most, -least


def drawn_sharing(dice: random.Random, *, most_jobs: int = 12, exact: bool = True) -> Sharing:
    """Shares that add up to the number of places (below it when not `exact`), in several mixtures."""
    jobs = dice.randint(2, most_jobs)
    places = dice.randint(1, jobs - 1)
    return Sharing(
        places,
        shares=fill(dice, jobs, places * (1.0 if exact else dice.uniform(0.5, 0.99))),
        interval=dice.choice((5.0, 30.0, 60.0)),
        hysteresis=dice.choice((0.0, 30.0, 100.0, 300.0)),
        minimum_run=dice.choice((0.0, 45.0, 300.0)),
        restart_costs=tuple(dice.choice((0.0, 400.0)) for _ in range(jobs)) if dice.random() < 0.3 else (),
    )


def patient(dice: random.Random, sharing: Sharing, *, rounds: int, one_age: bool = False) -> Sharing:
    """The same with jobs that are more patient the older they are."""
    ages = (dice.choice((0.0, 20_000.0)),) * len(sharing.shares)
    if not one_age:
        ages = tuple(dice.choice((0.0, 1000.0, 20_000.0)) for _ in sharing.shares)
    return replace(sharing, tolerance=dice.choice((0.01, 0.05)), ages=ages, lasting=rounds * sharing.interval)


def fill(dice: random.Random, jobs: int, total: float) -> tuple[float, ...]:
    """`jobs` shares between 0.01 and 0.99 that add up to `total`: alike, skewed, or a few large ones."""
    kind = dice.choice(("alike", "any", "skewed"))
    if kind == "alike":
        raw = [1.0] * jobs
    elif kind == "any":
        raw = [dice.random() + 0.02 for _ in range(jobs)]
    else:
        raw = [2.0 ** -dice.randint(0, 6) for _ in range(jobs)]
    return scaled(raw, total)


def scaled(raw: Sequence[float], total: float) -> tuple[float, ...]:
    """Water-filling: proportional to `raw`, within 0.01 and 0.99, with the sum `total`."""
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        added = sum(min(0.99, max(0.01, value * middle)) for value in raw)
        low, high = (middle, high) if added < total else (low, middle)
    return tuple(min(0.99, max(0.01, value * low)) for value in raw)
