"""ONNX that resources of a namespace share, against a real S3."""

import hashlib
import itertools

import old_s3
import pytest
import test_storage
import yolo_models
from test_storage import OTHER, REVISION, keys_of

from yolo_operator.core.contract import MANIFEST, SOURCE_FILE, Source, Verdict
from yolo_operator.core.errors import Unavailable
from yolo_operator.worker import check, fetch, prune, publish, revisions, shared, storage, verdict

WEIGHTS = hashlib.sha256(b"a").hexdigest()
"""Digest of what yolo_models.build_pod says it was made of."""
THIRD = "00000000ff"


@pytest.fixture
def roots(options):
    """Makes roots of resources, all of one namespace that nobody else uses."""
    namespace = f"s3://models/shared/{next(_numbers)}"
    return lambda name: storage.Repository(f"{namespace}/{name}", options)


_numbers = itertools.count()


def published(repository, tmp_path, revision=REVISION, **changes):
    return test_storage.published(repository, tmp_path / repository.name, revision, **{"key": repository.name, "conversion_key": "way"} | changes)


def checked(repository, tmp_path, revision=OTHER, conversion="way", sha256="", cluster="c1"):
    """What check finds, and what it leaves for fetch."""
    directory = tmp_path / f"check-{repository.name}"
    options = check.CheckOptions(
        revision=revision, export_key="none", cluster_name=cluster, directory=directory, conversion_key=conversion, source_sha256=sha256
    )
    check.run(repository, options)
    return verdict.read(directory), shared.offered(directory, WEIGHTS)


def built_of(tmp_path, reuse):
    """A build Pod whose fetch has brought weights that somebody has published already."""
    pod = yolo_models.BuildPod(tmp_path / "pod")
    pod.source.mkdir(parents=True)
    verdict.write(pod.check, Verdict(state="missing"))
    source = Source(uri="s3://weights/mine.pt", sha256=WEIGHTS, size_bytes=1, kind="pt", file_name="mine.pt", reuse=reuse)
    (pod.source / SOURCE_FILE).write_text(source.model_dump_json(by_alias=True))
    return pod


def test_what_another_resource_made_of_the_same_weights_is_offered(roots, tmp_path):
    published(roots("first"), tmp_path)
    assert checked(roots("second"), tmp_path) == (Verdict(state="missing"), f"first/{REVISION}")


def test_and_so_is_what_the_same_resource_made_before_it_was_rebuilt(roots, tmp_path):
    published(roots("first"), tmp_path)
    assert checked(roots("first"), tmp_path)[1] == f"first/{REVISION}"


def test_what_was_made_otherwise_is_not(roots, tmp_path):
    published(roots("first"), tmp_path)
    published(roots("silent"), tmp_path, conversion_key="")
    assert checked(roots("second"), tmp_path, conversion="another way")[1] == ""
    assert checked(roots("second"), tmp_path, conversion="")[1] == ""


def test_nor_what_another_cluster_made(roots, tmp_path):
    published(roots("first"), tmp_path)
    assert checked(roots("second"), tmp_path, cluster="c2")[1] == ""


def test_nor_what_another_release_made(roots, tmp_path, monkeypatch):
    published(roots("first"), tmp_path)
    monkeypatch.setattr(shared, "__version__", "next")
    assert checked(roots("second"), tmp_path)[1] == ""


def test_weights_that_the_spec_names_by_their_digest_are_not_even_fetched(roots, tmp_path):
    published(roots("first"), tmp_path)
    assert checked(roots("second"), tmp_path, sha256=WEIGHTS)[0] == Verdict(state="reusable", reuse=f"first/{REVISION}")
    assert checked(roots("second"), tmp_path, sha256="b" * 64)[0] == Verdict(state="missing")
    assert checked(roots("second"), tmp_path, sha256=WEIGHTS, cluster="c2")[0] == Verdict(state="missing")


def test_fetch_says_it_once_the_weights_are_here(roots, tmp_path):
    claim = tmp_path / "claim"
    claim.mkdir()
    (claim / "a.pt").write_bytes(b"a")
    published(roots("first"), tmp_path)
    checked(roots("second"), tmp_path)
    options = fetch.FetchOptions(uri="pvc://claim/a.pt", check_directory=tmp_path / "check-second", source_directory=tmp_path / "source", claim_directory=claim)
    assert fetch.run(options).reuse == f"first/{REVISION}"
    (claim / "a.pt").write_bytes(b"b")
    assert fetch.run(options).reuse == ""


