"""How the server speaks: limits, pace and patience. Times in seconds, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass

_SHARE_OF_LEASE = 0.2
"""The most that agents are made to wait for because they are many."""


@dataclass(frozen=True, slots=True)
class RpcSettings:
    """`lease_seconds`: silence after which a node is lost; `heartbeat_interval_seconds`: how often agents shall report,
    where they are not so many that they would send more than `heartbeats_per_second` together (`heartbeat_interval`).

    A connection without traffic is probed every `keepalive_seconds` and given up `keepalive_timeout_seconds` later;
    clients may probe no more often than every `keepalive_minimum_seconds`. Changes within `watch_gather_seconds` reach
    a watcher of jobs together.
    """

    max_message_bytes: int = 32 * 2**20
    max_concurrent_streams: int = 1000
    """Calls at a time on one connection; more wait on the client's side."""
    keepalive_seconds: float = 30.0
    keepalive_timeout_seconds: float = 10.0
    keepalive_minimum_seconds: float = 10.0
    lease_seconds: float = 15.0
    heartbeat_interval_seconds: float = 2.0
    heartbeats_per_second: float = 250.0
    watch_gather_seconds: float = 0.01
    capture_rounds: int = 32
    """Rounds that are kept for a capture that does not keep up; when more wait, it is ended."""
    most_captures: int = 4
    """At a time; each costs some milliseconds per round, and more where much changes."""
    most_output_readers: int = 256
    """Who read what jobs print, at a time; each costs some 100 KiB at most."""
    round_interval_seconds: float = 10.0
    """From one round to the next: what replays of rounds go by."""
    reject_infeasible: bool = True
    """Refuse jobs that can never run on the nodes that are known, unless the request says otherwise."""
    reader_threads: int = 4
    """Threads for questions to the database and for translating large batches."""

    def heartbeat_interval(self, nodes: int) -> float:
        """Seconds from one heartbeat to the next that an agent is asked for when there are so many nodes. However many
        they are, several can get lost before the lease ends.
        """
        crowded = min(nodes / self.heartbeats_per_second, self.lease_seconds * _SHARE_OF_LEASE)
        return max(self.heartbeat_interval_seconds, crowded)

    def channel_options(self) -> list[tuple[str, int]]:
        """gRPC's own names for these."""
        return [
            ("grpc.max_receive_message_length", self.max_message_bytes),
            # What was done must be answered, however long the answer; clients have their own limit.
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", self.max_concurrent_streams),
            ("grpc.keepalive_time_ms", round(self.keepalive_seconds * 1000)),
            ("grpc.keepalive_timeout_ms", round(self.keepalive_timeout_seconds * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", round(self.keepalive_minimum_seconds * 1000)),
            # Two daemons on one port would each get half of the calls; the second shall fail to start instead.
            ("grpc.so_reuseport", 0),
        ]
