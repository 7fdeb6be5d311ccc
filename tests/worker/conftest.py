import itertools

import pytest
import seaweed

from yolo_operator.worker import storage

_numbers = itertools.count()


@pytest.fixture(scope="session")
def weed(tmp_path_factory):
    """The endpoint of a real S3."""
    with seaweed.running(tmp_path_factory.mktemp("weed")) as endpoint:
        yield endpoint


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
