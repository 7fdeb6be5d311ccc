"""The command `yolo-operator`: one subcommand per job, each importing only what it needs.

A subcommand is a `Command` in COMMANDS: its help, its arguments, and a function that imports its module when it is called and
returns the result. `main` turns what it raises into an exit code and a termination message; nothing else does.
To add one: write add_<name>_arguments and run_<name>, and add a line to COMMANDS.
"""

import argparse
import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo_operator.core.contract import (
    CHECK_DIRECTORY,
    EXPORT_DIRECTORY,
    PERMANENT_EXIT_CODE,
    PICTURES_DIRECTORY,
    SOURCE_DIRECTORY,
    TERMINATION_LOG,
    TRANSIENT_EXIT_CODE,
    Outcome,
    Task,
)
from yolo_operator.core.errors import InvalidSpec, OperatorError

if TYPE_CHECKING:
    from yolo_operator.worker.storage import Repository, StorageOptions

USAGE_EXIT_CODE = 2
"""argparse's own, for a command line that cannot be used; here for the environment too."""

Arguments = argparse.Namespace
Result = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One subcommand. `answers`: its result goes to the termination message and to stdout."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Arguments], Result]
    answers: bool = True


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand: 0, 42 for a fault only another spec or other weights can cure, 2 for wrong arguments or variables, 1 for all others."""
    arguments = parser().parse_args(argv)
    command = COMMANDS[arguments.command]
    if not command.answers:
        from yolo_operator.controller.settings import SettingsError  # noqa: PLC0415

        try:
            return int(command.run(arguments).get("exitCode", 0))
        except SettingsError as error:
            sys.stderr.write(f"{error}\n")
            return USAGE_EXIT_CODE
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    try:
        outcome, code = Outcome(result=command.run(arguments)), 0
    except InvalidSpec as error:
        outcome, code = Outcome(reason=error.reason, message=error.message), PERMANENT_EXIT_CODE
    except OperatorError as error:
        outcome, code = Outcome(reason=error.reason, message=error.message), TRANSIENT_EXIT_CODE
    except Exception as error:  # noqa: BLE001  the boundary: a fault of ours still ends in a reason
        traceback.print_exc()
        outcome, code = (
            Outcome(reason="InternalError", message=f"{type(error).__name__}: see the container's log"),
            TRANSIENT_EXIT_CODE,
        )
    say(outcome, Path(arguments.termination_log))
    return code


def say(outcome: Outcome, termination_log: Path) -> None:
    """The last word: to the termination message where the kubelet made one, and to stdout."""
    text = outcome.encode()
    if termination_log.exists() and not termination_log.is_dir():
        termination_log.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{text}\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="yolo-operator", description="Turns YOLO weights into a verified Triton service on Kubernetes.")
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        added = subparsers.add_parser(
            name,
            help=command.help,
            description=command.help,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(added)
        if command.answers:
            added.add_argument("--termination-log", default=TERMINATION_LOG, help="where the last word goes, if that file exists")
    return top


# Arguments that several subcommands share.


def add_storage_arguments(to: argparse.ArgumentParser) -> None:
    """Where S3 is. Credentials come from the environment: AWS_ACCESS_KEY_ID and the rest of boto3's chain."""
    to.add_argument("--endpoint", default="", metavar="URL", help="http(s)://host:port of an S3-compatible storage; empty: AWS")
    to.add_argument("--region", default="", help="region of the bucket; empty: us-east-1")
    to.add_argument("--ca-bundle", default="", metavar="FILE", help="PEM file to trust besides the system's store")


def add_revision_arguments(to: argparse.ArgumentParser) -> None:
    """Which revision of which resource."""
    to.add_argument("--root", required=True, metavar="S3URI", help="s3://bucket/prefix/<namespace>/<name> of the resource")
    to.add_argument("--revision", required=True, help="ten hex digits; its repository is <root>/<revision>/")


def add_ownership_arguments(to: argparse.ArgumentParser) -> None:
    """Whose revision, made from what."""
    to.add_argument(
        "--export-key",
        required=True,
        metavar="HEX",
        help="hash of what determines the ONNX; revisions with the same one share it",
    )
    to.add_argument("--cluster-name", required=True, help="the chart's clusterName; another cluster's revisions are never touched")


def add_directory_arguments(to: argparse.ArgumentParser, *names: str) -> None:
    """The directories of the build Pod and the analysis Pod."""
    defaults = {"check": CHECK_DIRECTORY, "source": SOURCE_DIRECTORY, "export": EXPORT_DIRECTORY, "pictures": PICTURES_DIRECTORY}
    for name in names:
        to.add_argument(f"--{name}-directory", type=Path, default=Path(defaults[name]), metavar="DIR", help=f"what {name} writes")


