"""A real HTTP proxy of a few lines, which can know names that nobody else does."""

import contextlib
import select
import socket
from http.server import ThreadingHTTPServer
from urllib.parse import urlsplit

from http_server import Quiet


class Handler(Quiet):
    """Forwards http, and opens tunnels for https."""

    server: "Through"

    def may(self) -> bool:
        self.server.seen.append((self.command, self.path, self.headers.get("Proxy-Authorization")))
        if self.server.login and self.headers.get("Proxy-Authorization") != self.server.login:
            return self.said(407)
        return True if not self.server.status else self.said(self.server.status)

    def said(self, status: int) -> bool:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.close_connection = True
        return False

    def target(self, host: str, port: int) -> socket.socket:
        return socket.create_connection(self.server.names.get(host, (host, port)), timeout=10)

    def do_CONNECT(self) -> None:  # noqa: N802  as http.server calls it
        if not self.may():
            return
        host, _, port = self.path.rpartition(":")
        with self.target(host, int(port)) as other:
            self.send_response(200)
            self.end_headers()
            self.relay(other)

    def do_GET(self) -> None:  # noqa: N802  as http.server calls it
        if not self.may():
            return
        parts = urlsplit(self.path)
        with self.target(parts.hostname, parts.port or 80) as other:
            lines = [f"GET {parts.path} HTTP/1.1", *(f"{key}: {value}" for key, value in self.headers.items() if not key.lower().startswith("proxy-"))]
            other.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
            self.relay(other)

    def relay(self, other: socket.socket) -> None:
        """Bytes both ways until one side has no more."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            while True:
                for ready in select.select([self.connection, other], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    (other if ready is self.connection else self.connection).sendall(data)


class Through(ThreadingHTTPServer):
    """The proxy. `names`: what it alone knows; `login`: the header it wants; `status`: its answer to everything; `seen`: what it was asked for."""

    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), Handler)
        self.names: dict[str, tuple[str, int]] = {}
        self.seen: list[tuple[str, str, str | None]] = []
        self.login, self.status = "", 0

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what some tests are about."""
