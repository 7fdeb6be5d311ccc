"""What an agent tells: to the kubelet whether its pod may be asked, to verify Jobs what has become of each model."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from yolo_operator.core.served_models import READY_PATH, STATES_PATH
from yolo_operator.worker.agent import Agent


class Handler(BaseHTTPRequestHandler):
    """GET /ready and GET /models."""

    server: "AgentServer"

    def do_GET(self) -> None:
        """200 or 503, and the states as JSON."""
        if self.path not in {READY_PATH, STATES_PATH}:
            self.send_error(404)
            return
        body = self.server.agent.states().model_dump_json(by_alias=True, exclude_none=True).encode()
        self.send_response(200 if self.path == STATES_PATH or self.server.agent.is_ready() else 503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Probes come every few seconds: not a word."""


class AgentServer(ThreadingHTTPServer):
    """On all addresses of the pod, of both families where there are two."""

    daemon_threads = True

    def __init__(self, agent: Agent, port: int) -> None:
        self.agent = agent
        self.address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        super().__init__(("", port), Handler)

    def server_bind(self) -> None:
        """Bind, for IPv4 too."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


@contextmanager
def answering(agent: Agent, port: int) -> Iterator[AgentServer]:
    """Answers in a thread of its own."""
    server = AgentServer(agent, port)
    thread = Thread(target=server.serve_forever, name="agent-server", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
