"""What is repeated, when, and what never is; with real gRPC servers that fail as told."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import suppress

import grpc
import pytest
from grpc_status import rpc_status  # type: ignore[import-untyped] # ships no stubs
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.client import Client, DeadlineExceeded, RetryPolicy, UnexpectedAnswer, Unreachable
from allocator.client.exchange import Attempts, Failure, Reconnects, resolve_address
from allocator.domain.errors import AllocatorError, InvalidInput, ResourceExhausted, StoreUnavailable
from allocator.v1 import job_pb2, job_service_pb2, scheduler_service_pb2
from allocator.wire.errors import error_to_status
from tests.builders import spec
from tests.client.conftest import QUICK
from tests.client.served import Served

Answer = Callable[[bytes, grpc.ServicerContext], bytes]


class Scripted(grpc.GenericRpcHandler):
    """Answers each call by the next of its `answers`, the last one for ever; remembers what it was asked, and when."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[bytes] = []
        self.times: list[float] = []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.requests.append(request)
        self.times.append(time.monotonic())
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return answer(request, context)


def refuse(code: grpc.StatusCode) -> Answer:
    def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(code, "as told")

    return answer


def refuse_with(error: AllocatorError) -> Answer:
    def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort_with_status(rpc_status.to_status(error_to_status(error)))

    return answer


def reply(message: object) -> Answer:
    return lambda _, __: message.SerializeToString()  # type: ignore[attr-defined]


STATUS = scheduler_service_pb2.GetClusterStatusResponse(revision=7)
UNAVAILABLE = refuse(grpc.StatusCode.UNAVAILABLE)

