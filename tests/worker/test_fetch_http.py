import hashlib
import json
import socket

import pytest

from http_server import Site, serving
from yolo_operator.core.contract import SOURCE_FILE, Verdict
from yolo_operator.core.errors import InvalidSpec, OperatorError, Unavailable
from yolo_operator.worker import download, fetch, remote, verdict


@pytest.fixture(autouse=True)
def no_patience(monkeypatch):
    """Real waits, but short ones."""
    monkeypatch.setattr(download, "LONGEST_WAIT", 0.05)


@pytest.fixture
def site():
    with serving(Site()) as running:
        yield running


def fetched(tmp_path, uri, **changes):
    options = {"timeout": 20, "check_directory": tmp_path / "check", "source_directory": tmp_path / "source"}
    verdict.write(tmp_path / "check", Verdict(state="missing"))
    return fetch.run(fetch.FetchOptions(uri=uri, **(options | changes)))


def refused(tmp_path, uri, **changes) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        fetched(tmp_path, uri, **changes)
    assert not (tmp_path / "source" / SOURCE_FILE).exists()
    return caught.value


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_and_its_description(tmp_path, site):
    fetched(tmp_path, f"{site.address}/dir/helmet.pt?token=secret", sha256=digest(site.content))
    assert (tmp_path / "source" / "weights.pt").read_bytes() == site.content
    said = json.loads((tmp_path / "source" / SOURCE_FILE).read_text())
    assert said == {
        "uri": f"{site.address}/dir/helmet.pt",
        "sha256": digest(site.content),
        "sizeBytes": len(site.content),
        "kind": "pt",
        "fileName": "helmet.pt",
        "reuse": "",
    }
    assert site.requests[0]["path"].endswith("?token=secret")
    assert not list((tmp_path / "source").glob("*.part*"))


@pytest.mark.parametrize("state", ["published", "reusable"])
def test_nothing_is_fetched_where_nothing_is_missing(tmp_path, site, state):
    verdict.write(tmp_path / "check", Verdict(state=state, reuse="0123456789"))
    options = fetch.FetchOptions(uri=f"{site.address}/a.pt", check_directory=tmp_path / "check", source_directory=tmp_path / "source")
    assert fetch.run(options) is None
    assert site.requests == []


def test_a_broken_connection_is_resumed(tmp_path, site):
    site.break_after = [100_000, 70_000]
    fetched(tmp_path, f"{site.address}/a.pt", sha256=digest(site.content))
    assert "range" not in site.requests[0]
    assert site.requests[1]["if-range"] == site.tag
    assert int(site.requests[1]["range"].removeprefix("bytes=").rstrip("-")) > 0


def test_without_a_validator_it_starts_over(tmp_path, site):
    site.tag, site.break_after = "", [100_000]
    fetched(tmp_path, f"{site.address}/a.pt", sha256=digest(site.content))
    assert all("range" not in request for request in site.requests)


def test_a_weak_validator_is_none(tmp_path, site):
    site.tag, site.break_after = 'W/"one"', [100_000]
    fetched(tmp_path, f"{site.address}/a.pt", sha256=digest(site.content))
    assert all("range" not in request for request in site.requests)


def test_a_server_without_ranges_starts_over(tmp_path, site):
    site.ranges, site.break_after = False, [100_000]
    fetched(tmp_path, f"{site.address}/a.pt", sha256=digest(site.content))
    assert len(site.requests) == 2


def half_fetched(tmp_path, site):
    """What a killed fetch leaves."""
    site.break_after = [100_000] + [0] * 50
    refused(tmp_path, f"{site.address}/a.pt")
    site.break_after, site.requests = [], []
    assert (tmp_path / "source" / "weights.pt.part").stat().st_size > 0


def test_a_rerun_resumes_what_the_killed_one_left(tmp_path, site):
    half_fetched(tmp_path, site)
    fetched(tmp_path, f"{site.address}/a.pt", sha256=digest(site.content))
    assert "range" in site.requests[0]


def test_a_rerun_after_the_content_changed_starts_over(tmp_path, site):
    half_fetched(tmp_path, site)
    site.content, site.tag = b"other" * 50_000, '"two"'
    fetched(tmp_path, f"{site.address}/a.pt", sha256=digest(site.content))


def test_a_rerun_with_a_damaged_part_starts_over_before_it_blames_the_source(tmp_path, site):
    half_fetched(tmp_path, site)
    part = tmp_path / "source" / "weights.pt.part"
    part.write_bytes(b"x" * part.stat().st_size)
    fetched(tmp_path, f"{site.address}/a.pt", sha256=digest(site.content))


def test_a_rerun_for_another_uri_does_not_take_the_part(tmp_path, site):
    half_fetched(tmp_path, site)
    fetched(tmp_path, f"{site.address}/b.pt", sha256=digest(site.content))
    assert "range" not in site.requests[0]


def test_another_checksum(tmp_path, site):
    error = refused(tmp_path, f"{site.address}/a.pt", sha256="0" * 64)
    assert isinstance(error, InvalidSpec)
    assert error.reason == "ChecksumMismatch"
    assert not (tmp_path / "source" / "weights.pt").exists()


