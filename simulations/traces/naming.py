"""Names of queues and flavors from whatever a log calls its users, accounts, partitions and models."""

from __future__ import annotations

import hashlib
import re

UNKNOWN = "unknown"
_MOST = 63
_FOREIGN = re.compile(r"[^a-z0-9._\-]+")
_EDGES = re.compile(r"\A[^a-z0-9]+|[^a-z0-9]+\Z")


class Names:
    """The same name for the same text, another for another: in lower case, other characters as "-"."""

    def __init__(self) -> None:
        self._named: dict[str, str] = {"": UNKNOWN}
        self._taken: set[str] = {UNKNOWN}

    def __getitem__(self, text: str) -> str:
        """The name for `text`; unknown for an empty one."""
        name = self._named.get(text)
        if name is None:
            name = self._named[text] = self._free(text)
            self._taken.add(name)
        return name

    def _free(self, text: str) -> str:
        name = _EDGES.sub("", _FOREIGN.sub("-", text.lower()))
        if name and len(name) <= _MOST and name not in self._taken:
            return name
        mark = hashlib.sha256(text.encode()).hexdigest()[:8]
        return f"{name[: _MOST - 9].rstrip('._-') or 'q'}-{mark}"
