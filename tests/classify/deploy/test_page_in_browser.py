"""The page in a real Chromium, driven over its debugging pipe: the answer of Python, on a desktop and on a phone, offline too."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from fundus_synth.classify.deploy.predict import predict_files
from fundus_synth.classify.deploy.serve import address, page_server
from fundus_synth.classify.deploy.web_page import write_page
from fundus_synth.classify.deploy.web_runtime import NPM, runtime_files
from fundus_synth.data.image_file import write_image
from fundus_synth.data.phantom.torture import torture_set
from fundus_synth.runtime.errors import UserError

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SIZES = {"desktop": (1280, 900, False), "phone": (390, 844, True)}
READY = "document.getElementById('choose')?.disabled === false"
DONE = "document.getElementById('status').textContent === 'Done.'"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

# Chromium reads its orders from descriptor 3 and writes to descriptor 4.
_PLUG = "import os, sys; [os.dup2(int(sys.argv[i]), i + 2) for i in (1, 2)]; os.execv(sys.argv[3], sys.argv[3:])"


class Browser:
    """One tab of a headless Chromium."""

    def __init__(self, profile: Path, width: int, height: int, mobile: bool):
        ours, theirs = _crossed_pipes()
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PLUG, *map(str, theirs), CHROMIUM, *options, f"--user-data-dir={profile}"],
            pass_fds=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for descriptor in theirs:
            os.close(descriptor)
        self._read, self._write = ours
        self._number, self._rest, self._session, self.events = 0, b"", None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def call(self, method: str, **parameters) -> dict:
        """Send one order and wait for what it returns."""
        self._number += 1
        order = {"id": self._number, "method": method, "params": parameters}
        order |= {"sessionId": self._session} if self._session else {}
        os.write(self._write, json.dumps(order).encode() + b"\0")
        while True:
            message = self._message()
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def _message(self) -> dict:
        while b"\0" not in self._rest:
            piece = os.read(self._read, 1 << 20)
            assert piece, "Chromium ended"
            self._rest += piece
        one, _, self._rest = self._rest.partition(b"\0")
        return json.loads(one)

    def value(self, expression: str) -> object:
        """Of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression in the page is true."""
        for _ in range(3000):
            if self.value(condition):
                return
            time.sleep(0.1)
        raise AssertionError(f"{condition}: {self.value('document.body.innerText')} {self.complaints()}")

    def choose(self, file: Path) -> dict:
        """Give the page a file and return what it finds."""
        self.value("document.getElementById('status').textContent = ''")
        self.give(file)
        self.wait(DONE)
        return json.loads(self.value("document.getElementById('result').dataset.found"))

    def give(self, file: Path) -> None:
        """A file, as a user does."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector="#choose")["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def complaints(self) -> list[dict]:
        """Errors, warnings and whatever else the page wrote into the console."""
        kinds = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return [event for event in self.events if event["method"] in kinds]

    def requests(self) -> set[str]:
        """Every address that the page asked for."""
        return {e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"}

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        os.close(self._read)
        os.close(self._write)


def _crossed_pipes() -> tuple[tuple[int, int], tuple[int, int]]:
    """(read, write) for this side and for the other, none of them 3 or 4, which would be overwritten there."""
    pipes = [os.pipe(), os.pipe()]
    high = [[fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in pipe] for pipe in pipes]
    for pipe in pipes:
        for end in pipe:
            os.close(end)
    return (high[1][0], high[0][1]), (high[0][0], high[1][1])


@cache
def _runtime() -> dict[str, bytes]:
    try:
        return runtime_files(os.environ.get("FUNDUS_WEB_RUNTIME", NPM))
    except UserError as error:
        pytest.skip(f"{error}; or set FUNDUS_WEB_RUNTIME to its folder")


@pytest.fixture(scope="module")
def page(tmp_path_factory, toy_model) -> Path:
    return write_page(toy_model, tmp_path_factory.mktemp("web") / "page", _runtime()).folder


@contextmanager
def _serving(page: Path) -> Iterator[ThreadingHTTPServer]:
    server = page_server(page, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)


@pytest.fixture
def server(page):
    with _serving(page) as server:
        yield server


@pytest.fixture
def photographs(tmp_path):
    """Simulated camera files whose field of view is plain; one is a JPEG that lies on its side."""
    (first,) = torture_set(1, seed=2, size=600, only="whole")
    (second,) = torture_set(1, seed=4, size=400, only="whole")
    write_image(tmp_path / "eye.png", first.image)
    _write_turned(tmp_path / "<img src=x onerror=alert(1)>.jpg", second.image)
    return [tmp_path / "eye.png", tmp_path / "<img src=x onerror=alert(1)>.jpg"]


def _write_turned(path: Path, image: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).rotate(90, expand=True).save(path, quality=92, subsampling=2, exif=exif)


def _check(found: dict, expected: dict) -> None:
    names = [name for name in expected if name.startswith("p_")]
    assert (found["action"], found["reason"], "; ".join(found["set"])) == (
        expected["action"], expected["reason"], expected["set"],
    )  # fmt: skip
    assert found["probabilities"] == pytest.approx([expected[name] for name in names], abs=1e-3)
    assert found["unfamiliarity"] == pytest.approx(expected["unfamiliarity"], abs=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_it_answers_as_python_does_and_offline_too(tmp_path, server, toy_model, photographs, size):
    expected = [predict_files(toy_model, [file], quiet=True)[0] for file in photographs]
    browser = Browser(tmp_path / "profile", *SIZES[size])
    try:
        browser.call("Page.navigate", url=address(server))
        browser.wait(READY)
        for file, row in zip(photographs, expected, strict=True):
            _check(browser.choose(file), row)
            assert browser.value("document.getElementById('file').textContent") == file.name
        browser.value("document.getElementById('heat').click()")
        browser.wait("document.getElementById('heat-note').textContent !== ''")
        assert browser.value("document.documentElement.scrollWidth <= innerWidth")
        browser.wait("document.getElementById('offline').textContent.includes('without a network')")
        server.shutdown()
        server.server_close()
        browser.call("Page.navigate", url=address(server) + "index.html")
        browser.wait(READY)
        _check(browser.choose(photographs[0]), expected[0])
        assert browser.complaints() == []
        assert all(url.startswith((address(server), "blob:")) for url in browser.requests())
    finally:
        browser.close()


def _drawn(browser: Browser) -> str:
    return browser.value("document.getElementById('canvas').toDataURL()")


def test_a_heat_map_of_the_class_before_is_not_drawn(tmp_path, toy_model, photographs):
    """Where the network has no maps, they take a while: another class is chosen meanwhile."""
    model = onnx.load(toy_model)
    for output in [output for output in model.graph.output if output.name == "maps"]:
        model.graph.output.remove(output)
    onnx.save(model, tmp_path / "slow.onnx")
    folder = write_page(tmp_path / "slow.onnx", tmp_path / "slow", _runtime()).folder
    choose = "document.querySelectorAll('#classes input')[{}].click()"
    noted = "document.getElementById('heat-note').textContent !== ''"
    with _serving(folder) as server:
        browser = Browser(tmp_path / "profile", *SIZES["phone"])
        try:
            browser.call("Page.navigate", url=address(server))
            browser.wait(READY)
            browser.choose(photographs[0])
            plain = _drawn(browser)
            browser.value("document.getElementById('heat').click()")
            browser.wait("document.getElementById('status').textContent.includes('Hiding')")
            browser.value(choose.format(1))
            browser.wait(noted)
            after = _drawn(browser)
            browser.value(choose.format(0))
            browser.wait(noted)
            first = _drawn(browser)
            browser.value(choose.format(1))
            browser.wait(noted)
            assert after == _drawn(browser) and len({plain, first, after}) == 3
            assert browser.value("document.getElementById('status').textContent") == "Done."
        finally:
            browser.close()


def test_what_is_no_photograph_is_refused_in_words(tmp_path, server, toy_model):
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
    files = [
        ("text.jpg", b"hello", "not a picture"),
        ("half.png", png + (9).to_bytes(4, "big") * 2, "damaged"),
        ("huge.png", png + (60000).to_bytes(4, "big") * 2, "megapixels"),
    ]
    browser = Browser(tmp_path / "profile", *SIZES["phone"])
    try:
        browser.call("Page.navigate", url=address(server))
        browser.wait(READY)
        for name, content, words in files:
            (tmp_path / name).write_bytes(content)
            browser.give(tmp_path / name)
            browser.wait(f"document.getElementById('status').textContent.includes('{words}')")
            browser.wait(READY)
        assert browser.value("document.getElementById('result').hidden") is True
        write_image(tmp_path / "wall.png", np.full((200, 300, 3), 90, np.uint8))
        (expected,) = predict_files(toy_model, [tmp_path / "wall.png"], quiet=True)
        assert browser.choose(tmp_path / "wall.png")["action"] == expected["action"] == "retake"
    finally:
        browser.close()
