"""Subcommands that run in Jobs, in the operator's image: check, fetch, publish, verify, pictures, prune; and load and decoder, which run in serving pods."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from yolo_operator.commands.arguments import SHAPES, Arguments, Result, add_directory_arguments
from yolo_operator.core.contract import ASSETS_URL, HUB_URL, Task

if TYPE_CHECKING:
    from yolo_operator.core.triton.options import ServingOptions
    from yolo_operator.core.triton.picture_models import PictureOptions
    from yolo_operator.worker.storage import Repository, StorageOptions


def add_storage_arguments(to: argparse.ArgumentParser) -> None:
    """Where S3 is. Credentials come from the environment: AWS_ACCESS_KEY_ID and the rest of boto3's chain."""
    to.add_argument("--endpoint", default="", metavar="URL", help="http(s)://host:port of an S3-compatible storage; empty: AWS")
    to.add_argument("--region", default="", help="region of the bucket; empty: us-east-1")
    to.add_argument("--ca-bundle", default="", metavar="FILE", help="PEM file to trust besides the system's store")
    to.add_argument("--encryption", choices=["AES256", "aws:kms"], default="", help="server-side encryption of what is written; without: the bucket's")
    to.add_argument("--kms-key-id", default="", metavar="KEY", help="id, ARN or alias of the key, with --encryption=aws:kms")


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
    to.add_argument(
        "--conversion-key",
        default="",
        metavar="HEX",
        help="hash of how weights become ONNX; resources of the namespace with the same one share what the same weights have become; empty: nothing is shared",
    )
    to.add_argument("--source-sha256", default="", metavar="HEX", help="digest of the weights, where it is known before they are fetched")


def storage_options(arguments: Arguments) -> "StorageOptions":
    """S3 from the arguments."""
    from yolo_operator.worker.storage import StorageOptions  # noqa: PLC0415

    return StorageOptions(
        endpoint=arguments.endpoint,
        region=arguments.region,
        ca_bundle=arguments.ca_bundle,
        encryption=arguments.encryption,
        kms_key_id=arguments.kms_key_id,
    )


def repository(arguments: Arguments, *, reads: bool = False) -> "Repository":
    """The resource's root in S3. `reads`: nothing is written, so other keys may be given for it."""
    from yolo_operator.worker.storage import READING, STORAGE, Repository  # noqa: PLC0415

    return Repository(arguments.root, storage_options(arguments), faults=READING if reads else STORAGE)


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
            conversion_key=arguments.conversion_key,
            source_sha256=arguments.source_sha256,
            directory=arguments.check_directory,
        ),
    )
    return found.model_dump(mode="json", by_alias=True) if found else {}


def add_fetch_arguments(to: argparse.ArgumentParser) -> None:
    """See `fetch --help`."""
    to.add_argument(
        "--uri",
        required=True,
        help="s3://bucket/key, http(s)://…, pvc://claim/path, ultralytics://NAME.pt, hf://org/repository/path or "
        "oci://registry/repository@sha256:…/file; .pt, .onnx, .yaml",
    )
    to.add_argument("--sha256", default="", metavar="HEX", help="digest the file must have; empty: any")
    add_storage_arguments(to)
    to.add_argument("--max-bytes", type=int, default=4 * 1024**3, metavar="N", help="largest file, in bytes")
    to.add_argument("--timeout", type=float, default=1500, metavar="SECONDS", help="for all of it, retries included")
    to.add_argument("--claim-directory", type=Path, default=Path("/claim"), metavar="DIR", help="where the claim of pvc:// is mounted")
    to.add_argument("--assets-url", default="", metavar="URL", help=f"where ultralytics:// weights are; empty: {ASSETS_URL}")
    to.add_argument("--hub-url", default="", metavar="URL", help=f"where hf:// weights are; empty: {HUB_URL}")
    to.add_argument(
        "--secret",
        default="",
        metavar="NAME",
        help="Secret that SOURCE_TOKEN, SOURCE_USERNAME and SOURCE_PASSWORD, SOURCE_URL or SOURCE_DOCKER_CONFIG in the environment are of; empty: none",
    )
    to.add_argument("--http-proxy", default="", metavar="URL", help="http://host:port that http:// addresses are reached through; empty: directly")
    to.add_argument("--https-proxy", default="", metavar="URL", help="http://host:port that https:// addresses are reached through; empty: directly")
    to.add_argument("--no-proxy", nargs="*", default=[], metavar="HOST", help="names with all below them, addresses and networks that are reached directly")
    to.add_argument(
        "--proxy-secret", default="", metavar="NAME", help="Secret that PROXY_USERNAME and PROXY_PASSWORD in the environment are of; empty: no credentials"
    )
    to.add_argument("--proxy-ca-bundle", default="", metavar="FILE", help="PEM file that is trusted besides behind the proxy")
    add_directory_arguments(to, "check", "source")