def storage_options(arguments: Arguments) -> "StorageOptions":
    """S3 from the arguments."""
    from yolo_operator.worker.storage import StorageOptions  # noqa: PLC0415

    return StorageOptions(endpoint=arguments.endpoint, region=arguments.region, ca_bundle=arguments.ca_bundle)


def repository(arguments: Arguments) -> "Repository":
    """The resource's root in S3."""
    from yolo_operator.worker.storage import Repository  # noqa: PLC0415

    return Repository(arguments.root, storage_options(arguments))


# check


def add_check_arguments(to: argparse.ArgumentParser) -> None:
    """See `check --help`."""
    add_revision_arguments(to)
    add_ownership_arguments(to)
    add_storage_arguments(to)
    add_directory_arguments(to, "check")


def run_check(arguments: Arguments) -> Result:
    """The artifact where it is published, {} otherwise."""
    from yolo_operator.worker import check  # noqa: PLC0415

    found = check.run(
        repository(arguments),
        check.CheckOptions(
            revision=arguments.revision,
            export_key=arguments.export_key,
            cluster_name=arguments.cluster_name,
            directory=arguments.check_directory,
        ),
    )
    return found.model_dump(mode="json", by_alias=True) if found else {}


# fetch


def add_fetch_arguments(to: argparse.ArgumentParser) -> None:
    """See `fetch --help`."""
    to.add_argument("--uri", required=True, help="s3://bucket/key, http(s)://…, pvc://claim/path or ultralytics://NAME.pt; .pt, .onnx, .yaml")
    to.add_argument("--sha256", default="", metavar="HEX", help="digest the file must have; empty: any")
    add_storage_arguments(to)
    to.add_argument("--max-bytes", type=int, default=4 * 1024**3, metavar="N", help="largest file, in bytes")
    to.add_argument("--timeout", type=float, default=1500, metavar="SECONDS", help="for all of it, retries included")
    to.add_argument("--claim-directory", type=Path, default=Path("/claim"), metavar="DIR", help="where the claim of pvc:// is mounted")
    to.add_argument("--assets-url", default="", metavar="URL", help="where ultralytics:// weights are; empty: Ultralytics' own release")
    add_directory_arguments(to, "check", "source")


def run_fetch(arguments: Arguments) -> Result:
    """What was fetched, {} where there was nothing to do."""
    from yolo_operator.worker import fetch, source  # noqa: PLC0415

    fetched = fetch.run(
        fetch.FetchOptions(
            uri=arguments.uri,
            sha256=arguments.sha256.lower(),
            storage=storage_options(arguments),
            max_bytes=arguments.max_bytes,
            timeout=arguments.timeout,
            claim_directory=arguments.claim_directory,
            assets_url=arguments.assets_url or source.DEFAULT_ASSETS_URL,
            check_directory=arguments.check_directory,
            source_directory=arguments.source_directory,
        )
    )
    return {"sha256": fetched.sha256, "sizeBytes": fetched.size_bytes} if fetched else {}


# export


def add_export_arguments(to: argparse.ArgumentParser) -> None:
    """See `export --help`."""
    yes_no = argparse.BooleanOptionalAction
    to.add_argument("--image-size", type=int, nargs=2, default=None, metavar=("H", "W"), help="pixels; without: the weights' own")
    to.add_argument("--dynamic", action=yes_no, default=True, help="any batch and image size; without: both fixed")
    to.add_argument("--half", action=yes_no, default=False, help="half-precision weights")
    to.add_argument("--simplify", action=yes_no, default=True, help="let onnxslim simplify the graph")
    to.add_argument("--opset", type=int, default=None, metavar="N", help="ONNX operator set; without: Ultralytics' choice")
    to.add_argument("--nms", action=yes_no, default=False, help="embed NMS into the ONNX")
    to.add_argument("--batch", type=int, default=1, metavar="N", help="pictures: the fixed batch, or the largest one with --nms")
    to.add_argument("--task", type=Task, choices=list(Task), default=None, help="task the weights must have")
    to.add_argument("--timeout", type=float, default=1800, metavar="SECONDS", help="for the whole export")
    add_directory_arguments(to, "check", "source", "export")


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
                half=arguments.half,
                simplify=arguments.simplify,
                opset=arguments.opset,
                nms=arguments.nms,
                batch=arguments.batch,
                task=arguments.task,
            ),
            check_directory=arguments.check_directory,
            timeout=arguments.timeout,
        )
    )
    return {}


