"""What each release of Triton's image is. Everything that is decided by a release is decided by this table.

What no source says is None, and is treated as unknown: nothing is refused and nothing newer is used because of it. Sources, read in November 2026:

- server and ONNX Runtime: `TRITON_VERSION` and `build.py` of each branch rYY.MM of triton-inference-server/server, up to r26.08, and its
  docs/introduction/compatibility.md, which is followed where they differ (24.08).
- IR version and opset: ONNX Runtime's docs/reference/compatibility.md up to 1.20; 1.20.1 to 1.28.0 were asked themselves (PyPI's CPU wheels, models stamped
  with each number; 1.23.2 and 1.24.4 for their minor versions).
- CUDA: NVIDIA's release notes rel-YY-MM, and the table of the vLLM image of the same release in compatibility.md.
- Least driver: NVIDIA's CUDA Compatibility, Minor Version Compatibility, table 1. Forward compatibility asks for less on data centre GPUs.
- Compute capability: "GPU Requirements" of the release notes (24.10: 6.0; 25.04: 7.5), and for 24.11 to 25.03 the architectures that ONNX Runtime is compiled
  for (tools/gen_ort_dockerfile.py of triton-inference-server/onnxruntime_backend), on x86.
- --http-max-input-size: src/command_line_parser.cc of the server, first in r25.06.
- trt_profile_*: src/onnxruntime.cc of the backend, first in r24.04. The accelerator `cuda`: there too, first in r24.06.
- TensorRT 11 takes precisions from the model alone: NVIDIA's "Migrating from TensorRT 10.x to 11.x", which also says that ONNX Runtime supports it from 1.27 on.
  26.06 has an older ONNX Runtime and commits that prepare for TensorRT 11: unknown.
- NonMaxSuppression is left to TensorRT by ONNX Runtime from 1.21 on: its pull requests 22681 and 23893.
"""

import re
from dataclasses import dataclass

YearMonth = tuple[int, int]
Version = tuple[int, int]

TAG = re.compile(r":(\d\d)\.(0[1-9]|1[0-2])(?:[-.@]|$)")
STATED = re.compile(r"(\d\d)\.(0[1-9]|1[0-2])")

ONNX: dict[Version, tuple[int, int]] = {
    (1, 13): (8, 17),
    (1, 14): (8, 18),
    (1, 15): (8, 19),
    (1, 16): (9, 19),
    (1, 17): (9, 20),
    (1, 18): (10, 21),
    (1, 19): (10, 21),
    (1, 20): (10, 21),
    (1, 21): (10, 22),
    (1, 22): (10, 22),
    (1, 23): (11, 23),
    (1, 24): (13, 25),
    (1, 27): (13, 26),
    (1, 28): (13, 26),
}
"""Highest IR version and highest opset that an ONNX Runtime reads."""
LEAST_DRIVER = {12: 525, 13: 580}
"""Of a major version of CUDA, without forward compatibility."""

