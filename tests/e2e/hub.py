"""An emulated Hugging Face Hub, beside the cluster: a gated repository that wants a token, and leads to where its files are, as the real one does.

The real Hub is not reached from here. Written after its `resolve` addresses: https://huggingface.co/docs/huggingface_hub/guides/download
"""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from e2e import storage as s3

HOST = "10.99.0.1"
"""The machine as the cluster's pods reach it: HOST_ADDRESS of tests/cluster/settings.py."""
TOKEN = f"{s3.SECRET}-hub-token"
FILE = "acme/helmets/small.onnx@v1.2"


class Hub(BaseHTTPRequestHandler):
    """Redirects who has the token to the file; 401 for the rest, also for what is not there."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        """One file of one repository."""
        known = self.path == "/acme/helmets/resolve/v1.2/small.onnx" and self.headers.get("Authorization") == f"Bearer {TOKEN}"
        self.send_response(302 if known else 401)
        if known:
            self.send_header("Location", f"{s3.ENDPOINT}/{s3.PUBLIC}/small.onnx")
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Serve in a thread; the address."""
    server = ThreadingHTTPServer((HOST, 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
