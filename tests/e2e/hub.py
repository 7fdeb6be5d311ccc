"""An emulated Hugging Face Hub, beside the cluster: a gated repository that wants a token, and leads to where its files are, as the real one does.

The real Hub is not reached from here. Written after its `resolve` addresses: https://huggingface.co/docs/huggingface_hub/guides/download
"""

from contextlib import AbstractContextManager
from http.server import ThreadingHTTPServer

from e2e import storage as s3
from e2e.cluster import HOST
from http_server import Quiet, running

TOKEN = f"{s3.SECRET}-hub-token"
FILE = "acme/helmets/small.onnx@v1.2"


class Hub(Quiet):
    """Redirects who has the token to the file; 401 for the rest, also for what is not there."""

    def do_GET(self) -> None:  # noqa: N802  as http.server calls it
        """One file of one repository."""
        known = self.path == "/acme/helmets/resolve/v1.2/small.onnx" and self.headers.get("Authorization") == f"Bearer {TOKEN}"
        self.send_response(302 if known else 401)
        if known:
            self.send_header("Location", f"{s3.ENDPOINT}/{s3.PUBLIC}/small.onnx")
        self.send_header("Content-Length", "0")
        self.end_headers()


def serving() -> AbstractContextManager[str]:
    """Serve in a thread; the address."""
    return running(ThreadingHTTPServer((HOST, 0), Hub))
