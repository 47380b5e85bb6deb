"""Firefox without a window, by Marionette, its own protocol: the calls of Playwright that the tests of a page need.

Playwright drives only a Firefox that it builds itself. A message is its length, a colon, and a JSON list.
"""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRWPair
from pathlib import Path
from tempfile import TemporaryDirectory

NAMES = ("firefox-esr", "firefox")
START, ANSWER = 60, 120  # s
SETTINGS = {
    "marionette.port": 0,  # a free one, which Firefox writes into the profile
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "app.update.enabled": False,
    "toolkit.telemetry.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "privacy.resistFingerprinting": True,  # what reads a canvas gets noise
}


def executable() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def started() -> Iterator["Firefox"]:
    """A Firefox with a profile of its own, ended with the block."""
    with TemporaryDirectory(prefix="firefox-", ignore_cleanup_errors=True) as profile:
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in SETTINGS.items())
        Path(profile, "user.js").write_text("".join(lines))
        command = (executable(), "--headless", "--no-remote", "--marionette", "--profile", profile, "about:blank")
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                address = "127.0.0.1", port(Path(profile, "MarionetteActivePort"))
                with socket.create_connection(address, ANSWER) as connection, connection.makefile("rwb") as stream:
                    yield Firefox(stream)
            finally:
                process.terminate()
                process.wait(START)


def port(file: Path) -> int:
    for _ in range(10 * START):
        if file.exists() and file.read_text().strip():
            return int(file.read_text())
        time.sleep(0.1)
    raise TimeoutError(f"Firefox did not start within {START} s")


class Firefox:
    """One page. Methods are those of Playwright's page."""

    def __init__(self, stream: BufferedRWPair) -> None:
        self.stream, self.number = stream, 0
        self._read()  # what Firefox says first
        self._ask("WebDriver:NewSession", capabilities={"alwaysMatch": {"timeouts": {"script": 1000 * ANSWER}}})

    def _read(self) -> object:
        length = b""
        while (character := self.stream.read(1)) != b":":
            length += character
        return json.loads(self.stream.read(int(length)))

    def _ask(self, command: str, **parameters: object) -> object:
        self.number += 1
        message = json.dumps([0, self.number, command, parameters]).encode()
        self.stream.write(b"%d:%s" % (len(message), message))
        self.stream.flush()
        _, _, error, result = self._read()
        if error:
            raise RuntimeError(f"{command}: {error['message']}")
        return result

    def goto(self, address: str) -> None:
        self._ask("WebDriver:Navigate", url=address)

    def evaluate(self, expression: str, arg: object = None) -> object:
        """The value of an expression; a function is called with ``arg``, a promise is waited for."""
        script = f"const value = ({expression}); return typeof value === 'function' ? value(arguments[0]) : value;"
        return self._ask("WebDriver:ExecuteScript", script=script, args=[arg])["value"]

    def wait_for_function(self, expression: str, arg: object = None) -> None:
        """Until an expression, or what a function returns, is true."""
        ends = time.monotonic() + ANSWER
        while not self.evaluate(expression, arg):
            if time.monotonic() > ends:
                raise TimeoutError(expression)
            time.sleep(0.05)

    def inner_text(self, selector: str) -> str:
        return self.evaluate("selector => document.querySelector(selector).innerText", selector)

    def set_input_files(self, selector: str, path: Path) -> None:
        found = self._ask("WebDriver:FindElement", using="css selector", value=selector)["value"]
        (element,) = found.values()
        self._ask("WebDriver:ElementSendKeys", id=element, text=str(path))