ROWS: dict[YearMonth, tuple[str | None, str | None, Version | None]] = {
    (23, 1): ("2.30.0", "1.13.1", None),
    (23, 2): ("2.31.0", "1.13.1", None),
    (23, 3): ("2.32.0", "1.14.1", None),
    (23, 4): ("2.33.0", "1.14.1", None),
    (23, 5): ("2.34.0", "1.15.0", (12, 1)),
    (23, 6): ("2.35.0", "1.15.0", (12, 1)),
    (23, 7): ("2.36.0", "1.15.1", (12, 1)),
    (23, 8): ("2.37.0", "1.15.1", (12, 2)),
    (23, 9): ("2.38.0", "1.16.0", None),
    (23, 10): ("2.39.0", "1.16.0", None),
    (23, 11): ("2.40.0", "1.16.3", None),
    (23, 12): ("2.41.0", "1.16.3", (12, 3)),
    (24, 1): ("2.42.0", "1.16.3", (12, 3)),
    (24, 2): ("2.43.0", "1.16.3", None),
    (24, 3): ("2.44.0", "1.17.2", None),
    (24, 4): ("2.45.0", "1.17.3", (12, 4)),
    (24, 5): ("2.46.0", "1.18.0", (12, 4)),
    (24, 6): ("2.47.0", "1.18.0", (12, 5)),
    (24, 7): ("2.48.0", "1.18.1", (12, 5)),
    (24, 8): ("2.49.0", "1.18.1", (12, 6)),
    (24, 9): ("2.50.0", "1.19.2", (12, 6)),
    (24, 10): ("2.51.0", "1.19.2", (12, 6)),
    (24, 11): ("2.52.0", "1.19.2", (12, 6)),
    (24, 12): ("2.53.0", "1.20.1", (12, 6)),
    (25, 1): ("2.54.0", "1.20.1", (12, 8)),
    (25, 2): ("2.55.0", "1.20.1", (12, 8)),
    (25, 3): ("2.56.0", "1.21.0", (12, 8)),
    (25, 4): ("2.57.0", "1.21.0", (12, 9)),
    (25, 5): ("2.58.0", "1.22.0", (12, 9)),
    (25, 6): ("2.59.0", "1.22.0", (12, 9)),
    (25, 7): ("2.59.1", "1.22.0", (12, 9)),
    (25, 8): ("2.60.0", "1.23.0", (13, 0)),
    (25, 9): ("2.61.0", "1.23.0", (13, 0)),
    (25, 10): ("2.62.0", "1.23.1", (13, 0)),
    (25, 11): ("2.63.0", "1.23.2", (13, 0)),
    (25, 12): ("2.64.0", "1.23.2", (13, 1)),
    (26, 1): ("2.65.0", "1.23.2", (13, 1)),
    (26, 2): ("2.66.0", "1.24.1", (13, 1)),
    (26, 3): ("2.67.0", "1.24.2", (13, 2)),
    (26, 4): ("2.68.0", "1.24.4", (13, 2)),
    (26, 5): ("2.69.0", "1.24.4", (13, 2)),
    (26, 6): ("2.70.0", "1.24.4", (13, 3)),
    (26, 7): ("2.71.0", "1.27.0", (13, 3)),
    (26, 8): ("2.72.0", "1.28.0", (13, 4)),
    (26, 9): (None, None, (13, 4)),
    (26, 10): (None, None, (13, 4)),
}
"""Release: version of the server, of ONNX Runtime, of CUDA."""
OLDEST, NEWEST = min(ROWS), max(ROWS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release."""

    at: YearMonth
    server: str | None
    """Version of the server, as in its metadata."""
    onnx_runtime: str | None
    max_ir_version: int | None
    """Newest ONNX format that its ONNX Runtime reads."""
    max_opset: int | None
    """Newest operator set that its ONNX Runtime knows."""
    cuda: Version | None

    @property
    def name(self) -> str:
        """As NVIDIA's tags say it: 25.08."""
        return f"{self.at[0]:02}.{self.at[1]:02}"

    @property
    def known_as(self) -> str:
        """For messages: Triton 25.08 (ONNX Runtime 1.23.0)."""
        return f"Triton {self.name}" + (f" (ONNX Runtime {self.onnx_runtime})" if self.onnx_runtime else "")

    @property
    def checks_exports(self) -> bool:
        """Exports of ours are checked, and not only an ONNX made elsewhere: later releases read all that export.opset may say (21).

        24.05 to 24.10 do so too; but the limits are part of the names of build Jobs, and where they have been said they stay.
        """
        return self.at <= (24, 10)

    @property
    def least_driver(self) -> int | None:
        """Branch of NVIDIA's driver it needs, without forward compatibility."""
        return LEAST_DRIVER.get(self.cuda[0]) if self.cuda else None

    @property
    def least_compute_capability(self) -> str:
        """Of the GPU."""
        return "7.5" if self.at >= (24, 11) else "6.0"

    @property
    def http_max_input_size(self) -> bool:
        """Knows --http-max-input-size: HTTP requests of more than 64 MiB."""
        return self.at >= (25, 6)

    @property
    def tensorrt_profiles(self) -> bool:
        """Its ONNX Runtime backend knows trt_profile_min_shapes and the like; others refuse the whole configuration."""
        return self.at >= (24, 4)

    @property
    def cuda_accelerator(self) -> bool:
        """Its ONNX Runtime backend knows the accelerator `cuda`; others refuse the whole configuration."""
        return self.at >= (24, 6)

    @property
    def tensorrt_chooses_precision(self) -> bool | None:
        """TensorRT takes FP16 and INT8 as flags of the builder (up to 10); False: from the model's own types alone (11)."""
        return True if self.at < (26, 6) else None if self.at == (26, 6) else False

    @property
    def tensorrt_runs_nms(self) -> bool:
        """ONNX Runtime leaves NonMaxSuppression to TensorRT, so that the graph stays in one part."""
        return self.at >= (25, 3)


def find(at: YearMonth) -> Release:
    """What is known of a release. One that is newer than the table is taken for the newest in it; one that is older reads no more than the oldest."""
    row = max((known for known in ROWS if known <= at), default=OLDEST)
    server, onnx_runtime, cuda = ROWS[row]
    max_ir_version, max_opset = ONNX[minor(onnx_runtime)] if onnx_runtime else (None, None)
    if row != at:
        server = onnx_runtime = cuda = None
    return Release(at=at, server=server, onnx_runtime=onnx_runtime, max_ir_version=max_ir_version, max_opset=max_opset, cuda=cuda)


def minor(version: str) -> Version:
    """1.23.2 is a 1.23."""
    first, second, *_ = version.split(".")
    return int(first), int(second)


def named(text: str | None) -> Release | None:
    """The release that spec.triton.release or a worker's flag names, such as 25.08; None for anything else."""
    match = STATED.fullmatch(text or "")
    return find((int(match[1]), int(match[2]))) if match else None


def of_image(image: str) -> Release | None:
    """The release that the image's tag names, such as …:25.08-py3; None for another tag or a digest, which tell nothing."""
    match = TAG.search(image)
    return find((int(match[1]), int(match[2]))) if match else None


def first_that_reads(ir_version: int, opset: int) -> Release | None:
    """The oldest release whose ONNX Runtime reads such an ONNX; None where none is known to."""
    for at in sorted(ROWS):
        release = find(at)
        if (release.max_ir_version or 0) >= ir_version and (release.max_opset or 0) >= opset:
            return release
    return None
