"""Training curves of many runs can be told apart as far as there are looks."""

import pytest

from busi.figures.curves import draw_curves
from busi.reporting.curves import name_kinds


@pytest.mark.parametrize(
    ("num_folds", "num_seeds", "legend"),
    [
        (2, 2, ["fold 0, seed 0", "fold 0, seed 1", "fold 1, seed 0", "fold 1, seed 1"]),
        (5, 3, [f"fold {k}" for k in range(5)]),
        (10, 3, [f"seed {k}" for k in range(3)]),
        (10, 1, ["10 runs"]),
    ],
)
def test_lines_of_one_legend_entry_look_the_same_and_no_others(
    num_folds: int, num_seeds: int, legend: list[str]
) -> None:
    runs = {
        f"fold {fold}, seed {seed}": (fold, seed) for fold in range(num_folds) for seed in range(num_seeds)
    }
    log = [{"epoch": float(k), "train/loss": 1.0, "val/loss": 1.0, "val/dice": 0.5} for k in range(3)]
    kinds = name_kinds(runs)
    figure = draw_curves(dict.fromkeys(runs, log), "val/dice", dict.fromkeys(runs, 1), kinds)
    for axis in figure.axes:
        shown = axis.get_legend()
        assert shown is not None
        assert [text.get_text() for text in shown.get_texts()] == legend
        colors = [line.get_color() for line in axis.get_lines()]
        assert len(set(colors)) == len(set(kinds.values())) == len(legend)