def run_fetch(arguments: Arguments) -> Result:
    """What was fetched, {} where there was nothing to do."""
    from yolo_operator.worker import credentials, fetch, proxy  # noqa: PLC0415

    through = proxy.Proxy(http=arguments.http_proxy, https=arguments.https_proxy, no_proxy=arguments.no_proxy, ca_bundle=arguments.proxy_ca_bundle)
    fetched = fetch.run(
        fetch.FetchOptions(
            uri=arguments.uri,
            sha256=arguments.sha256.lower(),
            storage=storage_options(arguments),
            max_bytes=arguments.max_bytes,
            timeout=arguments.timeout,
            claim_directory=arguments.claim_directory,
            assets_url=arguments.assets_url or ASSETS_URL,
            hub_url=arguments.hub_url or HUB_URL,
            credentials=credentials.from_environment(arguments.secret),
            proxy=proxy.from_environment(through, arguments.proxy_secret),
            check_directory=arguments.check_directory,
            source_directory=arguments.source_directory,
        )
    )
    return {"sha256": fetched.sha256, "sizeBytes": fetched.size_bytes} if fetched else {}


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
    to.add_argument("--queue-max-size", type=int, default=None, metavar="N", help="requests that may wait, 0: any number; without: no policy")
    to.add_argument("--queue-timeout-microseconds", type=int, default=0, metavar="N", help="how long one may wait; 0: for ever")
    to.add_argument("--queue-timeout-action", choices=["Reject", "Delay"], default="Reject", help="what becomes of it then")
    to.add_argument("--queue-timeout-override", action=yes_no, default=False, help="a request may bring a shorter timeout")
    to.add_argument("--instances", type=int, default=1, metavar="N", help="per GPU, or in all on a CPU")
    to.add_argument("--warmup", action=yes_no, default=True, help="an inference per batch size before the model is ready")
    to.add_argument("--gpu-memory-bytes", type=int, default=0, metavar="N", help="of ONNX Runtime's arena on the GPU; 0: no limit")
    to.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE", help="further parameter of the configuration")
    to.add_argument("--tensorrt-precision", choices=["FP32", "FP16", "INT8"], default=None, help="run through TensorRT at this precision")
    to.add_argument("--tensorrt-max-workspace-bytes", type=int, default=3 * 1024**3, metavar="N", help="GPU memory TensorRT may use")
    to.add_argument("--tensorrt-cache-directory", default="", metavar="DIR", help="in the Triton pod, for built engines; empty: none are kept")
    to.add_argument("--shapes", choices=SHAPES, default=None, help="pictures of one size, or of any; without: what is right for the model")
    to.add_argument("--tensorrt-strongly-typed", action="store_true", help="TensorRT takes the precision from the model alone")
    add_served_pictures_arguments(to)
    to.add_argument("--task", type=Task, choices=list(Task), default=None, help="task the weights must have")
    to.add_argument("--triton-release", default="", metavar="YY.MM", help="of the server; empty: unknown")
    to.add_argument("--max-ir-version", type=int, default=0, metavar="N", help="newest ONNX format the server reads; 0: any")
    to.add_argument("--max-opset", type=int, default=0, metavar="N", help="newest operator set the server knows; 0: any")
    add_storage_arguments(to)
    add_directory_arguments(to, "check", "source", "export")


