import itertools
import shutil

import pytest
import seaweed

from http_server import self_signed
from yolo_operator.worker import storage

_numbers = itertools.count()


@pytest.fixture(scope="session")
def weed(tmp_path_factory):
    """The endpoint of a real S3."""
    with seaweed.running(tmp_path_factory.mktemp("weed")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A folder with a certificate of 127.0.0.1 that nobody else vouches for, ca.pem, and its key.pem."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    return self_signed(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def keys(monkeypatch):
    """Right credentials in the environment, and nothing else of this machine's."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweed.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.SECRET)


@pytest.fixture
def s3(weed):
    """A plain client to look at what is there."""
    return seaweed.client(weed)


@pytest.fixture
def options(weed, keys):
    return storage.StorageOptions(endpoint=weed)


@pytest.fixture
def repository(options):
    """A root of its own for each test."""
    return storage.Repository(f"s3://models/test/ns/resource-{next(_numbers)}", options)
