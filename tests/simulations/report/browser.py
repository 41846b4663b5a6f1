"""A real browser without a window, driven over a pipe by Chromium's own protocol: no driver, no port, no network."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
COMPLAINTS = frozenset({"Runtime.exceptionThrown", "Log.entryAdded"})


def program() -> str | None:
    """The first that is installed."""
    return next((found for name in PROGRAMS if (found := shutil.which(name)) is not None), None)


class Browser:
    """One page. `requests` are the addresses it asked for, `complaints` what its console said."""

    def __init__(self) -> None:
        found = program()
        assert found is not None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._number = 0
        self._seen: list[dict[str, Any]] = []
        self._rest = b""
        self._home = tempfile.mkdtemp(prefix="browser-")
        its_in, our_out = os.pipe()
        our_in, its_out = os.pipe()
        self._out, self._in = our_out, our_in

        def wire() -> None:
            """The protocol speaks on descriptors 3 and 4."""
            read, write = os.dup(its_in), os.dup(its_out)
            os.dup2(read, 3)
            os.dup2(write, 4)

        self._process = subprocess.Popen(
            [
                found, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                "--remote-debugging-pipe", f"--user-data-dir={self._home}", "about:blank",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            close_fds=False, preexec_fn=wire,  # noqa: PLW1509 - it only duplicates descriptors
        )  # fmt: skip
        os.close(its_in)
        os.close(its_out)
        self._session: str | None = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._home, ignore_errors=True)

    def ask(self, method: str, **parameters: Any) -> Any:
        """The answer to one command of the protocol."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def show(self, file: Path, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Load a file in a window of this size."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = "dark" if dark else "light"
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._seen.clear()
        self.ask("Page.navigate", url=file.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self._seen):
            self._next()

    def evaluate(self, script: str) -> Any:
        """The value of a script, by value."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def point_at(self, x: float, y: float) -> None:
        """Move the pointer there."""
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def picture(self, file: Path, selector: str = "html") -> None:
        """What an element looks like, as a PNG file, however long it is."""
        box = self.evaluate(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            "return [b.x + scrollX, b.y + scrollY, b.width, b.height]; })()"
        )
        clip = dict(zip(("x", "y", "width", "height"), box, strict=True), scale=1)
        found = self.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(found["data"]))

    def _next(self) -> dict[str, Any]:
        """The next message; events are noted."""
        while b"\0" not in self._rest:
            read = os.read(self._in, 1 << 16)
            assert read, "the browser went away"
            self._rest += read
        head, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(head)
        method = message.get("method", "")
        if method:
            self._seen.append(message)
        if method == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        elif method in COMPLAINTS or (
            method == "Runtime.consoleAPICalled" and message["params"]["type"] in ("error", "warning", "assert")
        ):
            self.complaints.append(json.dumps(message["params"])[:500])
        return message
