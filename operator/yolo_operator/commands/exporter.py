"""Subcommands that run in Jobs, in the exporter's image: export, analyze."""

import argparse
from typing import get_args

from yolo_operator.commands.arguments import SHAPES, Arguments, Result, add_directory_arguments
from yolo_operator.core.contract import Task, WireDatatype


def add_export_arguments(to: argparse.ArgumentParser) -> None:
    """See `export --help`."""
    yes_no = argparse.BooleanOptionalAction
    to.add_argument("--image-size", type=int, nargs=2, default=None, metavar=("H", "W"), help="pixels; without: the weights' own")
    to.add_argument("--dynamic", action=yes_no, default=True, help="batch, height and width stay open in the ONNX; without: fixed")
    to.add_argument("--shapes", choices=SHAPES, default=None, help="pictures of one size, or of any; without: what is right for the model")
    to.add_argument("--half", action=yes_no, default=False, help="half-precision weights")
    to.add_argument("--simplify", action=yes_no, default=True, help="let onnxslim simplify the graph")
    to.add_argument("--opset", type=int, default=None, metavar="N", help="ONNX operator set; without: Ultralytics' choice")
    to.add_argument("--nms", action=yes_no, default=False, help="NMS in the ONNX, for any batch")
    to.add_argument("--confidence", type=float, default=0.25, metavar="X", help="with --nms: least score of a detection")
    to.add_argument("--iou", type=float, default=0.7, metavar="X", help="with --nms: overlap above which the worse of two boxes goes")
    to.add_argument("--max-detections", type=int, default=300, metavar="N", help="with --nms: detections per picture")
    to.add_argument("--agnostic-nms", action=yes_no, default=False, help="with --nms: boxes of different classes suppress one another")
    for what in ("input", "output"):
        to.add_argument(f"--{what}-datatype", choices=get_args(WireDatatype), default="FP32", help=f"type of the {what}s, whatever the weights' is")
    to.add_argument("--batch", type=int, default=1, metavar="N", help="pictures of a fixed batch")
    to.add_argument("--task", type=Task, choices=list(Task), default=None, help="task the weights must have")
    to.add_argument("--calibrate", action="store_true", help="quantize to INT8 by the pictures in --pictures-directory")
    to.add_argument("--min-agreement", type=float, default=0.8, metavar="X", help="least share of FP32's detections that INT8 must have too")
    to.add_argument("--symmetric", action="store_true", help="with --calibrate: as TensorRT wants it, zero points of 0")
    to.add_argument("--timeout", type=float, default=1800, metavar="SECONDS", help="for the whole export")
    add_directory_arguments(to, "check", "source", "pictures", "export")


def run_export(arguments: Arguments) -> Result:
    """Nothing to say but by files."""
    from yolo_operator.exporter import export  # noqa: PLC0415

    export.run(
        export.ExportOptions(
            conversion=export.ConversionOptions(
                source_directory=arguments.source_directory,
                export_directory=arguments.export_directory,
                image_size=tuple(arguments.image_size) if arguments.image_size else None,
                dynamic=arguments.dynamic,
                shapes=arguments.shapes,
                half=arguments.half,
                simplify=arguments.simplify,
                opset=arguments.opset,
                nms=arguments.nms,
                confidence=arguments.confidence,
                iou=arguments.iou,
                max_detections=arguments.max_detections,
                agnostic_nms=arguments.agnostic_nms,
                input_datatype=arguments.input_datatype,
                output_datatype=arguments.output_datatype,
                batch=arguments.batch,
                task=arguments.task,
                pictures_directory=arguments.pictures_directory if arguments.calibrate else None,
                min_agreement=arguments.min_agreement,
                symmetric=arguments.symmetric,
            ),
            check_directory=arguments.check_directory,
            timeout=arguments.timeout,
        )
    )
    return {}


def add_analyze_arguments(to: argparse.ArgumentParser) -> None:
    """See `analyze --help`."""
    from yolo_operator.core import analysis, api  # noqa: PLC0415

    to.add_argument("--model-name", required=True, help="Triton's name of the model")
    to.add_argument("--task", type=Task, choices=list(Task), required=True, help="task of both versions")
    to.add_argument("--stable-version", type=int, required=True, metavar="N", help="Triton's version that is compared with")
    to.add_argument("--version", type=int, required=True, metavar="N", help="Triton's version that is new")
    to.add_argument("--stable", nargs="*", default=[], metavar="IP", help="of all pods of the stable version")
    to.add_argument("--canary", nargs="*", default=[], metavar="IP", help="of all pods of the new version")
    to.add_argument("--http-port", type=int, default=8000, metavar="PORT", help="Triton's HTTP port")
    to.add_argument("--metrics-port", type=int, default=8002, metavar="PORT", help="Triton's metrics port")
    to.add_argument("--duration", type=float, required=True, metavar="SECONDS", help="between the two readings of Triton's metrics")
    to.add_argument("--picture-timeout", type=float, default=300, metavar="SECONDS", help="for each version to answer the pictures; those left are not shown")
    to.add_argument("--files", action="store_true", help="show the pictures' files to NAME-pictures too (spec.pictures)")
    add_directory_arguments(to, "pictures")
    for limit in analysis.LIMITS:
        field = api.Analysis.model_fields[limit]
        to.add_argument(analysis.flag(limit), type=int if field.annotation is int else float, default=field.default, metavar="X", help=field.description)


def run_analyze(arguments: Arguments) -> Result:
    """The comparison. Whatever the verdict is, the exit code is 0."""
    from yolo_operator.core import analysis, api  # noqa: PLC0415
    from yolo_operator.exporter import analyze  # noqa: PLC0415

    found = analyze.run(
        analyze.AnalyzeOptions(
            model_name=arguments.model_name,
            task=arguments.task,
            stable=analyze.Side(name="stable", version=arguments.stable_version, addresses=tuple(arguments.stable)),
            canary=analyze.Side(name="new", version=arguments.version, addresses=tuple(arguments.canary)),
            limits=api.Analysis.model_validate({limit: getattr(arguments, limit) for limit in analysis.LIMITS}),
            duration=arguments.duration,
            pictures_directory=arguments.pictures_directory,
            picture_timeout=arguments.picture_timeout,
            files=arguments.files,
            http_port=arguments.http_port,
            metrics_port=arguments.metrics_port,
        )
    )
    return found.model_dump(mode="json", by_alias=True, exclude_none=True)
