"""What a Triton that ended says in the last lines of its log, which is all that Kubernetes keeps: 80 lines, 2 KiB at most.

Triton runs without its information lines (`--log-info=false`), so that its errors are among them: otherwise a table of its settings, 3 KiB
wide, follows them. The texts are those of 24.10; where another release has others, its last lines are shown as they are.
"""

import re

SHOWN = 600
FAILED = re.compile(r"failed to load '[^']+' version \d+: .*")
"""What became of the model; backend and core say the same before it, in other words."""
ERROR = re.compile(r'^E\d{4} \S+ \d+ [\w.]+:\d+\] "?(.*?)"?$')
ENDED = re.compile(r"^error: creating server: (.*)$")
NOT_LOADED = "failed to load all models"
"""The last line of all, which says nothing that the lines before it do not."""
NO_CAUSE = ("CudaDriverHelper has not been initialized", "ERROR: Failed to create instance")
"""Errors of every server without a GPU, and the twin of what FAILED finds."""


def cause(tail: str) -> str:
    """Why Triton ended, in its own words: the model's fault, else the first error, else why there is no server, else the last lines."""
    lines = [line.rstrip() for line in tail.splitlines() if not line.strip().startswith(("|", "+")) and line.strip()]
    failed = [found[0].rstrip('"') for line in lines if (found := FAILED.search(line))]
    errors = [found[1] for line in lines if (found := ERROR.match(line)) and not found[1].startswith(NO_CAUSE)]
    ended = [found[1] for line in lines if (found := ENDED.match(line)) and NOT_LOADED not in found[1]]
    for candidates in (failed, errors, ended):
        if candidates:
            return plain(candidates[0])
    return plain("\n".join(lines)[-SHOWN:])


def plain(text: str) -> str:
    """One line, without the traceback that a backend in Python adds."""
    return re.sub(r"\s+", " ", text.replace("\\n", "\n").partition("\n\nAt:")[0]).strip()[:SHOWN]


def hint(said: str) -> str:
    """What a cause means and which field to look at, where that is known; begins with a space."""
    return next((f" because {meaning}" for pattern, meaning in MEANINGS if re.search(pattern, said)), "")


MEANINGS = (
    (
        # Without any GPU Triton says as well, and harmlessly, that the driver's version is insufficient: what a model fails for counts.
        r"has kind KIND_GPU but no GPUs are available|failed to load[^\n]*(driver version is insufficient|CUDA failure 35\b)",
        "it finds no GPU that it can use: the node's driver is older than the image's CUDA needs (take an older spec.triton.image, or set "
        "spec.triton.forwardCompatibility), or spec.runtimeClassName is missing",
    ),
    (
        "unsupported display driver / cuda driver combination|forward compatibility was attempted on non supported HW",
        "CUDA's forward compatibility does not fit this GPU or its driver (set spec.triton.forwardCompatibility to false)",
    ),
    ("curlCode: (60|77)", "it does not trust the storage's certificate (check spec.storage.caBundleRef and the host name in spec.storage.endpoint)"),
    ("Couldn't connect to server", "spec.storage.endpoint cannot be reached"),
    (
        "Unable to create S3 filesystem client|repository path is not a valid directory",
        "the storage refused it or has no such path (check spec.storage.endpoint, the bucket and the keys of readSecretRef or secretRef)",
    ),
    ("unable to find backend library", "its image lacks a backend (check spec.triton.image: it needs ONNX Runtime's)"),
    ("warmup setting|run warmup sample", "the model does not answer its warm-up (check the ONNX, or set spec.triton.warmup to false)"),
    (
        "Protobuf parsing failed|No graph was found|not have a graph|is not present|failed to stat file|Poll failed",
        "what is published is not whole any more (change spec.versions[].rebuild)",
    ),
    ("model configuration specifies|configuration expects", "config.pbtxt and ONNX do not fit (was what is published edited? change spec.versions[].rebuild)"),
    (NOT_LOADED, "the model does not load or does not answer its warm-up (kubectl logs --previous of the pod has the cause)"),
)
"""Regular expressions of causes, and what follows `because`; the first that is found counts."""
