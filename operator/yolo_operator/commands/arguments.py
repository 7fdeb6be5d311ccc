"""What subcommands share, whatever component they are of."""

import argparse
from pathlib import Path
from typing import Any, get_args

from yolo_operator.core.contract import CHECK_DIRECTORY, EXPORT_DIRECTORY, PICTURES_DIRECTORY, SOURCE_DIRECTORY
from yolo_operator.core.triton.shapes import Shapes

Arguments = argparse.Namespace
Result = dict[str, Any]
SHAPES = get_args(Shapes)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: give 1 or more")
    return number


def add_directory_arguments(to: argparse.ArgumentParser, *names: str) -> None:
    """The directories of the build Pod and the analysis Pod."""
    defaults = {"check": CHECK_DIRECTORY, "source": SOURCE_DIRECTORY, "export": EXPORT_DIRECTORY, "pictures": PICTURES_DIRECTORY}
    for name in names:
        to.add_argument(f"--{name}-directory", type=Path, default=Path(defaults[name]), metavar="DIR", help=f"what {name} writes")
