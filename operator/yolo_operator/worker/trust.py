"""Whom TLS trusts: the authorities of the system, and those of spec.storage.caBundleRef and spec.build.proxy.caBundleRef."""

import ssl
import tempfile
from pathlib import Path

from urllib3.util.ssl_ import create_urllib3_context

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


def context(bundle: str) -> ssl.SSLContext:
    """TLS that trusts what is in a file, or where it is "" the system's authorities.

    As OpenSSL, curl and Go do it, and not by the letter of RFC 5280 (VERIFY_X509_STRICT, which urllib3 sets from Python 3.13 on): many an authority that
    people made for themselves does not say what its key is for, and Triton and the S3 client take it.
    """
    made: ssl.SSLContext = create_urllib3_context(verify_flags=ssl.VERIFY_X509_PARTIAL_CHAIN)
    if bundle:
        made.load_verify_locations(bundle)
    else:
        made.load_default_certs()
    return made


def refusal(error: BaseException) -> str:
    """Why a certificate is not trusted, in OpenSSL's words where it has any."""
    cause: object = error
    while isinstance(cause, BaseException):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return str(cause.verify_message)
        cause = cause.__cause__ or next((each for each in cause.args if isinstance(each, BaseException)), None) or cause.__context__
    return "unknown CA or wrong name?"


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