def add_served_pictures_arguments(to: argparse.ArgumentParser) -> None:
    """The models that take pictures' files."""
    to.add_argument("--pictures", action="store_true", help="publish <model-name>-pictures too, which takes pictures' files")
    to.add_argument("--picture-max-bytes", type=int, default=16 << 20, metavar="N", help="largest file")
    to.add_argument("--picture-max-pixels", type=int, default=50_000_000, metavar="N", help="most pixels")
    to.add_argument("--picture-confidence", type=float, default=0.25, metavar="X", help="score that detections are above")
    to.add_argument("--picture-iou", type=float, default=0.7, metavar="X", help="overlap above which the worse of two boxes is dropped")
    to.add_argument("--picture-max-detections", type=int, default=300, metavar="N", help="detections per picture")
    to.add_argument("--picture-instances", type=int, default=2, metavar="N", help="processes that decode")


def picture_options(arguments: Arguments) -> "PictureOptions | None":
    """How pictures' files are taken; None where they are not."""
    from yolo_operator.core.triton.picture_models import PictureOptions  # noqa: PLC0415

    if not arguments.pictures:
        return None
    return PictureOptions(
        max_bytes=arguments.picture_max_bytes,
        max_pixels=arguments.picture_max_pixels,
        confidence=arguments.picture_confidence,
        iou=arguments.picture_iou,
        max_detections=arguments.picture_max_detections,
        instances=arguments.picture_instances,
    )


def serving_options(arguments: Arguments) -> "ServingOptions":
    """How the model is to be served."""
    from yolo_operator.core.triton import releases  # noqa: PLC0415
    from yolo_operator.core.triton.options import QueuePolicy, ServingOptions, TensorRT  # noqa: PLC0415

    tensorrt = TensorRT(
        precision=arguments.tensorrt_precision or "FP32",
        max_workspace_bytes=arguments.tensorrt_max_workspace_bytes,
        cache_directory=arguments.tensorrt_cache_directory,
        strongly_typed=arguments.tensorrt_strongly_typed,
    )
    policy = QueuePolicy(
        max_queue_size=arguments.queue_max_size or 0,
        timeout_microseconds=arguments.queue_timeout_microseconds,
        timeout_action=arguments.queue_timeout_action.upper(),
        allow_timeout_override=arguments.queue_timeout_override,
    )
    return ServingOptions(
        model_name=arguments.model_name,
        version=arguments.version,
        gpu=arguments.kind == "gpu",
        max_batch_size=arguments.max_batch_size,
        dynamic_batching=arguments.dynamic_batching,
        preferred_batch_sizes=tuple(arguments.preferred_batch_sizes),
        max_queue_delay_microseconds=arguments.max_queue_delay_microseconds,
        queue_policy=policy if arguments.queue_max_size is not None else None,
        instances=arguments.instances,
        shapes=arguments.shapes,
        warmup=arguments.warmup,
        tensorrt=tensorrt if arguments.tensorrt_precision else None,
        gpu_memory_bytes=arguments.gpu_memory_bytes,
        parameters=dict(said.split("=", 1) for said in arguments.parameter),
        release=releases.named(arguments.triton_release),
    )


def run_publish(arguments: Arguments) -> Result:
    """The artifact."""
    from yolo_operator.worker import publish  # noqa: PLC0415

    artifact = publish.run(
        repository(arguments),
        publish.PublishOptions(
            revision=arguments.revision,
            export_key=arguments.export_key,
            cluster_name=arguments.cluster_name,
            conversion_key=arguments.conversion_key,
            source_sha256=arguments.source_sha256,
            serving=serving_options(arguments),
            pictures=picture_options(arguments),
            check_directory=arguments.check_directory,
            source_directory=arguments.source_directory,
            export_directory=arguments.export_directory,
            task=arguments.task,
            max_ir_version=arguments.max_ir_version,
            max_opset=arguments.max_opset,
        ),
    )
    return artifact.model_dump(mode="json", by_alias=True)


