"""Environment of the process that loads the weights: Ultralytics, PyTorch and ONNX Runtime stay offline and keep to /tmp.

The image sets the same; set here too so that an export by hand sends nothing either. Imports nothing heavy.
"""

import os
import tempfile
from collections.abc import Mapping


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment with telemetry, downloads and installs switched off, whatever was set before."""
    folder = os.path.join(inherited.get("TMPDIR") or tempfile.gettempdir(), "yolo-operator")  # noqa: PTH118  a value, no access
    return {
        **inherited,
        "ORT_DISABLE_TELEMETRY": "1",
        "YOLO_OFFLINE": "1",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_CONFIG_DIR": folder,
        "YOLO_VERBOSE": "false",
        "HOME": inherited.get("HOME") or folder,
        "MPLCONFIGDIR": f"{folder}/matplotlib",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
