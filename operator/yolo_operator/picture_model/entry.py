"""Published as `model.py`, where Triton's Python backend looks for the model; the package lies beside it, OpenCV where the Pod has it."""

import os
import sys

sys.path.insert(0, os.environ["PICTURE_DECODER"])

from picture_model.triton import TritonPythonModel  # noqa: F401
