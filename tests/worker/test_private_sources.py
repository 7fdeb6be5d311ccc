"""Weights that are not public: a web server that wants credentials, presigned URLs, an emulated Hugging Face Hub."""

import pytest

from http_server import Server, Site, running, serving
from yolo_operator.core import contract
from yolo_operator.core.contract import Verdict
from yolo_operator.core.errors import InvalidSpec, OperatorError, Unavailable
from yolo_operator.worker import credentials, fetch, storage, verdict

BASIC = "Basic dXNlcjpodW50ZXIy"


@pytest.fixture
def site(certificate):
    """A web server behind TLS."""
    site = Site()
    with running(Server(site), certificate) as site.address:
        yield site


@pytest.fixture
def fetched(tmp_path, certificate):
    """Fetch as the Job's container does: the Secret's keys in variables."""

    def run(uri, *, hub_url="", **keys):
        verdict.write(tmp_path / "check", Verdict(state="missing"))
        given = credentials.from_environment("weights", {contract.SOURCE_SECRET[key]: value for key, value in keys.items()})
        options = storage.StorageOptions(ca_bundle=str(certificate / "ca.pem"))
        directories = {"check_directory": tmp_path / "check", "source_directory": tmp_path / "source"}
        return fetch.run(fetch.FetchOptions(uri=uri, storage=options, credentials=given, hub_url=hub_url, timeout=10, **directories))

    return run


def refused(fetched, *arguments, **keys) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        fetched(*arguments, **keys)
    assert "hunter2" not in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("keys", "sent"), [({"token": "hunter2\n"}, "Bearer hunter2"), ({"username": "user", "password": "hunter2"}, BASIC)], ids=["a token", "a password"]
)
def test_a_web_server_that_wants_credentials(fetched, site, keys, sent):
    assert fetched(f"{site.address}/a.pt", **keys).size_bytes == len(site.content)
    assert [request["authorization"] for request in site.requests] == [sent]


def test_a_presigned_url(fetched, site):
    found = fetched(f"{site.address}/a.pt", url=f"{site.address}/a.pt?X-Amz-Signature=hunter2")
    assert [request["path"] for request in site.requests] == ["/a.pt?X-Amz-Signature=hunter2"]
    assert "authorization" not in site.requests[0]
    assert found.uri == f"{site.address}/a.pt"


def test_credentials_stay_with_their_host(fetched, site):
    with serving(Site()) as elsewhere:
        site.statuses, site.location = [302, 302], f"{site.address}/b.pt"
        fetched(f"{site.address}/a.pt", token="hunter2")
        assert [request.get("authorization") for request in site.requests] == ["Bearer hunter2"] * 3
        with serving(Site(statuses=[302], location=f"{elsewhere.address}/signed")) as hub:
            fetched("hf://org/repo/a.pt@v1", hub_url=hub.address, token="hunter2")
    assert [(request["path"], request["authorization"]) for request in hub.requests] == [("/org/repo/resolve/v1/a.pt", "Bearer hunter2")]
    assert ["authorization" in request for request in elsewhere.requests] == [False]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        pytest.param({}, "token; username and password; or url", id="nothing, or no Secret"),
        pytest.param({"username": "user"}, "token; username and password; or url", id="half of it"),
        pytest.param({"token": "hunter2", "url": "https://host/a.pt?hunter2"}, "exactly one of", id="two ways at once"),
        pytest.param({"token": "hunter2\nX-Evil: 1"}, "no header can carry", id="a line break"),
        pytest.param({"url": "https://elsewhere/a.pt?hunter2"}, "what stands before its ? must be source.uri", id="the URL of another file"),
        pytest.param({"url": "https://[hunter2"}, "must be source.uri", id="no URL"),
    ],
)
def test_secrets_that_have_not_what_is_needed(fetched, site, keys, words):
    error = refused(fetched, f"{site.address}/a.pt", **keys)
    assert isinstance(error, Unavailable)
    assert error.reason == "SourceSecretInvalid"
    assert "Secret 'weights' (spec.versions[].source.secretRef)" in error.message
    assert words in error.message
    assert site.requests == []


def test_the_hub_takes_a_token_alone(fetched):
    assert refused(fetched, "hf://org/repo/a.pt", username="user", password="hunter2").reason == "SourceSecretInvalid"


def test_nothing_secret_goes_in_the_clear(fetched):
    with serving(Site()) as plain:
        error = refused(fetched, f"{plain.address}/a.pt", token="hunter2")
    assert isinstance(error, InvalidSpec)
    assert plain.requests == []


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_are_refused_name_their_secret(fetched, site, status):
    site.statuses = [status]
    error = refused(fetched, f"{site.address}/a.pt", token="hunter2")
    assert error.reason == "SourceAccessDenied"
    assert "Secret 'weights'" in error.message


def test_credentials_are_not_shown():
    given = credentials.Credentials(secret="weights", token="hunter2", username="user", password="hunter2", url="hunter2")
    assert "hunter2" not in repr(given)
