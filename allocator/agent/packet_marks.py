"""Gives everything that a control group sends the traffic class it belongs to.

Neither version 2 of control groups nor iptables is a classifier by itself. But a program of four instructions, attached
to a group of the unified hierarchy, may set the priority of each packet that leaves it, and htb sends a packet whose
priority is the number of one of its classes through that class (linux/net/sched/sch_htb.c, htb_classify).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from pathlib import Path

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
_PROG_LOAD, _PROG_ATTACH = 5, 8
_CGROUP_SKB, _INET_EGRESS = 8, 1
_PRIORITY = 32
"""Where it is in struct __sk_buff."""


def attach(group: Path, class_id: int) -> None:
    """From now on packets of the group, and of those below it, have this class. OSError where that is not possible.

    Again: replaces the class. It is undone when the group is removed.
    """
    program = _load(class_id)
    try:
        folder = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _bpf(_PROG_ATTACH, struct.pack("=IIII", folder, program, _INET_EGRESS, 0))
        finally:
            os.close(folder)
    finally:
        os.close(program)


def _load(class_id: int) -> int:
    code = b"".join(
        (
            _instruction(0xB7, 2, 0, 0, class_id),  # r2 = class
            _instruction(0x63, 1, 2, _PRIORITY, 0),  # packet.priority = r2
            _instruction(0xB7, 0, 0, 0, 1),  # r0 = 1: let it pass
            _instruction(0x95, 0, 0, 0, 0),  # return r0
        )
    )
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    attributes = struct.pack(
        "=IIQQIIQII16sII",
        _CGROUP_SKB,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(licence),
        0,
        0,
        0,
        0,
        0,
        b"traffic_class",
        0,
        _INET_EGRESS,
    )
    return _bpf(_PROG_LOAD, attributes)


def _instruction(operation: int, target: int, source: int, offset: int, value: int) -> bytes:
    registers = target | source << 4 if _LITTLE else target << 4 | source
    return struct.pack("=BBhI", operation, registers, offset, value)


_LITTLE = struct.pack("=H", 1) == b"\x01\x00"


def _bpf(command: int, attributes: bytes) -> int:
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(0, f"the number of bpf(2) is not known for {platform.machine()}")
    library = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = int(library.syscall(number, command, buffer, len(attributes)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
