"""Runs in the client Pod of `make bench-wire`: unmodified Ultralytics clients ask served models for one picture, again and again.

Reads two lines for each measurement: a job in JSON, {url, seconds, clients}, answered by "ready" once the clients have connected, and any line to
begin, answered by the times of all requests in milliseconds, from the picture in memory to the detections, and the seconds they took in all.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import Barrier

import cv2
from ultralytics import YOLO

ANSWER = "wire: "
"""Before each answer: Ultralytics logs to the same output."""
PICTURE = cv2.imread(sys.argv[1])


def ask(url: str, seconds: float, gate: Barrier) -> list[float]:
    """One request after the other; milliseconds of each. The client's connection belongs to the thread that made it."""
    model, times = YOLO(url, task="detect"), []
    for _ in range(2):
        model.predict(PICTURE, verbose=False)
    gate.wait()  # all are connected
    gate.wait()  # all begin
    until = time.perf_counter() + seconds
    while (started := time.perf_counter()) < until:
        model.predict(PICTURE, verbose=False)
        times.append((time.perf_counter() - started) * 1000)
    return times


def say(line: str) -> None:
    """Answer."""
    sys.stdout.write(f"{ANSWER}{line}\n")
    sys.stdout.flush()


while line := sys.stdin.readline():
    job = json.loads(line)
    gate = Barrier(job["clients"] + 1)
    with ThreadPoolExecutor(job["clients"]) as pool:
        asking = [pool.submit(ask, job["url"], job["seconds"], gate) for _ in range(job["clients"])]
        gate.wait(timeout=60)
        say("ready")
        sys.stdin.readline()
        began = time.perf_counter()
        gate.wait(timeout=60)
        found = [each.result() for each in asking]
    say(json.dumps({"milliseconds": list(chain.from_iterable(found)), "seconds": time.perf_counter() - began}))
