"""The command `yolo-operator`: one subcommand per job, each importing only what it needs.

A subcommand is a `Command` in COMMANDS: its help, its arguments, and a function that imports its module when it is called and
returns the result. `main` turns what it raises into an exit code and a termination message; nothing else does.
To add one: write add_<name>_arguments and run_<name> in `commands`, and add a line to COMMANDS.
"""

import argparse
import logging
import resource
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo_operator.commands import exporter, operator, worker
from yolo_operator.commands.arguments import Arguments, Result
from yolo_operator.core.contract import PERMANENT_EXIT_CODE, TERMINATION_LOG, TRANSIENT_EXIT_CODE, Outcome
from yolo_operator.core.errors import InvalidSpec, OperatorError

USAGE_EXIT_CODE = 2
"""argparse's own, for a command line that cannot be used; here for the environment too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One subcommand. `answers`: its result goes to the termination message and to stdout."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Arguments], Result]
    answers: bool = True


COMMANDS = {
    "validate": Command(
        help="check the YoloDeployments of a file without a cluster (types, bounds, storage)",
        add_arguments=operator.add_file_argument,
        run=operator.run_validate,
        answers=False,
    ),
    "render": Command(
        help="print what the operator makes of a file's YoloDeployments", add_arguments=operator.add_file_argument, run=operator.run_render, answers=False
    ),
    "rollout": Command(
        help="see and steer the canary of a YoloDeployment in a cluster", add_arguments=operator.add_rollout_arguments, run=operator.run_rollout, answers=False
    ),
    "predict": Command(
        help="send pictures to a model that takes files, and print or draw what is in them",
        add_arguments=operator.add_predict_arguments,
        run=operator.run_predict,
        answers=False,
    ),
    "run": Command(
        help="run the operator; its settings are the YOLO_OPERATOR_* environment variables",
        add_arguments=operator.add_no_arguments,
        run=operator.run_operator,
        answers=False,
    ),
    "check": Command(help="is a revision published, can another one's ONNX be taken over?", add_arguments=worker.add_check_arguments, run=worker.run_check),
    "fetch": Command(help="bring the weights into the build Pod", add_arguments=worker.add_fetch_arguments, run=worker.run_fetch),
    "export": Command(help="turn weights into ONNX (exporter image only)", add_arguments=exporter.add_export_arguments, run=exporter.run_export),
    "publish": Command(help="write a Triton model repository to S3", add_arguments=worker.add_publish_arguments, run=worker.run_publish),
    "verify": Command(help="ask one Triton pod whether it answers as published", add_arguments=worker.add_verify_arguments, run=worker.run_verify),
    "load": Command(help="bring a Triton model repository into a serving pod", add_arguments=worker.add_load_arguments, run=worker.run_load),
    "agent": Command(
        help="keep a Triton that models share at what is wanted, beside it in its pod", add_arguments=worker.add_agent_arguments, run=worker.run_agent
    ),
    "decoder": Command(help="bring what decodes pictures into a serving pod", add_arguments=worker.add_decoder_arguments, run=worker.run_decoder),
    "pictures": Command(help="bring the pictures that an analysis shows", add_arguments=worker.add_pictures_arguments, run=worker.run_pictures),
    "analyze": Command(
        help="compare a new version with the stable one, by Triton's metrics and by what both find in the same pictures (exporter image only)",
        add_arguments=exporter.add_analyze_arguments,
        run=exporter.run_analyze,
    ),
    "prune": Command(help="remove published revisions that are no longer in use", add_arguments=worker.add_prune_arguments, run=worker.run_prune),
}


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
    logging.getLogger(__name__).info("peak memory %d MiB", peak_memory() >> 20)
    say(outcome, Path(arguments.termination_log))
    return code


def peak_memory() -> int:
    """Bytes that this process or, if that was larger, one of its children had resident at most: what limits.memory must leave room for."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) << 10


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


if __name__ == "__main__":
    sys.exit(main())