# publish


def add_publish_arguments(to: argparse.ArgumentParser) -> None:
    """See `publish --help`."""
    yes_no = argparse.BooleanOptionalAction
    add_revision_arguments(to)
    add_ownership_arguments(to)
    to.add_argument("--model-name", required=True, help="Triton's name of the model")
    to.add_argument("--version", type=int, required=True, metavar="N", help="Triton's version directory, from 1")
    to.add_argument("--kind", choices=["gpu", "cpu"], required=True, help="KIND_GPU or KIND_CPU")
    to.add_argument("--max-batch-size", type=int, default=0, metavar="N", help="pictures per batch; 0: no batching")
    to.add_argument("--dynamic-batching", action=yes_no, default=True, help="join requests into batches")
    to.add_argument("--preferred-batch-sizes", type=int, nargs="*", default=[], metavar="N", help="sizes to wait for")
    to.add_argument("--max-queue-delay-microseconds", type=int, default=0, metavar="N", help="how long a request waits for others")
    to.add_argument("--instances", type=int, default=1, metavar="N", help="per GPU, or in all on a CPU")
    to.add_argument("--warmup", action=yes_no, default=True, help="an inference per batch size before the model is ready")
    to.add_argument("--tensorrt-precision", choices=["FP32", "FP16", "INT8"], default=None, help="run through TensorRT at this precision")
    to.add_argument("--tensorrt-max-workspace-bytes", type=int, default=3 * 1024**3, metavar="N", help="GPU memory TensorRT may use")
    to.add_argument("--tensorrt-cache-directory", default="", metavar="DIR", help="in the Triton pod, for built engines; empty: none are kept")
    to.add_argument("--task", type=Task, choices=list(Task), default=None, help="task the weights must have")
    to.add_argument("--max-ir-version", type=int, default=0, metavar="N", help="newest ONNX format the server reads; 0: any")
    to.add_argument("--max-opset", type=int, default=0, metavar="N", help="newest operator set the server knows; 0: any")
    add_storage_arguments(to)
    add_directory_arguments(to, "check", "source", "export")


def run_publish(arguments: Arguments) -> Result:
    """The artifact."""
    from yolo_operator.core.triton.config import ServingOptions, TensorRT  # noqa: PLC0415
    from yolo_operator.worker import publish  # noqa: PLC0415

    tensorrt = TensorRT(
        precision=arguments.tensorrt_precision or "FP32",
        max_workspace_bytes=arguments.tensorrt_max_workspace_bytes,
        cache_directory=arguments.tensorrt_cache_directory,
    )
    artifact = publish.run(
        repository(arguments),
        publish.PublishOptions(
            revision=arguments.revision,
            export_key=arguments.export_key,
            cluster_name=arguments.cluster_name,
            serving=ServingOptions(
                model_name=arguments.model_name,
                version=arguments.version,
                gpu=arguments.kind == "gpu",
                max_batch_size=arguments.max_batch_size,
                dynamic_batching=arguments.dynamic_batching,
                preferred_batch_sizes=tuple(arguments.preferred_batch_sizes),
                max_queue_delay_microseconds=arguments.max_queue_delay_microseconds,
                instances=arguments.instances,
                warmup=arguments.warmup,
                tensorrt=tensorrt if arguments.tensorrt_precision else None,
            ),
            check_directory=arguments.check_directory,
            source_directory=arguments.source_directory,
            export_directory=arguments.export_directory,
            task=arguments.task,
            max_ir_version=arguments.max_ir_version,
            max_opset=arguments.max_opset,
        ),
    )
    return artifact.model_dump(mode="json", by_alias=True)


# verify


def add_verify_arguments(to: argparse.ArgumentParser) -> None:
    """See `verify --help`."""
    to.add_argument("--address", required=True, metavar="IP", help="of the pod")
    to.add_argument("--http-port", type=int, default=8000, metavar="PORT", help="Triton's HTTP port")
    to.add_argument("--grpc-port", type=int, default=8001, metavar="PORT", help="Triton's gRPC port")
    to.add_argument("--model-name", required=True, help="Triton's name of the model")
    to.add_argument("--version", type=int, required=True, metavar="N", help="Triton's version")
    add_revision_arguments(to)
    to.add_argument("--precision", choices=["FP32", "FP16", "INT8"], default="", help="whose limits hold; without: as published")
    to.add_argument("--min-iou", type=float, default=None, metavar="X", help="smallest IoU; without: 0.98, 0.95 or 0.75 by precision")
    to.add_argument(
        "--max-score-difference",
        type=float,
        default=None,
        metavar="X",
        help="largest difference; without: 0.02, 0.05 or 0.25 by precision",
    )
    to.add_argument("--timeout", type=float, default=120, metavar="SECONDS", help="until the model must be ready")
    add_storage_arguments(to)


