"""A real Slurm on this machine: a controller and several node daemons, with their own munge and no privileges taken.

Needs slurmctld, slurmd, sbatch and munged (Debian: slurmctld slurmd slurm-client munge), and root: node daemons start
jobs as their users. Nothing outside the given folder is touched, so several clusters can run beside one another.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.ports import free_port
from tests.slurm_accounting import Accounting

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "munged")
PATIENCE_SECONDS = 60.0


def missing() -> str:
    """Why Slurm cannot run here; empty if it can."""
    gone = [program for program in PROGRAMS if shutil.which(program) is None]
    if gone:
        return f"{', '.join(gone)} not installed"
    return "" if os.geteuid() == 0 else "slurmd must be started by root"


class SlurmCluster:
    """`with SlurmCluster(folder, nodes=4) as slurm:`; commands are run with `slurm.environment`.

    `shares` of fair-share by account: then there is accounting too, which takes a few seconds more.
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int,
        cores: int = 2,
        memory_mib: int = 2048,
        extra: str = "",
        shares: Mapping[str, int] | None = None,
    ) -> None:
        self.folder = folder
        self._accounting = None if shares is None else Accounting(folder, folder / "munge.socket", shares)
        self.nodes = tuple(f"n{number}" for number in range(1, nodes + 1))
        self._shape = (
            f"CPUs={cores} Boards=1 SocketsPerBoard=1 CoresPerSocket={cores} ThreadsPerCore=1 RealMemory={memory_mib}"
        )
        self._extra = extra
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._silent: dict[str, set[int]] = {}
        """By node without power, what would still answer there."""
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._configure()
        try:
            self._start_munge()
            if self._accounting is not None:
                self._accounting.start(self._start, self._wait)
                self._accounting.fill(self.call, self._wait)
            self.start_controller()
            for node in self.nodes:
                self.start_node(node)
            self._wait_for_nodes()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End every daemon. Nobody reads what they would write down first."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        self._processes.clear()
        self._end_what_is_left()

    def _end_what_is_left(self) -> None:
        """Steps of nodes that died outlive their daemons."""
        ours = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if ours in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)

    def start_controller(self) -> None:
        self._start("slurmctld", ["slurmctld", "-D", "-i"])

    def start_node(self, node: str) -> None:
        self._end(self._silent.pop(node, set()))
        self._start(node, ["slurmd", "-D", "-N", node])

    def kill(self, name: str) -> None:
        """End the controller ("slurmctld") or the daemon of a node at once."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def power_off(self, node: str) -> None:
        """The daemon of a node, and everything that jobs run there: as if it had lost its power. What would tell of it
        is stopped until the node starts again: of a process that ends, the others see connections end.
        """
        self.kill(node)
        mark = f"SLURMD_NODENAME={node}".encode()
        ours = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
        doomed: set[int] = set()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                told = (process / "environ").read_bytes().split(b"\0")
                if ours in told and mark in told:
                    parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                    if (Path("/proc") / str(parent) / "comm").read_text().startswith("slurmstepd"):
                        os.kill(parent, signal.SIGSTOP)  # before its tasks, whose end it would report
                        self._silent.setdefault(node, set()).add(parent)
                    doomed.add(int(process.name))
        self._end(doomed)

    @staticmethod
    def _end(processes: Iterable[int]) -> None:
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def end(self, name: str) -> None:
        """Ask a daemon to end, and wait: the controller writes down first what it knows. A killed one forgets what it
        accepted in its last seconds.
        """
        process = self._processes.pop(name)
        process.terminate()
        process.wait(PATIENCE_SECONDS)

    def call(self, *command: str, timeout: float = 60.0) -> str:
        """What a command of Slurm's prints. CalledProcessError if it fails."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, timeout=timeout
        ).stdout

    def _start(self, name: str, command: list[str]) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self._processes[name] = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        names = {"key-file": key, **{f"{name}-file": self.folder / f"munge.{name}" for name in ("pid", "log", "seed")}}
        options = [f"--{name}={path}" for name, path in names.items()]
        self._start("munged", ["munged", "--foreground", "--force", f"--socket={self._munge}", *options])
        self._wait("munge's socket", self._munge.exists)

    @property
    def _munge(self) -> Path:
        return self.folder / "munge.socket"

    def _configure(self) -> None:
        host = socket.gethostname().partition(".")[0]
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} {self._shape} State=UNKNOWN"
            for node in self.nodes
        )
        here = self.folder
        (here / "slurm.conf").write_text(
            f"""ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={self._munge}
CryptoType=crypto/munge
StateSaveLocation={here}/state
SlurmdSpoolDir={here}/spool-%n
SlurmctldPidFile={here}/slurmctld.pid
SlurmdPidFile={here}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0
SlurmctldTimeout=10
SlurmdTimeout=10
{self._extra}
{"" if self._accounting is None else self._accounting.lines}
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
""",
            encoding="utf-8",
        )
        (here / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n", encoding="utf-8")
        (here / "state").mkdir(exist_ok=True)

    def _wait_for_nodes(self) -> None:
        def ready() -> bool:
            try:
                states = self.call("sinfo", "--noheader", "--Node", "-o", "%T").split()
            except subprocess.CalledProcessError:
                return False
            return len(states) == len(self.nodes) and all(state == "idle" for state in states)

        self._wait("all nodes to be idle", ready)

    def _wait(self, what: str, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not ready():
            if time.monotonic() > end:
                logs = "\n".join(
                    f"{log.name}: {log.read_text()[-800:]}" for log in sorted(self.folder.glob("*.out"))[:4]
                )
                raise TimeoutError(f"waited {PATIENCE_SECONDS:g} s for {what}\n{logs}")
            time.sleep(0.1)
