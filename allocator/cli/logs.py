"""`allocator logs`: what a job prints, as it is."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from allocator.cli import completion, screen
from allocator.cli.app import app, command, named_as_given, session
from allocator.client import Client, OutputPiece, OutputRun, OutputWait
from allocator.domain.output import MOST_TAIL_LINES

PANEL = "Jobs"
_AS_GIVEN = {"replica": "--replica", "tail_lines": "--tail"}
_WAITS = {
    OutputWait.NOT_STARTED: "has not started; waiting for it (`allocator explain {job}` says why)",
    OutputWait.NODE_AWAY: "runs on a node that is not heard of; waiting for it",
}


@command(app, "logs", PANEL)
def logs(
    context: typer.Context,
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="The job's id.", autocompletion=completion.job_ids)],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job has ended; wait for it to start.")
    ] = False,
    replica: Annotated[int, typer.Option(metavar="N", help="Which replica, from 0.")] = 0,
    tail: Annotated[
        int | None,
        typer.Option("--tail", "-n", metavar="LINES", min=0, max=MOST_TAIL_LINES, help="Only the last lines."),
    ] = None,
    errors: Annotated[
        bool, typer.Option("--errors", help="Its standard error, if the job names a file for that.")
    ] = False,
) -> None:
    """Print what a job has printed, read from the node where it runs or last ran, wherever that is.

    Followed, it goes on with the next run when the job is moved or tried again. What is said about it goes to standard
    error; with --json, lines of JSON with the text.
    """
    settings = session(context)
    with settings.client() as client, named_as_given(_AS_GIVEN):
        runs = 0
        for event in client.read_output(job_id, replica=replica, errors=errors, tail_lines=tail, follow=follow):
            match event:
                case OutputPiece():
                    _print(event, as_json=settings.json)
                case OutputRun():
                    runs += 1
                    _tell_run(event, job_id, first=runs == 1)
                case OutputWait():
                    screen.remark(f"job {job_id} {_WAITS[event].format(job=job_id)}")
                case _:
                    pass
        if follow:
            _tell_end(client, job_id)


def _print(piece: OutputPiece, *, as_json: bool) -> None:
    if as_json:
        text = piece.content.decode("utf-8", "replace")
        screen.emit_json_line({"run": piece.run, "offset": piece.offset, "text": text})
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(piece.content)
    sys.stdout.buffer.flush()


def _tell_run(run: OutputRun, job_id: str, *, first: bool) -> None:
    if not first:
        screen.remark(f"job {job_id} goes on as run {run.position.run} on node {run.position.node}")
    if run.shared:
        screen.remark("what all replicas print is in one here")


def _tell_end(client: Client, job_id: str) -> None:
    ended = client.job(job_id)
    because = f": {ended.message}" if ended.message else ""
    screen.remark(f"job {job_id} {ended.state.value}{because}")
