from pathlib import PurePosixPath

import pytest

from yolo_operator.core.errors import InvalidSpec
from yolo_operator.worker import addresses
from yolo_operator.worker.source import ClaimSource, HttpSource, S3Source, parse


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("s3://weights/a/b.pt", S3Source(shown="s3://weights/a/b.pt", kind="pt", file_name="b.pt", bucket="weights", key="a/b.pt")),
        (
            "https://host/a%20b.ONNX?X-Amz-Signature=secret#x",
            HttpSource(shown="https://host/a%20b.ONNX", kind="onnx", file_name="a b.ONNX", url="https://host/a%20b.ONNX?X-Amz-Signature=secret"),
        ),
        ("pvc://claim/dir/a.yml", ClaimSource(shown="pvc://claim/dir/a.yml", kind="yaml", file_name="a.yml", path=PurePosixPath("dir/a.yml"))),
        (
            "ultralytics://yolo11n.pt",
            HttpSource(shown="ultralytics://yolo11n.pt", kind="pt", file_name="yolo11n.pt", url="https://mirror/assets/yolo11n.pt"),
        ),
        (
            "hf://org/repo/dir/a+b.onnx",
            HttpSource(
                shown="hf://org/repo/dir/a+b.onnx@main", kind="onnx", file_name="a+b.onnx", url="https://huggingface.co/org/repo/resolve/main/dir/a%2Bb.onnx"
            ),
        ),
        (
            "hf://org/repo@v1.0/best.pt",
            HttpSource(shown="hf://org/repo/best.pt@v1.0", kind="pt", file_name="best.pt", url="https://huggingface.co/org/repo/resolve/v1.0/best.pt"),
        ),
        (
            "hf://org/repo/best.pt@refs/pr/1",
            HttpSource(
                shown="hf://org/repo/best.pt@refs/pr/1", kind="pt", file_name="best.pt", url="https://huggingface.co/org/repo/resolve/refs%2Fpr%2F1/best.pt"
            ),
        ),
    ],
)
def test_sources(uri, source):
    assert parse(uri, "https://mirror/assets/") == source


@pytest.mark.parametrize(
    "uri",
    [
        "ftp://host/a.pt",
        "file:///etc/passwd.pt",
        "gs://bucket/a.pt",
        "a.pt",
        "",
        "s3://weights/a.bin",
        "s3://weights/",
        "s3:///a.pt",
        "s3://weights/a.pt?versionId=1",
        "https://user:hunter2@host/a.pt",
        "https://hunter2@host/a.pt",
        "https:///a.pt",
        "https://host:port/a.pt",
        "https://host/a.pt\r\nX: y",
        "https://host/a.pt.exe",
        "https://[::1/a.pt",
        "pvc://claim/../a.pt",
        "pvc://claim/%2e%2e/a.pt",
        "pvc://claim",
        "ultralytics://../a.pt",
        "ultralytics://yolo11n.onnx",
        "ultralytics://yolo11n.pt?x=1",
        "ultralytics:///yolo11n.pt",
        "hf://org/best.pt",
        "hf://org/repo/best.bin",
        "hf://org/repo/../best.pt",
        "hf://org/repo@a/best.pt@b",
        "hf://org/repo/best.pt?download=true",
        "hf://user:hunter2@org/repo/best.pt",
    ],
)
def test_uris_that_are_refused_without_being_repeated(uri):
    with pytest.raises(InvalidSpec) as caught:
        parse(uri)
    assert caught.value.reason == "SourceUriInvalid"
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("address", "refused"),
    [
        ("169.254.169.254", True),
        ("169.254.170.2", True),
        ("fe80::1", True),
        ("fe80::1%eth0", True),
        ("::ffff:169.254.169.254", True),
        ("64:ff9b::a9fe:a9fe", True),
        ("2002:a9fe:a9fe::1", True),
        ("fd00:ec2::254", True),
        ("100.100.100.200", True),
        ("0.0.0.0", True),
        ("::", True),
        ("224.0.0.1", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("10.96.0.5", False),
        ("fd12::1", False),
        ("192.168.1.1", False),
        ("93.184.216.34", False),
    ],
)
def test_addresses(address, refused):
    assert addresses.forbidden(address) is refused


@pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "0xa9fea9fe", "[::ffff:169.254.169.254]"])
def test_ways_to_write_the_metadata_address(host):
    with pytest.raises(InvalidSpec) as caught:
        addresses.resolve(host.strip("[]"), 80)
    assert caught.value.reason == "SourceAddressForbidden"
