"""Pages, and the figures and tables that lie beside them."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from busi.core.tables import read_table
from busi.core.types import InputError
from busi.figures.blocks import KeyResults, PageFigure, Section, Table
from busi.figures.contours import render
from busi.figures.files import escape_latex, name_tables, to_latex, write_figure
from busi.figures.pages import write_page
from tests.browser import WIDTHS, open_browser, open_page

ODD = r"""a_b & 50% #1 $x$ {y} ~ ^ \frac{1}{2} <b> "q" 'p' `r` | -- --- ?` ² [1, 2]"""
DIFFERENCE = "-0.1 [-0.2, 0.0]".replace(" ", "\N{NO-BREAK SPACE}")


def draw(words: str = "$a_b$") -> Figure:
    figure = Figure(figsize=(9, 3), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], label=words)
    axis.set_title(words)
    axis.legend()
    return figure


def make_sections() -> list[Section]:
    wide = Table([f"column {k}" for k in range(30)], [["x" * 9] * 30], f"A caption of words, {'long ' * 40}")
    folded = Table(["", ""], [["a", 1], ["b", 2]], "Dropped images: 2", folded=True)
    numbers = Table(
        ["", "", ODD], [[ODD, 0.123456789, "-"], ["=1+1", float("nan"), DIFFERENCE]], "Numbers, of 5 folds"
    )
    return [
        Section("Guide: x (upper bound)", [numbers, PageFigure("line", draw(), "A line"), wide, "Text."]),
        Section("Origin", [folded, Table(["a"], [["[b"], ["*c"]]), Table(["a"], [[1]])]),
    ]


def test_figures_and_tables_lie_beside_the_page(tmp_path: Path) -> None:
    key = KeyResults("It works <b>.", [("lesion Dice", "0.8")])
    page = write_page(tmp_path, "A title", "A lead.", make_sections(), key).read_text()
    assert page.index("It works &lt;b&gt;.") < page.index("A lead.") < page.index("A caption of words")
    assert not re.findall(r"https?://", page)
    assert (tmp_path / "figures/line.png").read_bytes()[:4] == b"\x89PNG"
    pdf = (tmp_path / "figures/line.pdf").read_bytes()
    assert pdf[:4] == b"%PDF"
    assert b"/Type3" not in pdf
    assert ET.fromstring((tmp_path / "figures/line.svg").read_text()).tag.endswith("svg")
    stems = {
        "guide_x_numbers",
        "guide_x_a_caption_of_words",
        "origin_dropped_images",
        "origin",
        "origin_2",
    }
    assert {p.name for p in (tmp_path / "tables").iterdir()} == {
        f"{s}.{x}" for s in stems for x in ("csv", "tex")
    }
    first, second = read_table(tmp_path / "tables/guide_x_numbers.csv")
    assert first == {"name": ODD, "value": "0.123456789", ODD: "", f"{ODD}, low": "", f"{ODD}, high": ""}
    numbers = {ODD: "-0.1", f"{ODD}, low": "-0.2", f"{ODD}, high": "0.0"}
    assert second == {"name": "=1+1", "value": "", **numbers}
    assert "'-" not in (tmp_path / "tables/guide_x_numbers.csv").read_text()


def test_latex_has_a_cell_for_each_cell_and_prints_what_the_page_shows() -> None:
    for _, table in name_tables(make_sections()):
        text = to_latex(table, "x")
        body = text.split(r"\toprule")[1].split(r"\bottomrule")[0].replace("\\midrule\n", "").strip()
        lines = body.split("\n")
        assert len(lines) == 1 + len(table.rows)
        for line in lines:
            assert line.endswith(r" \\")
            assert not line.startswith(("[", "*"))
            assert len(re.split(r"(?<!\\)&", line)) == len(table.header)
        assert len(re.findall(r"(?<!\\)\{", text)) == len(re.findall(r"(?<!\\)\}", text))


@pytest.mark.parametrize("text", [ODD, "a\nb", "\\", "%", "a\tb\x07", "é"])
def test_escaped_text_reads_back(text: str) -> None:
    """Commands replaced by what they print, as LaTeX does it, leave the text."""
    printed = {
        **{
            rf"\text{name}{{}}": sign
            for name, sign in (("backslash", "\\"), ("asciitilde", "~"), ("less", "<"))
        },
        **{
            rf"\text{name}{{}}": sign for name, sign in (("asciicircum", "^"), ("greater", ">"), ("bar", "|"))
        },
        **{rf"\text{name}{{}}": sign for name, sign in (("quotedbl", '"'), ("quotesingle", "'"))},
        **{r"\textasciigrave{}": "`", r"\textsuperscript{2}": "²", "-{}": "-"},
        **{f"\\{sign}": sign for sign in "&%$#_{}"},
    }
    pattern = re.compile("|".join(map(re.escape, printed)))
    escaped = escape_latex(text)
    assert not re.search(r"[&%$#_{}~^\\<>|\"'`\n\t]", pattern.sub("", escaped))
    assert pattern.sub(lambda found: printed[found[0]], escaped) == re.sub(r"[\x00-\x1f]", " ", text)


