"""A real browser, driven over WebDriver's own protocol with nothing but the standard library.

It takes the README's picture, of a page that ``jaxseq study --cell lstm --problem copy -o report.html`` wrote:
``python tests/browser.py report.html data/pictures/study.png``.
"""

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --lang=en"
).split()

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""What WebDriver's protocol calls an element."""


def missing() -> str:
    """Return why there is no browser, or an empty string."""
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(lacking)} not found (Debian: apt-get install chromium chromium-driver)" if lacking else ""


class Browser:
    """One window."""

    def __init__(self, port: int, session: str) -> None:
        self.base = f"http://127.0.0.1:{port}/session/{session}"

    def send(self, method: str, path: str, body: Any = None) -> Any:
        return _send(method, self.base + path, body)

    def run(self, script: str, *args: Any) -> Any:
        """Run the body of a function in the page and return its result."""
        return self.send("POST", "/execute/sync", {"script": script, "args": list(args)})

    def wait(self, script: str, *args: Any) -> Any:
        """Run one that calls its last argument when it is done."""
        return self.send("POST", "/execute/async", {"script": script, "args": list(args)})

    def settle(self) -> None:
        """Wait until the page has drawn what was asked of it."""
        self.wait("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done));")

    def open(self, file: Path, hash: str = "") -> None:
        self.send("POST", "/url", {"url": "about:blank"})  # so that a new hash is a new page
        self.send("POST", "/url", {"url": f"{file.resolve().as_uri()}#{hash}"})
        self.settle()

    def cdp(self, name: str, **params: Any) -> Any:
        return self.send("POST", "/goog/cdp/execute", {"cmd": name, "params": params})

    def size(self, width: int, height: int = 900) -> None:
        self.cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.settle()

    def log(self) -> list[dict[str, Any]]:
        """Return what the console said since it was last asked."""
        return self.send("POST", "/se/log", {"type": "browser"})

    def find(self, selector: str) -> str:
        found = self.send("POST", "/element", {"using": "css selector", "value": selector})
        return next(iter(found.values()))

    def frame(self, selector: str | None) -> None:
        """Go into a frame, or back to the page that it is in."""
        inside = None if selector is None else {ELEMENT: self.find(selector)}
        self.send("POST", "/frame", {"id": inside})

    def click(self, selector: str) -> None:
        self.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        self.send("POST", f"/element/{self.find(selector)}/click", {})
        self.settle()

    def press(self, keys: str, selector: str = "body") -> None:
        self.send("POST", f"/element/{self.find(selector)}/value", {"text": keys})
        self.settle()

    def point(self, selector: str, x: float, y: float) -> None:
        """Move the mouse to a share of an element's width and height."""
        self.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        box = self.run(
            "const b = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return [b.left, b.top, b.width, b.height]",
            selector,
        )
        at = {"x": round(box[0] + x * box[2]), "y": round(box[1] + y * box[3])}
        move = {"type": "pointerMove", "duration": 0, **at}
        pointer = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": [move]}
        self.send("POST", "/actions", {"actions": [pointer]})
        self.settle()

    def picture(self, file: Path, height: int = 0) -> None:
        """Take a picture of the page from its top, all of it or so many pixels."""
        size = self.cdp("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        got = self.cdp("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(got["data"]))


@contextlib.contextmanager
def browser(*more: str) -> Iterator[Browser]:
    """Start a driver and a browser with a profile of its own, and end both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    profile = tempfile.mkdtemp(prefix="jaxseq-browser-")
    driver = subprocess.Popen(
        [shutil.which("chromedriver"), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        options = {"args": [*ARGUMENTS, f"--user-data-dir={profile}", *more], "binary": shutil.which("chromium")}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        made = None
        for _ in range(100):
            try:
                made = _send("POST", f"http://127.0.0.1:{port}/session", {"capabilities": {"alwaysMatch": wanted}})
                break
            except urllib.error.URLError as error:
                if isinstance(error, urllib.error.HTTPError):
                    raise
                time.sleep(0.1)
        assert made is not None, "chromedriver did not answer"
        window = Browser(port, made["sessionId"])
        try:
            yield window
        finally:
            window.send("DELETE", "")
    finally:
        driver.terminate()
        driver.wait(10)
        shutil.rmtree(profile, ignore_errors=True)


def _send(method: str, url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(json.load(error)["value"]["message"]) from error


if __name__ == "__main__":
    with browser() as window:
        window.size(1280)
        window.open(Path(sys.argv[1]), "lang=en&theme=light&t=16")
        window.run("document.querySelector('#v-strip').style.display = 'none'")
        end = window.run("return document.querySelector('#v-timelines').getBoundingClientRect().bottom + 8")
        window.picture(Path(sys.argv[2]), height=end)
