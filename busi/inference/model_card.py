"""The texts of a bundle: the model card, the example and the license."""

from collections.abc import Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

import busi
from busi.core import Markdown, code_span, escape_markdown
from busi.inference.model_info import ModelInfo


def write_texts(folder: Path, info: ModelInfo, about: dict[str, Any]) -> None:
    """Write the model card, the example and the license."""
    template = resources.files("busi.inference") / "bundle_template"
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, finalize=_escape)
    environment.filters["code"] = code_span
    environment.filters["number"] = lambda value: "undefined" if value is None else f"{value:.3f}"
    environment.filters["interval"] = _show_interval
    model_card = environment.from_string((template / "README.md").read_text(encoding="utf-8"))
    text = model_card.render(info=info, graph=about, version=busi.__version__)
    (folder / "README.md").write_text(text, encoding="utf-8")
    (folder / "example.py").write_bytes((template / "example.py").read_bytes())
    (folder / "LICENSE").write_text(metadata.distribution("busi").read_text("licenses/LICENSE") or "")


def _escape(value: object) -> object:
    """Any value of the template; texts of ``model.json`` may come from anywhere."""
    return escape_markdown(value) if isinstance(value, str) and not isinstance(value, Markdown) else value


def _show_interval(estimate: Sequence[float | None]) -> str:
    value, low, high = ("undefined" if x is None else f"{x:.3f}" for x in estimate)
    return value if low == "undefined" else f"{value} [{low}, {high}]"
