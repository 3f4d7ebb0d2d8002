"""Headless Chromium for tests: a page from a file, real clicks and keys, what it asks of the network, screenshots.

Spoken to over two pipes in the DevTools protocol, so that no driver and no socket is needed.
"""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"),
)
PATIENCE = 60  # s
KEYS = {
    name: {"windowsVirtualKeyCode": code}
    for name, code in {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowDown": 40, "ArrowUp": 38}.items()
}


@contextmanager
def browser(folder, width=1366, height=768):
    """A Page in a new browser whose profile is in `folder`; the test skips where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if not program or os.name != "posix":
        pytest.skip("there is no Chromium on this machine (Debian: apt-get install chromium)")
    # The browser reads commands from its descriptor 3 and writes answers to 4.
    (commands, to), (back, answers) = os.pipe(), os.pipe()
    command = [program, *FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank"]
    script = f'exec 3<&{commands} 4>&{answers}; exec "$@"'
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", *command],
        pass_fds=(commands, answers),
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(commands), os.close(answers)
    try:
        yield Page(to, back, width, height)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(to), os.close(back)


class Page:
    """One tab. `requests` are the addresses it asked for, `errors` what its scripts threw or complained of."""

    def __init__(self, sink, source, width, height):
        self._sink, self._source, self._last, self._session, self._read = sink, source, 0, None, b""
        self.requests, self.errors = [], []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def send(self, method, **params):
        """A command, and its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._sink, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def _receive(self):
        """The next message; what the page asked for and what went wrong in it is noted down on the way."""
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._source], [], [], PATIENCE)
            part = os.read(self._source, 1 << 20) if ready else b""
            if not part:
                raise TimeoutError(f"the browser said nothing for {PATIENCE} s")
            self._read += part
        message, _, self._read = self._read.partition(b"\0")
        message = json.loads(message)
        params = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.errors.append(params["exceptionDetails"].get("exception", {}).get("description", "exception"))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.errors.append(params["entry"]["text"])
        return message

    def open(self, path):
        """Open a file and wait until its script is through."""
        self.send("Page.navigate", url=path.resolve().as_uri())
        self.until("document.body && (document.body.dataset.ready || !document.getElementById('trouble').hidden)")

    def value(self, expression):
        """What an expression of JavaScript is worth, as data."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression):
        """Wait until an expression is true."""
        for _ in range(10 * PATIENCE):
            if self.value(f"Boolean({expression})"):
                return
            time.sleep(0.1)
        raise TimeoutError(expression)

    def click(self, x, y):
        """A click of the mouse, which was somewhere else before."""
        for kind, count in (("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 1)):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=count)

    def click_on(self, selector):
        """A click into the middle of an element, which is scrolled into sight."""
        self.value(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        box = self.value(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        self.click(*box)

    def select(self, name, value):
        """Choose an option of the list with this id."""
        self.value(
            f"(({{list}}) => {{ list.value = {json.dumps(value)}; list.dispatchEvent(new Event('change')); }})"
            f"({{list: document.getElementById({json.dumps(name)})}})"
        )

    def press(self, key):
        """A key: Tab, ArrowDown, Enter or a letter."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, **KEYS.get(key, {"text": key}))

    def screenshot(self, path, whole=False):
        """A picture of what is in sight, or of the whole page."""
        shot = self.send(
            "Page.captureScreenshot",
            format="png",
            captureBeyondViewport=whole,
            **(
                {
                    "clip": {
                        "x": 0,
                        "y": 0,
                        "width": self.value("document.documentElement.scrollWidth"),
                        "height": self.value("document.documentElement.scrollHeight"),
                        "scale": 1,
                    }
                }
                if whole
                else {}
            ),
        )
        path.write_bytes(base64.b64decode(shot["data"]))
