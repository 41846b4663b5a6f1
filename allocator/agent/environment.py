"""What a command finds in its environment: a clean one, the job's own variables, and what the agent tells it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from allocator.domain.placement import DesiredReplica
from allocator.domain.process import Process

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PLACEHOLDER = re.compile(r"%(.?)", re.DOTALL)


def environment(replica: DesiredReplica, process: Process, user: str, home: str, progress: str) -> Mapping[str, str]:
    """Nothing of the agent's own environment, which may hold secrets. The agent's variables win over the job's."""
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "SHELL": "/bin/sh",
        "USER": user,
        "LOGNAME": user,
        "HOME": home,
        **dict(process.environment),
        "ALLOCATOR_JOB_ID": replica.job_id,
        "ALLOCATOR_QUEUE": replica.queue,
        "ALLOCATOR_RANK": str(replica.replica),
        "ALLOCATOR_REPLICAS": str(replica.replicas),
        "ALLOCATOR_PEERS": ",".join(replica.peers),
        "ALLOCATOR_CORES": f"{replica.demand.cpu_millicores / 1000:g}",
        "ALLOCATOR_ARRAY_INDEX": "" if replica.array_index is None else str(replica.array_index),
        "ALLOCATOR_ATTEMPT": str(replica.failures + 1),
        "ALLOCATOR_PROGRESS": progress,
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, replica.gpus)),
    }


def expand(path: str, replica: DesiredReplica, node: str) -> str:
    """The name of an output file with its placeholders filled in; none of them adds a folder."""
    values = {
        "j": replica.job_id,
        "r": str(replica.replica),
        "a": "" if replica.array_index is None else str(replica.array_index),
        "n": node,
        "%": "%",
    }
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], "").replace(os.sep, "_"), path)
