"""Weights through an HTTP proxy."""

from urllib.parse import urlsplit

import pytest

from http_proxy import Through
from http_server import Server, Site, running, serving
from yolo_operator.core.contract import Verdict
from yolo_operator.core.errors import InvalidSpec, OperatorError, Unavailable
from yolo_operator.worker import fetch, proxy, storage, verdict
from yolo_operator.worker.proxy import Proxy


@pytest.fixture
def through():
    server = Through()
    with running(server) as server.address:
        yield server


@pytest.fixture
def fetched(tmp_path, through):
    def run(uri, *, given=None, ca="", endpoint="", timeout=10):
        verdict.write(tmp_path / "check", Verdict(state="missing"))
        directories = {"check_directory": tmp_path / "check", "source_directory": tmp_path / "source"}
        options = storage.StorageOptions(ca_bundle=ca, endpoint=endpoint)
        used = Proxy(http=through.address, https=through.address) if given is None else given
        return fetch.run(fetch.FetchOptions(uri=uri, storage=options, proxy=used, timeout=timeout, **directories))

    return run


def refused(fetched, *arguments, **more) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        fetched(*arguments, **more)
    assert "hunter2" not in caught.value.message
    return caught.value


@pytest.fixture
def far(certificate, through):
    """A site behind TLS whose name the proxy alone knows. Its certificate is for the name's address, as the name is."""
    site = Site()
    with running(Server(site), certificate) as site.address:
        yield site


def test_http_by_a_name_that_the_proxy_alone_knows(fetched, through):
    with serving(Site()) as site:
        through.names["weights.invalid"] = ("127.0.0.1", urlsplit(site.address).port)
        assert fetched("http://weights.invalid/a.pt").size_bytes == len(site.content)
    assert [(seen[0], seen[1]) for seen in through.seen] == [("GET", "http://weights.invalid/a.pt")]


def test_https_goes_through_a_tunnel_and_the_certificate_counts(fetched, through, far, certificate):
    assert fetched(f"{far.address}/a.pt", ca=str(certificate / "ca.pem")).size_bytes == len(far.content)
    assert [seen[0] for seen in through.seen] == ["CONNECT"]
    assert far.requests[0]["path"] == "/a.pt"
    assert refused(fetched, f"{far.address}/b.pt", timeout=2).reason == "SourceUnreachable"


def test_an_authority_of_the_proxys_own(fetched, through, far, certificate):
    given = Proxy(https=through.address, ca_bundle=str(certificate / "ca.pem"))
    assert fetched(f"{far.address}/a.pt", given=given).size_bytes == len(far.content)
    # What is reached without the proxy is not vouched for by it.
    direct = Proxy(https=through.address, ca_bundle=str(certificate / "ca.pem"), no_proxy=["127.0.0.0/8"])
    assert "spec.build.proxy.caBundleRef" in refused(fetched, f"{far.address}/b.pt", given=direct, timeout=2).message


def test_a_transfer_that_breaks_is_resumed(fetched, through):
    with serving(Site(break_after=[100_000])) as site:
        fetched(f"{site.address}/a.pt")
    assert [bool(request.get("range")) for request in site.requests] == [False, True]
    assert len(through.seen) == 2


def test_the_storages_server_through_the_proxy(fetched, through, weed, keys):
    s3 = storage.client(storage.StorageOptions(endpoint=weed))
    s3.create_bucket(Bucket="far")
    s3.put_object(Bucket="far", Key="a.pt", Body=b"weights")
    assert fetched("s3://far/a.pt", endpoint=weed).size_bytes == 7
    assert [seen[:2] for seen in through.seen] == [("GET", f"{weed}/far/a.pt")]
    through.status = 407
    assert refused(fetched, "s3://far/a.pt", endpoint=weed).reason == "ProxyAccessDenied"


@pytest.mark.parametrize("entry", ["127.0.0.1", "127.0.0.0/8", "*"])
def test_what_is_named_goes_directly(fetched, through, entry):
    with serving(Site()) as site:
        fetched(f"{site.address}/a.pt", given=Proxy(http=through.address, no_proxy=[entry]))
    assert through.seen == []


