"""Weights in an OCI registry: CNCF distribution, pushed with oras."""

import base64
import hashlib
import json
from http.server import ThreadingHTTPServer

import pytest

import oci_registry
from http_server import Quiet, running
from oci_registry import PASSWORD, USER
from yolo_operator.core.contract import DOCKER_CONFIG, REGISTRY_SECRET, Verdict
from yolo_operator.core.errors import InvalidSpec, OperatorError, Unavailable
from yolo_operator.worker import credentials, fetch, storage, verdict
from yolo_operator.worker.oci import TITLE
from yolo_operator.worker.source import parse

LOGIN = {"username": USER, "password": PASSWORD}
WEIGHTS = b"weights" * 300_000


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "best.pt").write_bytes(WEIGHTS)
    (folder / "README.txt").write_text("…")
    (folder / "packed.pt").mkdir()
    (folder / "packed.pt" / "inner").write_text("…")
    return folder


@pytest.fixture(scope="module")
def public(tmp_path_factory, certificate):
    with oci_registry.serving(tmp_path_factory.mktemp("public"), certificate) as registry:
        yield registry


@pytest.fixture(scope="module")
def private(tmp_path_factory, certificate):
    folder = tmp_path_factory.mktemp("private")
    with oci_registry.serving(folder, certificate, oci_registry.htpasswd(folder)) as registry:
        registry.login = ("--username", USER, "--password", PASSWORD)
        yield registry


@pytest.fixture
def fetched(tmp_path, certificate):
    """Fetch as the Job's container does: the Secret's keys in variables."""

    def run(uri, *, sha256="", **keys):
        verdict.write(tmp_path / "check", Verdict(state="missing"))
        given = credentials.from_environment("registry" if keys else "", {REGISTRY_SECRET[key]: value for key, value in keys.items()})
        options = storage.StorageOptions(ca_bundle=str(certificate / "ca.pem"))
        directories = {"check_directory": tmp_path / "check", "source_directory": tmp_path / "source"}
        found = fetch.run(fetch.FetchOptions(uri=uri, sha256=sha256, storage=options, credentials=given, timeout=10, **directories))
        return found, (tmp_path / "source" / "weights.pt").read_bytes()

    return run


def refused(fetched, *arguments, **keys) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        fetched(*arguments, **keys)
    assert PASSWORD not in caught.value.message
    return caught.value


def docker_config(registry, **entry):
    return {DOCKER_CONFIG: json.dumps({"auths": {registry: entry}})}


def test_a_file_of_a_public_artifact(fetched, public, files):
    uri = f"oci://{public.address}/team/helmets@sha256:{public.push(files, 'team/helmets', 'README.txt', 'best.pt')}/best.pt"
    found, content = fetched(uri)
    assert (content, found.uri, found.kind, found.file_name) == (WEIGHTS, uri, "pt", "best.pt")


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(lambda _: LOGIN, id="user name and password"),
        pytest.param(lambda host: docker_config(host, auth=base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()), id="as kubectl create secret makes it"),
        pytest.param(lambda host: docker_config(f"https://{host}/", **LOGIN), id="as others write it"),
    ],
)
def test_a_registry_that_wants_a_password(fetched, private, files, keys):
    uri = f"oci://{private.address}/helmets@sha256:{private.push(files, 'helmets', 'best.pt')}/best.pt"
    assert fetched(uri, **keys(private.address))[1] == WEIGHTS
    assert PASSWORD not in private.log.read_text()


def test_what_a_registry_refuses(fetched, private, files):
    uri = f"oci://{private.address}/helmets@sha256:{private.push(files, 'helmets', 'best.pt')}/best.pt"
    error = refused(fetched, uri)
    assert error.reason == "SourceAccessDenied"
    assert "set spec.versions[].source.secretRef" in error.message
    error = refused(fetched, uri, username=USER, password=f"{PASSWORD}-old")
    assert error.reason == "SourceAccessDenied"
    assert "check the credentials in Secret 'registry'" in error.message


