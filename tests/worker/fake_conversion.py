"""Stands in for the exporter's child process: behaves as its options' task of the moment says (FAKE_CONVERSION)."""

import os
import signal
import sys
import time
from pathlib import Path

from yolo_operator.core.contract import EXPORT_FILE, GOLDEN, ONNX_FILE
from yolo_operator.core.errors import InvalidSpec, Unavailable
from yolo_operator.exporter.export import ConversionOptions, leave_outcome

options, outcome = ConversionOptions.model_validate_json(sys.argv[1]), Path(sys.argv[2])
match os.environ["FAKE_CONVERSION"]:
    case "export":
        for name in (ONNX_FILE, GOLDEN, EXPORT_FILE):
            (options.export_directory / name).write_text(os.environ["YOLO_OFFLINE"])
    case "half":
        (options.export_directory / ONNX_FILE).write_text("")
    case "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    case "hang":
        if os.fork() == 0:
            (outcome.parent.parent / "grandchild").write_text(str(os.getpid()))
            time.sleep(60)
        time.sleep(60)
    case "foreign":
        leave_outcome(outcome, InvalidSpec("NotYoloWeights", "no weights"))
        sys.exit(1)
    case "full":
        leave_outcome(outcome, Unavailable("DiskFull", "no room"))
        sys.exit(1)
    case "silent":
        sys.exit(3)
    case "rubbish":
        outcome.write_text("{" * 100)
        sys.exit(1)
