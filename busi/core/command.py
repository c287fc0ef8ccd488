"""What the commands with ordinary arguments share: logging, and one line for each error."""

import argparse
import io
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from busi.core.files import EMPTY
from busi.core.targets import trust
from busi.core.text import printable
from busi.core.types import InputError


def print_anything() -> None:
    """Let standard output escape what its encoding lacks: the name of a file must not end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def path_argument(text: str) -> Path:
    """The type of an argument that names a file or a folder.

    Raises:
        argparse.ArgumentTypeError: If it is empty, which would mean the current folder.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError(EMPTY)
    return Path(text)


def parse_trusting(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the arguments of a command that opens runs, with ``--trust`` for code of the user's own."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="Python package of your own that a run was trained with; its code runs",
    )
    arguments = parser.parse_args()
    trust(*arguments.trust)
    return arguments


def run_command(main: Callable[[], None]) -> None:
    """Call a command's main function; an `InputError` ends it with one line and status 1."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout
    )
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    print_anything()
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {printable(str(error))}")
