"""The models that Triton serves beside a model where spec.pictures is enabled: a picture's file in, detections out.

```
<model>-pictures            the one that users ask: Python, picture_model/. Files to pixels (UINT8), rows to detections in the pictures' own pixels
└── <model>-pictures-network        an ensemble, all of it in Triton's own memory
    ├── <model>-pictures-normalize      ONNX: UINT8 to the model's input
    ├── <model>                         the very model that other clients ask: its batcher joins pictures of all of them
    └── <model>-pictures-nms            ONNX: NMS with the request's thresholds; absent where the model's rows need none
```

So the weights are in memory once, and 1.2 MB of pixels cross from Python to Triton for a picture of 640, not 4.9.
"""

import json
from dataclasses import dataclass, replace

from yolo_operator.core.contract import Task
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton.config import ModelConfig, Port, Step, Warmup
from yolo_operator.core.triton.description import Description
from yolo_operator.core.triton.signature import in_order

SUFFIX = "-pictures"
MODEL_FILE, ENTRY, PACKAGE = "model.py", "entry.py", "picture_model"
"""What the Python backend looks for, what it is in this project, and the package beside it."""
MOST_PICTURES = 128
"""In one request."""
STRIDES = (8, 16, 32)
"""Of the levels of most YOLO models: how many answers there are where the ONNX leaves that open; for a warmup alone."""
SETTINGS = "pictures"
"""Parameter of the configuration that picture_model/model.py reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureOptions:
    """spec.pictures, where it is enabled."""

    max_bytes: int
    max_pixels: int
    confidence: float
    iou: float
    max_detections: int
    instances: int
    """Processes that decode pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureModels:
    """Their configurations; the ONNX graphs of two of them follow from these ports."""

    pictures: ModelConfig
    network: ModelConfig
    normalize: ModelConfig
    nms: ModelConfig | None

    @property
    def all(self) -> list[ModelConfig]:
        """In the order of the drawing."""
        return [self.pictures, self.network, self.normalize, *([self.nms] if self.nms else [])]


