"""Runs in the client Pod of `make bench-wire`: unmodified Ultralytics clients ask served models for one picture, again and again; or NVIDIA's client sends its file.

Reads two lines for each measurement: a job in JSON, {url, seconds, clients, files}, answered by "ready" once the clients have connected, and any line to
begin, answered by the times of all requests in milliseconds, from the picture's file to the detections, and the seconds they took in all.
"""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from threading import Barrier
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import tritonclient.http as triton
from ultralytics import YOLO

ANSWER = "wire: "
"""Before each answer: Ultralytics logs to the same output."""
PICTURE = sys.argv[1]


def by_ultralytics(url: str) -> Callable[[], object]:
    """Reads the file, sends pixels, and finds what is in the answer."""
    model = YOLO(url, task="detect")
    return lambda: model.predict(PICTURE, verbose=False)


def by_file(url: str) -> Callable[[], object]:
    """Sends the file, and has the detections."""
    parts = urlsplit(url)
    client = triton.InferenceServerClient(parts.netloc)

    def send() -> object:
        picture = triton.InferInput("picture", [1, 1], "BYTES")
        picture.set_data_from_numpy(np.array([[Path(PICTURE).read_bytes()]], dtype=object))
        return client.infer(f"{parts.path.strip('/')}-pictures", [picture]).as_numpy("boxes")

    return send


def ask(job: dict[str, Any], gate: Barrier) -> list[float]:
    """One request after the other; milliseconds of each. The client's connection belongs to the thread that made it."""
    send, times = (by_file if job["files"] else by_ultralytics)(job["url"]), []
    for _ in range(2):
        send()
    gate.wait()  # all are connected
    gate.wait()  # all begin
    until = time.perf_counter() + job["seconds"]
    while (started := time.perf_counter()) < until:
        send()
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
        asking = [pool.submit(ask, job, gate) for _ in range(job["clients"])]
        gate.wait(timeout=60)
        say("ready")
        sys.stdin.readline()
        began = time.perf_counter()
        gate.wait(timeout=60)
        found = [each.result() for each in asking]
    say(json.dumps({"milliseconds": list(chain.from_iterable(found)), "seconds": time.perf_counter() - began}))