def test_credentials_of_the_proxy_and_of_the_source_each_go_to_their_own(fetched, through, far, certificate):
    through.login = "Basic dXNlcjpodW50ZXIy"
    given = proxy.from_environment(Proxy(https=through.address, http=through.address), "way-out", {"PROXY_USERNAME": "user", "PROXY_PASSWORD": "hunter2\n"})
    fetched(f"{far.address}/a.pt", given=given, ca=str(certificate / "ca.pem"))
    assert "proxy-authorization" not in far.requests[0]
    with serving(Site()) as site:
        fetched(f"{site.address}/a.pt", given=given)
    assert "proxy-authorization" not in site.requests[0]
    assert {seen[2] for seen in through.seen} == {through.login}


@pytest.mark.parametrize("scheme", ["http", "https", "s3"])
def test_a_proxy_that_wants_credentials(fetched, through, far, scheme, weed, keys):
    through.login = "Basic dXNlcjpodW50ZXIy"
    uri = {"http": "http://weights.invalid/a.pt", "https": f"{far.address}/a.pt", "s3": "s3://far/a.pt"}[scheme]
    error = refused(fetched, uri, endpoint=far.address if scheme == "s3" else "")
    assert (error.reason, type(error)) == ("ProxyAccessDenied", Unavailable)
    assert "spec.build.proxy.secretRef" in error.message


def test_a_proxy_that_does_not_let_a_host_pass(fetched, through, far):
    through.status = 403
    error = refused(fetched, f"{far.address}/a.pt")
    assert (error.reason, type(error)) == ("ProxyAccessDenied", Unavailable)
    assert "have it allow this host" in error.message


@pytest.mark.parametrize("uri", ["http://weights.invalid/a.pt", "https://weights.invalid/a.pt", "s3://far/a.pt"])
@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://nobody.invalid:3128"])
def test_a_proxy_that_is_not_there(fetched, uri, address, keys):
    error = refused(fetched, uri, given=Proxy(http=address, https=address), endpoint="https://s3.invalid:443", timeout=2)
    assert (error.reason, type(error)) == ("ProxyUnreachable", Unavailable)
    assert "spec.build.proxy" in error.message


@pytest.mark.parametrize(
    "uri", ["https://169.254.169.254/a.pt", "http://[::ffff:169.254.169.254]/a.pt", "http://2852039166/a.pt", "http://Metadata.Google.Internal./a.pt"]
)
def test_metadata_is_asked_for_through_no_proxy(fetched, through, uri):
    assert refused(fetched, uri).reason == "SourceAddressForbidden"
    assert through.seen == []


def test_a_redirect_to_metadata_is_not_followed_through_a_proxy(fetched, through):
    with serving(Site(statuses=[302], location="http://169.254.169.254/a.pt")) as site:
        assert refused(fetched, f"{site.address}/a.pt").reason == "SourceAddressForbidden"
    assert len(through.seen) == 1


@pytest.mark.parametrize("uri", ["http://weights.invalid/a.pt", "https://weights.invalid/a.pt", "s3://far/a.pt"])
def test_a_proxy_at_a_metadata_address(fetched, uri, keys):
    error = refused(fetched, uri, given=Proxy(http="http://169.254.169.254:80", https="http://169.254.169.254:80"), endpoint="https://s3.invalid:443")
    assert (error.reason, type(error)) == ("SourceAddressForbidden", InvalidSpec)
    assert "spec.build.proxy" in error.message


@pytest.mark.parametrize(
    ("host", "entries", "direct"),
    [
        ("s3.storage.svc", [".svc"], True),
        ("svc", [".svc"], True),
        ("s3.storage.SVC.", ["svc"], True),
        ("notsvc", ["svc"], False),
        ("example.com", ["*"], True),
        ("10.1.2.3", ["10.0.0.0/8"], True),
        ("11.1.2.3", ["10.0.0.0/8", ".svc", "x"], False),
        ("fd00::7", ["fd00::/8"], True),
        ("10.1.2.3", ["10.1.2.3"], True),
        ("example.com", [], False),
    ],
)
def test_no_proxy_is_read_as_commonly(host, entries, direct):
    assert proxy.bypassed(host, entries) is direct


@pytest.mark.parametrize("env", [{}, {"PROXY_USERNAME": "user"}])
def test_a_secret_that_has_not_both(env):
    with pytest.raises(Unavailable, match="username; password") as caught:
        proxy.from_environment(Proxy(), "way-out", env)
    assert caught.value.reason == "ProxySecretInvalid"
