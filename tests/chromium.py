"""A small client of headless Chromium's debugging protocol, on the standard library: open, ask, picture."""

import base64
import json
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

NAMES = ("chromium", "chromium-browser", "google-chrome")
_START_S = 60.0
_ANSWER_S = 120.0


def program() -> str | None:
    """Return the browser's path, None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page of a browser: what it said on its console and asked of the network is kept."""

    def __init__(self, address: str) -> None:
        host, _, path = address.removeprefix("ws://").partition("/")
        name, _, port = host.partition(":")
        self._socket = socket.create_connection((name, int(port)), timeout=_ANSWER_S)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._file = self._socket.makefile("rb")
        assert b" 101 " in self._file.readline()
        while self._file.readline().strip():
            pass
        self._number = 0
        self.console: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict:
        """Send a command and return its result; events that come before it are kept."""
        self._number += 1
        self._send(json.dumps({"id": self._number, "method": method, "params": parameters}).encode())
        while True:
            message = json.loads(self._receive())
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def open(self, path: Path, width: int, height: int = 900) -> None:
        """Load a file at a width in CSS pixels, and wait until its scripts and pictures are ready."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=path.as_uri())
        self.ask("new Promise((done) => document.readyState === 'complete' ? done() : addEventListener('load', done))")

    def ask(self, expression: str) -> object:
        """Evaluate JavaScript in the page, waiting for promises, and return its value."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Write a PNG of the page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End the connection."""
        self._file.close()
        self._socket.close()

    def _note(self, message: dict) -> None:
        parameters = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.console.append(json.dumps(parameters["exceptionDetails"]))
        elif message.get("method") == "Runtime.consoleAPICalled" and parameters["type"] in {"error", "warning"}:
            self.console.append(json.dumps(parameters["args"]))
        elif message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] in {"error", "warning"}:
            self.console.append(parameters["entry"]["text"])
        elif message.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    def _send(self, data: bytes) -> None:
        """Send one masked text frame (RFC 6455)."""
        mask = os.urandom(4)
        size = len(data)
        head = bytes([0x81]) + (
            bytes([0x80 | size])
            if size < 126
            else bytes([0xFE]) + struct.pack(">H", size)
            if size < 1 << 16
            else bytes([0xFF]) + struct.pack(">Q", size)
        )
        self._socket.sendall(head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data)))

    def _receive(self) -> bytes:
        """Return the next text message, of one or more frames; answer no pings, Chromium sends none."""
        message = b""
        while True:
            first, second = self._file.read(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack(">H", self._file.read(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", self._file.read(8))
            message += self._file.read(size)
            if first & 0x80:
                return message


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start headless Chromium without network in a profile of its own, and end it again."""
    command = [program() or NAMES[0], "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += ["--no-first-run", "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += ["--hide-scrollbars", "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    page = None
    try:
        page = Browser(_address(profile, process))
        yield page
    finally:
        if page is not None:
            page.close()
        process.terminate()
        process.wait(timeout=_START_S)


def _address(profile: Path, process: "subprocess.Popen[bytes]") -> str:
    """Return the address of the first page, once the browser has written its port into the profile."""
    note = profile / "DevToolsActivePort"
    ends = time.monotonic() + _START_S
    while time.monotonic() < ends and process.poll() is None:
        if note.is_file() and len(lines := note.read_text().splitlines()) == 2:
            with urlopen(f"http://127.0.0.1:{lines[0]}/json/list", timeout=_START_S) as answer:
                pages = [entry for entry in json.load(answer) if entry["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.1)
    message = f"Chromium did not start (exit code {process.poll()})"
    raise AssertionError(message)
