"""Subcommands that run in no Job: the operator itself, and what people call at a terminal. They print for themselves."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from yolo_operator.commands.arguments import Arguments, Result, positive
from yolo_operator.core.contract import PERMANENT_EXIT_CODE
from yolo_operator.core.errors import InvalidSpec

ROLLOUT_VERBS = {
    "status": "print where the canary is, each version's share, and what was measured",
    "pause": "keep the canary at its step (spec.rollout.paused: true)",
    "resume": "let it go on (spec.rollout.paused: false)",
    "promote": "skip the steps the canary has left (spec.rollout.promote)",
    "abort": "give all traffic back to the stable version (spec.rollout.abort)",
    "retry": "begin an aborted or inconclusive canary anew (spec.rollout.retry)",
}


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


def add_predict_arguments(to: argparse.ArgumentParser) -> None:
    """See `predict --help`."""
    to.add_argument("url", metavar="URL", help="http://HOST:PORT/MODEL, as for YOLO(); the resource has spec.pictures.enabled")
    to.add_argument("pictures", type=Path, metavar="FILE", help="a JPEG, PNG or WebP file, or a folder with such")
    to.add_argument(
        "-o", "--output", type=Path, default=None, metavar="FILE", help="draw what was found into this file, or, for a folder, into files of this folder"
    )
    to.add_argument("--json", action="store_true", help="print a line of JSON per picture")
    to.add_argument("--confidence", type=float, default=None, metavar="X", help="score that detections are above; without: spec.pictures.confidence")
    to.add_argument("--iou", type=float, default=None, metavar="X", help="overlap above which the worse of two boxes is dropped; without: spec.pictures.iou")
    to.add_argument("--version", type=int, default=None, metavar="N", help="which version of the model; without: the highest of the pod that answers")
    to.add_argument("--concurrency", type=positive, default=8, metavar="N", help="pictures of a folder that are asked for at once (8)")


def run_predict(arguments: Arguments) -> Result:
    """Send pictures, print or draw what is in them."""
    from yolo_operator import predict_command  # noqa: PLC0415
    from yolo_operator.model.picture_client import PredictError  # noqa: PLC0415

    parameters = {name: value for name in ("confidence", "iou") if (value := getattr(arguments, name)) is not None}
    try:
        url = predict_command.model_url(arguments.url, arguments.version)
        lines = predict_command.run(
            url,
            arguments.pictures,
            arguments.output,
            parameters,
            concurrency=arguments.concurrency,
            as_json=arguments.json,
            progress=sys.stderr.isatty(),
        )
        for line in lines:
            sys.stdout.write(f"{line}\n")
    except PredictError as error:
        sys.stderr.write(f"{error}\n")
        return {"exitCode": 1}
    return {}
