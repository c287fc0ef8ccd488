"""``python docs/tables.py``: write the tables of the pages anew that are made from the code.

They stand between ``<!-- NAME -->`` and ``<!-- end -->``; ``tests/test_docs.py`` compares them with the code.
"""

import argparse
import ast
import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = (
    *("predict", "demo", "audit", "convert", "report", "evaluate", "ensemble", "export"),
    *("split", "score", "bench"),
)
"""Those with ordinary arguments, in the order of a user's first day."""
VALUES = ("train.yaml", "stage/seg.yaml", "stage/cls.yaml", "data/busi.yaml")
"""The files whose values have names that users need."""
OVERRIDDEN = ("data.", "model.", "module.")
"""The parts of a stage's file that hold values of their own."""
VALUE = re.compile(r"^(\w+): ([^#\s].*?)(?: # (.*))?$")


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def comment(path: Path) -> str:
    """The first comment of a config file: what the option is."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    return lines[0].removeprefix("# ") if lines[0].startswith("#") else ""


def options() -> str:
    """Every option of every group, with the comment of its file."""
    conf = ROOT / "conf"
    chosen = "".join((conf / name).read_text() for name in VALUES)
    defaults = set(re.findall(r"^  - /?(\w+): \[?(\w+)", chosen, re.MULTILINE))
    rows = []
    for group in sorted({str(path.parent.relative_to(conf)) for path in conf.rglob("*/*.yaml")}):
        for path in sorted((conf / group).glob("*.yaml")):
            is_default = " (default)" if (group, path.stem) in defaults else ""
            rows.append((f"`{group}`", f"`{path.stem}`{is_default}", comment(path)))
    return table(("group", "option", ""), rows)


def values() -> str:
    """The values at the top of the files that set them, with their comments."""
    parts = []
    for name in VALUES:
        prefix = "data." if name.startswith("data") else ""
        rows, part = [], ""
        for line in (ROOT / "conf" / name).read_text().splitlines():
            if not line.startswith(" "):
                part = f"{line.partition(':')[0]}."
            found = VALUE.match(line.removeprefix("  "))
            if not found or found[1].startswith("_"):
                continue
            if not line.startswith("  "):
                rows.append((f"`{prefix}{found[1]}`", f"`{found[2]}`", found[3] or ""))
            elif part in OVERRIDDEN and not found[2].startswith("${"):
                rows.append((f"`{part}{found[1]}`", f"`{found[2]}`", found[3] or ""))
        parts.append(f"`conf/{name}`:\n\n{table(('name', 'default', ''), rows)}")
    return "\n\n".join(parts)


class Parsed(Exception):
    """Carries the parser of a command that was about to parse its arguments."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of a command, as its main function builds it."""

    def stop(parser: argparse.ArgumentParser, *_: object) -> None:
        raise Parsed(parser)

    main = importlib.import_module(f"busi.{command}").main
    with patch.object(argparse.ArgumentParser, "parse_args", stop):
        try:
            main()
        except Parsed as parsed:
            return parsed.parser
    raise AssertionError(f"busi.{command} parses no arguments")


def arguments() -> str:
    """Every argument of every command, with its help text."""
    parts = []
    for command in COMMANDS:
        parser = parser_of(command)
        rows = []
        for action in parser._actions:
            if isinstance(action, argparse._HelpAction):
                continue
            name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
            chosen = ", ".join(f"`{choice}`" for choice in action.choices or ())
            needed = "needed" if action.required else ""
            default = f"`{action.default}`" if type(action.default) in (int, str) else needed
            words = action.help or ""
            if default:  # it has a column of its own
                words = words.removesuffix(f" (default: {action.default})")
            rows.append((f"`{name}`", chosen, default, words))
        rows_of = table(("argument", "values", "default", ""), rows)
        parts.append(f"### `busi.{command}`\n\n{parser.description}\n\n{rows_of}")
    return "\n\n".join(parts)


def targets() -> str:
    """The targets of the Makefile, with their help."""
    found = re.findall(r"^([a-z-]+):.*?## (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return table(("target", ""), [(f"`make {name}`", words) for name, words in found])


def modules() -> str:
    """Every file of every room, with the first sentence of its docstring."""
    parts = []
    for room in sorted(path.parent for path in (ROOT / "busi").glob("*/__init__.py")):
        files = sorted(path for path in room.glob("*.py") if path.name != "__init__.py")
        rows = [(f"`{path.name}`", summary(path)) for path in files]
        title = f"### `busi/{room.name}/`\n\n{summary(room / '__init__.py')}"
        parts.append(f"{title}\n\n{table(('file', ''), rows)}")
    return "\n\n".join(parts)


def summary(path: Path) -> str:
    """The first line of a module's docstring."""
    return str(ast.get_docstring(ast.parse(path.read_text()))).splitlines()[0].replace("``", "`")


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "options": ("docs/reference/config.md", options),
    "values": ("docs/reference/config.md", values),
    "arguments": ("docs/reference/commands.md", arguments),
    "targets": ("docs/reference/commands.md", targets),
    "modules": ("docs/explanation/architecture.md", modules),
}
"""Name -> the page that holds the table, and what makes it."""


def pages() -> Iterator[tuple[Path, str]]:
    """Each page that holds such tables, and what its text should be."""
    for name in dict.fromkeys(page for page, _ in TABLES.values()):
        text = (ROOT / name).read_text()
        for key, (page, make) in TABLES.items():
            if page == name:
                before, rest = text.split(f"<!-- {key} -->\n", 1)
                text = f"{before}<!-- {key} -->\n\n{make()}\n\n<!-- end -->{rest.split('<!-- end -->', 1)[1]}"
        yield ROOT / name, text


if __name__ == "__main__":
    for path, text in pages():
        path.write_text(text)
