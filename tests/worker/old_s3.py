"""An S3 as many compatible stores are: requests with the checksums that clients send unasked since 2025 are refused, all others go to the real one.

What they answer: https://github.com/boto/boto3/issues/4392.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer

import http_server
import urllib3

UNKNOWN = ("x-amz-checksum-", "x-amz-sdk-checksum-", "x-amz-trailer")
REFUSAL = b"<Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that is not implemented</Message></Error>"


class Handler(http_server.Quiet):
    server: "Server"

    def do_GET(self):  # noqa: N802  as http.server calls it
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if any(name.lower().startswith(UNKNOWN) for name in self.headers):
            self.server.refused.append(self.path)
            self.answer(501, {"Content-Length": str(len(REFUSAL))}, REFUSAL)
            return
        # The Host stays as it came: it is signed.
        found = self.server.pool.request(self.command, self.path, body=body, headers=dict(self.headers), redirect=False, retries=False)
        kept = {name: value for name, value in found.headers.items() if name.lower() not in {"transfer-encoding", "connection"}}
        self.answer(found.status, {"Content-Length": str(len(found.data)), **kept}, found.data)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pool = urllib3.connection_from_url(endpoint, maxsize=8)
        self.refused: list[str] = []
        self.endpoint = ""


@contextmanager
def before(endpoint: str) -> Iterator[Server]:
    """Stand before a real S3."""
    server = Server(endpoint)
    with http_server.running(server) as server.endpoint:
        yield server
