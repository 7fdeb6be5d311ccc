"""The table of Triton's releases, and what is decided by it."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

import gen
import manifests
from yolo_operator.core.resources import job
from yolo_operator.core.triton import releases

DOCS = Path(__file__).resolve().parents[3] / "docs" / "serving.md"


def test_no_release_reads_less_than_the_one_before():
    rows = [releases.find(at) for at in sorted(releases.ROWS)]
    for before, after in pairwise(row for row in rows if row.max_opset is not None):
        assert (after.max_ir_version or 0) >= (before.max_ir_version or 0)
        assert (after.max_opset or 0) >= (before.max_opset or 0)
    for before, after in pairwise(row for row in rows if row.cuda is not None):
        assert (after.cuda or (0, 0)) >= (before.cuda or (0, 0))


def test_every_month_from_the_oldest_to_the_newest_is_there():
    months = [12 * year + month for year, month in sorted(releases.ROWS)]
    assert months == list(range(months[0], months[-1] + 1))


@pytest.mark.parametrize(
    ("image", "name"),
    [
        pytest.param("nvcr.io/nvidia/tritonserver:25.08-py3", "25.08", id="NVIDIA's tag"),
        pytest.param("registry:5000/triton:24.10", "24.10", id="a mirror that keeps it"),
        pytest.param("nvcr.io/nvidia/tritonserver:25.08-py3@sha256:" + "0" * 64, "25.08", id="a tag with a digest"),
        pytest.param("mirror/triton:prod", None, id="a tag that says nothing"),
        pytest.param("mirror/triton@sha256:" + "0" * 64, None, id="a digest alone"),
        pytest.param("mirror/triton:2.60.0", None, id="the server's version"),
        pytest.param("mirror/triton:25.13", None, id="no month"),
        pytest.param("mirror/triton:25.081", None, id="no release"),
    ],
)
def test_the_release_of_an_image(image, name):
    found = releases.of_image(image)
    assert (found.name if found else None) == name


def test_a_newer_release_than_the_table_is_taken_for_the_newest_in_it_and_an_older_one_reads_no_more_than_the_oldest():
    newest, newer = releases.find(releases.NEWEST), releases.find((99, 1))
    assert (newer.max_ir_version, newer.max_opset, newer.http_max_input_size) == (newest.max_ir_version, newest.max_opset, True)
    assert (newer.name, newer.server, newer.cuda) == ("99.01", None, None), "what it is has not been read anywhere"
    older = releases.find((21, 6))
    assert (older.max_ir_version, older.max_opset, older.http_max_input_size, older.onnx_runtime) == (8, 17, False, None)


@pytest.mark.parametrize(
    ("release", "flag", "profiles", "accelerator", "chooses"),
    [
        ("24.03", False, False, False, True),
        ("24.04", False, True, False, True),
        ("24.06", False, True, True, True),
        ("25.05", False, True, True, True),
        ("25.06", True, True, True, True),
        ("26.06", True, True, True, None),
        ("26.07", True, True, True, False),
    ],
)
def test_what_a_release_knows(release, flag, profiles, accelerator, chooses):
    found = releases.named(release)
    assert found is not None
    assert (found.http_max_input_size, found.tensorrt_profiles, found.cuda_accelerator, found.tensorrt_chooses_precision) == (
        flag,
        profiles,
        accelerator,
        chooses,
    )


@pytest.mark.parametrize(
    ("ir_version", "opset", "name"),
    [(8, 17, "23.01"), (8, 18, "23.03"), (10, 21, "24.05"), (11, 23, "25.08"), (13, 25, "26.02"), (13, 26, "26.07"), (14, 26, None)],
)
def test_the_first_release_that_reads_an_onnx(ir_version, opset, name):
    found = releases.first_that_reads(ir_version, opset)
    assert (found.name if found else None) == name


ONNX = {"versions": [gen.version(source={"uri": "s3://weights/helmet.onnx"})]}


@pytest.mark.parametrize(
    ("spec", "arguments"),
    [
        pytest.param({}, ["--triton-release=25.08"], id="all that the exporter makes is read: no limits"),
        pytest.param(ONNX, ["--triton-release=25.08", "--max-ir-version=11", "--max-opset=23"], id="an ONNX made elsewhere"),
        pytest.param(
            {"triton": {"image": "tritonserver:24.10"}}, ["--triton-release=24.10", "--max-ir-version=10", "--max-opset=21"], id="as they were said before"
        ),
        pytest.param({"triton": {"image": "tritonserver:23.10"}}, ["--triton-release=23.10", "--max-ir-version=9", "--max-opset=19"], id="an old one"),
        pytest.param(ONNX | {"triton": {"image": "triton:prod"}}, [], id="nobody says the release"),
        pytest.param(
            ONNX | {"triton": {"image": "triton:prod", "release": "26.02"}},
            ["--triton-release=26.02", "--max-ir-version=13", "--max-opset=25"],
            id="the spec says it",
        ),
        pytest.param(ONNX | {"triton": {"release": "25.03"}}, ["--triton-release=25.03", "--max-ir-version=10", "--max-opset=22"], id="the spec knows better"),
        pytest.param(ONNX | {"triton": {"image": "tritonserver:26.10-py3"}}, ["--triton-release=26.10"], id="no source says what it reads"),
    ],
)
def test_what_publish_is_told_of_the_image(spec, arguments):
    (container,) = manifests.build_job(**spec)["spec"]["template"]["spec"]["containers"]
    assert [said for said in container["args"] if said.startswith(("--triton-release", "--max-ir-version", "--max-opset"))] == arguments


def test_the_release_is_no_part_of_a_job_s_name_and_what_it_reads_is():
    def name(image, **spec):
        return manifests.build_job(**gen.merged(spec, {"triton": {"image": image}}))["metadata"]["name"]

    assert name("tritonserver:25.08") == name("tritonserver:25.09") == name("tritonserver:prod")
    assert name("tritonserver:25.03", **ONNX) != name("tritonserver:25.08", **ONNX), "refused as too new, it is tried again with a newer image"
    assert job.RELEASE_FLAG in str(manifests.build_job())


def test_the_docs_have_the_table():
    wanted = "\n".join(documented())
    assert wanted in DOCS.read_text(), f"docs/serving.md, Triton's image, must have:\n{wanted}"


def documented() -> list[str]:
    """The table for people: releases with the same facts in one line, the newest first."""
    lines: list[tuple[str, list[str]]] = []
    for at in sorted(releases.ROWS, reverse=True):
        release = releases.find(at)
        runtime = re.sub(r"[.]\d+$", "", release.onnx_runtime) if release.onnx_runtime else "?"
        onnx = f"{release.max_ir_version} / {release.max_opset}" if release.max_opset else "?"
        cuda = f"{release.cuda[0]}.{release.cuda[1]}" if release.cuda else "?"
        precision = {True: "yes", None: "?", False: "no"}[release.tensorrt_chooses_precision]
        facts = [runtime, onnx, cuda, str(release.least_driver or "?"), release.least_compute_capability]
        flags = ["yes" if known else "no" for known in (release.http_max_input_size, release.tensorrt_profiles)]
        text = " | ".join([*facts, *flags, precision])
        if lines and lines[-1][0] == text:
            lines[-1][1].append(release.name)
        else:
            lines.append((text, [release.name]))
    return [f"| {names[0] if len(names) == 1 else f'{names[-1]} to {names[0]}'} | {text} |" for text, names in lines]