@pytest.mark.parametrize("anybody", [True, False])
def test_a_registry_that_has_tokens_given(fetched, tmp_path_factory, certificate, files, anybody):
    folder = tmp_path_factory.mktemp("tokens")
    with oci_registry.tokens(certificate, anybody=anybody) as (server, auth), oci_registry.serving(folder, certificate, auth) as registry:
        registry.login = () if anybody else ("--username", USER, "--password", PASSWORD)
        uri = f"oci://{registry.address}/helmets@sha256:{registry.push(files, 'helmets', 'best.pt')}/best.pt"
        server.asked.clear()
        assert fetched(uri, **({} if anybody else LOGIN))[1] == WEIGHTS
        ((query, login),) = server.asked
        assert query == {"service": ["registry"], "scope": ["repository:helmets:pull"]}
        assert (login is None) is anybody
        if not anybody:
            assert refused(fetched, uri, username=USER, password=f"{PASSWORD}-old").reason == "SourceAccessDenied"


def test_what_is_not_in_the_artifact(fetched, public, files):
    digest = public.push(files, "team/helmets", "README.txt", "best.pt", "packed.pt")
    error = refused(fetched, f"oci://{public.address}/team/helmets@sha256:{digest}/worst.pt")
    assert (error.reason, "it has README.txt, best.pt" in error.message) == ("SourceNotFound", True)
    assert "it is a directory" in refused(fetched, f"oci://{public.address}/team/helmets@sha256:{digest}/packed.pt").message
    assert refused(fetched, f"oci://{public.address}/team/helmets@sha256:{'0' * 64}/best.pt").reason == "SourceNotFound"


def test_another_sha256_than_the_spec_says(fetched, public, files):
    uri = f"oci://{public.address}/team/helmets@sha256:{public.push(files, 'team/helmets', 'best.pt')}/best.pt"
    assert refused(fetched, uri, sha256="0" * 64).reason == "ChecksumMismatch"


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({"username": USER}, id="half of it"),
        pytest.param(LOGIN | docker_config("other.example", **LOGIN), id="two ways at once"),
        pytest.param(docker_config("other.example", **LOGIN), id="another registry's"),
        pytest.param({DOCKER_CONFIG: "{"}, id="no JSON"),
        pytest.param({DOCKER_CONFIG: '{"auths": []}'}, id="another kind of JSON"),
        pytest.param({DOCKER_CONFIG: '{"auths": {"127.0.0.1:1": {"auth": "%"}}}'}, id="no base64"),
        pytest.param({"username": USER, "password": f"{PASSWORD}\nX-Evil: 1"}, id="a line break"),
    ],
)
def test_secrets_that_have_not_what_is_needed(fetched, keys):
    error = refused(fetched, f"oci://127.0.0.1:1/helmets@sha256:{'0' * 64}/best.pt", **keys)
    assert (error.reason, type(error)) == ("SourceSecretInvalid", Unavailable)


def test_a_login_for_docker_hub_by_any_of_its_names():
    for name in ("https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"):
        given = credentials.from_environment("hub", {REGISTRY_SECRET[DOCKER_CONFIG]: docker_config(name, **LOGIN)[DOCKER_CONFIG]})
        assert credentials.login(given, "docker.io").username == USER


class Lying(Quiet):
    """A registry that answers every request with `body`, or asks for a token in the clear."""

    server: "Liar"

    def do_GET(self):  # noqa: N802  as http.server calls it
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.send_header("WWW-Authenticate", self.server.challenge)
        self.end_headers()
        self.wfile.write(self.server.body)


