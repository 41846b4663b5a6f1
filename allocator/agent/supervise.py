"""Runs one command, sees it out, and writes down how it ended: a small process of its own that outlives the agent.

A script without imports of the rest of the program, so that it starts in milliseconds: `python supervise.py FOLDER FD`.
FOLDER holds `instructions.json` (see `allocator.agent.records`). FD is an open file with a lock on it, which is held
for as long as the supervisor lives: that, and no process number, tells the agent whether it still does.

It writes `started.json` when the command runs, and `exit.json` when nothing of it is left. It ends the command
- when `stop.json` appears (looked for at SIGTERM): the signal named there, and SIGKILL after the grace given there;
- at SIGTERM without that file: the machine goes down;
- when the lease that the agent renews has run out: whoever lost the daemon must not run what now may run elsewhere.
SIGKILL goes to everything in its control group, and to every descendant: daemons it left behind are its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import grp
import json
import os
import pwd
import resource
import signal
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # which costs as much as the interpreter's own start
    from typing import Any

_SET_PARENT_DEATH_SIGNAL = 1
_SET_CHILD_SUBREAPER = 36
_LOOK_SECONDS = 1.0
"""How often lease and orders are looked at."""
_REAP_SECONDS = 0.02
"""How often, while what is left over is killed."""
_ROOM = 8192
"""Bytes, for a file that must be written even if the disk is full."""
_LEASE_SHARE = 0.2
"""Of the lease, at its end, is for what is fenced: when the daemon gives the node up, nothing runs here."""
_MARGIN_SHARE = 0.04
"""Of the lease, the last part of that, is for killing what did not end by itself: its jobs may begin elsewhere then."""


def main(folder: str, lock: int) -> None:
    """See the module."""
    os.set_inheritable(lock, False)  # noqa: FBT003 - the command must not hold it
    os.chdir(folder)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT})
    _prctl(_SET_CHILD_SUBREAPER, 1)
    _write("/proc/self/oom_score_adj", "-999")
    orders = _read_json("instructions.json") or {}
    for name in ("started.json", "exit.json"):
        _reserve(name)
    lease = _read_json(orders["lease"])
    pid, failure = _start(orders, _kept_output(orders["kept_output"]))
    if failure:
        os.waitpid(pid, 0)
        _finish({"exit_code": 127, "why": "not started", "message": failure})
        return
    _write_json("started.json", {"supervisor": _identity(os.getpid()), "command": _identity(pid)})
    watch = _Watch(orders, pid, lease)
    code = watch.see_out()
    _finish({"exit_code": code, "why": watch.why, "message": ""})


def fence(left: float, lease_seconds: float, grace_seconds: float) -> tuple[float, float]:
    """In how many seconds the command is told to end, and killed, when the lease has so many left."""
    killed = left - lease_seconds * _MARGIN_SHARE
    return killed - min(grace_seconds, lease_seconds * (_LEASE_SHARE - _MARGIN_SHARE)), killed


class _Watch:
    """From the start of the command until nothing of it is left."""

    def __init__(self, orders: dict[str, Any], pid: int, lease: dict[str, Any] | None) -> None:
        self._orders = orders
        self._pid = pid
        self.why = "ended"
        self._stop_order: dict[str, Any] | None = None
        self._lease = lease
        """The last one that could be read."""
        self._kill_time: float | None = None
        self._next_time = 0.0
        """When there will be something to do if nothing happens."""

    def see_out(self) -> int:
        """The exit code of the command; 128 and the signal's number where one ended it."""
        awaited = {signal.SIGCHLD, signal.SIGTERM}
        while os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            received = signal.sigtimedwait(awaited, max(0.0, min(_LOOK_SECONDS, self._next_time - time.monotonic())))
            self._look(terminated=received is not None and received.si_signo == signal.SIGTERM)
            _reap_others(self._pid)
            if self._kill_time is not None and time.monotonic() >= self._kill_time:
                self._kill({*self._members(), *_children(os.getpid())})
                self._next_time = time.monotonic() + _REAP_SECONDS  # what hangs in the kernel may take long to end
        while others := {*self._members(), *_children(os.getpid())} - {self._pid}:
            self._kill(others)
            for child in others:
                with contextlib.suppress(ChildProcessError):  # somebody else's child, or nobody's any more
                    os.waitpid(child, os.WNOHANG)
            time.sleep(_REAP_SECONDS)
        _, status = os.waitpid(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return 128 - code if code < 0 else code

    def _look(self, *, terminated: bool) -> None:
        stop = _read_json("stop.json")
        if stop is not None and stop != self._stop_order:
            self._stop_order = stop
            self._stop("stopped", stop["signal"], stop["grace_seconds"])
        elif terminated and self.why == "ended":
            self._stop("terminated", self._orders["signal"], self._orders["grace_seconds"])
        self._look_at_lease()

    def _look_at_lease(self) -> None:
        lease = self._lease = _read_json(self._orders["lease"]) or self._lease  # one that is lost is not for ever
        if lease is None:
            self._next_time = self._kill_time or float("inf")
            return
        left = lease["deadline"] - time.clock_gettime(time.CLOCK_BOOTTIME)
        told, killed = fence(left, lease["lease_seconds"], self._orders["grace_seconds"])
        now = time.monotonic()
        if self._kill_time is None:
            self._next_time = now + told
            if told <= 0:
                self._stop("fenced", self._orders["signal"], max(0.0, killed))
        else:  # its grace may be longer than the lease; which may be renewed meanwhile
            if killed <= 0:
                self._kill_time = min(self._kill_time, now)
            self._next_time = min(self._kill_time, now + killed)

    def _stop(self, why: str, name: str, grace_seconds: float) -> None:
        self.why = why
        self._kill_time = min(time.monotonic() + grace_seconds, self._kill_time or float("inf"))
        self._next_time = self._kill_time
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.Signals[name])

    def _kill(self, processes: set[int]) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)  # its number is not given away before it is waited for
        for path, text in self._orders["quench"]:
            _write(path, text)
        for pid in processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _members(self) -> list[int]:
        """What is in the control group, dead ones that were not waited for aside."""
        path = self._orders["members"]
        if not path:
            return []
        try:
            with open(path, encoding="ascii") as file:  # noqa: PTH123 - pathlib costs a third of the start
                return [pid for pid in map(int, file.read().split()) if pid > 0]
        except OSError:
            return []