def configure(description: Description, model: ModelConfig, options: PictureOptions) -> PictureModels:
    """Decide all of them. Raises InvalidSpec PicturesInvalid."""
    check(model)
    name, version, most = f"{model.name}{SUFFIX}", model.version, model.max_batch_size
    given = model.inputs[0]
    outputs = {port.name: port for port in model.outputs}
    first, *others = (outputs[tensor.name] for tensor in in_order(description.onnx.outputs))
    final = description.final_detections or description.report.task is Task.CLASSIFY
    channels = given.dims[0]
    pixels = Port(name="pixels", datatype="UINT8", dims=(*given.dims[1:], channels))
    height, width = description.report.image_size
    normalized = Port(name="normalized", datatype=given.datatype, dims=given.dims)
    normalize = onnx_model(f"{name}-normalize", model, (pixels,), (normalized,), warm=((height, width, channels),))
    thresholds = () if final else tuple(Port(name=each, datatype="FP32", dims=(1,)) for each in ("confidence", "iou"))
    rows = first if final else Port(name="rows", datatype="FP32", dims=(options.max_detections, first.dims[0] - len(description.report.names) + 2))
    anchors = sum((height // stride) * (width // stride) for stride in STRIDES)
    raw = (first.dims[0], first.dims[-1] if first.dims[-1] > 0 else anchors)
    nms = None if final else onnx_model(f"{name}-nms", model, (first, *thresholds), (rows,), warm=(raw, (1,), (1,)))
    steps = [
        Step(model=normalize.name, inputs={"pixels": "pixels"}, outputs={"normalized": "normalized"}),
        Step(
            model=model.name,
            inputs={given.name: "normalized"},
            outputs={first.name: "rows" if final else "raw", **{other.name: "prototypes" for other in others}},
        ),
    ]
    if nms:
        steps.append(Step(model=nms.name, inputs={first.name: "raw", "confidence": "confidence", "iou": "iou"}, outputs={"rows": "rows"}))
    network = ModelConfig(
        name=f"{name}-network",
        max_batch_size=most,
        version=version,
        inputs=(pixels, *thresholds),
        outputs=tuple(Port(name=told, datatype=port.datatype, dims=port.dims) for told, port in (("rows", rows), *(("prototypes", other) for other in others))),
        backend="",
        platform="ensemble",
        default_model_filename="",
        steps=tuple(steps),
    )
    pictures = ModelConfig(
        name=name,
        max_batch_size=MOST_PICTURES,
        version=version,
        inputs=(Port(name="picture", datatype="BYTES", dims=(1,)),),
        outputs=answered(description),
        kind="KIND_CPU",
        instances=options.instances,
        parameters={SETTINGS: settings(description, network, given, options)},
        backend="python",
        platform="",
        default_model_filename=MODEL_FILE,
    )
    return PictureModels(pictures=pictures, network=network, normalize=normalize, nms=nms)


def check(model: ModelConfig) -> None:
    """Raises InvalidSpec PicturesInvalid."""
    if model.max_batch_size == 0:
        raise InvalidSpec("PicturesInvalid", "spec.pictures: pictures are asked in batches: set spec.triton.maxBatchSize to 1 or more")
    channels = model.inputs[0].dims[0]
    if channels != 3:
        raise InvalidSpec("PicturesInvalid", f"spec.pictures: the model takes {channels} channels, and JPEG, PNG and WebP files have 3: set enabled: false")
    if model.inputs[0].datatype not in {"FP32", "FP16"}:
        raise InvalidSpec("PicturesInvalid", f"spec.pictures: the model takes {model.inputs[0].datatype}, not FP32 or FP16: set enabled: false")


def onnx_model(name: str, beside: ModelConfig, inputs: tuple[Port, ...], outputs: tuple[Port, ...], *, warm: tuple[tuple[int, ...], ...]) -> ModelConfig:
    """An ONNX of few nodes. Without a batcher: requests of other thresholds must not be joined, and what the model's batcher joins is joined there.

    `warm`: shapes of the inputs in a warmup, where the model has one.
    """
    zeros = tuple(replace(port, dims=shape) for port, shape in zip(inputs, warm, strict=True))
    return ModelConfig(
        name=name,
        max_batch_size=beside.max_batch_size,
        version=beside.version,
        inputs=inputs,
        outputs=outputs,
        kind=beside.kind,
        instances=beside.instances,
        warmups=tuple(Warmup(name=f"zeros-{each.batch_size}", batch_size=each.batch_size, inputs=zeros, file="") for each in beside.warmups),
    )


def answered(description: Description) -> tuple[Port, ...]:
    """What a request is answered with, for each picture: `count` detections, then zeros up to those of the picture with the most."""
    report, boxes = description.report, Port(name="boxes", datatype="FP32", dims=(-1, 4))
    places: dict[Task, tuple[Port, ...]] = {
        Task.DETECT: (boxes,),
        Task.OBB: (Port(name="corners", datatype="FP32", dims=(-1, 4, 2)),),
        Task.POSE: (
            boxes,
            Port(name="keypoints", datatype="FP32", dims=(-1, *(report.kpt_shape or (-1, -1)))),
        ),
        Task.SEGMENT: (
            boxes,
            Port(name="contours", datatype="INT32", dims=(-1, 2)),
            Port(name="outline", datatype="FP32", dims=(-1, 2)),
        ),
        Task.CLASSIFY: (),
    }
    return (
        Port(name="count", datatype="INT32", dims=(1,)),
        *places[report.task],
        Port(name="scores", datatype="FP32", dims=(-1,)),
        Port(name="classes", datatype="INT32", dims=(-1,)),
        Port(name="labels", datatype="BYTES", dims=(-1,)),
        Port(name="errors", datatype="BYTES", dims=(1,)),
    )


def settings(description: Description, network: ModelConfig, given: Port, options: PictureOptions) -> str:
    """Settings of picture_model/model.py, as JSON."""
    report = description.report
    fixed = all(size > 0 for size in given.dims)
    return json.dumps(
        {
            "network": network.name,
            "task": report.task.value,
            "labels": report.names,
            "size": report.image_size,
            "stride": 0 if fixed else report.stride,
            "max_batch_size": network.max_batch_size,
            "final": description.final_detections or report.task is Task.CLASSIFY,
            "confidence": options.confidence,
            "iou": options.iou,
            "max_detections": options.max_detections,
            "max_bytes": options.max_bytes,
            "max_pixels": options.max_pixels,
            **({"keypoints": report.kpt_shape} if report.task is Task.POSE else {}),
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
