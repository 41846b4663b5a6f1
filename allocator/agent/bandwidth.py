"""Holds replicas to what they may send: a class of the queueing discipline htb per run, on one network device.

What does not belong to a run passes as before. What a machine receives cannot be held back here: senders do that.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Protocol

from allocator.agent import packet_marks
from allocator.agent.confinement import Capability, Confinement

NAME = "bandwidth-limits"
_HANDLE = 0xA110
"""Of our queueing discipline: how we know it again."""
_REPLACEABLE = {"noqueue", "pfifo_fast", "fq_codel", "fq", "mq", "pfifo", "bfifo"}
"""What a device has unless somebody has thought about it."""
_LEAST_CLASS, _MOST_CLASS = 0x10, 0xFFFE
_LEAST_BURST = 2 * 1540
_BURST_SECONDS = 0.002
_TIMEOUT = 10.0
_TRIAL = "trial"
"""Name of a run that there is not, to try out what the kernel allows."""


class Shaper(Protocol):
    """Bandwidth of runs. Methods may raise OSError."""

    @property
    def capability(self) -> Capability:
        """Whether any of this takes effect."""
        ...

    def limit(self, number: int, group: Path | None, bytes_per_second: int) -> None:
        """What the run of this number, whose unified group is given, may send from now on; 0: as much as there is."""
        ...

    def remove(self, number: int) -> None:
        """Forget the run; nothing happens if it is not known."""
        ...


class Unshaped:
    """No device was named, or the machine cannot do it."""

    def __init__(self, why: str) -> None:
        self.capability = Capability(NAME, on=False, why=why)

    def limit(self, number: int, group: Path | None, bytes_per_second: int) -> None:
        """Nothing."""

    def remove(self, number: int) -> None:
        """Nothing."""


class HtbShaper:
    """Classes of `device`; their numbers begin at 16. Raises OSError where the device cannot be shaped."""

    def __init__(self, device: str, confinement: Confinement) -> None:
        self._device = device
        trial = confinement.enclose(_TRIAL).unified
        try:
            if trial is None:
                raise OSError(0, "the unified control groups, by which packets are told apart, are not mounted")
            packet_marks.attach(trial, _HANDLE << 16 | _MOST_CLASS)
        finally:
            confinement.remove(_TRIAL)
        self._classes: dict[int, int] = {}
        self._take_device()
        self.capability = Capability(NAME, on=True)

    def limit(self, number: int, group: Path | None, bytes_per_second: int) -> None:
        """Also of what is being sent: the class is changed in its place."""
        class_number = _class_number(number)
        if not bytes_per_second:
            self.remove(number)
            return
        if group is None:
            raise OSError(0, "the run has no group in the unified hierarchy")
        if self._classes.get(class_number) != bytes_per_second:
            known = class_number in self._classes
            self._set(class_number, bytes_per_second)
            self._classes[class_number] = bytes_per_second
            if not known:
                packet_marks.attach(group, _HANDLE << 16 | class_number)

    def remove(self, number: int) -> None:
        if self._classes.pop(_class_number(number), None) is not None:
            _tc("class", "delete", "dev", self._device, "classid", f"{_HANDLE:x}:{_class_number(number):x}")

    def _set(self, class_number: int, bytes_per_second: int) -> None:
        rate = f"{bytes_per_second * 8}bit"
        burst = str(max(_LEAST_BURST, round(bytes_per_second * _BURST_SECONDS)))
        class_id = f"{_HANDLE:x}:{class_number:x}"
        place = ("dev", self._device, "parent", f"{_HANDLE:x}:", "classid", class_id)
        _tc("class", "replace", *place, "htb", "rate", rate, "ceil", rate, "burst", burst, "cburst", burst)

    def _take_device(self) -> None:
        """Ours is kept with its classes: what runs since before goes on as it is."""
        found: list[dict[str, Any]] = json.loads(_tc("-j", "qdisc", "show", "dev", self._device) or "[]")
        roots = [discipline for discipline in found if discipline.get("root")]
        if any(discipline["kind"] == "htb" and discipline["handle"] == f"{_HANDLE:x}:" for discipline in roots):
            return
        foreign = sorted({discipline["kind"] for discipline in roots} - _REPLACEABLE)
        if foreign:
            raise OSError(0, f"device {self._device} has the queueing discipline {foreign[0]}, which is not ours")
        _tc("qdisc", "replace", "dev", self._device, "root", "handle", f"{_HANDLE:x}:", "htb", "default", "0")

    def release(self) -> None:
        """Give the device back, as it was."""
        _tc("qdisc", "delete", "dev", self._device, "root", "handle", f"{_HANDLE:x}:")


def find(device: str, confinement: Confinement) -> Shaper:
    """A shaper of `device`; one that does nothing, and says why, where there is no device or it cannot be shaped."""
    if not device:
        return Unshaped("no network device was named to be shaped")
    if shutil.which("tc") is None:
        return Unshaped("the program tc (iproute2) is not installed")
    try:
        return HtbShaper(device, confinement)
    except OSError as error:
        return Unshaped(str(error.strerror or error))


def _class_number(number: int) -> int:
    return _LEAST_CLASS + number % (_MOST_CLASS - _LEAST_CLASS)


def _tc(*arguments: str) -> str:
    """What it prints. Raises OSError with its words."""
    try:
        done = subprocess.run(  # noqa: S603 - arguments are ours, and there is no shell
            ["tc", *arguments],  # noqa: S607 - where it is differs between distributions
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(0, f"tc does not answer: {error}") from None
    if done.returncode:
        raise OSError(0, f"tc {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
