"""Whom TLS trusts: the authorities of the system, and those of spec.storage.caBundleRef."""

import ssl
import tempfile
from pathlib import Path

from yolo_operator.core.errors import Unavailable

SYSTEM_STORE = Path("/etc/ssl/certs/ca-certificates.crt")


def merged(ca_bundle: str) -> str:
    """A PEM file with both, as Triton gets it: weights may be on a public server while the storage has a CA of its own.

    "" without a bundle: the library's own choice. Raises Unavailable CaBundleNotFound and CaBundleInvalid.
    """
    if not ca_bundle:
        return ""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=ca_bundle)
        own = Path(ca_bundle).read_bytes()
    except FileNotFoundError as error:
        raise Unavailable(
            "CaBundleNotFound",
            "spec.storage.caBundleRef: that ConfigMap, or the key in it, is not in this namespace: create it, or correct the reference",
        ) from error
    except ssl.SSLError as error:
        raise Unavailable("CaBundleInvalid", "spec.storage.caBundleRef: the ConfigMap's key holds no certificate in PEM: correct its text") from error
    system = SYSTEM_STORE.read_bytes() if SYSTEM_STORE.is_file() else b""
    with tempfile.NamedTemporaryFile(suffix=".crt", delete=False) as file:
        file.write(system + b"\n" + own)
    return file.name
