"""The same problem stated a second time, from its arrays alone: what is used, what is optimal, what the prices prove.

Nothing here calls the code under test. `optimum` and `linear_optimum` ask other solvers; `judgement` needs none: with
Lagrangian duality every answer is its own witness. For prices p of capacities and limits, and shares x,

    optimum - value(x)  <=  sum_j p_j (available_j - use_j(x))  +  sum_i c_i (best_i(p) - [w_i phi(u_i) - cost_i . x_i])

where every term is at least 0: complementary slackness, one capacity or limit each, and stationarity, one row each.
best_i(p) is what row i makes of the prices when it may choose; by brute force,

    best_i = min over lam of  max(0, max_k lam g_k - cost_k) + max over y of (w phi(y) - lam y)

a convex function of one variable with corners where two columns cross and flat points at w phi'(g_k): all are tried.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from allocator.formulation import Limit, Problem

cp: Any = importlib.import_module("cvxpy")  # its types are incomplete

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What shares are worth, and by how much each optimality condition fails; alpha finite."""

    value: float
    slackness: Floats
    """(F R + L,) price x what is left."""
    stationarity: Floats
    """(n,) what each row, count included, could gain at the prices; zero but for rounding, or more."""
    scale: float
    """What a relative change of everybody's utility is worth: the unit of tolerances."""

    @property
    def bound(self) -> float:
        """At least the optimum."""
        return self.value + float(self.slackness.sum() + self.stationarity.sum())


def judgement(problem: Problem, shares: Floats, prices: Floats, limit_prices: Floats) -> Judgement:
    """Of feasible `shares` (n, K) at `prices` (F, R) and `limit_prices` (L,)."""
    alpha = problem.fairness
    use = uses(problem)
    together = np.concatenate([prices.ravel(), limit_prices])
    left = np.concatenate([problem.capacity.ravel(), problem.limit_amount]) - np.einsum("jik,ik->j", use, shares)
    cost = np.einsum("jik,j->ik", use, together) / problem.count[:, None]
    rate = np.where(_open(problem), problem.throughput, 0.0) / problem.reference[:, None]
    reached = (rate * shares).sum(axis=1)
    value = problem.weight * _phi(reached, alpha)
    kept = value - (cost * shares).sum(axis=1)
    best = np.array([_best(rate[i], cost[i], float(problem.weight[i]), alpha) for i in range(len(rate))])
    worth = problem.weight * problem.count
    with np.errstate(over="ignore"):
        moved = float(worth @ np.power(reached, 1 - alpha)) if alpha > 1 else 0.0
    return Judgement(
        value=math.fsum(value * problem.count),
        slackness=together * left,
        stationarity=(best - kept) * problem.count,
        scale=max(float(worth.sum()), moved),
    )


def assert_feasible(problem: Problem, shares: Floats) -> None:
    """Nothing negative or infinite, nobody more than all the time, no capacity and no limit exceeded: by sums that are
    rounded once, whereas those that the shares were fitted with round at every step.
    """
    assert np.isfinite(shares).all()
    assert (shares >= 0).all()
    assert (shares[~_open(problem)] == 0).all()
    assert all(math.fsum(row) <= 1 + 1e-15 for row in shares)
    available = np.concatenate([problem.capacity.ravel(), problem.limit_amount])
    for position, per_share in enumerate(uses(problem)):
        used = math.fsum((per_share * shares).ravel())
        assert used <= available[position] * (1 + 1e-15), position


def assert_optimal(problem: Problem, shares: Floats, prices: Floats, limit_prices: Floats, within: float) -> Judgement:
    """Feasible, prices no less than 0, and every optimality condition met to `within`, relative to what there is."""
    assert_feasible(problem, shares)
    assert np.isfinite(prices).all()
    assert np.isfinite(limit_prices).all()
    assert (prices >= 0).all()
    assert (limit_prices >= 0).all()
    judged = judgement(problem, shares, prices, limit_prices)
    rounding = 1e-12 * (judged.scale + abs(judged.value))
    assert (judged.slackness >= -rounding).all()
    assert (judged.stationarity >= -rounding).all()
    assert judged.bound - judged.value <= within * judged.scale + rounding
    return judged


def uses(problem: Problem) -> Floats:
    """(F R + L, n, K) what a whole share of each open column of each row takes of every capacity, then every limit."""
    rows = problem.capacity.size + problem.limit_count
    use = np.zeros((rows, *problem.throughput.shape))
    counted: Floats = np.where(_open(problem)[:, :, None], problem.demand, 0.0) * problem.count[:, None, None]
    for f in range(problem.flavor_count):
        for r in range(problem.resource_count):
            use[f * problem.resource_count + r] = np.where(problem.flavor == f, counted[:, :, r], 0.0)
    for position, limit in enumerate(problem.limits):
        use[problem.capacity.size + position] = _counted(problem, limit, counted)
    return use


def _counted(problem: Problem, limit: Limit, amounts: Floats) -> Floats:
    """(n, K) what a limit counts of `amounts` (n, K, R)."""
    found = np.zeros(problem.throughput.shape)
    for terms, members in limit.parts:
        rows = np.isin(np.arange(len(found)), members)[:, None]
        for flavor, resource, coefficient in terms:
            found += np.where(rows & (problem.flavor == flavor), coefficient * amounts[:, :, resource], 0.0)
    return found