@pytest.mark.parametrize(("status", "reason"), [(404, "SourceNotFound"), (410, "SourceNotFound"), (401, "SourceAccessDenied"), (403, "SourceAccessDenied")])
def test_answers_that_only_the_world_can_cure(tmp_path, site, status, reason):
    site.statuses = [status]
    error = refused(tmp_path, f"{site.address}/a.pt")
    assert isinstance(error, Unavailable)
    assert error.reason == reason
    assert len(site.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_passing_faults_pass(tmp_path, site, status):
    site.statuses = [status, status]
    fetched(tmp_path, f"{site.address}/a.pt", sha256=digest(site.content))


def test_a_server_that_stays_broken_is_given_up(tmp_path, site):
    site.statuses = [500] * 100
    error = refused(tmp_path, f"{site.address}/a.pt")
    assert error.reason == "SourceUnreachable"
    assert len(site.requests) <= download.PATIENCE + 1


def test_nobody_listens(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = refused(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}/a.pt")
    assert error.reason == "SourceUnreachable"


def test_a_server_that_accepts_and_never_answers(tmp_path, site, monkeypatch):
    monkeypatch.setattr(remote, "READ_TIMEOUT", 0.2)
    site.stall = 1
    assert refused(tmp_path, f"{site.address}/a.pt", timeout=1).reason == "SourceUnreachable"


def test_a_file_that_is_announced_too_large(tmp_path, site):
    error = refused(tmp_path, f"{site.address}/a.pt", max_bytes=1000)
    assert error.reason == "WeightsTooLarge"


def test_a_file_that_turns_out_too_large(tmp_path, site, monkeypatch):
    monkeypatch.setattr(remote.HttpRemote, "_opened", unannounced(remote.HttpRemote._opened))
    assert refused(tmp_path, f"{site.address}/a.pt", max_bytes=1000).reason == "WeightsTooLarge"
    assert not list((tmp_path / "source").glob("*"))


def unannounced(original):
    def opened(self, answer, offset, validator):
        found = original(self, answer, offset, validator)
        return remote.Opened(offset=found.offset, total=None, validator=found.validator, chunks=found.chunks)

    return opened


def test_fewer_bytes_than_announced_are_not_the_file(tmp_path, site):
    site.lie = 10
    assert refused(tmp_path, f"{site.address}/a.pt", timeout=1).reason == "SourceUnreachable"


def test_no_room(tmp_path, site, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download.Download, "_write", full)
    error = refused(tmp_path, f"{site.address}/a.pt")
    assert error.reason == "DiskFull"
    assert "spec.build.storageSize" in error.message


def test_a_redirect_is_followed(tmp_path, site):
    with serving(Site(statuses=[302], location=f"{site.address}/real?signature=secret")) as front:
        fetched(tmp_path, f"{front.address}/a.pt", sha256=digest(site.content))


def test_redirects_in_a_circle(tmp_path, site):
    site.statuses, site.location = [302] * 50, f"{site.address}/again"
    assert refused(tmp_path, f"{site.address}/a.pt").reason == "SourceUriInvalid"


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("file:///etc/passwd", "SourceRedirectRefused"),
        ("ftp://host/a.pt", "SourceRedirectRefused"),
        ("http://user:hunter2@127.0.0.1/a.pt", "SourceRedirectRefused"),
        ("http://169.254.169.254/latest/meta-data/", "SourceAddressForbidden"),
        ("http://[fe80::1]/", "SourceAddressForbidden"),
        ("//169.254.169.254/", "SourceAddressForbidden"),
    ],
)
def test_redirects_that_are_refused(tmp_path, site, location, reason):
    site.statuses, site.location = [302], location
    error = refused(tmp_path, f"{site.address}/a.pt")
    assert error.reason == reason
    assert isinstance(error, InvalidSpec)
    assert "hunter2" not in error.message


def test_a_name_that_resolves_to_the_metadata_address(tmp_path, monkeypatch):
    real = socket.getaddrinfo

    def resolving(host, port, *arguments, **options):
        return real("169.254.169.254" if host == "innocent.example" else host, port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolving)
    assert refused(tmp_path, "http://innocent.example/a.pt").reason == "SourceAddressForbidden"


def test_only_the_source_is_connected_to(tmp_path, site, monkeypatch):
    connected, real = set(), socket.socket.connect

    def connect(self, address):
        connected.add(f"http://{address[0]}:{address[1]}")
        return real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setenv("HTTP_PROXY", "http://user:hunter2@127.0.0.1:1")
    fetched(tmp_path, f"{site.address}/a.pt")
    assert connected == {site.address}


def test_a_claim(tmp_path):
    claim = tmp_path / "claim"
    (claim / "dir").mkdir(parents=True)
    (claim / "dir" / "a.pt").write_bytes(b"weights")
    fetched(tmp_path, "pvc://weights/dir/a.pt", claim_directory=claim, sha256=digest(b"weights"))
    assert (tmp_path / "source" / "weights.pt").read_bytes() == b"weights"


@pytest.mark.parametrize(("path", "reason"), [("out.pt", "SourceUriInvalid"), ("folder.pt", "SourceUriInvalid"), ("missing.pt", "SourceNotFound")])
def test_paths_of_a_claim_that_are_refused(tmp_path, path, reason):
    claim = tmp_path / "claim"
    (claim / "folder.pt").mkdir(parents=True)
    (tmp_path / "secret.pt").write_bytes(b"secret")
    (claim / "out.pt").symlink_to(tmp_path / "secret.pt")
    assert refused(tmp_path, f"pvc://weights/{path}", claim_directory=claim).reason == reason
