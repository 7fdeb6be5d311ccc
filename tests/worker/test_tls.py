"""https with a CA of one's own: S3 and http sources."""

import ssl
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import http_server
from yolo_operator.core.contract import Verdict
from yolo_operator.core.errors import Unavailable
from yolo_operator.worker import fetch, storage, trust, verdict

ABSENT = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>absent</Message></Error>"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        weights = self.path.endswith(".pt")
        body = b"weights" if weights else ABSENT
        self.send_response(200 if weights else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def endpoint(certificate, keys):
    with http_server.running(ThreadingHTTPServer(("127.0.0.1", 0), Handler), certificate) as address:
        yield address


def test_s3_with_its_ca(endpoint, certificate):
    options = storage.StorageOptions(endpoint=endpoint, ca_bundle=str(certificate / "ca.pem"))
    assert storage.Repository("s3://models/a", options).read("key", 10) is None


def test_s3_without_its_ca(endpoint):
    with pytest.raises(Unavailable) as caught:
        storage.Repository("s3://models/a", storage.StorageOptions(endpoint=endpoint)).read("key", 10)
    assert caught.value.reason == "StorageUnreachable"
    assert "spec.storage.caBundleRef" in caught.value.message
    assert "self-signed certificate" in caught.value.message, "OpenSSL's own words"


def test_s3_with_a_ca_that_is_not_there(endpoint, tmp_path):
    with pytest.raises(Unavailable) as caught:
        storage.Repository("s3://models/a", storage.StorageOptions(endpoint=endpoint, ca_bundle=str(tmp_path / "ca.crt")))
    assert caught.value.reason == "CaBundleNotFound"
    assert "spec.storage.caBundleRef" in caught.value.message


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_s3_with_a_ca_that_is_none(endpoint, tmp_path, text):
    (tmp_path / "ca.crt").write_text(text)
    with pytest.raises(Unavailable) as caught:
        storage.Repository("s3://models/a", storage.StorageOptions(endpoint=endpoint, ca_bundle=str(tmp_path / "ca.crt")))
    assert caught.value.reason == "CaBundleInvalid"
    assert "spec.storage.caBundleRef" in caught.value.message


def fetched(tmp_path, endpoint, ca_bundle):
    verdict.write(tmp_path / "check", Verdict(state="missing"))
    options = storage.StorageOptions(ca_bundle=ca_bundle)
    directories = {"check_directory": tmp_path / "check", "source_directory": tmp_path / "source"}
    return fetch.run(fetch.FetchOptions(uri=f"{endpoint}/a.pt", storage=options, timeout=10, **directories))


def test_a_source_with_its_ca(tmp_path, endpoint, certificate):
    assert fetched(tmp_path, endpoint, str(certificate / "ca.pem")).size_bytes == 7


def test_a_public_source_though_the_storage_has_a_ca_of_its_own(tmp_path, endpoint, certificate, monkeypatch):
    monkeypatch.setattr(trust, "SYSTEM_STORE", certificate / "ca.pem")
    subject = ["-subj", "/CN=other", "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "other.pem")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject], check=True, capture_output=True)
    assert fetched(tmp_path, endpoint, str(tmp_path / "other.pem")).size_bytes == 7


def test_a_source_without_its_ca(tmp_path, endpoint):
    with pytest.raises(Unavailable) as caught:
        fetched(tmp_path, endpoint, "")
    assert caught.value.reason == "SourceUnreachable"
    assert "caBundleRef" in caught.value.message
    assert "self-signed certificate" in caught.value.message, "OpenSSL's own words"


def test_an_authority_that_does_not_say_what_its_key_is_for(tmp_path):
    """Many that people made for themselves do not: Triton, curl and the S3 client trust them, and Python 3.13 would not by itself."""
    ca, leaf = tmp_path / "ca", tmp_path / "leaf"
    ca.mkdir()
    leaf.mkdir()
    plain = ["-config", "/dev/null", "-newkey", "rsa:2048", "-nodes"]
    openssl("req", "-x509", *plain, "-subj", "/CN=ours", "-addext", "basicConstraints=CA:TRUE", "-keyout", ca / "key.pem", "-out", ca / "ca.pem", "-days", "1")
    openssl("req", *plain, "-subj", "/CN=127.0.0.1", "-keyout", leaf / "key.pem", "-out", leaf / "request.pem")
    (leaf / "extensions").write_text("subjectAltName=IP:127.0.0.1\n")
    authority = ["-CA", ca / "ca.pem", "-CAkey", ca / "key.pem", "-CAcreateserial"]
    openssl("x509", "-req", "-in", leaf / "request.pem", *authority, "-days", "1", "-extfile", leaf / "extensions", "-out", leaf / "ca.pem")
    with http_server.running(ThreadingHTTPServer(("127.0.0.1", 0), Handler), leaf) as address:
        assert fetched(tmp_path, address, str(ca / "ca.pem")).size_bytes == 7
        with pytest.raises(Unavailable, match="unable to get local issuer certificate"):
            fetched(tmp_path, address, "")
    assert not trust.context("").verify_flags & ssl.VERIFY_X509_STRICT


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
