"""Whom TLS trusts: the authorities of the system, and those of spec.storage.caBundleRef and spec.build.proxy.caBundleRef."""

import ssl
import tempfile
from pathlib import Path

from yolo_operator.core.errors import Unavailable

SYSTEM_STORE = Path("/etc/ssl/certs/ca-certificates.crt")


def merged(ca_bundle: str, proxy_bundle: str = "") -> str:
    """A PEM file with all of them, as Triton gets it: weights may be on a public server while the storage has a CA of its own.

    `proxy_bundle`: that of spec.build.proxy.caBundleRef, for what comes through the proxy. "" without a bundle: the library's own choice.
    Raises Unavailable CaBundleNotFound and CaBundleInvalid.
    """
    given = {"spec.storage.caBundleRef": ca_bundle, "spec.build.proxy.caBundleRef": proxy_bundle}
    own = [certificates(path, field) for field, path in given.items() if path]
    if not own:
        return ""
    system = SYSTEM_STORE.read_bytes() if SYSTEM_STORE.is_file() else b""
    with tempfile.NamedTemporaryFile(suffix=".crt", delete=False) as file:
        file.write(b"\n".join([system, *own]))
    return file.name


def certificates(path: str, field: str) -> bytes:
    """What a bundle holds, once it is known to be PEM. Raises Unavailable CaBundleNotFound and CaBundleInvalid."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise Unavailable(
            "CaBundleNotFound", f"{field}: that ConfigMap, or the key in it, is not in this namespace: create it, or correct the reference"
        ) from error
    except ssl.SSLError as error:
        raise Unavailable("CaBundleInvalid", f"{field}: the ConfigMap's key holds no certificate in PEM: correct its text") from error
