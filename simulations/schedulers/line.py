"""Jobs in order: by a key, then by admission. Whoever left is skipped, and forgotten when the line is asked for."""

from __future__ import annotations

import numpy as np

from allocator.placement.space import Booleans, Floats, Integers


class Line:
    """Entries (key, sequence, number of the job). Adding few to many costs no sorting of all in Python."""

    def __init__(self) -> None:
        self._key: Floats = np.zeros(0)
        self._sequence: Integers = np.zeros(0, dtype=np.int64)
        self._job: Integers = np.zeros(0, dtype=np.int64)
        self._added: list[tuple[float, int, int]] = []

    def add(self, key: float, sequence: int, job: int) -> None:
        """Let a job take its place in the line."""
        self._added.append((key, sequence, job))

    def current(self, valid: Booleans, sequence: Integers, key: Floats | None = None) -> Integers:
        """(n,) numbers of the jobs in order. An entry counts while its job is `valid`, has this `sequence` and, where
        they are given, this `key`: (J,) each, by number.
        """
        if self._added:
            self._merge()
        there = valid[self._job] & (sequence[self._job] == self._sequence)
        if key is not None:
            there &= key[self._job] == self._key
        if not there.all():
            self._key, self._sequence, self._job = self._key[there], self._sequence[there], self._job[there]
        return self._job

    def _merge(self) -> None:
        keys, sequences, jobs = zip(*self._added, strict=True)
        self._added = []
        key = np.array(keys, dtype=np.float64)
        number = np.array(sequences, dtype=np.int64)
        behind = not len(self._key) or (len(key) == 1 and (self._key[-1], self._sequence[-1]) < (key[0], number[0]))
        key, number = np.concatenate([self._key, key]), np.concatenate([self._sequence, number])
        job = np.concatenate([self._job, np.array(jobs, dtype=np.int64)])
        if not behind or len(jobs) > 1:
            order = np.lexsort((number, key))
            key, number, job = key[order], number[order], job[order]
            again = np.zeros(len(key), dtype=np.bool_)  # who left and came back before anybody noticed
            again[1:] = (key[1:] == key[:-1]) & (number[1:] == number[:-1])
            if again.any():
                key, number, job = key[~again], number[~again], job[~again]
        self._key, self._sequence, self._job = key, number, job