def run_verify(arguments: Arguments) -> Result:
    """The verification."""
    from yolo_operator.worker import verify  # noqa: PLC0415
    from yolo_operator.worker.triton_client import GrpcClient, HttpClient  # noqa: PLC0415

    verification = verify.run(
        repository(arguments),
        [
            HttpClient(arguments.address, arguments.http_port, arguments.model_name, arguments.version),
            GrpcClient(arguments.address, arguments.grpc_port, arguments.model_name, arguments.version),
        ],
        verify.VerifyOptions(
            revision=arguments.revision,
            model_name=arguments.model_name,
            version=arguments.version,
            timeout=arguments.timeout,
            precision=arguments.precision,
            min_iou=arguments.min_iou,
            max_score_difference=arguments.max_score_difference,
        ),
    )
    return verification.model_dump(mode="json", by_alias=True)


# pictures


def add_pictures_arguments(to: argparse.ArgumentParser) -> None:
    """See `pictures --help`."""
    which = to.add_mutually_exclusive_group(required=True)
    which.add_argument("--golden", metavar="S3URI", help="s3://bucket/prefix/<namespace>/<name>/<revision>: the golden picture of that revision")
    which.add_argument(
        "--pictures", metavar="S3URI", help="s3://bucket/prefix: the .jpg, .jpeg, .png, .bmp and .webp below it, the first 64 by key, 20 MiB each at most"
    )
    add_storage_arguments(to)
    add_directory_arguments(to, "pictures")


def run_pictures(arguments: Arguments) -> Result:
    """How many were brought."""
    from yolo_operator.worker import pictures  # noqa: PLC0415

    options, directory = storage_options(arguments), arguments.pictures_directory
    brought = pictures.golden(arguments.golden, options, directory) if arguments.golden else pictures.below(arguments.pictures, options, directory)
    return {"pictures": brought}


# analyze


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
    to.add_argument("--image-size", type=int, nargs=2, default=None, metavar=("H", "W"), help="pixels that pictures are fitted into; without: the client's own")
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
            image_size=tuple(arguments.image_size) if arguments.image_size else None,
            http_port=arguments.http_port,
            metrics_port=arguments.metrics_port,
        )
    )
    return found.model_dump(mode="json", by_alias=True, exclude_none=True)


# prune


def add_prune_arguments(to: argparse.ArgumentParser) -> None:
    """See `prune --help`."""
    to.add_argument("--root", required=True, metavar="S3URI", help="s3://bucket/prefix/<namespace>/<name> of the resource")
    to.add_argument("--cluster-name", required=True, help="only this cluster's revisions are removed")
    which = to.add_mutually_exclusive_group(required=True)
    which.add_argument("--remove", nargs="+", metavar="REVISION", help="revisions to remove")
    which.add_argument("--keep", nargs="+", metavar="REVISION", help="remove all revisions but these")
    which.add_argument("--all", action="store_true", help="remove all revisions")
    add_storage_arguments(to)


def run_prune(arguments: Arguments) -> Result:
    """What was removed."""
    from yolo_operator.worker import prune  # noqa: PLC0415

    return prune.run(repository(arguments), arguments.cluster_name, keep=frozenset(arguments.keep or ()), remove_only=arguments.remove)


def add_no_arguments(_: argparse.ArgumentParser) -> None:
    """A subcommand without arguments."""


def run_operator(_: Arguments) -> Result:
    """Run the operator; its settings are the YOLO_OPERATOR_* variables."""
    from yolo_operator.controller.operator import main as operate  # noqa: PLC0415
    from yolo_operator.controller.settings import Settings  # noqa: PLC0415

    return {"exitCode": operate(Settings.from_env())}


def add_file_argument(to: argparse.ArgumentParser) -> None:
    """A manifest, and the storage to assume where it names none."""
    to.add_argument("file", help="YAML with one or more YoloDeployments; - for standard input")


def run_validate(arguments: Arguments) -> Result:
    """Say of each resource of a file whether it can be planned."""
    from yolo_operator import manifests  # noqa: PLC0415
    from yolo_operator.controller.settings import Settings  # noqa: PLC0415

    return printed(lambda: "".join(f"{line}\n" for line in manifests.validate(arguments.file, Settings.from_env().defaults)), manifests.FileError)


