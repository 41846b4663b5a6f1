"""When a machine that refuses things is told to be unable to begin any, and when that is over: by the second."""

from __future__ import annotations

from dataclasses import replace

from allocator.agent.ability import Ability, Patience
from allocator.agent.plan import Action, Begin, Stop
from allocator.domain.placement import Epoch
from tests.agent.wanted import desired, replica

PATIENCE = Patience(check_every=1.0, told_after=5.0, calm=5.0, forgotten_after=100.0)
FULL = "No space left on device"


def refused(ability: Ability, since: float, until: float) -> None:
    """Tried in vain at every full second."""
    for now in range(int(since), int(until) + 1):
        ability.failed(FULL, float(now))


def test_what_passes_soon_is_not_told() -> None:
    ability = Ability(PATIENCE)
    assert not ability.is_doubtful(0.0)
    refused(ability, 10, 14)
    ability.checked("", 15.0)
    assert (ability.trouble, ability.is_doubtful(15.5), ability.is_doubtful(16.0)) == ("", False, True)
    ability.checked("", 19.0)
    assert (ability.trouble, ability.is_doubtful(99.0)) == ("", False)


def test_what_lasts_is_told_until_nothing_was_refused_for_a_while() -> None:
    ability = Ability(PATIENCE)
    refused(ability, 10, 15)
    assert ability.trouble == FULL
    ability.checked("Read-only file system", 16.0)
    assert ability.trouble == FULL, "once told it is not told again in other words"
    ability.checked("", 20.0)
    assert ability.trouble
    ability.checked("", 21.0)
    assert not ability.trouble


def test_what_comes_back_again_and_again_is_told_for_longer_each_time() -> None:
    ability, now, lengths = Ability(PATIENCE), 0.0, []
    for _ in range(4):
        refused(ability, now, now + 5)
        began = now = now + 5
        while ability.trouble:
            now += 1
            ability.checked("", now)
        lengths.append(now - began)
    assert lengths == [5, 10, 20, 40]
    now += 100
    refused(ability, now, now + 5)
    ability.checked("", now + 10)
    assert not ability.trouble, "it was long ago"


def test_who_was_given_back_never_begins_here() -> None:
    first, second = replica("j1"), replica("j2")
    wanted, begin = desired(first, second), (Stop("j0.0"), Begin(first))
    ability = Ability(PATIENCE)
    assert ability.permitted(wanted, begin) == begin
    refused(ability, 0, 5)
    left: tuple[Action, ...] = (Stop("j0.0"),)
    assert ability.permitted(wanted, begin) == left
    assert ability.reports() == (), "the daemon would place it here again: it does not know yet"
    ability.told(FULL)
    assert ability.permitted(wanted, begin) == left
    assert [(each.job_id, each.epoch) for each in ability.reports()] == [("j1", first.epoch)]
    ability.checked("", 60.0)
    assert ability.permitted(wanted, (Begin(first),)) == (), "the daemon may have placed it elsewhere by now"
    resized = replace(first, epoch=Epoch(2, 0))
    assert ability.permitted(desired(resized), (Begin(resized),)) == ()
    assert [each.epoch for each in ability.reports()] == [Epoch(2, 0)]
    assert ability.permitted(desired(), ()) == ()
    ability.checked("", 61.0)
    assert (ability.trouble, ability.reports()) == ("", ())
    assert ability.permitted(desired(second, epoch=3), (Begin(second),)) == (Begin(second),)


def test_nothing_is_given_back_to_a_daemon_that_knows_of_no_trouble() -> None:
    ability = Ability(PATIENCE)
    refused(ability, 0, 5)
    ability.told("")
    assert ability.permitted(desired(replica()), (Begin(replica()),)) == ()
    assert ability.reports() == ()
    ability.checked("", 10.0)
    assert ability.permitted(desired(replica()), (Begin(replica()),)) == (Begin(replica()),)