Serve = Callable[..., tuple[Scripted, Client]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a scripted server and a client for it."""
    ended: list[Callable[[], object]] = []

    def start(*answers: Answer, retry: RetryPolicy = QUICK, timeout: float = 5.0) -> tuple[Scripted, Client]:
        handler = Scripted(*answers)
        server = grpc.server(futures.ThreadPoolExecutor(2))
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        client = Client(f"127.0.0.1:{port}", retry=retry, timeout=timeout)
        ended.extend([client.close, lambda: server.stop(None).wait()])
        return handler, client

    yield start
    for end in ended:
        end()


def test_a_read_is_repeated_until_it_is_answered(serve: Serve) -> None:
    handler, client = serve(UNAVAILABLE, UNAVAILABLE, reply(STATUS))
    assert client.status().revision == 7
    assert len(handler.requests) == 3
    assert len(set(handler.requests)) == 1


def test_a_submit_is_repeated_with_its_own_request_id(serve: Serve) -> None:
    accepted = job_service_pb2.SubmitJobsResponse(
        results=[job_service_pb2.JobResult(job=job_pb2.Job(id="j1", state=job_pb2.JOB_STATE_PENDING))]
    )
    handler, client = serve(UNAVAILABLE, reply(accepted))
    client.submit([spec("q")])
    ids = [job_service_pb2.SubmitJobsRequest.FromString(request).request_id for request in handler.requests]
    assert len(ids) == 2
    assert len(ids[0]) == 36
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.cancel(["j1"]),
        lambda client: client.update([]),
        lambda client: client.report_progress("j1", 1.0),
        lambda client: client.delete_queue("q"),
        lambda client: client.cordon_queue("q"),
        lambda client: client.update_queue("q", weight=2.0),
        lambda client: client.drain_node("n"),
        lambda client: client.remove_node("n"),
        lambda client: client.heartbeat("n"),
    ],
)
def test_what_changes_something_is_sent_once(serve: Serve, call: Callable[[Client], object]) -> None:
    handler, client = serve(UNAVAILABLE)
    with pytest.raises(Unreachable):
        call(client)
    assert len(handler.requests) == 1


def test_a_refusal_that_will_not_pass_is_not_repeated(serve: Serve) -> None:
    handler, client = serve(refuse_with(InvalidInput.of("job_id", "must name a job")))
    with pytest.raises(InvalidInput, match="job_id: must name a job"):
        client.job("")
    assert len(handler.requests) == 1


@pytest.mark.parametrize("kind", [StoreUnavailable("disk full"), ResourceExhausted("server", "too busy", 1.0)])
def test_the_server_s_word_on_when_to_come_back_is_kept(serve: Serve, kind: AllocatorError) -> None:
    handler, client = serve(refuse_with(kind), reply(STATUS))
    assert client.status().revision == 7
    first, second = handler.times
    assert second - first >= 0.95


def test_a_wait_beyond_the_timeout_is_not_begun(serve: Serve) -> None:
    handler, client = serve(refuse_with(ResourceExhausted("server", "too busy", 60.0)))
    started = time.monotonic()
    with pytest.raises(ResourceExhausted) as caught:
        client.status()
    assert caught.value.retry_after_seconds == 60.0
    assert time.monotonic() - started < 4
    assert len(handler.requests) == 1


def test_attempts_end(serve: Serve) -> None:
    handler, client = serve(UNAVAILABLE, retry=RetryPolicy(3, 0.01, 0.02))
    with pytest.raises(Unreachable, match="as told"):
        client.status()
    assert len(handler.requests) == 3


def test_no_answer_in_time(serve: Serve) -> None:
    released = threading.Event()

    def late(_: bytes, __: grpc.ServicerContext) -> bytes:
        released.wait(10)
        return STATUS.SerializeToString()

    _, client = serve(late)
    with pytest.raises(DeadlineExceeded, match=r"GetClusterStatus got no answer within 0\.2 s"):
        client.status(timeout=0.2)
    released.set()


def test_other_failures_are_named(serve: Serve) -> None:
    _, client = serve(refuse(grpc.StatusCode.INTERNAL))
    with pytest.raises(UnexpectedAnswer, match="GetClusterStatus ended with INTERNAL: as told"):
        client.status()


def test_an_answer_of_another_version_is_not_guessed_at(serve: Serve) -> None:
    unknown = job_service_pb2.GetJobResponse(job=job_pb2.Job(id="j1", state=99))  # type: ignore[arg-type]
    _, client = serve(reply(unknown))
    with pytest.raises(UnexpectedAnswer, match="cannot be read: state"):
        client.job("j1")


def test_a_read_outlasts_a_restart(served: Served) -> None:
    served.populate()
    with Client(served.address, retry=RetryPolicy(200, 0.02, 0.1)) as client:
        client.status()
        served.stop()
        revisions: list[int] = []
        reader = threading.Thread(target=lambda: revisions.append(client.status().revision))
        reader.start()
        served.start()
        reader.join(15)
    assert revisions == [served.store.current_revision()]


def test_a_slow_connection_is_waited_for(served: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door, Client(f"127.0.0.1:{door.getsockname()[1]}") as client:
        served.populate(("q",))

        def let_in_late() -> None:
            """Pass bytes between the client and the server, but keep the client waiting first."""
            inside, _ = door.accept()
            time.sleep(0.5)
            outside = socket.create_connection(("127.0.0.1", served.port))
            back = threading.Thread(target=_pass_on, args=(outside, inside), daemon=True)
            back.start()
            _pass_on(inside, outside)

        threading.Thread(target=let_in_late, daemon=True).start()
        # Not repeatable: it must succeed at the first attempt.
        client.cordon_queue("q")


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
    target.close()


def test_nobody_there(served: Served) -> None:
    served.stop()
    with (
        Client(served.address, retry=RetryPolicy(2, 0.01, 0.01)) as client,
        pytest.raises(Unreachable, match=rf"no daemon answers at {served.address}: .*refused"),
    ):
        client.status()
    with (
        Client(served.address, retry=RetryPolicy(2, 0.01, 0.01)) as client,
        pytest.raises(Unreachable),
    ):
        next(client.watch_jobs())


# --- the decisions alone


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


TRANSIENT = Failure(Unreachable("a:1", "gone"), transient=True)


@given(
    attempts=st.integers(1, 12),
    first=st.floats(0.01, 1.0),
    factor=st.floats(1.0, 50.0),
    timeout=st.floats(0.01, 30.0),
    retry_after=st.floats(0.0, 5.0),
    seed=st.integers(0, 100),
)
@settings(deadline=None, max_examples=200, derandomize=True)
def test_waiting_stays_within_the_timeout_and_respects_the_server(
    attempts: int, first: float, factor: float, timeout: float, retry_after: float, seed: int
) -> None:
    clock = Clock()
    policy = RetryPolicy(attempts, first, first * factor)
    course = Attempts(policy, timeout, clock, random.Random(seed))
    failure = Failure(TRANSIENT.error, True, retry_after)
    waits = list(_waits(course, failure, clock))
    assert len(waits) < attempts
    assert all(retry_after <= wait <= max(retry_after, policy.longest_delay) for wait in waits)
    assert sum(waits) < timeout
    assert course.remaining() <= timeout - sum(waits) + 0.001


def _waits(course: Attempts | Reconnects, failure: Failure, clock: Clock) -> Iterator[float]:
    """Every wait of a call that always fails, until it gives up."""
    with suppress(Unreachable):
        while True:
            wait = course.after(failure)
            clock.now += wait
            yield wait


def test_delays_double_up_to_the_longest_and_differ_between_clients() -> None:
    policy = RetryPolicy(attempts=8, first_delay=0.1, longest_delay=1.0)
    delays = list(policy.delays(random.Random(1)))
    for delay, ceiling in zip(delays, [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0], strict=True):
        assert ceiling / 2 <= delay <= ceiling
    assert delays != list(policy.delays(random.Random(2)))


@pytest.mark.parametrize(("attempts", "first", "longest"), [(0, 0.1, 1), (1, 0, 1), (1, 2, 1), (1, 0.1, float("inf"))])
def test_a_policy_that_makes_no_sense_is_refused(attempts: int, first: float, longest: float) -> None:
    with pytest.raises(InvalidInput):
        RetryPolicy(attempts, first, longest)


def test_a_watch_gives_up_soon_if_it_never_heard_anything_and_late_or_never_afterwards() -> None:
    clock = Clock()
    policy = RetryPolicy(3, 0.1, 1.0)
    never_heard = Reconnects(policy, None, clock, random.Random(0))
    assert len(list(_waits(never_heard, TRANSIENT, clock))) == 2
    patient = Reconnects(policy, None, clock, random.Random(0))
    patient.heard()
    assert all(patient.after(TRANSIENT) <= 1.0 for _ in range(100))
    bounded = Reconnects(policy, 10.0, clock, random.Random(0))
    bounded.heard()
    assert 8.0 < sum(_waits(bounded, TRANSIENT, clock)) <= 10.0
    with pytest.raises(InvalidInput):
        patient.after(Failure(InvalidInput.of("cursor", "bad"), transient=False))


@pytest.mark.parametrize(
    ("given_address", "variable", "address"),
    [
        (None, None, "127.0.0.1:50051"),
        (None, "scheduler:1234", "scheduler:1234"),
        ("[::1]:50051", "scheduler:1234", "[::1]:50051"),
        ("unix:/run/allocator.sock", None, "unix:/run/allocator.sock"),
    ],
)
def test_where_the_address_comes_from(
    monkeypatch: pytest.MonkeyPatch, given_address: str | None, variable: str | None, address: str
) -> None:
    monkeypatch.delenv("ALLOCATOR_ADDRESS", raising=False)
    if variable is not None:
        monkeypatch.setenv("ALLOCATOR_ADDRESS", variable)
    assert resolve_address(given_address) == address


@pytest.mark.parametrize("bad", ["host", ":50051", "host:", "host:http", "http://host:80", "host:0", "host:65536"])
def test_a_bad_address_is_refused_with_an_example(bad: str) -> None:
    with pytest.raises(InvalidInput, match=r"must be host:port such as 127\.0\.0\.1:50051"):
        Client(bad)