def test_two_figures_of_one_name_are_no_page(tmp_path: Path) -> None:
    twice = [PageFigure("line", draw(), "A line"), PageFigure("line", draw("b"), "Another")]
    with pytest.raises(ValueError, match="two figures of a page are called line"):
        write_page(tmp_path, "A title", "A lead.", [Section("x", twice)])


@pytest.mark.parametrize("name", ["figures/line.pdf", "tables/origin.csv"])
def test_a_first_page_overwrites_no_figure_and_no_table(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"holds {name}, which no page left there"):
        write_page(tmp_path, "A title", "A lead.", make_sections())
    assert [path.read_text() for path in tmp_path.rglob("*.*")] == ["mine"]


def test_a_page_removes_what_an_older_one_wrote_and_nothing_else(tmp_path: Path) -> None:
    def write(*names: str) -> str:
        blocks = [Table(["a"], [[1]], name) for name in names]
        figures = [PageFigure(name, draw(), name) for name in names]
        return write_page(tmp_path, "A title", "A lead.", [Section("x", [*blocks, *figures])]).read_text()

    def found() -> set[str]:
        return {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}

    write("b", "c")
    new = found()
    write("a", "b")
    (tmp_path / "tables" / "mine.csv").touch()
    (tmp_path / "config.yaml").touch()
    write("b", "c")
    assert found() == new | {"tables/mine.csv", "config.yaml"}
    # What no page writes, or lies elsewhere, is removed by no list.
    page = (tmp_path / "index.html").read_text()
    listed = re.search(r"<meta name=\"files\" content='(.*)'>", page)
    assert listed is not None
    wrongs = ('["config.yaml"]', '["figures/../config.yaml"]', '["figures/b.png", 1]', "[", '{"a": 1}')
    for number, wrong in enumerate(wrongs):
        (tmp_path / "index.html").write_text(page.replace(listed[1], wrong))
        (tmp_path / ".page.json").write_text(wrong)
        write(f"d{number}")
        assert found() > new
        assert (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_page_that_was_stopped_is_written_by_the_same_call(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after some figures or tables, or before the page; files of the user's stay as they are."""

    def write(*names: str) -> None:
        blocks = [Table(["a"], [[1]], name) for name in names]
        figures = [PageFigure(name, draw(), name) for name in names]
        write_page(tmp_path, "A title", "A lead.", [Section("x", [*blocks, *figures])])

    def found() -> set[str]:
        return {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}

    def stop(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    def stopped(*names: str) -> None:
        steps = iter([write_figure] * (at - 1) + [stop])
        with monkeypatch.context() as patch:
            patch.setattr("busi.figures.pages.write_figure", lambda *given: next(steps)(*given))
            if at > len(names):
                patch.setattr("busi.figures.pages._template", stop)
            with pytest.raises(KeyboardInterrupt):
                write(*names)

    stopped("a", "b")
    write("a", "b")
    first = found()
    stopped("b", "c")  # a page is there, and some figures of the next one
    write("a", "b")
    assert found() == first
    (tmp_path / "figures" / "d.png").write_text("mine")
    for _ in range(2):
        with pytest.raises(InputError, match=r"holds figures/d\.png, which no page left there"):
            write("a", "d")
    assert (tmp_path / "figures" / "d.png").read_text() == "mine"


def test_figures_are_the_same_bytes_each_time() -> None:
    for kind in ("png", "pdf", "svg"):
        assert render(draw(), kind) == render(draw(), kind)


@pytest.mark.slow
def test_nothing_is_cut_on_a_desktop_a_phone_and_paper(tmp_path: Path) -> None:
    key = KeyResults("Verdict.", [("a", "b")] * 6)
    path = write_page(tmp_path, "A title " * 8, "A lead.", make_sections(), key)
    with open_browser() as browser:
        for width in WIDTHS:
            with open_page(browser, path, width) as page:
                hints = page.locator(".hint:visible").all_text_contents()
                assert hints.count("This table scrolls sideways.") == 1
                assert hints.count("This figure scrolls sideways.") == (0 if width > 700 else 1)
                caption = page.get_by_text("A caption of words").bounding_box()
                assert caption is not None
                assert caption["x"] + caption["width"] <= width
                drawn = page.locator("img").bounding_box()
                assert drawn is not None
                # Text of 9 points at 110 dots an inch.
                assert drawn["width"] / (9 * 110) * (9 * 110 / 72) >= 10
                assert not page.locator("details td").first.is_visible()
                page.get_by_text("Dropped images: 2").click()
                assert page.locator("details td").first.is_visible()
                assert page.pdf()[:4] == b"%PDF"
