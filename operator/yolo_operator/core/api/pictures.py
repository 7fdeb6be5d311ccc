"""`spec.pictures`: the model that takes a picture's file and answers with detections."""

from typing import Annotated

from pydantic import Field

from yolo_operator.core.api.fields import Model, Quantity


class Pictures(Model):
    """Serve <modelName>-pictures beside the model: JPEG, PNG or WebP files in, detections in the pictures' own pixels out, for any client that can send
    a file. Each version's pods decode and resize themselves; the model is in memory once."""

    enabled: bool = False
    """Publish and serve it. A change makes a new revision; the weights are not exported again."""
    max_bytes: Quantity = "16Mi"
    """Largest file of a picture."""
    max_pixels: Quantity = "50M"
    """Most pixels of a picture, height times width. Decoded it takes three bytes of each."""
    confidence: float = Field(default=0.25, ge=0, le=1)
    """Detections have a score above it; a request may say otherwise (parameter confidence). Not for classify."""
    iou: float = Field(default=0.7, ge=0, le=1)
    """Of two boxes of one class that overlap by more than this (intersection over union) the worse is dropped; a request may say otherwise (parameter
    iou). Says nothing where the model needs no NMS, or has one in its graph."""
    max_detections: int = Field(default=300, ge=1, le=1000)
    """Detections per picture, the best ones. Says nothing where the model needs no NMS, or has one in its graph."""
    instances: Annotated[int | None, Field(ge=1, le=64)] = None
    """Processes that decode pictures, in each pod; each takes 150 MB and more. Default: the CPUs of spec.triton.resources.limits, at most 8; 2 without."""
