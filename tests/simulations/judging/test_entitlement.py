"""Water-filling by hand, and what holds of it for any demands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulations.judging.entitlement import dominant_shares, entitled_parts

Floats = NDArray[np.float64]


def entitled(demand: list[list[float]], capacity: list[float], **weights: float) -> list[float]:
    """Part of its demand that each of queues a, b, c... is entitled to."""
    names = [chr(ord("a") + number) for number in range(len(demand))]
    found = entitled_parts(np.array([demand], dtype=float), np.array([capacity], dtype=float), names, weights)
    return [float(part) for part in found[0]]


def test_who_wants_less_than_an_equal_part_leaves_the_rest_to_the_others() -> None:
    """10 GPUs among demands of 2, 8 and 10: 2, and 4 each."""
    parts = entitled([[2.0], [8.0], [10.0]], [10.0])
    assert [part * wanted for part, wanted in zip(parts, (2.0, 8.0, 10.0), strict=True)] == pytest.approx([2, 4, 4])


def test_weights() -> None:
    """Weights 1, 1, 3: the level is 2, so 2, 2 and 6."""
    parts = entitled([[2.0], [8.0], [10.0]], [10.0], c=3.0)
    assert [part * wanted for part, wanted in zip(parts, (2.0, 8.0, 10.0), strict=True)] == pytest.approx([2, 2, 6])


def test_enough_for_all() -> None:
    assert entitled([[2.0], [0.0], [3.0]], [10.0]) == [1.0, 1.0, 1.0]


def test_the_example_of_dominant_resource_fairness() -> None:
    """NSDI 2011, section 4.1: 9 cores and 18 GB; tasks of (1, 4) and of (3, 1): 3 of the one and 2 of the other."""
    parts = entitled([[100.0, 400.0], [300.0, 100.0]], [9.0, 18.0])
    assert [100 * part for part in parts] == pytest.approx([3.0, 2.0])


def test_a_used_up_resource_stops_only_those_who_need_it() -> None:
    """a and c want the same 10 of one resource, b wants 10 of 20 of another."""
    assert entitled([[10.0, 0.0], [0.0, 10.0], [10.0, 0.0]], [10.0, 20.0]) == pytest.approx([0.5, 1.0, 0.5])


def test_what_there_is_none_of_holds_nobody_up() -> None:
    assert entitled([[4.0, 1.0], [4.0, 0.0]], [4.0, 0.0]) == pytest.approx([0.5, 0.5])


def test_in_a_tree_siblings_share_what_their_parent_has() -> None:
    """12 between r (of weight 1) and s: 6 each; in r, b wants 1 only, and a has the rest."""
    demand = np.array([[[10.0], [1.0], [10.0]]])
    parts = entitled_parts(demand, np.array([[12.0]]), ["r/a", "r/b", "s"], {})
    assert (parts * demand[:, :, 0]).tolist() == [pytest.approx([5.0, 1.0, 6.0])]
    weighed = entitled_parts(demand, np.array([[12.0]]), ["r/a", "r/b", "s"], {"r": 3.0})
    assert (weighed * demand[:, :, 0]).tolist() == [pytest.approx([8.0, 1.0, 3.0])]


def test_dominant_shares() -> None:
    found = dominant_shares(np.array([[[1.0, 4.0], [3.0, 1.0]]]), np.array([[9.0, 18.0]]))
    assert found.tolist() == [pytest.approx([4 / 18, 3 / 9])]


amounts = st.lists(st.lists(st.integers(0, 30), min_size=3, max_size=3), min_size=1, max_size=6)  # queues x resources


@settings(deadline=None, max_examples=150, derandomize=True)
@given(amounts, st.lists(st.integers(0, 40), min_size=3, max_size=3), st.data())
def test_nothing_is_exceeded_and_nothing_more_could_be_given(
    demand: list[list[int]], capacity: list[int], data: st.DataObject
) -> None:
    """Feasible; and whoever has less than it wants needs something that is used up, of which nobody has a higher level
    than it who could give it some.
    """
    weights = data.draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=len(demand), max_size=len(demand)))
    names = [f"q{number}" for number in range(len(demand))]
    wanted, whole = np.array([demand], dtype=float), np.array([capacity], dtype=float)
    parts = entitled_parts(wanted, whole, names, dict(zip(names, weights, strict=True)))
    assert ((parts >= 0) & (parts <= 1 + 1e-12)).all()
    counts = np.where(whole > 0, wanted[0], 0.0)
    used = (parts[0][:, None] * counts).sum(axis=0)
    assert (used <= whole[0] * (1 + 1e-9) + 1e-9).all()
    scarce = used >= whole[0] * (1 - 1e-9)
    level = parts[0] * dominant_shares(wanted, whole)[0] / np.array(weights)
    for queue in range(len(demand)):
        needs = counts[queue] > 0
        if parts[0, queue] < 1 - 1e-9 and needs.any():
            held_up = np.flatnonzero(needs & scarce)
            assert len(held_up), "it could have more"
            assert any(
                level[queue] >= max(level[other] for other in range(len(demand)) if counts[other, resource] > 0) - 1e-9
                for resource in held_up
            )