def _relative(problem: Problem) -> tuple[Floats, Floats, Floats]:
    """Every capacity and limit above 0 in units of itself: `uses`, 1s, and the units of all. HiGHS takes
    coefficients below 1e-9 for nothing.
    """
    available = np.concatenate([problem.capacity.ravel(), problem.limit_amount])
    some = available > 0
    return uses(problem)[some] / available[some, None, None], np.ones(some.sum()), available


def linear_optimum(problem: Problem) -> tuple[float, Floats]:
    """By scipy's HiGHS, for alpha = 0: the optimal value, and the duals (F R + L,) that it found."""
    n, width = problem.throughput.shape
    rate = np.where(_open(problem), problem.throughput, 0.0) / problem.reference[:, None]
    use, ones, available = _relative(problem)
    answer = scipy.optimize.linprog(
        -(rate * (problem.weight * problem.count)[:, None]).ravel(),
        A_ub=np.vstack([use.reshape(-1, n * width), np.kron(np.eye(n), np.ones(width))]),
        b_ub=np.append(ones, np.ones(n)),
        bounds=[(0, None if runs else 0) for runs in _open(problem).ravel()],
        method="highs",
    )
    assert answer.fun is not None, answer.message
    duals = np.zeros(available.size)
    duals[available > 0] = -np.asarray(answer.ineqlin.marginals)[:-n] / available[available > 0]
    return -float(answer.fun), duals


def prices_are_unique(problem: Problem, shares: Floats) -> bool:
    """Whether an optimum `shares` leaves no freedom to the multipliers: what is used up is so in linearly independent
    ways (the gradients of binding rows over the shares that are above 0), and nothing is nearly so.
    """
    used, available = uses(problem), np.concatenate([problem.capacity.ravel(), problem.limit_amount])
    n, width = shares.shape
    rows = np.vstack([used.reshape(-1, n * width), np.kron(np.eye(n), np.ones(width))])
    available = np.append(available, np.ones(n))
    idle = 1 - (rows @ shares.ravel()) / np.where(available > 0, available, 1.0)
    positive = shares.ravel() > 1e-3
    unclear = ((idle > 1e-5) & (idle < 1e-2)) | (available == 0)
    if unclear.any() or ((shares > 1e-6) & (shares <= 1e-3)).any():
        return False
    binding = rows[np.ix_(idle <= 1e-5, positive)]
    length = np.linalg.norm(binding, axis=1)
    if binding.size == 0 or not length.all() or len(binding) > binding.shape[1]:
        return False
    return float(np.linalg.svd(binding / length[:, None], compute_uv=False)[-1]) > 0.05


def optimum(problem: Problem) -> float:
    """The optimal value of `problem` by cvxpy: another formulation of the cones, and HiGHS where it is an LP."""
    alpha = problem.fairness
    n, width = problem.throughput.shape
    shares = cp.Variable((n, width), nonneg=True)
    rate = np.where(problem.eligible, problem.throughput, 0.0) / problem.reference[:, None]
    utility = cp.sum(cp.multiply(rate, shares), axis=1)
    constraints = [cp.sum(shares, axis=1) <= 1, cp.multiply(~problem.eligible, shares) == 0]
    use, ones, _ = _relative(problem)
    constraints += [cp.sum(cp.multiply(part, shares)) <= most for part, most in zip(use, ones, strict=True)]
    earned = problem.weight * problem.count
    if np.isinf(alpha):
        value = cp.min(cp.multiply(1 / problem.weight, utility))
    elif alpha == 0:
        value = earned @ utility
    elif alpha == 1:
        value = earned @ cp.log(utility)
    else:
        value = earned @ cp.power(utility, 1 - alpha) / (1 - alpha)
    program = cp.Problem(cp.Maximize(value), constraints)
    if alpha in (0.0, np.inf):
        program.solve(solver=cp.HIGHS)
    else:
        program.solve(solver=cp.CLARABEL)
    assert program.status == cp.OPTIMAL, program.status
    return float(program.value)


def _open(problem: Problem) -> NDArray[np.bool_]:
    """(n, K) where a share can be above 0."""
    needs = problem.demand > 0
    runs = (problem.throughput > 0) & ~(needs & (problem.capacity[problem.flavor] == 0)).any(axis=2)
    for limit in problem.limits:
        if limit.amount == 0:
            runs &= _counted(problem, limit, needs.astype(np.float64)) == 0
    opened: NDArray[np.bool_] = runs
    return opened


def _phi(utility: Floats, alpha: float) -> Floats:
    with np.errstate(divide="ignore", over="ignore"):
        return np.log(utility) if alpha == 1 else np.power(utility, 1 - alpha) / (1 - alpha)


def _best(rate: Floats, cost: Floats, weight: float, alpha: float) -> float:
    """max over x >= 0, sum x <= 1 of weight phi(rate . x) - cost . x, by its dual in the marginal utility lam. In long
    doubles: costs may be a million times what is left after them.
    """
    if alpha == 0:
        return max(0.0, float((weight * rate - cost).max()))
    there = rate > 0
    gain, price = (np.append(part[there], 0.0).astype(np.longdouble) for part in (rate, cost))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        crossings = ((price[:, None] - price) / (gain[:, None] - gain)).ravel()
        lam = np.concatenate([crossings, weight * gain**-alpha])
        lam = lam[np.isfinite(lam) & (lam > 0)]
        time = np.maximum((np.outer(lam, gain) - price).max(axis=1), 0.0)
        most = (lam / weight) ** (-1 / alpha)
        rest = weight * _phi(most, alpha) - lam * most
    return float((time + rest).min())
