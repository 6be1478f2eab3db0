from __future__ import annotations

import re
import threading
from http.client import HTTPConnection

import pytest

from fundus_synth.classify.deploy.serve import HOST, POLICY, address, page_server
from fundus_synth.classify.deploy.web_page import SOURCES
from fundus_synth.runtime.errors import UserError


@pytest.fixture
def folder(tmp_path):
    page = tmp_path / "page"
    (page / "runtime").mkdir(parents=True)
    for name, content in {
        "index.html": "<p>page", "version.js": "self.PAGE = {};", "runtime/a.wasm": "wasm", "runtime/b.mjs": "mjs",
        "model.onnx": "model", "notes.py": "secret",
    }.items():  # fmt: skip
        (page / name).write_text(content)
    (tmp_path / "outside.txt").write_text("secret")
    (page / "link.txt").symlink_to(tmp_path / "outside.txt")
    return page


@pytest.fixture
def server(folder):
    server = page_server(folder, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


def _ask(server, path: str, method: str = "GET", host: str | None = None):
    connection = HTTPConnection(HOST, server.server_port, timeout=10)
    connection.request(method, path, headers={"Host": host} if host else {})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


@pytest.mark.parametrize(
    ("path", "kind", "content"),
    [
        ("/", "text/html; charset=utf-8", b"<p>page"),
        ("/index.html?x=1", "text/html; charset=utf-8", b"<p>page"),
        ("/version.js", "text/javascript; charset=utf-8", b"self.PAGE = {};"),
        ("/runtime/a.wasm", "application/wasm", b"wasm"),
        ("/runtime/b.mjs", "text/javascript; charset=utf-8", b"mjs"),
        ("/model.onnx", "application/octet-stream", b"model"),
    ],
)
def test_every_file_of_the_page_has_its_type(server, path, kind, content):
    response, found = _ask(server, path)
    assert (response.status, response.headers["Content-Type"], found) == (200, kind, content)
    head, nothing = _ask(server, path, "HEAD")
    assert head.status == 200 and head.headers["Content-Length"] == str(len(content)) and nothing == b""


@pytest.mark.parametrize(
    "path",
    ["/runtime", "/runtime/", "/../outside.txt", "/%2e%2e/outside.txt", "/runtime/../../outside.txt", "/link.txt",
     "/notes.py", "//etc/passwd", "/nothing.js", "/index.html%00"],
)  # fmt: skip
def test_nothing_else_is_handed_out(server, path):
    response, content = _ask(server, path)
    assert response.status == 404 and b"secret" not in content


@pytest.mark.parametrize("path", ["/", "/nothing.js"])
def test_every_answer_has_the_headers_that_protect(server, path):
    headers = _ask(server, path)[0].headers
    assert headers["Content-Security-Policy"] == f"{POLICY}; frame-ancestors 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
    assert "Python" not in headers["Server"]


def test_the_page_states_the_same_policy_for_other_servers():
    markup = (SOURCES / "index.html").read_text()
    assert re.search(r'Content-Security-Policy" content="([^"]+)"', markup)[1] == POLICY
    assert "default-src 'none'" in POLICY and "unsafe-inline" not in POLICY and "'unsafe-eval'" not in POLICY


def test_other_names_and_methods_are_refused(server):
    assert _ask(server, "/", host="evil.example")[0].status == 403
    assert _ask(server, "/", host="localhost:1")[0].status == 200
    assert _ask(server, "/", "POST")[0].status == 501


def test_only_this_machine_can_reach_it(server):
    assert server.server_address[0] == "127.0.0.1" and address(server) == f"http://127.0.0.1:{server.server_port}/"


def test_what_is_no_page_and_a_taken_port_are_refused(folder, server, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is not a page"):
        page_server(tmp_path / "empty", 0)
    with pytest.raises(UserError, match="cannot be used"):
        page_server(folder, server.server_port)
