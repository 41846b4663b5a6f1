"""The command line, on top of the client: `app` holds every command that talks to a daemon.

`serve`, `config` and `db` come from the daemon's side; `allocator.__main__` puts both together.
"""

from allocator.cli import agent, cluster, explain, jobs, kubernetes, logs, nodes, policy, queues, slurm, submit, whatif
from allocator.cli.app import EPILOG, app

__all__ = [
    "EPILOG", "agent", "app", "cluster", "explain", "jobs", "kubernetes", "logs", "nodes", "policy", "queues", "slurm",
    "submit", "whatif",
]  # fmt: skip