def add_verify_arguments(to: argparse.ArgumentParser) -> None:
    """See `verify --help`."""
    to.add_argument("--address", required=True, metavar="IP", help="of the pod")
    to.add_argument("--http-port", type=int, default=8000, metavar="PORT", help="Triton's HTTP port")
    to.add_argument("--grpc-port", type=int, default=8001, metavar="PORT", help="Triton's gRPC port")
    to.add_argument("--model-name", required=True, help="Triton's name of the model")
    to.add_argument("--version", type=int, required=True, metavar="N", help="Triton's version")
    add_revision_arguments(to)
    to.add_argument("--precision", choices=["FP32", "FP16", "INT8"], default="", help="whose limits hold; a lower one that was published holds instead")
    to.add_argument("--min-iou", type=float, default=None, metavar="X", help="smallest IoU; without: 0.98, 0.95 or 0.75 by precision")
    to.add_argument(
        "--max-score-difference",
        type=float,
        default=None,
        metavar="X",
        help="largest difference; without: 0.02, 0.05 or 0.25 by precision",
    )
    to.add_argument("--timeout", type=float, default=120, metavar="SECONDS", help="until the model must be ready")
    to.add_argument("--served-as", default="", metavar="NAME", help="the model's name in a pod that has several; without: --model-name")
    to.add_argument("--agent-port", type=int, default=None, metavar="PORT", help="of the agent in such a pod: it tells when the revision is loaded")
    add_storage_arguments(to)


def run_verify(arguments: Arguments) -> Result:
    """The verification."""
    from yolo_operator.core.contract import ServedVerification  # noqa: PLC0415
    from yolo_operator.worker import verify  # noqa: PLC0415
    from yolo_operator.worker.agent_client import AgentClient  # noqa: PLC0415
    from yolo_operator.worker.triton_client import GrpcClient, HttpClient  # noqa: PLC0415

    name, memory = arguments.served_as or arguments.model_name, None
    if arguments.agent_port is not None:
        uri = f"{arguments.root.rstrip('/')}/{arguments.revision}"
        memory = AgentClient(arguments.address, arguments.agent_port).wait_until_served(name, uri, arguments.timeout).memory_bytes
    verification = verify.run(
        repository(arguments, reads=True),
        [
            HttpClient(arguments.address, arguments.http_port, name, arguments.version),
            GrpcClient(arguments.address, arguments.grpc_port, name, arguments.version),
        ],
        verify.VerifyOptions(
            revision=arguments.revision,
            address=arguments.address,
            http_port=arguments.http_port,
            model_name=arguments.model_name,
            version=arguments.version,
            timeout=arguments.timeout,
            precision=arguments.precision,
            min_iou=arguments.min_iou,
            max_score_difference=arguments.max_score_difference,
            served_as=arguments.served_as,
        ),
    )
    if arguments.agent_port is None:
        return verification.model_dump(mode="json", by_alias=True)
    return ServedVerification(**verification.model_dump(), memory_bytes=memory).model_dump(mode="json", by_alias=True)


def add_load_arguments(to: argparse.ArgumentParser) -> None:
    """See `load --help`."""
    add_revision_arguments(to)
    to.add_argument("--directory", type=Path, required=True, metavar="DIR", help="where Triton's model repository is wanted")
    add_storage_arguments(to)


def run_load(arguments: Arguments) -> Result:
    """What was brought."""
    from yolo_operator.worker import load  # noqa: PLC0415

    return load.run(repository(arguments, reads=True), arguments.revision, arguments.directory)


