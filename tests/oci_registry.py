"""A real OCI registry for tests: CNCF distribution behind TLS, and `oras` to push with. `make programs` builds both."""

import base64
import contextlib
import json
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from e2e.cluster import CACHE
from http_server import Quiet, free_port, running

USER, PASSWORD = "robot", "do-not-print-registry"  # begins like every secret of the tests
HTPASSWD = "robot:$2b$05$aNbeCMzl1agvTC0.KnZ/Ee/hD0ayKXNUhe6BxDmWSwQl9d20FzoXS"
"""Of PASSWORD."""


@dataclass
class Registry:
    """Where it is, and what is pushed to it."""

    address: str
    certificate: Path
    """Folder with ca.pem and key.pem."""
    login: tuple[str, ...] = ()
    log: Path = field(default_factory=Path)

    def push(self, folder: Path, repository: str, *files: str) -> str:
        """`oras push` of files in a folder; the digest of the manifest, 64 hex."""
        oras = [str(CACHE / "tools" / "oras"), "push", "--ca-file", str(self.certificate / "ca.pem"), *self.login, "--format", "json"]
        done = subprocess.run([*oras, f"{self.address}/{repository}:v1", *files], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        digest: str = json.loads(done.stdout)["digest"]
        return digest.removeprefix("sha256:")


@contextlib.contextmanager
def serving(folder: Path, certificate: Path, auth: dict[str, object] | None = None, host: str = "127.0.0.1") -> Iterator[Registry]:
    """Run the registry; `auth`: as in its configuration."""
    port = free_port(host)
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"{host}:{port}", "tls": {"certificate": str(certificate / "ca.pem"), "key": str(certificate / "key.pem")}},
        **({"auth": auth} if auth else {}),
    }
    # JSON is YAML.
    (folder / "config.yml").write_text(json.dumps(config), encoding="utf-8")
    log = folder / "registry.log"
    with log.open("wb") as output:
        process = subprocess.Popen([str(CACHE / "tools" / "registry"), "serve", str(folder / "config.yml")], stdout=output, stderr=output)
    try:
        for _ in range(100):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
                break
            time.sleep(0.1)
        yield Registry(f"{host}:{port}", certificate, log=log)
    finally:
        process.terminate()
        process.wait(10)


def htpasswd(folder: Path) -> dict[str, object]:
    """Access for USER with PASSWORD alone."""
    (folder / "htpasswd").write_text(f"{HTPASSWD}\n", encoding="utf-8")
    return {"htpasswd": {"realm": "registry", "path": str(folder / "htpasswd")}}


class Tokens(ThreadingHTTPServer):
    """Gives tokens that the registry takes, signed with the certificate's key. `asked`: the queries, and the Authorization headers."""

    daemon_threads = True

    def __init__(self, certificate: Path, *, anybody: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.certificate, self.anybody = certificate, anybody
        self.asked: list[tuple[dict[str, list[str]], str | None]] = []

    def token(self, scope: str) -> str:
        """A JSON Web Token for a scope such as repository:NAME:pull,push."""
        der = subprocess.run(["openssl", "x509", "-in", self.certificate / "ca.pem", "-outform", "DER"], check=True, capture_output=True).stdout
        kind, name, actions = scope.split(":")
        now = int(time.time())
        access = [{"type": kind, "name": name, "actions": actions.split(",")}]
        claims = {"iss": "tests", "sub": USER, "aud": "registry", "exp": now + 60, "nbf": now - 5, "iat": now, "jti": uuid.uuid4().hex, "access": access}
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        signed = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
        command = ["openssl", "dgst", "-sha256", "-sign", self.certificate / "key.pem"]
        return f"{signed}.{encoded(subprocess.run(command, input=signed.encode(), check=True, capture_output=True).stdout)}"


class Handler(Quiet):
    """Tokens for who logs in, or for anybody."""

    server: Tokens

    def do_GET(self) -> None:  # noqa: N802  as http.server calls it
        query, login = parse_qs(urlsplit(self.path).query), self.headers.get("Authorization")
        self.server.asked.append((query, login))
        may = self.server.anybody or login == f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
        body = json.dumps({"token": self.server.token(query["scope"][0])} if may else {}).encode()
        self.send_response(200 if may else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def tokens(certificate: Path, *, anybody: bool = False) -> Iterator[tuple[Tokens, dict[str, object]]]:
    """A server of tokens behind TLS, and what the registry's configuration says of it."""
    server = Tokens(certificate, anybody=anybody)
    with running(server, certificate) as address:
        said = {"realm": f"{address}/token", "service": "registry", "issuer": "tests", "rootcertbundle": str(certificate / "ca.pem")}
        yield server, {"token": said}


def encoded(data: bytes) -> str:
    """base64url without padding, as in RFC 7515."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
