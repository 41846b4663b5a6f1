"""A real PostgreSQL server for the whole test session, if its programs are installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


@dataclass(frozen=True)
class PostgresServer:
    """A running server; every test gets a database of its own."""

    programs: Path
    port: int
    numbers: Iterator[int]

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"allocator_{next(self.numbers)}"
        self.psql("postgres", f"CREATE DATABASE {name}")
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def psql(self, database: str, statement: str) -> None:
        command = [str(self.programs / "psql"), "-qX", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"]
        subprocess.run([*command, "-d", database, "-c", statement], check=True, capture_output=True)


def _as_postgres(*command: str) -> None:
    """PostgreSQL refuses to run as root."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    done = subprocess.run([*prefix, *command], check=False, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}\n{done.stderr}"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    if not PROGRAMS:
        pytest.skip("PostgreSQL is not installed: the store is tested on SQLite only (apt-get install postgresql)")
    programs = PROGRAMS[-1].parent
    directory = Path(tempfile.mkdtemp(prefix="allocator-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres")
    cluster, port = directory / "cluster", _free_port()
    options = f"-p {port} -c fsync=off -c listen_addresses=127.0.0.1 -c unix_socket_directories={directory}"
    _as_postgres(
        str(programs / "initdb"), "-D", str(cluster), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"
    )
    try:
        control = [str(programs / "pg_ctl"), "-D", str(cluster), "-w"]
        _as_postgres(*control, "-l", str(directory / "log"), "-o", options, "start")
        try:
            yield PostgresServer(programs, port, count())
        finally:
            _as_postgres(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    return postgres_server.new_database()
