"""The texts of a bundle: the model card, the example and the license."""

import math
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

import busi
from busi.core import Markdown, code_span, escape_markdown
from busi.data import CITATIONS
from busi.inference.model_info import ModelInfo

Estimate = Sequence[float | None]
"""A value and both ends of its interval."""


def write_texts(folder: Path, info: ModelInfo, about: dict[str, Any]) -> None:
    """Write the model card, the example and the license."""
    template = resources.files("busi.inference") / "bundle_template"
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, finalize=_escape)
    environment.filters["code"] = code_span
    environment.filters["exp"] = math.exp
    environment.filters["number"] = lambda value: "undefined" if value is None else f"{value:.3f}"
    environment.filters["interval"] = _show_interval
    model_card = environment.from_string((template / "README.md").read_text(encoding="utf-8"))
    text = model_card.render(
        info=info,
        graph=about,
        version=busi.__version__,
        tables=metrics_by_source(info.metrics),
        citations={name: CITATIONS.get(name) for name in info.origin.get("sources") or [info.origin["data"]]},
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    (folder / "example.py").write_bytes((template / "example.py").read_bytes())
    (folder / "LICENSE").write_text(metadata.distribution("busi").read_text("licenses/LICENSE") or "")


def metrics_by_source(metrics: Mapping[str, Estimate]) -> dict[str, dict[str, Estimate]]:
    """Metrics of the test fold by the source of its images; those of all images have an empty name."""
    tables: dict[str, dict[str, Estimate]] = {"": {}}
    for key, estimate in metrics.items():
        source, _, name = key.removeprefix("test/").rpartition("/")
        if source == "shortcut":  # how well the source is told, which is of all images
            source, name = "", f"{source}/{name}"
        tables.setdefault(source, {})[name] = estimate
    return tables


def _escape(value: object) -> object:
    """Any value of the template; texts of ``model.json`` may come from anywhere."""
    return escape_markdown(value) if isinstance(value, str) and not isinstance(value, Markdown) else value


def _show_interval(estimate: Sequence[float | None]) -> str:
    value, low, high = ("undefined" if x is None else f"{x:.3f}" for x in estimate)
    return value if low == "undefined" else f"{value} [{low}, {high}]"
