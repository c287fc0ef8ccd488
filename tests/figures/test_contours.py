"""Figures show text as it is, whatever it says."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from busi.figures.contours import Overlay, draw_confusions, draw_overlays, render, save_figure

ODD = ["$x^{", "_a_$b", r"\frac{$", r"$\unknown$", "$$", "a$b$c_d^", "%s {0}", "é日本", "\udce9.png", "x\ty"]


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", ODD)
def test_odd_ids_are_drawn(tmp_path: Path, name: str) -> None:
    image = np.zeros((20, 30), np.uint8)
    overlays = [Overlay(name, image, image > 0, image == 0)]
    path = save_figure(draw_overlays(overlays, name), tmp_path / "overlays.png")
    assert Image.open(path).size[0] == 1320
    save_figure(draw_confusions({name: np.eye(3, dtype=int)}), tmp_path / "confusion.png")


def width_of(text: str, parse: bool) -> float:
    figure = Figure(figsize=(8, 1))
    label = figure.text(0.1, 0.1, text, parse_math=parse)
    if not parse:
        render(figure)
    return label.get_window_extent(figure.canvas.get_renderer()).width  # type: ignore[attr-defined]


def test_formulas_in_ids_are_no_formulas() -> None:
    """Dollar signs are drawn: the text is wider than the formula that it would be."""
    assert width_of("$case_12$", parse=False) > width_of("case 12", parse=False)


def test_numbers_on_logarithmic_axes_stay_formulas() -> None:
    figure = Figure()
    axis = figure.subplots()
    axis.plot([1, 1000], [1, 2], label="$a$")
    axis.set_xscale("log")
    axis.set_title("$title")
    axis.legend()
    render(figure)
    labels = [label for label in axis.get_xticklabels() if label.get_text()]
    assert any("mathdefault" in label.get_text() for label in labels)
    assert all(label.get_parse_math() for label in labels)
    legend = axis.get_legend()
    assert legend is not None
    assert not any(text.get_parse_math() for text in (axis.title, *legend.get_texts()))
