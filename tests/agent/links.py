"""Two ends of a wire on one machine: a network namespace, and a pair of devices between it and here."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

_NETWORK = f"10.203.{os.getpid() % 250}"
"""Of this process: tests run side by side."""
HERE, THERE = f"{_NETWORK}.1", f"{_NETWORK}.2"
PORT = 9000
_RECEIVER = f"""
import socket, sys, time
server = socket.create_server(("{THERE}", {PORT}))
print("ready", flush=True)
connection, _ = server.accept()
received = 0
connection.settimeout(0.05)
while True:
    try:
        block = connection.recv(1 << 18)
    except TimeoutError:
        block = None
    if block == b"":
        break
    received += len(block or b"")
    print(time.monotonic(), received, flush=True)
"""
SENDER = f"""
import socket
connection = socket.create_connection(("{THERE}", {PORT}))
while True:
    connection.sendall(bytes(1 << 14))
"""


@dataclass(frozen=True)
class Link:
    """`device` is the end here."""

    device: str
    namespace: str

    @contextlib.contextmanager
    def receiving(self) -> Iterator[subprocess.Popen[str]]:
        """A receiver at the other end; a line (time, bytes so far) for everything that it gets."""
        command = ["ip", "netns", "exec", self.namespace, sys.executable, "-S", "-c", _RECEIVER]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as receiver:
            assert receiver.stdout is not None
            assert receiver.stdout.readline() == "ready\n"
            try:
                yield receiver
            finally:
                receiver.kill()


def measured(receiver: subprocess.Popen[str], settle: float, seconds: float) -> float:
    """Bytes per second that arrive, after `settle` seconds, for `seconds`."""
    assert receiver.stdout is not None
    first: tuple[float, int] | None = None
    begin: float | None = None
    for line in receiver.stdout:
        time_, received = float(line.split()[0]), int(line.split()[1])
        begin = time_ if begin is None else begin
        if first is None and time_ >= begin + settle:
            first = time_, received
        elif first is not None and time_ >= first[0] + seconds:
            return (received - first[1]) / (time_ - first[0])
    raise AssertionError("the receiver has ended")


def why_not() -> str:
    """Why there can be no such link here; empty if there can."""
    if os.getuid() != 0:
        return "ONLY ROOT CAN MAKE NETWORK NAMESPACES"
    if shutil.which("tc") is None or shutil.which("ip") is None:
        return "IPROUTE2 IS NOT INSTALLED"
    try:
        with link():
            return ""
    except subprocess.CalledProcessError as error:
        return f"NO NETWORK NAMESPACE CAN BE MADE: {error.stderr}"


@contextlib.contextmanager
def link() -> Iterator[Link]:
    name = f"at{os.getpid()}"
    here, there = f"{name}a", f"{name}b"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        _ip("address", "add", f"{HERE}/30", "dev", here)
        _ip("link", "set", here, "up")
        _ip("-n", name, "address", "add", f"{THERE}/30", "dev", there)
        _ip("-n", name, "link", "set", there, "up")
        yield Link(here, name)
    finally:
        subprocess.run(["ip", "link", "delete", here], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)
