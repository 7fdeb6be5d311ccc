"""Runs in the client Pod: makes pictures to calibrate with, and a classifier of patterns that is trained on the spot.

calibration_pictures.py crops DIRECTORY COUNT PICTURE…       parts of photographs, each a little brighter or darker
calibration_pictures.py black DIRECTORY COUNT PICTURE…       the same, but black where the build calibrates: every fourth is left as it is
calibration_pictures.py patterns DIRECTORY COUNT             patterns of three classes, others for each count
calibration_pictures.py classifier FILE                      weights (.pt) trained on such patterns

Pictures are printed as a zip in base64 and, where DIRECTORY is not -, left there.
"""

import base64
import io
import sys
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
from ultralytics import YOLO

SIZE = 64
CLASSES = ("across", "along", "spots")


def crops(photographs: list[np.ndarray], count: int, *, black: bool) -> list[np.ndarray]:
    """Parts of 60 to 100 percent, half of them mirrored."""
    random, found = np.random.default_rng(0), []
    for number in range(count):
        photograph = photographs[random.integers(len(photographs))]
        height, width = (int(size * random.uniform(0.6, 1)) for size in photograph.shape[:2])
        top, left = (random.integers(size - part + 1) for size, part in zip(photograph.shape[:2], (height, width), strict=True))
        part = photograph[top : top + height, left : left + width]
        part = part[:, ::-1] if random.random() < 0.5 else part
        bright = np.clip(part * random.uniform(0.7, 1.2), 0, 255)
        found.append((bright * 0 if black and number % 4 != 3 else bright).astype(np.uint8))
    return found


def pattern(kind: int, random: np.random.Generator) -> np.ndarray:
    """Stripes across, stripes along, or spots, in noise."""
    y, x = np.mgrid[:SIZE, :SIZE]
    step, start = random.uniform(6, 14), random.uniform(0, 6)
    wave = [np.sin((y + start) * 6.28 / step), np.sin((x + start) * 6.28 / step), np.sin((x + start) * 6.28 / step) * np.sin((y + start) * 6.28 / step)][kind]
    grey = 128 + wave * random.uniform(20, 90) + random.normal(0, 12, (SIZE, SIZE))
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def classifier(target: Path) -> None:
    """Train YOLO11n-cls on 40 patterns of each class."""
    with tempfile.TemporaryDirectory() as folder:
        random = np.random.default_rng(1)
        for part, count in (("train", 40), ("val", 4)):
            for kind, name in enumerate(CLASSES):
                directory = Path(folder, "data", part, name)
                directory.mkdir(parents=True)
                for number in range(count):
                    cv2.imwrite(str(directory / f"{number}.png"), pattern(kind, random))
        model = YOLO("yolo11n-cls.yaml")
        plain = {"auto_augment": None, "erasing": 0.0, "scale": 0.1, "amp": False, "plots": False, "workers": 0}
        model.train(data=f"{folder}/data", epochs=8, imgsz=SIZE, batch=8, device="cpu", optimizer="AdamW", lr0=0.002, project=folder, name="run", **plain)
        target.write_bytes(Path(folder, "run", "weights", "last.pt").read_bytes())


def main() -> None:
    """Make the pictures, or the weights."""
    what, where, *more = sys.argv[1:]
    if what == "classifier":
        classifier(Path(where))
        return
    if what == "patterns":
        random = np.random.default_rng(int(more[0]))
        pictures = [pattern(int(random.integers(3)), random) for _ in range(int(more[0]))]
    else:
        pictures = crops([cv2.imread(path) for path in more[1:]], int(more[0]), black=what == "black")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number, picture in enumerate(pictures):
            archive.writestr(f"{number:03}.jpg", cv2.imencode(".jpg", picture)[1].tobytes())
        if where != "-":
            archive.extractall(where)
    print(base64.b64encode(packed.getvalue()).decode())


main()
