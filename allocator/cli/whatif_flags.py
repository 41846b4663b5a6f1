"""Changes and offers as people write them: `h100=2`, `h100=2:cpu=64,gpu=8,memory=512GiB`, `research=3`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from allocator.cli import documents
from allocator.cli.quantities import parse_amount
from allocator.cli.quotas import parse_quotas
from allocator.client import AddNodes, Client, Discipline, JobSpec, JobUpdate, Offer, RemoveNode, SetLimit, SetPolicy
from allocator.client.batches import from_here
from allocator.domain.cluster import NodeAvailability
from allocator.domain.errors import AllocatorError, InvalidInput, Violation
from allocator.domain.quota import Quota
from allocator.domain.resources import Resources
from allocator.intake import commands as c
from allocator.whatif.answers import Change

_NODES = "write FLAVOR, FLAVOR=COUNT or FLAVOR=COUNT:cpu=64,gpu=8,memory=512GiB"
_LIMIT, _NONE = "--limit", "none"
_OFFER = "write FLAVOR=COST or FLAVOR=COST:cpu=64,gpu=8,memory=512GiB"


@dataclass
class Asked:
    """Changes, each with the flag that it comes from, so that refusals can name it."""

    changes: list[Change] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)

    def add(self, flag: str, change: Change) -> None:
        self.flags.append(flag)
        self.changes.append(change)

    def as_given(self, error: AllocatorError) -> AllocatorError:
        """The refusal, `changes[3].weight` as the flag of that change."""
        if not isinstance(error, InvalidInput):
            return error
        return InvalidInput(*(Violation(self._named(fault.field), fault.description) for fault in error.violations))

    def _named(self, path: str) -> str:
        head, _, rest = path.partition("]")
        index = head.removeprefix("changes[")
        if not head.startswith("changes[") or not index.isdecimal() or int(index) >= len(self.flags):
            return {"job_ids": "--job", "rounds": "--rounds"}.get(path, path)
        flag, last = self.flags[int(index)], rest.rpartition(".")[2]
        return flag if flag.startswith(("--queue", "--job", _LIMIT)) or not last else f"{flag}: {last}"


def node_changes(
    asked: Asked, added: Iterable[str], removed: Iterable[str], cordoned: Iterable[str], drained: Iterable[str],
    opened: Iterable[str],
) -> None:  # fmt: skip
    """Of --add-node and the like. Errors: InvalidInput naming the flag."""
    for text in added:
        flavor, count, capacity = _flavor("--add-node", text, _NODES)
        if count and not count.isdecimal():
            raise InvalidInput.of("--add-node", f"must say how many as a whole number; {_NODES}; got {text!r}")
        asked.add("--add-node", AddNodes(flavor, int(count or 1), capacity))
    for name in removed:
        asked.add("--remove-node", RemoveNode(name))
    for flag, names, wanted in (
        ("--cordon-node", cordoned, NodeAvailability.CORDONED),
        ("--drain-node", drained, NodeAvailability.DRAINING),
        ("--uncordon-node", opened, NodeAvailability.OPEN),
    ):
        for name in names:
            asked.add(flag, c.SetNodeAvailability(name, wanted))


def queue_changes(
    asked: Asked, weights: Sequence[str], priorities: Sequence[str], disciplines: Sequence[str], quotas: Sequence[str]
) -> None:
    """Of --queue-weight and the like; quotas of one queue together replace all that it has."""
    for queue, value in _pairs("--queue-weight", weights):
        asked.add("--queue-weight", c.UpdateQueue(queue, weight=_number("--queue-weight", value)))
    for queue, value in _pairs("--queue-priority", priorities):
        asked.add("--queue-priority", c.UpdateQueue(queue, priority=int(_number("--queue-priority", value))))
    for queue, value in _pairs("--queue-discipline", disciplines):
        if value not in [each.value for each in Discipline]:
            raise InvalidInput.of("--queue-discipline", f"must be fair or fifo, got {value!r}")
        asked.add("--queue-discipline", c.UpdateQueue(queue, discipline=Discipline(value)))
    by_queue: dict[str, list[str]] = {}
    for text in quotas:
        queue, given, quota = text.partition(":")
        if not given or not queue:
            raise InvalidInput.of(
                "--queue-quota", f"write QUEUE:FLAVOR/RESOURCE=AMOUNT[,borrow=..][,lend=..]; got {text!r}"
            )
        by_queue.setdefault(queue, []).append(quota)
    for queue, texts in by_queue.items():
        asked.add("--queue-quota", c.UpdateQueue(queue, quotas=() if texts == [""] else parse_quotas(texts)))


def job_changes(
    asked: Asked, submitted: Sequence[JobSpec], cancelled: Sequence[str], weights: Sequence[str], classes: Sequence[str]
) -> None:
    """Of --submit, --cancel, --job-weight and --job-priority-class."""
    for start in range(0, len(submitted), 10_000):
        batch = tuple(from_here(spec, start, None) for spec in submitted[start : start + 10_000])
        asked.add("--submit", c.SubmitJobs(batch))
    if cancelled:
        asked.add("--cancel", c.CancelJobs(tuple(cancelled)))
    for job, value in _pairs("--job-weight", weights):
        asked.add("--job-weight", c.UpdateJobs((JobUpdate(job, weight=_number("--job-weight", value)),)))
    for job, value in _pairs("--job-priority-class", classes):
        asked.add("--job-priority-class", c.UpdateJobs((JobUpdate(job, priority_class=value),)))


def policy_change(asked: Asked, values: Sequence[str]) -> None:
    """Of --policy."""
    if values:
        asked.add("--policy", SetPolicy(tuple(sorted(dict(_pairs("--policy", values)).items()))))


def limit_changes(asked: Asked, client: Client, values: Sequence[str]) -> None:
    """Of --limit. A quota's is what its queue may use at most; the rest of the queue's quotas stays."""
    quotas: dict[str, dict[tuple[str, str], Quota]] = {}
    for name, value in _pairs(_LIMIT, values):
        queue, is_quota, where = name.partition(":")
        if not is_quota:
            asked.add(_LIMIT, _limit(name, value))
            continue
        flavor, _, resource = where.rpartition("/")
        if not flavor or not resource:
            raise InvalidInput.of(_LIMIT, f"write QUEUE:FLAVOR/RESOURCE=AMOUNT for a quota; got {name!r}")
        if queue not in quotas:
            quotas[queue] = {(each.flavor, each.resource): each for each in client.queue(queue).queue.quotas}
        before = quotas[queue].get((flavor, resource), Quota(flavor, resource))
        most = None if value == _NONE else parse_amount(resource, value, _LIMIT)
        quotas[queue][flavor, resource] = _at_most(before, most)
    for queue, found in quotas.items():
        asked.add(_LIMIT, c.UpdateQueue(queue, quotas=tuple(found[key] for key in sorted(found))))


def _at_most(quota: Quota, most: int | None) -> Quota:
    """What is guaranteed is at most what may be used."""
    if most is None:
        return replace(quota, borrowing_limit=None)
    nominal = min(quota.nominal, most)
    lend = None if quota.lending_limit is None else min(quota.lending_limit, nominal)
    return replace(quota, nominal=nominal, borrowing_limit=most - nominal, lending_limit=lend)


def _limit(name: str, value: str) -> SetLimit:
    if value == _NONE:
        return SetLimit(name)
    if value.endswith("%"):
        return SetLimit(name, most_part=_number(_LIMIT, value.removesuffix("%").strip()) / 100)
    return SetLimit(name, most=_number(_LIMIT, value))


def offers(costs: Sequence[str], file: str | None) -> tuple[Offer, ...]:
    """Of --cost, after those of a file. Errors: InvalidInput with flag, or file and line."""
    found = [] if file is None else list(_offers_of_file(file))
    for text in costs:
        flavor, cost, capacity = _flavor("--cost", text, _OFFER)
        if not cost:
            raise InvalidInput.of("--cost", f"tells no cost; {_OFFER}; got {text!r}")
        found.append(Offer(flavor, _number("--cost", cost), capacity))
    if not found:
        raise InvalidInput.of("--cost", "is missing: tell what a node costs (--cost h100=30000), or give --costs FILE")
    return tuple(found)


def _offers_of_file(file: str) -> Iterator[Offer]:
    """A mapping of flavors to costs, or to mappings with `cost` and amounts."""
    document = documents.read(file)
    if not isinstance(document.value, dict):
        raise InvalidInput.of(document.name, "must be a mapping of flavors to costs, such as `h100: 30000`")
    for flavor, value in document.value.items():
        try:
            fields: Mapping[str, Any] = value if isinstance(value, dict) else {"cost": value}
            if "cost" not in fields:
                raise InvalidInput.of(str(flavor), "must tell a cost")
            amounts = {
                name: parse_amount(str(name), amount, f"{flavor}.{name}")
                for name, amount in fields.items()
                if name != "cost"
            }
            cost = _number(f"{flavor}.cost", str(fields["cost"]))
        except InvalidInput as error:
            raise InvalidInput(*map(document.located, error.violations)) from None
        yield Offer(str(flavor), cost, Resources.of(amounts) if amounts else None)


def _flavor(flag: str, text: str, how: str) -> tuple[str, str, Resources | None]:
    """(flavor, what stands after =, capacity) of `h100=2:cpu=64,gpu=8`."""
    head, _, amounts = text.partition(":")
    flavor, _, value = head.partition("=")
    if not flavor.strip():
        raise InvalidInput.of(flag, f"names no flavor; {how}; got {text!r}")
    if not amounts:
        return flavor.strip(), value.strip(), None
    pairs = [part.partition("=") for part in amounts.split(",")]
    if not all(given for _, given, _ in pairs):
        raise InvalidInput.of(flag, f"cannot read {amounts!r}; {how}")
    return (
        flavor.strip(),
        value.strip(),
        Resources.of(
            {
                name.strip(): parse_amount(name.strip(), amount, f"{flag} {flavor}: {name.strip()}")
                for name, _, amount in pairs
            }
        ),
    )


def _pairs(flag: str, texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        name, given, value = text.partition("=")
        if not given or not name:
            raise InvalidInput.of(flag, f"must be NAME=VALUE, got {text!r}")
        yield name.strip(), value.strip()


def _number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInput.of(flag, f"must be a number, got {text!r}") from None


__all__ = ["Asked", "job_changes", "limit_changes", "node_changes", "offers", "policy_change", "queue_changes"]
