"""Arguments that several commands take, and what they may be."""

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from busi.core.files import EMPTY, conf_dir, expand
from busi.core.rules import LAST_SEED, MAX_FOLDS, whole
from busi.core.types import InputError
from busi.core.words import labels_argument


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
