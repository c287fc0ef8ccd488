"""What the commands with ordinary arguments share: logging, and one line for each error."""

import argparse
import difflib
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from busi.core.memory import collect_rarely
from busi.core.own_code import use_configs
from busi.core.targets import trust
from busi.core.text import printable
from busi.core.there import is_there
from busi.core.types import InputError


def print_anything() -> None:
    """Let standard output escape what its encoding lacks: the name of a file must not end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class Parser(argparse.ArgumentParser):
    """Ends with one line if an argument is wrong; for an option that is none, it names the closest."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """Remember what was typed, for `error`."""
        self.typed = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the line, and leave with status 2."""
        known = list(self._option_string_actions)
        options = self.typed[: self.typed.index("--")] if "--" in self.typed else self.typed
        for text in options:
            name = text.partition("=")[0]
            if name.startswith("--") and not any(option.startswith(name) for option in known):
                close = difflib.get_close_matches(name, known, 1)
                message = f"there is no {name}" + (f": did you mean {close[0]}?" if close else "")
                break
        one_line = printable(" ".join(message.split()))
        self.exit(2, f"error: {one_line} ({self.prog} --help shows the arguments)\n")


def called_as(name: str) -> str:
    """How a command was called: as ``python -m busi.NAME``, or else as ``busi NAME``."""
    return f"python -m busi.{name}" if f"busi.{name}" in sys.orig_argv else f"busi {name}"


def make_parser(about: str, *examples: str) -> Parser:
    """The parser of a command.

    Args:
        about: The docstring of its module, which begins with the call in double backticks.
        examples: Arguments that its help shows, each a call.
    """
    found = re.match(r"``python -m busi\.(\w+)[^`]*``: (.*)", about, re.DOTALL)
    assert found is not None
    program, what = called_as(found[1]), " ".join(found[2].split())
    return Parser(
        prog=program,
        description=what[:1].upper() + what[1:],
        epilog="\n".join(["examples:", *(f"  {program} {example}" for example in examples)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the arguments of a command, or complete them where a shell asks for that."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)
    return parser.parse_args()


def check_there(paths: Iterable[Path | None], words: str) -> None:
    """Check that files and folders exist, before anything heavy is imported.

    Args:
        paths: Of `path_argument`; None is one that was not given.
        words: What to give instead.

    Raises:
        InputError: If one does not exist.
    """
    for path in paths:
        if path is not None and not is_there(path):
            raise InputError(f"{path} does not exist: give {words}")


def parse_trusting(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the arguments of a command that runs code of the user's own, which ``--trust`` names."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="Python package of your own, of a run or of a reader of data; its code runs",
    )
    arguments = parse(parser)
    trust(*arguments.trust)
    if folder := vars(arguments).get("config_dir"):
        use_configs(folder)
    return arguments


def missing_package(error: ModuleNotFoundError) -> str:
    """One line for a package that this command needs and that is not installed.

    Raises:
        ModuleNotFoundError: Again, for a module of busi: that is no package to install.
    """
    name = (error.name or "").partition(".")[0]
    if name in ("", "busi"):
        raise error
    return (
        f"the package {name} is not installed. If busi needs it, `pip install .` in its folder installs it "
        "(without PyTorch, busi predicts with bundles alone). If your own code does, install it"
    )


def run_command(main: Callable[[], None]) -> None:
    """Call a command's main function; wrong input or a missing package ends it with one line and status 1."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout
    )
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    print_anything()
    collect_rarely()
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {printable(str(error))}")
    except ModuleNotFoundError as error:
        sys.exit(f"error: {missing_package(error)}")
