"""Squid, as companies run it: it wants a login, looks into TLS with a certificate authority of its own, and vouches for what it fetches. Debian's squid-openssl."""

import os
import pwd
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from http_server import free_port

PROGRAM = Path("/usr/sbin/squid")
LIBRARY = Path("/usr/lib/squid")
CONFIGURATION = """\
http_port {host}:{port} ssl-bump tls-cert={folder}/ca.pem tls-key={folder}/key.pem generate-host-certificates=on dynamic_cert_mem_cache_size=1MB
sslcrtd_program {library}/security_file_certgen -s {folder}/certificates -M 4MB
sslcrtd_children 1
acl opened at_step SslBump1
ssl_bump peek opened
ssl_bump bump all
tls_outgoing_options cafile={trusted}
auth_param basic program {library}/basic_ncsa_auth {folder}/passwords
auth_param basic children 1
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all
cache deny all
access_log stdio:{folder}/access.log
cache_log {folder}/cache.log
pid_filename {folder}/squid.pid
coredump_dir {folder}
shutdown_lifetime 1 seconds
workers 1
"""


class Squid:
    """A proxy that runs."""

    def __init__(self, folder: Path, address: str) -> None:
        self._folder, self.address = folder, address
        self.authority = (folder / "ca.pem").read_text(encoding="utf-8")

    def seen(self) -> list[str]:
        """Its log of requests."""
        return (self._folder / "access.log").read_text(encoding="utf-8").splitlines()


@contextmanager
def running(folder: Path, host: str, user: str, password: str, trusted: Path) -> Iterator[Squid]:
    """Serve on an address of this machine; `trusted` is whom it trusts behind it. The folder must be one that the user `proxy` can enter."""
    port = free_port(host)
    subject = ["-subj", "/CN=the company's proxy", "-addext", "basicConstraints=critical,CA:TRUE"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "ca.pem"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files], check=True, capture_output=True)
    crypt = subprocess.run(["openssl", "passwd", "-apr1", "-stdin"], input=password, check=True, capture_output=True, text=True).stdout.strip()
    (folder / "passwords").write_text(f"{user}:{crypt}\n")
    subprocess.run([LIBRARY / "security_file_certgen", "-c", "-s", folder / "certificates", "-M", "4MB"], check=True, capture_output=True)
    (folder / "squid.conf").write_text(CONFIGURATION.format(host=host, port=port, folder=folder, library=LIBRARY, trusted=trusted))
    owner = pwd.getpwnam("proxy")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.pw_uid, owner.pw_gid)
    with (folder / "stderr").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "--foreground", "-f", folder / "squid.conf"], stdout=log, stderr=log)
    try:
        address = f"http://{host}:{port}"
        wait_for_answer(address, process, folder)
        yield Squid(folder, address)
    finally:
        process.terminate()
        process.wait(15)


def wait_for_answer(address: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    """Until it answers anything at all."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, (folder / "stderr").read_text()
        try:
            with urlopen(address, timeout=2):
                return
        except OSError as error:
            if hasattr(error, "code"):
                return
        time.sleep(0.2)
    raise AssertionError(f"squid does not answer: {(folder / 'cache.log').read_text()[-800:]}")
