"""What the commands with ordinary arguments share: logging, and one line for each error."""

import argparse
import difflib
import io
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from busi.core.files import EMPTY, conf_dir, expand
from busi.core.memory import collect_rarely
from busi.core.own_code import use_configs
from busi.core.rules import LAST_SEED, MAX_FOLDS, whole
from busi.core.targets import trust
from busi.core.text import printable
from busi.core.there import is_there
from busi.core.types import InputError
from busi.core.words import labels_argument


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


def path_argument(text: str) -> Path:
    """The type of an argument that names a file or a folder.

    A ``~`` at its start is the home folder, also in ``--output=~/x``, where a shell leaves it.

    Raises:
        argparse.ArgumentTypeError: If it is empty, which would mean the current folder, or there is no such
            home folder.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError(EMPTY)
    try:
        return expand(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


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


def whole_argument(low: int, high: int | float = math.inf) -> Callable[[str], int]:
    """The type of an argument that is a whole number within limits."""
    rule = whole(low, high)

    def read(text: str) -> int:
        number = int(text) if re.fullmatch(r"[+-]?\d{1,18}", text.strip(), re.ASCII) else None
        if number is None or not rule.holds(number):
            raise argparse.ArgumentTypeError(f"{text}: give {rule.words}")
        return number

    return read


def add_data(parser: argparse.ArgumentParser, name: str = "--data") -> None:
    """Add the data set, and ``--labels``, which says what the words of a manifest mean; see `join_labels`.

    Args:
        parser: Of the command.
        name: Of the argument.
    """
    given = parser.add_argument(
        name, help="a name (busi, busbra), a folder in the layout of one, or a CSV manifest"
    )
    given.required = True
    given.completer = complete_data  # type: ignore[attr-defined]
    parser.add_argument(
        "--labels",
        type=labels_argument,
        action="extend",
        default=[],
        metavar="WORD=CLASS",
        help="other words for the classes, in a CSV manifest or as names of folders: cancer=malignant",
    )
    add_configs(parser)


def add_configs(parser: argparse.ArgumentParser) -> None:
    """Add ``--config-dir``, by which `parse_trusting` knows data sets of the user's own."""
    parser.add_argument(
        "--config-dir",
        type=path_argument,
        metavar="FOLDER",
        help="configs of your own: FOLDER/data/NAME.yaml makes NAME a data set",
    )


def complete_data(prefix: str, **known: Any) -> list[str]:
    """What a shell offers for a data set: names that need no root, and files."""
    from argcomplete.completers import FilesCompleter

    folders = filter(None, (conf_dir(), getattr(known.get("parsed_args"), "config_dir", None)))
    names = [path.stem for folder in folders for path in sorted((folder / "data").glob("*.yaml"))]
    return [
        *(name for name in names if name.startswith(prefix) and name not in ("csv", "pooled")),
        *FilesCompleter()(prefix, **known),
    ]


def add_output(parser: argparse.ArgumentParser, words: str = "folder for index.html and the rest") -> None:
    """Add ``--output``, the folder that a command writes."""
    parser.add_argument("--output", type=path_argument, required=True, metavar="DIR", help=words)


def add_split(parser: argparse.ArgumentParser, least: int, of: str) -> None:
    """Add ``--data``, ``--labels`` and what groups and splits its images.

    Args:
        parser: Of the command.
        least: The smallest number of folds.
        of: What the folds are for, as help.
    """
    add_data(parser)
    parser.add_argument("--num-folds", type=whole_argument(least, MAX_FOLDS), metavar="K", help=of)
    parser.add_argument("--split-seed", type=whole_argument(0, LAST_SEED), default=0, help="of the folds")
    parser.add_argument(
        "--folds",
        choices=("grouped", "published"),
        help="folds of our own, or those of the data (default: those that a manifest gives, else our own)",
    )
    add_reading(parser)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add which files of ``--data`` are passed over, and where decoded ones are kept."""
    parser.add_argument(
        "--exclude", type=path_argument, help="a CSV file with the column id: more images to leave out"
    )
    parser.add_argument("--on-bad", choices=("error", "skip"), default="error", help="unusable files")
    add_cache(parser)


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Add where decoded data is kept."""
    parser.add_argument(
        "--cache", type=path_argument, help="folder for decoded data (default: $BUSI_CACHE or ~/.cache/busi)"
    )


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
