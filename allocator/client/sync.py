"""The client for ordinary, blocking code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from allocator.client import calls
from allocator.client.sync_questions import Questions
from allocator.client.views import JobEvent, Lease, QueueStatus, Registration
from allocator.domain.cluster import Node
from allocator.domain.job import Job, JobSpec, JobState
from allocator.domain.output import OutputEnd, OutputEvent
from allocator.domain.placement import Epoch, JobStart, NodeDesired
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.intake.commands import ItemResult, JobUpdate, ReplicaReport
from allocator.rounds.report import RoundSummary
from allocator.wire.policies import PolicyCheck, PolicyRecord
from allocator.wire.recording import CapturedRecord
from allocator.wire.rounds import ClusterStatus


class Client(Questions):
    """Calls a daemon; safe to share between threads. Close it, or use it as a context manager.

    `address` is host:port or unix:path; without it the environment's ALLOCATOR_ADDRESS, else 127.0.0.1:50051.
    `timeout` is how many seconds a call may take, retries included. Reads and submits are repeated by `retry` when the
    daemon is unreachable or says that it will have room later; nothing else ever is. Watches reconnect where they were.

    Every method raises the refusals of `allocator.domain.errors`, and `Unreachable`, `DeadlineExceeded` or
    `UnexpectedAnswer`.

        from allocator.client import Client, Configuration, JobSpec, Resources

        with Client() as client:
            spec = JobSpec("research", (Configuration("v100", 1, Resources(cpu_millicores=4000, gpu_millis=1000)),))
            (result,) = client.submit([spec])
            print(result)
    """

    # --- jobs

    def submit(
        self,
        specs: Iterable[JobSpec],
        *,
        request_id: str | None = None,
        allow_infeasible: bool = False,
        timeout: float | None = None,
    ) -> tuple[ItemResult, ...]:
        """Per spec, in order, the job admitted or the AllocatorError that refused it.

        `request_id` (default: a new UUID) makes repeating harmless: the same id with the same specs gets the same
        jobs, as they are now, and the same refusals; with others AlreadyExists. A request of which nothing was
        admitted, something of it for ResourceExhausted, may be repeated with its id to be tried again.
        What no node that is known could ever run is refused, unless `allow_infeasible` or the server says otherwise.
        In `JobSpec.after`, `Dependency("#0")` is the first of these jobs, `"#1"` the next: a job may name those before
        it. More than 10,000 specs, or 16 MiB of them, are sent as several requests, each within `timeout`: where one
        of them fails, what was admitted before stays, and the same submit with the same `request_id` goes on.

            for result in client.submit(specs, request_id="nightly-2026-11-22"):
                print(result.id if isinstance(result, Job) else f"refused: {result}")
        """
        return self._batches(calls.submit(specs, request_id, allow_infeasible=allow_infeasible), timeout)

    def job(self, job_id: str, *, timeout: float | None = None) -> Job:
        """One job, live or final. NotFound."""
        return self._call(calls.job(job_id), timeout)

    def jobs(
        self,
        *,
        queue: str = "",
        states: Iterable[JobState] = (),
        page_size: int = calls.PAGE_SIZE,
        timeout: float | None = None,
    ) -> Iterator[Job]:
        """Jobs in order of admission, fetched page by page as you go; of `queue` and the queues below it, in `states`.

        waiting = list(client.jobs(queue="research", states=[JobState.PENDING]))
        """
        return self._pages(calls.jobs(queue, states, page_size), timeout)

    def cancel(
        self, job_ids: Iterable[str], *, message: str = "", timeout: float | None = None
    ) -> tuple[ItemResult, ...]:
        """Per id the job or why it was refused. A cancelled job stays so; other final ones: FailedPrecondition.

        More than 200 ids are sent as several requests, each within `timeout`; so it is with updates.
        """
        return self._batches(calls.cancel(job_ids, message), timeout)

    def update(self, updates: Iterable[JobUpdate], *, timeout: float | None = None) -> tuple[ItemResult, ...]:
        """Per update the job or why it was refused.

        client.update([JobUpdate(job.id, weight=2.0), JobUpdate(other.id, priority_class="high")])
        """
        return self._batches(calls.update(updates), timeout)

    def report_progress(
        self, job_id: str, throughput: float, *, epoch: Epoch | None = None, timeout: float | None = None
    ) -> Job:
        """Tell a running job's measured work per second; `epoch` (default: the current one) is when it was measured."""
        return self._call(calls.report_progress(job_id, throughput, epoch), timeout)

    def watch_jobs(self, *, queue: str = "", cursor: str = "") -> Iterator[JobEvent]:
        """All live jobs (without a cursor), or those changed since it; then EndOfSnapshot; then every change, for ever.

        Reconnects by itself, after the last event it gave. A job's passing states may be skipped, its newest never.

            for event in client.watch_jobs(queue="research"):
                if isinstance(event, JobChange):
                    print(event.job.id, event.job.state)
        """
        return self._watch(calls.watch_jobs(queue, cursor))

    def read_output(
        self,
        job_id: str,
        *,
        replica: int = 0,
        errors: bool = False,
        tail_lines: int | None = None,
        follow: bool = False,
    ) -> Iterator[OutputEvent]:
        """What one replica prints, read where it runs or last ran: OutputRun, then its OutputPieces.

        Ends when all that is there was told; with `follow`, when the job has ended: until then it waits for more, for
        the job to start (OutputWait says so), and goes on with its next run if it is moved. `errors`: its standard
        error, if the job names a file for that. NotFound; InvalidInput (no such replica); FailedPrecondition, which
        says why there is nothing to read. Reconnects by itself where it was.

            for event in client.read_output("j17", follow=True):
                if isinstance(event, OutputPiece):
                    sys.stdout.buffer.write(event.content)
        """
        call = calls.read_output(job_id, replica, errors=errors, tail_lines=tail_lines, follow=follow)
        for event in self._watch(call):
            if isinstance(event, OutputEnd):
                return
            yield event

    # --- queues

    def queue(self, name: str, *, timeout: float | None = None) -> QueueStatus:
        """One queue with its job counts. NotFound."""
        return self._call(calls.queue(name), timeout)

    def queues(self, *, timeout: float | None = None) -> Iterator[QueueStatus]:
        """All queues with their job counts, by name."""
        return self._pages(calls.queues(), timeout)

    def create_queue(self, queue: Queue, *, timeout: float | None = None) -> Queue:
        """AlreadyExists; NotFound for the parent; FailedPrecondition if the parent holds live jobs of its own.

        client.create_queue(Queue("research/vision", weight=2.0, max_live_jobs=500))
        """
        return self._call(calls.create_queue(queue), timeout)

    def update_queue(
        self,
        name: str,
        *,
        weight: float | None = None,
        max_live_jobs: int | None = None,
        clear_max_live_jobs: bool = False,
        priority: int | None = None,
        quotas: Iterable[Quota] | None = None,
        discipline: Discipline | None = None,
        timeout: float | None = None,
    ) -> Queue:
        """None leaves a property as it is; `clear_max_live_jobs` removes that bound. NotFound.

        `quotas` replace all that the queue has; none of them, `quotas=()`, removes them.

        client.update_queue("research", quotas=[Quota("h100", "gpu", nominal=16_000, lending_limit=4_000)])
        """
        return self._call(
            calls.update_queue(
                name, weight, max_live_jobs, priority, quotas, discipline, clear_max_live_jobs=clear_max_live_jobs
            ),
            timeout,
        )

    def delete_queue(self, name: str, *, timeout: float | None = None) -> None:
        """NotFound; FailedPrecondition if it holds live jobs or other queues."""
        self._call(calls.delete_queue(name), timeout)

    def cordon_queue(self, name: str, *, cordoned: bool = True, timeout: float | None = None) -> Queue:
        """Close a queue for new jobs, or open it again. NotFound."""
        return self._call(calls.cordon_queue(name, cordoned=cordoned), timeout)

    # --- policy

    def check_policy(self, text: str, *, prune: bool = False, timeout: float | None = None) -> PolicyCheck:
        """What the daemon says to a policy file; mistakes in it are no error. To read one without a daemon:
        `allocator.policyfile.read`.
        """
        return self._call(calls.check_policy(text, prune=prune), timeout)

    def policy(self, version: int | None = None, *, timeout: float | None = None) -> PolicyRecord:
        """The policy in force, with the queues as they are, or the one of an earlier version. NotFound.

        Path("policy.toml").write_text(client.policy().text)
        """
        return self._call(calls.policy(version), timeout)

    def policies(self, limit: int = 100, *, timeout: float | None = None) -> tuple[PolicyRecord, ...]:
        """Those that were applied, newest first, without their texts; at most 1000."""
        return self._call(calls.policies(limit), timeout)

    def apply_policy(
        self,
        text: str,
        *,
        expected_version: int | None = None,
        prune: bool = False,
        author: str = "",
        comment: str = "",
        timeout: float | None = None,
    ) -> PolicyRecord:
        """Make a policy file be in force, queues and all, from the next round on; what is in force then.

        InvalidInput with every mistake, each naming its line; FailedPrecondition if `expected_version` (0: none was
        applied yet) is not in force any more, if live jobs are in a priority class that would be gone, or, with
        `prune`, which removes queues that the file does not have, in such a queue.

            client.apply_policy(Path("policy.toml").read_text(), expected_version=client.policy().version)
        """
        return self._call(calls.apply_policy(text, expected_version, author, comment, prune=prune), timeout)

    # --- nodes

    def node(self, name: str, *, timeout: float | None = None) -> Node:
        """One node. NotFound."""
        return self._call(calls.node(name), timeout)

    def nodes(self, *, timeout: float | None = None) -> Iterator[Node]:
        """All nodes, by name."""
        return self._pages(calls.nodes(), timeout)

    def drain_node(self, name: str, *, timeout: float | None = None) -> Node:
        """Close a node and empty it: preemptible jobs leave at the next round, the others when they end. NotFound."""
        return self._call(calls.drain_node(name), timeout)

    def cordon_node(self, name: str, *, cordoned: bool = True, timeout: float | None = None) -> Node:
        """Close a node for new work, or open a cordoned or draining one. NotFound."""
        return self._call(calls.cordon_node(name, cordoned=cordoned), timeout)

    def taint_node(
        self,
        name: str,
        taints: Mapping[str, str] | None = None,
        *,
        remove: Iterable[str] = (),
        timeout: float | None = None,
    ) -> Node:
        """Remove the taints with the keys `remove`, then add or replace `taints`. What runs there stays. NotFound."""
        return self._call(calls.taint_node(name, taints or {}, remove), timeout)

    def remove_node(self, name: str, *, timeout: float | None = None) -> None:
        """Forget a node. NotFound; FailedPrecondition unless it is lost or draining, and empty."""
        self._call(calls.remove_node(name), timeout)

    def register_node(self, node: Node, *, timeout: float | None = None) -> Registration:
        """For agents: make a node known, or tell what it has now. Its availability and, once
        it is known, its taints are the operator's and stay.
        """
        return self._call(calls.register_node(node), timeout)

    def heartbeat(
        self,
        node: str,
        reports: Iterable[ReplicaReport] = (),
        *,
        seen: Epoch | None = None,
        leaving: Iterable[JobStart] = (),
        timeout: float | None = None,
    ) -> Lease:
        """For agents: the node lives, and how its replicas are. Repeat an end until it was answered. `seen`, `leaving`:
        the epoch of the desired state that the agent goes by, and the starts of jobs of which something still runs
        although that state does not name them; what moves here from elsewhere begins when those have ended.

        NotFound: register first.
        """
        return self._call(calls.heartbeat(node, reports, seen, leaving), timeout)

    def watch_allocations(self, node: str) -> Iterator[NodeDesired]:
        """For agents: what the node shall run now, then each newer state, and after a reconnection what holds then.

        NotFound.
        """
        return self._watch(calls.watch_allocations(node))

    # --- rounds

    def round(self, number: int | None = None, *, timeout: float | None = None) -> RoundSummary:
        """One round; None is the newest. NotFound."""
        return self._call(calls.round_(number), timeout)

    def rounds(self, *, page_size: int = 100, timeout: float | None = None) -> Iterator[RoundSummary]:
        """Rounds, newest first, fetched page by page as you go."""
        return self._pages(calls.rounds(page_size), timeout)

    def watch_rounds(self, *, after: int | None = None) -> Iterator[RoundSummary]:
        """Rounds above the number `after` (None: the newest one first), as they end. Reconnects by itself."""
        return self._watch(calls.watch_rounds(after))

    def status(self, *, timeout: float | None = None) -> ClusterStatus:
        """How the cluster is now."""
        return self._call(calls.status(), timeout)

    def capture_rounds(self) -> Iterator[CapturedRecord]:
        """Every round from the next one on, as records to be kept (`simulations.capture` does): a beginning, all facts,
        then before each round what has changed. Reconnects by itself: then there is another beginning, and rounds in
        between are missing.

            for record in client.capture_rounds():
                print(record.kind, record.round, len(record.content))
        """
        return self._watch(calls.capture_rounds())


__all__ = ["Client"]
