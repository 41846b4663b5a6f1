"""A real PostgreSQL server for the whole test session, if its programs are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_port

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


END_OTHERS = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
"""Cuts off everybody else, as a restart of the server does, and waits until they are gone."""
RESET = (END_OTHERS, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")


@dataclass(frozen=True)
class PostgresServer:
    """A running server with one database, which every test gets empty."""

    port: int

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def empty(self) -> None:
        """Cut everybody off and drop all tables."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in RESET:
                connection.execute(statement)


def _as_postgres(*command: str) -> None:
    """PostgreSQL refuses to run as root."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    done = subprocess.run([*prefix, *command], check=False, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    if not PROGRAMS:
        pytest.skip("PostgreSQL is not installed: the store is tested on SQLite only (apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="psycopg is not installed: the store is tested on SQLite only")
    programs = PROGRAMS[-1].parent
    directory = Path(tempfile.mkdtemp(prefix="allocator-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres")
    cluster, port = directory / "cluster", free_port()
    options = f"-p {port} -c fsync=off -c listen_addresses=127.0.0.1 -c unix_socket_directories={directory}"
    _as_postgres(
        str(programs / "initdb"), "-D", str(cluster), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"
    )
    try:
        control = [str(programs / "pg_ctl"), "-D", str(cluster), "-w"]
        _as_postgres(*control, "-l", str(directory / "log"), "-o", options, "start")
        try:
            yield PostgresServer(port)
        finally:
            _as_postgres(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    postgres_server.empty()
    return postgres_server.url
