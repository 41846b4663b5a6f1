"""Slurm's accounting for a cluster of tests: MariaDB and slurmdbd, which fair-share cannot do without.

Needs mariadbd, mariadb-install-db, slurmdbd and sacctmgr (Debian: mariadb-server slurmdbd slurm-client). Everything
is kept in one folder, on ports of its own.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.ports import free_port

PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb", "slurmdbd", "sacctmgr")

Start = Callable[[str, list[str]], None]
Wait = Callable[[str, Callable[[], bool]], None]


def missing() -> str:
    """Which programs are not here; empty if all are."""
    return ", ".join(program for program in PROGRAMS if shutil.which(program) is None)


class Accounting:
    """`start` and `wait` are the cluster's; `shares` of fair-share by account."""

    def __init__(self, folder: Path, munge: Path, shares: Mapping[str, int]) -> None:
        self._folder, self._munge, self._shares = folder, munge, shares
        self._sql_port, self._port = free_port(), free_port()

    @property
    def lines(self) -> str:
        """For slurm.conf."""
        return (
            "AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\n"
            f"AccountingStoragePort={self._port}\nAccountingStoragePass={self._munge}\nAccountingStorageEnforce=associations\n"
        )

    def start(self, start: Start, wait: Wait) -> None:
        """Before the controller."""
        self._start_database(start, wait)
        configuration = self._folder / "slurmdbd.conf"
        configuration.write_text(
            f"""AuthType=auth/munge
AuthInfo=socket={self._munge}
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={self._port}
SlurmUser=root
PidFile={self._folder}/slurmdbd.pid
LogFile={self._folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={self._sql_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
""",
            encoding="utf-8",
        )
        configuration.chmod(0o600)
        start("slurmdbd", ["slurmdbd", "-D"])

    def fill(self, call: Callable[..., str], wait: Wait) -> None:
        """Cluster, accounts and this user, before the controller starts."""

        def answers() -> bool:
            try:
                call("sacctmgr", "--noheader", "show", "cluster")
            except subprocess.CalledProcessError:
                return False
            return True

        wait("slurmdbd to answer", answers)
        call("sacctmgr", "--immediate", "add", "cluster", "test")
        for account, share in self._shares.items():
            call("sacctmgr", "--immediate", "add", "account", account, f"fairshare={share}")
        call("sacctmgr", "--immediate", "add", "user", "root", f"account={','.join(self._shares)}")

    def _start_database(self, start: Start, wait: Wait) -> None:
        rows, socket = self._folder / "mariadb", self._folder / "mariadb.socket"
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", f"--datadir={rows}", "--skip-test-db", "--user=root",
             "--auth-root-authentication-method=normal"],
            check=True, capture_output=True,
        )  # fmt: skip
        start(
            "mariadb",
            ["mariadbd", "--no-defaults", "--user=root", f"--datadir={rows}", f"--socket={socket}",
             "--bind-address=127.0.0.1", f"--port={self._sql_port}", "--innodb-flush-log-at-trx-commit=2",
             f"--pid-file={self._folder}/mariadb.pid"],
        )  # fmt: skip
        sql = "CREATE USER slurm@'127.0.0.1' IDENTIFIED BY 'slurm'; GRANT ALL ON slurm_acct_db.* TO slurm@'127.0.0.1'"
        command = ["mariadb", "--no-defaults", f"--socket={socket}", "--user=root", "--execute", sql]
        wait("MariaDB", lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0)
