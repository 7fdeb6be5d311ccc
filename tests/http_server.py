"""A web server that behaves badly on demand: breaks connections, redirects, stalls, forgets about ranges."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Site:
    """One file at every path, and how it is answered."""

    content: bytes = b"weights" * 40_000
    tag: str = '"one"'
    ranges: bool = True
    break_after: list[int] = field(default_factory=list)
    """Bytes after which the connection breaks, one entry per request; then it holds."""
    statuses: list[int] = field(default_factory=list)
    """Answers before the file, one per request."""
    location: str = ""
    lie: int = 0
    """Added to Content-Length."""
    stall: float = 0
    requests: list[dict[str, str]] = field(default_factory=list)
    address: str = ""


class Quiet(BaseHTTPRequestHandler):
    """Keeps connections, and writes no line for each request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass


class Handler(Quiet):
    server: "Server"

    def do_GET(self):
        site = self.server.site
        site.requests.append({"path": self.path, **{name.lower(): value for name, value in self.headers.items()}})
        time.sleep(site.stall)
        if site.statuses:
            self.answer(site.statuses.pop(0))
            return
        begin = self.begin(site)
        body = site.content[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body) + site.lie))
        if site.tag:
            self.send_header("ETag", site.tag)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(site.content) - 1}/{len(site.content)}")
        self.end_headers()
        if site.break_after:
            self.wfile.write(body[: site.break_after.pop(0)])
            self.close_connection = True
            return
        self.wfile.write(body)
        self.close_connection = bool(site.lie)

    def begin(self, site: Site) -> int:
        wanted = self.headers.get("Range", "")
        if not site.ranges or not wanted or self.headers.get("If-Range") != site.tag:
            return 0
        return int(wanted.removeprefix("bytes=").rstrip("-"))

    def answer(self, status: int) -> None:
        self.send_response(status)
        if self.server.site.location:
            self.send_header("Location", self.server.site.location)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, site: Site, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), Handler)
        self.site = site

    def handle_error(self, request, client_address):
        """A client that hangs up is what some tests are about."""


@contextmanager
def running(server: ThreadingHTTPServer, certificate: Path | None = None) -> Iterator[str]:
    """Serve in a thread, behind TLS with a folder that holds ca.pem and key.pem; the address."""
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "ca.pem", certificate / "key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://{server.server_address[0]}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    with running(Server(site)) as site.address:
        yield site


def self_signed(folder: Path, address: str = "127.0.0.1") -> Path:
    """Make a certificate of an IP address that nobody else vouches for: ca.pem, and its key.pem, in the folder."""
    subject = ["-subj", f"/CN={address}", "-addext", f"subjectAltName=IP:{address}"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "ca.pem")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files], check=True, capture_output=True)
    return folder


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        port: int = listener.getsockname()[1]
    return port