class Liar(ThreadingHTTPServer):
    daemon_threads = True
    status, body, challenge = 200, b"{}", ""


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        pytest.param({"body": b'{"layers": []}'}, "ChecksumMismatch", id="another manifest"),
        pytest.param({"body": b"x" * 5_000_000}, "SourceUriInvalid", id="a manifest without end"),
        pytest.param({"status": 401, "challenge": 'Bearer realm="http://127.0.0.1:1/token",service="x"'}, "SourceRedirectRefused", id="tokens in the clear"),
        pytest.param({"status": 401, "challenge": "Bearer"}, "SourceUnreachable", id="tokens nowhere"),
        pytest.param({"status": 401, "challenge": 'Bearer realm="https://169.254.169.254/token"'}, "SourceAddressForbidden", id="tokens at a metadata address"),
        pytest.param({"status": 401}, "SourceAccessDenied", id="no challenge"),
        pytest.param({"status": 404}, "SourceNotFound", id="no such artifact"),
    ],
)
def test_registries_that_lie(fetched, certificate, more, reason):
    server = Liar(("127.0.0.1", 0), Lying)
    for key, value in more.items():
        setattr(server, key, value)
    with running(server, certificate) as address:
        assert refused(fetched, f"oci://{address.removeprefix('https://')}/helmets@sha256:{'0' * 64}/best.pt", **LOGIN).reason == reason


@pytest.mark.parametrize(
    "uri",
    [
        "oci://registry/helmets:v1/best.pt",
        "oci://registry/helmets@sha256:00/best.pt",
        f"oci://registry/Helmets@sha256:{'0' * 64}/best.pt",
        f"oci://registry@sha256:{'0' * 64}/best.pt",
        f"oci://user:pw@registry/helmets@sha256:{'0' * 64}/best.pt",
        f"oci://registry/helmets@sha256:{'0' * 64}/../best.pt",
        f"oci://registry/helmets@sha256:{'0' * 64}/best.bin",
        f"oci://registry/helmets@sha256:{'0' * 64}",
    ],
)
def test_addresses_that_name_no_file_for_good(uri):
    with pytest.raises(InvalidSpec) as caught:
        parse(uri)
    assert caught.value.reason == "SourceUriInvalid"


def test_an_address_with_everything():
    found = parse(f"oci://[fd00::7]:5000/team/my-models@sha256:{'a' * 64}/dir/best.onnx")
    assert (found.registry, found.repository, found.digest, found.file) == ("[fd00::7]:5000", "team/my-models", "a" * 64, "dir/best.onnx")


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param({"layers": 7}, id="no list"),
        pytest.param({"layers": ["a", None, {"annotations": "a"}, {"annotations": {TITLE: 7}}]}, id="no layers"),
        pytest.param([], id="no object"),
        pytest.param({"layers": [{"annotations": {TITLE: "other.pt"}}]}, id="another file"),
    ],
)
def test_manifests_that_anybody_may_have_written(fetched, certificate, manifest):
    server = Liar(("127.0.0.1", 0), Lying)
    server.body = json.dumps(manifest).encode()
    with running(server, certificate) as address:
        digest = hashlib.sha256(server.body).hexdigest()
        assert refused(fetched, f"oci://{address.removeprefix('https://')}/helmets@sha256:{digest}/best.pt", **LOGIN).reason == "SourceNotFound"


@pytest.mark.parametrize(("layer", "reason"), [({}, "SourceUriInvalid"), ({"digest": "sha512:00"}, "SourceUriInvalid"), ({"digest": 7}, "SourceUriInvalid")])
def test_layers_without_a_digest_of_sha256(fetched, certificate, layer, reason):
    server = Liar(("127.0.0.1", 0), Lying)
    server.body = json.dumps({"layers": [{"annotations": {TITLE: "best.pt"}} | layer]}).encode()
    with running(server, certificate) as address:
        digest = hashlib.sha256(server.body).hexdigest()
        assert refused(fetched, f"oci://{address.removeprefix('https://')}/helmets@sha256:{digest}/best.pt", **LOGIN).reason == reason
