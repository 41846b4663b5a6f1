"""A program that submits jobs from many threads and prints the id of each one as soon as it is acknowledged.

python -m tests.store.acknowledging_writer sqlite:///path
"""

from __future__ import annotations

import os
import sys
import threading
from itertools import count

from allocator.domain.queue import Queue
from allocator.intake import commands as c
from allocator.store.sql import SqlStore
from tests.store.cluster import QUEUE, spec

CLIENTS = 8


def submit_for_ever(store: SqlStore, client: int) -> None:
    for number in count():
        # Every third one in a batch of three: also batches must be whole.
        specs = tuple(spec(name=f"{client}-{number}-{index}") for index in range(3 if number % 3 == 0 else 1))
        answer = store.execute(c.SubmitJobs(specs, f"{client}-{number}"), float(number)).result()
        line = " ".join(f"{job.id}={job.spec.name}" for job in answer)
        os.write(1, f"{line}\n".encode())


def main(url: str) -> None:
    store = SqlStore(url).open()
    store.execute(c.CreateQueue(Queue(QUEUE)), 0.0).result()
    threads = [threading.Thread(target=submit_for_ever, args=(store, client)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1])
