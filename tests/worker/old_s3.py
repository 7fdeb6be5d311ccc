"""Stand-ins before a real S3 that refuse some requests, and let all others through to it.

As many compatible stores are: requests with the checksums that clients send unasked since 2025 are refused (https://github.com/boto/boto3/issues/4392).
As AWS is, which SeaweedFS is not: a bucket with Object Lock wants a digest with each upload
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock-managing.html), a policy can demand an encryption
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingServerSideEncryption.html).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from urllib.parse import unquote

import urllib3

import http_server

UNKNOWN = ("x-amz-checksum-", "x-amz-sdk-checksum-", "x-amz-trailer")
Refusal = tuple[int, bytes]
Rule = Callable[[str, str, Mapping[str, str]], Refusal | None]
"""Method, path with query, and headers, in lower case, to status and body of a refusal."""


def refusal(status: int, code: str, message: str) -> Refusal:
    return status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


def no_new_checksums(method, path, headers):
    if any(name.startswith(UNKNOWN) for name in headers):
        return refusal(501, "NotImplemented", "A header you provided implies functionality that is not implemented")
    return None


def object_lock(method, path, headers):
    if method == "PUT" and "x-amz-copy-source" not in headers and not any(name.startswith(("content-md5", "x-amz-checksum-")) for name in headers):
        return refusal(400, "InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters")
    return None


def encryption(algorithm, key=""):
    def rule(method, path, headers):
        said = (headers.get("x-amz-server-side-encryption", ""), headers.get("x-amz-server-side-encryption-aws-kms-key-id", ""))
        return refusal(403, "AccessDenied", "Access Denied") if method == "PUT" and said != (algorithm, key) else None

    return rule


def nothing_of_others(directory):
    def rule(method, path, headers):
        return refusal(403, "AccessDenied", "Access Denied") if directory in unquote(path) else None

    return rule


def nothing_is_written(method, path, headers):
    return refusal(400, "InvalidRequest", "The bucket is being moved") if method == "PUT" else None


class Handler(http_server.Quiet):
    server: "Server"

    def do_GET(self):  # noqa: N802  as http.server calls it
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        refused = self.server.rule(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        if refused is not None:
            self.server.refused.append(self.path)
            self.answer(refused[0], {"Content-Length": str(len(refused[1]))}, refused[1])
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

    def __init__(self, endpoint: str, rule: Rule) -> None:
        self.rule = rule
        super().__init__(("127.0.0.1", 0), Handler)
        self.pool = urllib3.connection_from_url(endpoint, maxsize=8)
        self.refused: list[str] = []
        self.endpoint = ""


@contextmanager
def before(endpoint: str, rule: Rule = no_new_checksums) -> Iterator[Server]:
    """Stand before a real S3."""
    server = Server(endpoint, rule)
    with http_server.running(server) as server.endpoint:
        yield server