def add_agent_arguments(to: argparse.ArgumentParser) -> None:
    """See `agent --help`."""
    from yolo_operator.core.served_models import AGENT_PORT  # noqa: PLC0415

    to.add_argument("--wanted", type=Path, nargs="+", required=True, metavar="FILE", help="JSON with the models that Triton is to have; the newest counts")
    to.add_argument("--labels", type=Path, required=True, metavar="FILE", help="the pod's labels, as the downward API writes them")
    to.add_argument("--directory", type=Path, required=True, metavar="DIR", help="for what is brought; DIR/models is Triton's repository")
    to.add_argument("--triton", default="http://127.0.0.1:8000", metavar="URL", help="Triton's HTTP port, in explicit mode")
    to.add_argument("--metrics", default="http://127.0.0.1:8002/metrics", metavar="URL", help="Triton's metrics")
    to.add_argument("--port", type=int, default=AGENT_PORT, metavar="N", help="where it answers GET /ready and /models")
    to.add_argument("--load-timeout", type=float, default=600, metavar="SECONDS", help="for Triton to load a model")
    add_storage_arguments(to)


def run_agent(arguments: Arguments) -> Result:
    """Until SIGTERM. The key of Triton's restricted endpoints is POD_UID, as the server's arguments have it."""
    import os  # noqa: PLC0415
    import signal  # noqa: PLC0415
    import threading  # noqa: PLC0415

    from yolo_operator.worker import agent_server, load, memory  # noqa: PLC0415
    from yolo_operator.worker.agent import Agent, AgentOptions  # noqa: PLC0415
    from yolo_operator.worker.storage import READING, Repository  # noqa: PLC0415
    from yolo_operator.worker.triton_control import TritonControl  # noqa: PLC0415

    def bring(uri: str, directory: Path) -> object:
        root, _, revision = uri.rstrip("/").rpartition("/")
        return load.run(Repository(root, storage_options(arguments), faults=READING), revision, directory)

    options = AgentOptions(wanted=tuple(arguments.wanted), labels=arguments.labels, directory=arguments.directory, load_timeout=arguments.load_timeout)
    key = ("yolo-operator", os.environ["POD_UID"]) if "POD_UID" in os.environ else None
    agent = Agent(options, TritonControl(arguments.triton, key), bring, lambda: memory.used(arguments.metrics))
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    with agent_server.answering(agent, arguments.port):
        agent.run(stopped)
    return {}


def add_decoder_arguments(to: argparse.ArgumentParser) -> None:
    """See `decoder --help`."""
    to.add_argument("--directory", type=Path, required=True, metavar="DIR", help="where Triton's Python is to find it")


def run_decoder(arguments: Arguments) -> Result:
    """What was copied."""
    from yolo_operator.worker import decoder  # noqa: PLC0415

    return decoder.run(arguments.directory)


def add_pictures_arguments(to: argparse.ArgumentParser) -> None:
    """See `pictures --help`."""
    which = to.add_mutually_exclusive_group(required=True)
    which.add_argument("--golden", metavar="S3URI", help="s3://bucket/prefix/<namespace>/<name>/<revision>: the golden picture of that revision")
    which.add_argument(
        "--pictures", metavar="S3URI", help="s3://bucket/prefix: the first .jpg, .jpeg, .png, .bmp and .webp below it by key, 20 MiB each at most"
    )
    to.add_argument(
        "--for",
        dest="purpose",
        choices=["analysis", "calibration"],
        default="analysis",
        help="at most 64 pictures for an analysis, 300 for a calibration, which brings none where check found that there is nothing to export",
    )
    add_storage_arguments(to)
    add_directory_arguments(to, "check", "pictures")


def run_pictures(arguments: Arguments) -> Result:
    """How many were brought."""
    from yolo_operator.worker import pictures, verdict  # noqa: PLC0415

    options, directory = storage_options(arguments), arguments.pictures_directory
    if arguments.golden:
        return {"pictures": pictures.golden(arguments.golden, options, directory)}
    if arguments.purpose == "analysis":
        return {"pictures": pictures.below(arguments.pictures, options, directory)}
    if verdict.read(arguments.check_directory).state != "missing":
        return {}
    return {"pictures": pictures.below(arguments.pictures, options, directory, pictures.CALIBRATION)}


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
