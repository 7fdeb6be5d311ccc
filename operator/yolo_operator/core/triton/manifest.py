"""manifest.json: written last, so that its presence says the revision is whole. Its layout is a promise to later versions."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from yolo_operator.core.contract import Artifact, Value, camel
from yolo_operator.core.triton.description import Description

FORMAT_VERSION = 1


class PublishedFile(Value):
    """Digest and size of one object, relative to the revision's prefix."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(ge=0)]


class Manifest(Value):
    """What one revision consists of and where it comes from."""

    # A newer operator may write more; an older one must still be able to serve, verify and prune it.
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, alias_generator=camel)

    format_version: int = FORMAT_VERSION
    revision: str
    export_key: str
    """Hash of what determines the ONNX; a revision with the same one can take it over."""
    cluster_name: str
    created_at: str
    """RFC 3339, UTC."""
    model_name: str
    version: int
    max_batch_size: int
    precision: str = "FP32"
    """FP32, FP16 or INT8: the lower of the ONNX's and TensorRT's, from which verification takes its limits."""
    files: dict[str, PublishedFile]
    model: Description
    artifact: Artifact
    provenance: dict[str, Any] = Field(default_factory=dict)
