"""``busi COMMAND ...``: all commands under one name; each is a module too, ``python -m busi.COMMAND``."""

import ast
import difflib
import os
import runpy
import sys
from pathlib import Path

from busi.core import called_as

COMMANDS = (
    *("train", "predict", "demo", "evaluate", "report", "audit", "convert", "ensemble", "export"),
    *("split", "score", "bench"),
)
"""The modules beside this one, in the order of a user's first day."""


def main() -> None:
    """Run the command that is named first, with all that follows; alone, list the commands."""
    if "_ARGCOMPLETE" in os.environ:
        complete()
        return
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(list_commands())
    elif name == "--version":
        from busi import __version__

        print(f"busi {__version__}")
    elif name in COMMANDS:
        run(name, arguments)
    else:
        close = difflib.get_close_matches(name.replace("_", "-"), COMMANDS, 1)
        hint = f"did you mean {close[0]}?" if close else f"give one of {', '.join(COMMANDS)}"
        print(f"error: busi has no command {name!a}: {hint}", file=sys.stderr)
        raise SystemExit(2)


def run(name: str, arguments: list[str]) -> None:
    """Run a command as ``python -m busi.NAME ARGUMENTS`` does."""
    sys.argv = [called_as(name), *arguments]
    runpy.run_module(f"busi.{name}", run_name="__main__", alter_sys=True)


def list_commands() -> str:
    """Every command with a line about it."""
    lines = [f"  {name:<10}{describe(name)}" for name in COMMANDS]
    return "\n".join(
        [
            "busi COMMAND ...: breast-ultrasound segmentation and diagnosis. Not a medical device.",
            "",
            *lines,
            "",
            "busi COMMAND --help shows its arguments, with examples.",
        ]
    )


def describe(name: str) -> str:
    """What a command does, by the docstring of its module, which is not imported."""
    text = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return str(ast.get_docstring(ast.parse(text))).partition("``: ")[2].splitlines()[0].rstrip(".")


def complete() -> None:
    """Answer a shell that completes a line: the commands, or what the command named there takes.

    Its first words count as the program then, as argcomplete counts those of ``python script.py``.
    """
    import argparse

    import argcomplete

    before = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    words = before.split()
    named = words[1] if len(words) > 2 or (len(words) == 2 and before[-1:].isspace()) else ""
    if named in COMMANDS:
        os.environ["_ARGCOMPLETE"] = "2"
        run(named, [])
    parser = argparse.ArgumentParser()
    parser.add_argument("--version", action="store_true")
    parser.add_argument("command", choices=COMMANDS)
    argcomplete.autocomplete(parser)


if __name__ == "__main__":
    main()
