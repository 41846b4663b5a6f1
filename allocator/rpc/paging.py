"""Pages of things that are few enough to be in memory and are ordered by their names."""

from __future__ import annotations

import bisect
from typing import Protocol, TypeVar

from allocator.rpc import tokens


class Named(Protocol):
    """Something with a unique name."""

    @property
    def name(self) -> str: ...


Item = TypeVar("Item", bound=Named)


def by_name(items: tuple[Item, ...], page_size: int, page_token: str) -> tuple[tuple[Item, ...], str]:
    """The page that the request asks for, and the token of the next one (empty at the end). `items` by name."""
    size = tokens.page_size(page_size)
    start = bisect.bisect_right(items, tokens.page_after(page_token), key=lambda item: item.name)
    page = items[start : start + size]
    more = start + size < len(items)
    return page, tokens.page_token(page[-1].name) if more else ""
