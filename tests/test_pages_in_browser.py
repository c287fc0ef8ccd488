"""Pages of audits, evaluations and left-out hospitals in a browser, as wide as a desktop and a phone."""

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from omegaconf import DictConfig

from busi.core.tables import write_table
from busi.data.synthetic import make_synthetic
from busi.evaluation.evaluation import evaluate
from busi.figures import pages
from busi.figures.files import write_figure
from busi.reporting.audit_page import write_audit
from busi.reporting.report import report_runs
from busi.runs.logs import LOG_FILE
from tests.browser import check_page, open_browser
from tests.made_runs import make_run

PAGE, PHONE = 960, 90
"""Width of a page on a desktop, and of an inch of a figure on a phone, in pixels."""


@pytest.fixture
def small_texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts of the figures of pages that are smaller than 10 pixels there."""
    small: list[str] = []

    def look(folder: Path, name: str, figure: Figure) -> tuple[bytes, list[Path]]:
        written = write_figure(folder, name, figure)
        inch = min(PAGE / figure.get_figwidth(), PHONE)
        texts = [one for one in figure.findobj(Text) if isinstance(one, Text) and one.get_visible()]
        small.extend(
            f"{name}: {one.get_text()}"
            for one in texts
            if one.get_text().strip() and float(one.get_fontsize()) / 72 * inch < 9.99
        )
        return written

    monkeypatch.setattr(pages, "write_figure", look)
    return small


@pytest.mark.slow
def test_audits_and_evaluations_are_whole(cache: Path, tmp_path: Path, small_texts: list[str]) -> None:
    """The page of an evaluation without a local calibration has fewer sections of the same kinds."""
    root = make_synthetic(tmp_path / ("a_long_name_" * 4), (20, 20, 20), 64, 3)
    made = [write_audit(str(root), tmp_path / "audit", cache)]
    made.append(evaluate(None, str(root), tmp_path / "local", cache_dir=cache, calibrate_on="0.5"))
    with open_browser() as browser:
        for page in made:
            check_page(browser, page)
    assert not small_texts
    text = made[1].read_text()
    assert "one model, with 95 % intervals" in text
    assert "This is the model as it came." in text
    assert "No image was left out as seen" in text


@pytest.mark.slow
def test_the_page_of_hospitals_left_out_is_whole(
    configs: Callable[..., DictConfig], tmp_path: Path, small_texts: list[str]
) -> None:
    """It has key results, and the training curves of each hospital are its own."""
    cfg = configs("stage=seg", "run_dir=x")
    for number, source in enumerate(("busi", "busbra", None)):
        folder = tmp_path / "runs" / str(source)
        make_run(folder, cfg, hold_out=source)
        rows = [{"epoch": k, "train/loss": 1 / (k + 1), "val/loss": 1 + number} for k in range(3)]
        write_table(folder / LOG_FILE, [{**row, "val/dice_net": 0.1 * number} for row in rows])
    page = report_runs([tmp_path / "runs"], tmp_path / "report", partial=True)
    curves = [path.read_bytes() for path in sorted((tmp_path / "report" / "figures").glob("curves*.png"))]
    assert len(set(curves)) == 3
    with open_browser() as browser:
        check_page(browser, page)
    assert not small_texts
