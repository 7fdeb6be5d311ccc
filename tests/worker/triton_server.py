"""A real Triton on the CPU for tests: PyPI's nvidia-pytriton, ONNX Runtime as a python-based backend, a repository in S3.

Needs Python 3.11 with its shared library (the stub is made for it). YOLO_TEST_TRITON names a folder that is laid out already.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import seaweed

PACKAGE = "nvidia-pytriton==0.7.0"
BACKEND = Path(__file__).parent.parent / "cluster" / "images" / "tritonserver-cpu" / "onnxruntime" / "model.py"
STUB = f"{sys.version_info.major}.{sys.version_info.minor}"


def library_folder() -> Path | None:
    """Where libpython3.X.so is; None where this interpreter has none."""
    name = f"libpython{STUB}.so.1.0"
    folders = [sysconfig.get_config_var("LIBDIR"), "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"]
    return next((Path(folder) for folder in folders if folder and (Path(folder) / name).exists()), None)


def is_possible() -> bool:
    """Whether a server can be had here."""
    return BACKEND.exists() and library_folder() is not None


def installed() -> Path:
    """The server's folder, made on first use."""
    given = os.environ.get("YOLO_TEST_TRITON")
    place = Path(given) if given else seaweed.cache() / "triton"
    if not given:
        if not (place / "ready").exists():
            install(place)
        renew_backend(place)
    return place


def renew_backend(place: Path) -> None:
    """The backend as it is in this clone; what is there may be of an older one."""
    there = place / "pytriton" / "tritonserver" / "backends" / "onnxruntime" / "model.py"
    if there.read_bytes() != BACKEND.read_bytes():
        fresh = there.with_suffix(f".{os.getpid()}")
        shutil.copy(BACKEND, fresh)
        fresh.replace(there)


def install(place: Path) -> None:
    """Wheel, stub, backend and the backend's own venv with numpy 1 (the stub was built before numpy 2)."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    subprocess.run([*seaweed.pip(), "download", "-q", "--no-deps", "-d", str(place), PACKAGE], check=True)
    wheel = next(place.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        wanted = ("pytriton/tritonserver/", "nvidia_pytriton.libs/")
        archive.extractall(place, [name for name in archive.namelist() if name.startswith(wanted)])
    wheel.unlink()
    server = place / "pytriton" / "tritonserver"
    shutil.copy(server / "python_backend_stubs" / STUB / "triton_python_backend_stub", server / "backends" / "python")
    for program in (server / "bin" / "tritonserver", server / "backends" / "python" / "triton_python_backend_stub"):
        program.chmod(0o755)
    backend = server / "backends" / "onnxruntime"
    backend.mkdir()
    shutil.copy(BACKEND, backend / "model.py")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "ort")], check=True)
    target = place / "ort" / "lib" / f"python{STUB}" / "site-packages"
    subprocess.run([*seaweed.pip(), "install", "-q", "--target", str(target), "numpy<2", "onnxruntime"], check=True)
    (backend / "pb_exec_env_model.py.tar.gz").symlink_to(place / "ort")
    (place / "ready").touch()


def picture_decoder() -> Path:
    """OpenCV of the tests' own environment alone: as in a serving pod, NumPy is the server's. Hard links, since it loads itself by its real path."""
    site = Path(sysconfig.get_path("platlib"))
    place = seaweed.cache() / f"picture-decoder-{version('opencv-python-headless')}"
    if not place.exists():
        made = place.with_suffix(f".{os.getpid()}")
        for part in ("cv2", "opencv_python_headless.libs"):
            shutil.copytree(site / part, made / part, copy_function=os.link)
        made.rename(place)
    return place


@contextmanager
def running(repository: str, log: Path, *flags: str, mode: str = "none") -> Iterator[tuple[int, int, int]]:
    """A server on a repository, s3://… or a directory; its HTTP, gRPC and metrics ports once it has loaded everything. `mode`: of model control."""
    place = installed()
    server = place / "pytriton" / "tritonserver"
    http, grpc, metrics = (seaweed.free_port() for _ in range(3))
    arguments = [str(server / "bin" / "tritonserver"), f"--model-repository={repository}", f"--model-control-mode={mode}"]
    arguments += [*flags, "--disable-auto-complete-config", f"--backend-directory={server / 'backends'}", f"--cache-directory={server / 'caches'}"]
    for name, port in (("http", http), ("grpc", grpc), ("metrics", metrics)):
        arguments += [f"--{name}-port={port}", f"--{name}-address=127.0.0.1"]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))},
        # As NVIDIA's images have NumPy in the Python of their Python backend.
        "PATH": f"{place / 'ort' / 'bin'}:{os.environ['PATH']}",
        "PICTURE_DECODER": str(picture_decoder()),
        "LD_LIBRARY_PATH": f"{place / 'nvidia_pytriton.libs'}:{library_folder()}",
        "AWS_ACCESS_KEY_ID": seaweed.KEY,
        "AWS_SECRET_ACCESS_KEY": seaweed.SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    with log.open("wb") as output, subprocess.Popen(arguments, env=environment, stdout=output, stderr=output) as process:
        try:
            # Triton listens for metrics last.
            for url in (f"http://127.0.0.1:{http}/v2/health/live", f"http://127.0.0.1:{metrics}/metrics"):
                wait(url, process, log)
            yield http, grpc, metrics
        finally:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()


def wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"tritonserver ended with {process.returncode}: {log.read_text(errors='replace')[-2000:]}")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (TimeoutError, urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise TimeoutError(f"tritonserver did not come up: {log.read_text(errors='replace')[-2000:]}")