@pytest.mark.parametrize("known_before", [False, True], ids=["fetched", "named by digest"])
def test_publish_copies_it(roots, tmp_path, monkeypatch, known_before):
    first, second = roots("first"), roots("second")
    there = published(first, tmp_path)
    pod = built_of(tmp_path, f"first/{REVISION}")
    if known_before:
        verdict.write(pod.check, Verdict(state="reusable", reuse=f"first/{REVISION}"))
    written, real = [], storage.Repository.write
    monkeypatch.setattr(storage.Repository, "write", lambda self, key, *rest: (written.append(key), real(self, key, *rest)))
    options = test_storage.publish_options(pod, OTHER, conversion_key="way", source_sha256=WEIGHTS if known_before else "")
    here = publish.run(second, options)
    assert here.onnx_sha256 == there.onnx_sha256
    assert here.source_sha256 == WEIGHTS
    made = f"{shared.made('way', 'c1')}/{WEIGHTS}/second/{OTHER}"
    assert written == [f"{OTHER}/helmet/config.pbtxt", f"{OTHER}/helmet/warmup/golden", f"{OTHER}/{MANIFEST}", made]
    manifest = revisions.manifest(second, OTHER)
    assert revisions.whole(second, manifest)
    assert manifest.provenance["takenOverFrom"] == f"first/{REVISION}"
    assert manifest.provenance["source"]["uri"] == ("s3://weights/a.pt" if known_before else "s3://weights/mine.pt")
    prune.run(first, "c1")
    assert revisions.whole(second, manifest)
    assert checked(roots("third"), tmp_path)[1] == f"second/{OTHER}"


def test_what_is_gone_meanwhile_is_offered_no_more_and_the_next_try_exports(roots, tmp_path):
    first, second = roots("first"), roots("second")
    published(first, tmp_path)
    first.delete(f"{REVISION}/{MANIFEST}")
    assert checked(second, tmp_path)[1] == f"first/{REVISION}"
    with pytest.raises(Unavailable) as caught:
        publish.run(second, test_storage.publish_options(built_of(tmp_path, f"first/{REVISION}"), OTHER, conversion_key="way"))
    assert caught.value.reason == "RevisionVanished"
    assert checked(second, tmp_path)[1] == ""


@pytest.mark.parametrize("file", ["helmet/1/model.onnx", "golden.npz", MANIFEST])
def test_what_is_not_whole_is_not_taken_for_weights_named_by_their_digest(roots, tmp_path, file):
    published(roots("first"), tmp_path)
    roots("first").delete(f"{REVISION}/{file}")
    assert checked(roots("second"), tmp_path, sha256=WEIGHTS)[0] == Verdict(state="missing")


def test_a_manifest_of_other_weights_is_not_believed(roots, tmp_path):
    published(roots("first"), tmp_path)
    entry = f"{shared.made('way', 'c1')}/{'b' * 64}/first/{REVISION}"
    roots("first").namespace().write(entry, b"", "")
    assert checked(roots("second"), tmp_path, sha256="b" * 64)[0] == Verdict(state="missing")


@pytest.mark.parametrize("killed", [False, True], ids=["", "killed before its manifest"])
def test_prune_leaves_nothing_of_a_resource_and_all_of_the_others(roots, tmp_path, s3, killed):
    first, second = roots("first"), roots("second")
    for revision in (REVISION, OTHER):
        published(first, tmp_path, revision)
    published(second, tmp_path)
    if killed:
        first.delete(f"{REVISION}/{MANIFEST}")
    prune.run(first, "c1", remove_only=[REVISION])
    assert {key for key in keys_of(s3, first.namespace()) if key.endswith(f"first/{REVISION}")} == set()
    assert {key for key in keys_of(s3, first.namespace()) if key.endswith(f"first/{OTHER}")} != set()
    prune.run(first, "c1")
    assert {key for key in keys_of(s3, first.namespace()) if "first" in key} == set()
    assert {key for key in keys_of(s3, first.namespace()) if key.endswith(f"second/{REVISION}")} != set()


def test_keys_that_see_only_their_own_resource_share_nothing_and_lose_nothing(roots, weed, tmp_path):
    with old_s3.before(weed, old_s3.nothing_of_others(f"/{shared.DIRECTORY}/")) as strict:
        narrow = storage.Repository(roots("first").root, storage.StorageOptions(endpoint=strict.endpoint))
        assert checked(narrow, tmp_path)[0] == Verdict(state="missing")
        published(narrow, tmp_path)
        assert prune.run(narrow, "c1")["removed"] == [REVISION]
        assert strict.refused