def _reap_others(pid: int) -> None:
    """Wait for orphans that have ended, not for the command itself."""
    while True:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None or ended.si_pid == pid:
            return
        os.waitpid(ended.si_pid, 0)


def _children(parent: int) -> list[int]:
    """Processes whose parent is `parent`."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            fields = _stat_fields(int(name))
            if fields and int(fields[1]) == parent:
                found.append(int(name))
    return found


def _stat_fields(pid: int) -> list[str]:
    """Of /proc/PID/stat, from the state on; none if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _identity(pid: int) -> list[int]:
    """A process's number and its start time in clock ticks after boot: together nobody else's until the next boot."""
    fields = _stat_fields(pid)
    return [pid, int(fields[19]) if fields else 0]


def _kept_output(path: str) -> int:
    """The agent's own file for what is printed. Without room for that the run has not begun, and has not failed."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)


def _start(orders: dict[str, Any], kept: int) -> tuple[int, str]:
    """The process number of the command, and why it could not be started, if so. `kept`: see `_kept_output`."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            _become(orders, kept)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is told to the parent
            told = f"{error.strerror}: {error.filename!r}" if isinstance(error, OSError) else repr(error)
            os.write(writer, told.encode("utf-8", "replace")[:4000])
        finally:
            os._exit(127)
    os.close(writer)
    os.close(kept)
    with os.fdopen(reader, "rb") as pipe:
        return pid, pipe.read().decode("utf-8", "replace")


def _become(orders: dict[str, Any], kept: int) -> None:
    """Turn this process into the command: into its control groups first, then its user, then its files."""
    os.setsid()
    for path in orders["join"]:
        with open(path, "w", encoding="ascii") as file:  # noqa: PTH123
            file.write("0")
    _write("/proc/self/oom_score_adj", "0")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if orders["most_file_bytes"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (orders["most_file_bytes"],) * 2)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    if orders["user"]:
        _drop_privileges(orders["user"])
    _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)  # after the user, whose change would undo it
    os.umask(0o022)
    os.chdir(orders["directory"])
    output = open_below(orders["output"]) if orders["output"] else kept
    errors = open_below(orders["errors"]) if orders["errors"] else output
    for target, source in enumerate((nowhere, output, errors)):
        os.dup2(source, target)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    command = orders["command"]
    try:
        os.execvpe(command[0], command, orders["environment"])  # noqa: S606 - on purpose: no shell
    except OSError as error:
        error.filename = command[0]
        raise


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _drop_privileges(user: str) -> None:
    entry = pwd.getpwnam(user)
    groups = [entry.pw_gid, *(group.gr_gid for group in grp.getgrall() if user in group.gr_mem)]
    os.setgroups(sorted(set(groups)))
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)


def open_below(path: str) -> int:
    """A file to append to, at `path` below the current directory, which no link leads out of. Raises OSError."""
    *folders, name = path.split("/")
    if name in ("", ".", "..") or any(folder == ".." for folder in folders):
        raise OSError(0, "must stay below the working directory", path)
    at = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder or ".", 0o755, dir_fd=at)
            inner = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
        file = os.open(name, flags, 0o644, dir_fd=at)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(at)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(0, "must be a plain file", path)
    os.set_blocking(file, True)
    return file


def _finish(exit_: dict[str, Any]) -> None:
    """However long it takes: without it a job that went well would have failed. Not where nobody asks any more."""
    while True:
        try:
            _write_json("exit.json", exit_)
            break
        except FileNotFoundError:  # the folder of the run is gone
            break
        except OSError:
            time.sleep(_LOOK_SECONDS)


def _read_json(path: str) -> dict[str, Any] | None:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            found: dict[str, Any] = json.load(file)
            return found
    except (OSError, ValueError):
        return None


def _reserve(path: str) -> None:
    """Take the room for what is to be written there later: the command may fill the disk."""
    with open(path + ".new", "wb") as file:  # noqa: PTH123
        file.write(b" " * _ROOM)


def _write_json(path: str, content: dict[str, Any]) -> None:
    new = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.truncate(new, os.write(new, json.dumps(content).encode()))  # over what was reserved, if it was
    finally:
        os.close(new)
    os.replace(path + ".new", path)  # noqa: PTH105


def _write(path: str, text: str) -> None:
    with contextlib.suppress(OSError), open(path, "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(text)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
