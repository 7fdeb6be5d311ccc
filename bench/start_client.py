"""Runs in the client Pod of `make bench-start`: an unmodified Ultralytics client that asks until it is answered.

Reads a URL for each measurement, and prints how many detections the first answer has.
"""

import json
import socket
import sys
import time
from urllib.parse import urlsplit

import cv2
from ultralytics import YOLO

ANSWER = "start: "
"""Before each answer: Ultralytics logs to the same output."""
PICTURE = cv2.imread(sys.argv[1])


def say(line: object) -> None:
    """Answer."""
    sys.stdout.write(f"{ANSWER}{json.dumps(line)}\n")
    sys.stdout.flush()


# Who asks has asked before: what PyTorch and the client load once is loaded.
YOLO("yolo11n.yaml", task="detect").predict(PICTURE, verbose=False)
say("ready")
while url := sys.stdin.readline().strip():
    while True:
        try:
            # By itself the kernel tries again after 1, 3, 7 and 15 seconds only, where packets to a Service without pods are dropped.
            socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=0.2).close()
            found = YOLO(url, task="detect").predict(PICTURE, verbose=False)[0]
            break
        except Exception:  # noqa: BLE001  nobody is there yet, in whatever words the library has for it
            time.sleep(0.1)
    say({"detections": len(found.boxes)})