def run_render(arguments: Arguments) -> Result:
    """Print the objects the operator makes of a file."""
    import yaml  # noqa: PLC0415

    from yolo_operator import manifests  # noqa: PLC0415
    from yolo_operator.controller.settings import Settings  # noqa: PLC0415

    return printed(lambda: yaml.safe_dump_all(manifests.render(arguments.file, Settings.from_env().defaults), sort_keys=False), manifests.FileError)


# rollout

ROLLOUT_VERBS = {
    "status": "print where the canary is, each version's share, and what was measured",
    "pause": "keep the canary at its step (spec.rollout.paused: true)",
    "resume": "let it go on (spec.rollout.paused: false)",
    "promote": "skip the steps the canary has left (spec.rollout.promote)",
    "abort": "give all traffic back to the stable version (spec.rollout.abort)",
    "retry": "begin an aborted or inconclusive canary anew (spec.rollout.retry)",
}


def add_rollout_arguments(to: argparse.ArgumentParser) -> None:
    """See `rollout --help`."""
    verbs = to.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, help_text in ROLLOUT_VERBS.items():
        added = verbs.add_parser(verb, help=help_text, description=help_text, allow_abbrev=False)
        added.add_argument("name", help="of the YoloDeployment")
        added.add_argument("-n", "--namespace", default="", help="without: the kubeconfig's, or the Pod's own")
        if verb in {"promote", "abort"}:
            added.add_argument("--version", type=int, metavar="N", help="which version; without: the canary")


def run_rollout(arguments: Arguments) -> Result:
    """Read or change what spec.rollout says, in the cluster of the kubeconfig."""
    from datetime import UTC, datetime  # noqa: PLC0415

    from yolo_operator import rollout_command  # noqa: PLC0415

    try:
        cluster = rollout_command.Cluster()
        version = getattr(arguments, "version", None)
        sys.stdout.write(rollout_command.run(cluster, arguments.verb, arguments.namespace or cluster.namespace, arguments.name, version, datetime.now(UTC)))
    except rollout_command.CommandError as error:
        sys.stderr.write(f"{error}\n")
        return {"exitCode": error.code}
    return {}


def printed(text: Callable[[], str], unreadable: type[Exception]) -> Result:
    """Print what `text` gives, or in one line why it cannot."""
    try:
        sys.stdout.write(text())
    except InvalidSpec as error:
        sys.stderr.write(f"{error.reason}: {error.message}\n")
    except unreadable as error:
        sys.stderr.write(f"{error}\n")
    else:
        return {}
    return {"exitCode": PERMANENT_EXIT_CODE}


COMMANDS = {
    "validate": Command(
        help="check the YoloDeployments of a file without a cluster (types, bounds, storage)", add_arguments=add_file_argument, run=run_validate, answers=False
    ),
    "render": Command(help="print what the operator makes of a file's YoloDeployments", add_arguments=add_file_argument, run=run_render, answers=False),
    "rollout": Command(help="see and steer the canary of a YoloDeployment in a cluster", add_arguments=add_rollout_arguments, run=run_rollout, answers=False),
    "run": Command(
        help="run the operator; its settings are the YOLO_OPERATOR_* environment variables",
        add_arguments=add_no_arguments,
        run=run_operator,
        answers=False,
    ),
    "check": Command(help="is a revision published, can another one's ONNX be taken over?", add_arguments=add_check_arguments, run=run_check),
    "fetch": Command(help="bring the weights into the build Pod", add_arguments=add_fetch_arguments, run=run_fetch),
    "export": Command(help="turn weights into ONNX (exporter image only)", add_arguments=add_export_arguments, run=run_export),
    "publish": Command(help="write a Triton model repository to S3", add_arguments=add_publish_arguments, run=run_publish),
    "verify": Command(help="ask one Triton pod whether it answers as published", add_arguments=add_verify_arguments, run=run_verify),
    "pictures": Command(help="bring the pictures that an analysis shows", add_arguments=add_pictures_arguments, run=run_pictures),
    "analyze": Command(
        help="compare a new version with the stable one, by Triton's metrics and by what both find in the same pictures (exporter image only)",
        add_arguments=add_analyze_arguments,
        run=run_analyze,
    ),
    "prune": Command(help="remove published revisions that are no longer in use", add_arguments=add_prune_arguments, run=run_prune),
}


if __name__ == "__main__":
    sys.exit(main())
