"""The figures and tables of a page as files for papers: PNG, PDF and SVG; CSV and LaTeX."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from matplotlib.figure import Figure

from busi.core import printable, write_table, write_text, write_whole
from busi.figures.blocks import Cell, Section, Table, show
from busi.figures.contours import render, save

MOST = 48
"""Letters of a part of a file's name."""
SPECIAL = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"},
    # A hyphen or a quotation mark would join with its neighbor to another sign.
    **{"-": "-{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}"},
    **{"\N{NO-BREAK SPACE}": "~", "²": r"\textsuperscript{2}", "±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$"},
}
"""Signs that LaTeX does not print as they are, with any font and encoding."""
LATIN = 0x17F
"""Beyond it, pdfLaTeX has no letters."""
LONG = 60
"""Characters of a cell from which its column has lines of a fixed width."""
WRAPPED = r">{\raggedright\arraybackslash}p{0.6\linewidth}"
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{"
"""Shrinks what is wider than the text."""


NUMBER = r"(-?\d[\d.]*)"
INTERVAL = re.compile(rf"{NUMBER} (?:\[{NUMBER}, {NUMBER}\]|\(too few\))")
"""A number as pages show it with its interval, or with what stands in the place of one."""
KINDS = ("png", "pdf", "svg")
"""Of a figure."""


def write_figure(folder: Path, name: str, figure: Figure) -> tuple[bytes, list[Path]]:
    """Write ``<name>.png``, ``.pdf`` and ``.svg``.

    Returns:
        The PNG, and the files.
    """
    png = render(figure)
    # The places of its parts are known: another layout would draw it once more for each file.
    figure.set_layout_engine(None)
    contents = (png, *(save(figure, kind) for kind in KINDS[1:]))
    return png, [
        write_whole(folder / f"{name}.{suffix}", lambda part, content=content: part.write_bytes(content))
        for suffix, content in zip(KINDS, contents, strict=True)
    ]


def write_tables(folder: Path, sections: Sequence[Section]) -> list[Path]:
    """Write each table as ``<name>.csv``, in full precision, and ``<name>.tex``; see `name_tables`.

    In CSV files a column of numbers with intervals is three: the number, ``<column>, low`` and
    ``<column>, high``.

    Returns:
        The files.
    """
    written = []
    for name, table in name_tables(sections):
        if table.rows:
            columns = [split(column) for column in zip(table.header, *table.rows, strict=True)]
            titles, *rows = zip(*(part for parts in columns for part in parts), strict=True)
            header = name_columns([str(title) for title in titles])
            path = folder / f"{name}.csv"
            written.append(write_table(path, [dict(zip(header, row, strict=True)) for row in rows]))
        written.append(write_text(folder / f"{name}.tex", to_latex(table, name)))
    return written


def name_tables(sections: Sequence[Section]) -> Iterator[tuple[str, Table]]:
    """The tables of a page with names for files, made of their section and the begin of their caption.

    What a caption says after its first colon, comma or bracket depends on the runs, and is no part of the
    name. Tables of one name are numbered.
    """
    used: set[str] = set()
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Table):
                caption = re.split(r"[,:;(]", block.caption)[0]
                name = "_".join(filter(None, (slug(section.title.split("(")[0]), slug(caption)))) or "table"
                number = next(k for k in count(1) if (name if k == 1 else f"{name}_{k}") not in used)
                used.add(name := name if number == 1 else f"{name}_{number}")
                yield name, block


def slug(text: str) -> str:
    """Lower-case letters, digits and underscores, `MOST` at the most, cut between words."""
    plain_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words, kept = re.findall(r"[a-z0-9]+", plain_text), ""
    for word in words:
        if kept and len(kept) + len(word) >= MOST:
            break
        kept = f"{kept}_{word}" if kept else word[:MOST]
    return kept


def name_columns(header: Sequence[str]) -> list[str]:
    """The header with a name for each column, each once."""
    names: list[str] = []
    for title in header:
        name = title or ("name" if "name" not in names else "value")
        number = 1
        while (candidate := name if number == 1 else f"{name} {number}") in names:
            number += 1
        names.append(candidate)
    return names


def split(column: Sequence[Cell]) -> list[list[Cell]]:
    """A column as the columns of a CSV file: three, if one of its cells has an interval.

    Args:
        column: Its title, and its cells.
    """
    title, *cells = map(plain, column)
    found = [INTERVAL.fullmatch(cell) if isinstance(cell, str) else None for cell in cells]
    if not any(found):
        return [[title, *cells]]
    parts = [match.groups("") if match else (cell, "", "") for match, cell in zip(found, cells, strict=True)]
    titles = (title, f"{title}, low".lstrip(", "), f"{title}, high".lstrip(", "))
    return [[name, *values] for name, values in zip(titles, zip(*parts, strict=True), strict=True)]


def plain(cell: Cell) -> Cell:
    """A cell as it goes into a CSV file: empty where a page shows a dash, for undefined."""
    return ("" if cell == "-" else cell.replace("\N{NO-BREAK SPACE}", " ")) if isinstance(cell, str) else cell


def to_latex(table: Table, label: str) -> str:
    """A table for a paper, for the package booktabs; numbers are set to the right.

    Long text is broken into lines, and a table that is wider than the text shrinks to its width.

    Args:
        table: Shown as the page shows it.
        label: To refer to it, after ``tab:``.
    """
    first = table.rows[0] if table.rows else [""] * len(table.header)
    columns = ""
    for k, cell in enumerate(first):
        long = max(len(show(row[k])) for row in (table.header, *table.rows)) > LONG
        columns += "r" if isinstance(cell, (int, float)) else WRAPPED if long else "l"
    lines = [
        r"% needs \usepackage{array,booktabs,graphicx}, and \usepackage[T1]{fontenc} with pdfLaTeX",
        r"\begin{table}",
        r"\centering",
        *([rf"\caption{{{escape_latex(table.caption)}}}"] if table.caption else []),
        rf"\label{{tab:{label}}}",
        FIT + "%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _latex_row(table.header),
        r"\midrule",
        *(_latex_row([show(cell) for cell in row]) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    text = "\n".join(lines) + "\n"
    if any(ord(sign) > LATIN and unicodedata.category(sign)[0] == "L" for sign in text):
        text = f"% has letters that pdfLaTeX lacks: use XeLaTeX or LuaLaTeX\n{text}"
    return text


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it is, on one line."""
    return "".join(SPECIAL.get(sign, sign) for sign in printable(text, " "))


def _latex_row(cells: Sequence[str]) -> str:
    # A row that begins with a bracket or a star would be an option of the row before it.
    texts = [f"{{}}{text}" if text.startswith(("[", "*")) else text for text in map(escape_latex, cells)]
    return f"{' & '.join(texts)} \\\\"
