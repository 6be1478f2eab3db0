"""A page of `web_page` on this machine: for a look at it, and for phones that are connected by a tunnel of the user's own."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ...runtime.errors import UserError
from .web_page import VERSION, write_page
from .web_runtime import runtime_files

HOST = "127.0.0.1"
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'"
)
"""Content-Security-Policy of the page; index.html states the same for other servers."""

_TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8", ".json": "application/json", ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8",
    ".onnx": "application/octet-stream", ".safetensors": "application/octet-stream",
}  # fmt: skip
_HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_PIECE = 1 << 20


def serve(source: Path | str, port: int, runtime: Path | str | None, announce: Callable[[str], None]) -> None:
    """Hand out a page until Ctrl-C.

    Args:
        source: a folder of `write_page`, or a model file, whose page is then made for the time being.
        port: 0 for any that is free.
        runtime: for a model file, see `web_runtime.runtime_files`.
        announce: is told the address.

    Raises:
        UserError: neither a page nor a model file, no runtime, or the port is taken.
    """
    source = Path(source)
    with tempfile.TemporaryDirectory() as temporary:
        folder = source
        if not source.is_dir():
            folder = write_page(source, Path(temporary) / "page", runtime_files(runtime)).folder
        server = page_server(folder, port)
        announce(f"{address(server)} (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            server.server_close()


def page_server(folder: Path | str, port: int) -> ThreadingHTTPServer:
    """A server of this machine alone; `serve_forever` starts it, `server_close` frees the port.

    Only the files that the folder holds now are handed out, by their exact names.

    Args:
        folder: of `write_page`.
        port: 0 for any that is free.

    Raises:
        UserError: no page, or the port is taken.
    """
    folder = Path(folder)
    if not (folder / "index.html").is_file() or not (folder / VERSION).is_file():
        raise UserError("is not a page of fundus-classify export --web", path=folder)
    files = {f"/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*") if _servable(path, folder)}
    files["/"] = folder / "index.html"
    try:
        return _Server((HOST, port), partial(_Handler, files))
    except (OSError, OverflowError) as error:
        raise UserError(f"port {port} cannot be used ({error})", hint="Choose another: --port 0 takes any.") from error


def address(server: ThreadingHTTPServer) -> str:
    """Where the page is."""
    return f"http://{HOST}:{server.server_port}/"


def _servable(path: Path, folder: Path) -> bool:
    """Whether it is a file of a known type, and not a link that leads elsewhere."""
    return path.is_file() and path.suffix in _TYPES and path.resolve().is_relative_to(folder.resolve())


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address) -> None:
        # A browser that goes away in the middle of an answer is no news.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version = "fundus-synth", ""

    def __init__(self, files: dict[str, Path], *arguments):
        self._files = files
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Hand out a file."""
        self._answer(whole=True)

    def do_HEAD(self) -> None:
        """Say what there is."""
        self._answer(whole=False)

    def log_message(self, format: str, *arguments) -> None:
        """Nothing: the terminal shows the address and stays readable."""

    def _answer(self, whole: bool) -> None:
        # A name that only resolves to this machine is how another site would reach it.
        if self.headers.get("Host", "").rsplit(":", 1)[0] not in (HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        path = self._files.get(self.path.partition("?")[0])
        if path is None or not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", _TYPES[path.suffix])
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()
        if whole:
            with path.open("rb") as stream:
                while piece := stream.read(_PIECE):
                    self.wfile.write(piece)

    def end_headers(self) -> None:
        """With the headers that every answer has."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()
