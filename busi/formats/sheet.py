"""Sheets of cases, Excel or CSV: the whole data set, or what another format does not say."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from busi.core import InputError, printable, read_cells
from busi.data import OPTIONAL, Problem, parse_values, read_one, read_workbook, to_mask
from busi.formats.annotations import Annotation, Found, Mask, Shape, Unplaced
from busi.formats.conversion import Conversion
from busi.formats.images import IMAGE_FOLDER, MASK_FOLDER, Images, Names, NotThere, name_no_folders
from busi.formats.labels import MASK
from busi.formats.volumes import is_volume, read_pair

COLUMNS = ("image", "label", *OPTIONAL)
"""What a column may be."""
NOTHING = frozenset({"na", "n/a", "#n/a", "nan", "none", "null", "<na>", "-"})
"""What people write for an empty cell."""


@dataclass(frozen=True)
class Row:
    """A row of a sheet.

    Attributes:
        number: In the spreadsheet, where the header is row 1.
        cells: Column of a manifest -> its text; all of `COLUMNS`.
        values: Source, scanner, BI-RADS and spacing.
        problems: What is wrong with them.
    """

    number: int
    cells: Mapping[str, str]
    values: Mapping[str, Any]
    problems: tuple[Problem, ...]


def read_sheet_rows(path: Path, columns: Mapping[str, str]) -> list[Row]:
    """Read a sheet.

    Args:
        path: ``.xlsx`` or CSV.
        columns: Column of a manifest -> what the sheet calls it; without it, columns that are called as in a
            manifest are read, in any case.

    Raises:
        InputError: If it cannot be read, or lacks a column.
    """
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise InputError(f"--columns {{{unknown[0]}: ...}}: give one of {', '.join(COLUMNS)}")
    if path.suffix.lower() in (".xlsx", ".xlsm"):
        rows = list(enumerate(read_workbook(path, "excel"), 1))
    else:
        try:
            rows = [(k, [cell.strip() for cell in row]) for k, row in read_cells(path, guess=True)]
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
    rows = [(number, row) for number, row in rows if any(row)]
    header = [cell.casefold() for cell in rows[0][1]] if rows else []
    names = {name: name for name in COLUMNS if name in header} | dict(columns)
    places: dict[str, int] = {}
    for name, called in names.items():
        found = [k for k, cell in enumerate(header) if cell == called.strip().casefold()]
        if len(found) != 1:
            why = f"has the column '{called}' {len(found)} times" if found else f"has no column '{called}'"
            shown = ", ".join(cell for cell in (rows[0][1] if rows else []) if cell) or "none"
            raise InputError(f"{path} {why} (its columns: {printable(shown)})")
        places[name] = found[0]
    if "image" not in places:
        shown = ", ".join(cell for cell in (rows[0][1] if rows else []) if cell) or "none"
        raise InputError(
            f"{path} has no column 'image': say what it is called, e.g. --columns '{{image: File}}' (its "
            f"columns: {printable(shown)})"
        )
    return [read_row(number, row, places) for number, row in rows[1:]]


def read_row(number: int, row: list[str], places: Mapping[str, int]) -> Row:
    """One row, its values checked."""
    cells = dict.fromkeys(COLUMNS, "")
    for name, place in places.items():
        text = printable(row[place].strip(), " ") if place < len(row) else ""
        cells[name] = "" if text.casefold() in NOTHING else text
    values, problems = parse_values(cells, cells["image"] or f"row {number}", number)
    return Row(number, cells, values, tuple(problems))


def read(conversion: Conversion) -> Iterator[Found]:
    """Read a sheet whose rows name images, and masks where there are any."""
    rows = read_sheet_rows(conversion.path, conversion.columns)
    files = Files(conversion, rows)
    for row in rows:
        cells = row.cells
        name = cells["image"] or f"row {row.number}"
        if row.problems:
            with suppress(InputError):
                files.find(cells["image"])  # it is named, so nobody misses it
            yield from row.problems
            continue
        try:
            if not cells["image"]:
                yield Unplaced(name, "row without an image", f"{name} (row {row.number})")
                continue
            yield read_case(row, files, conversion.orientation)
        except InputError as error:
            yield Problem(name, getattr(error, "kind", str(error)), f"{name} (row {row.number})")
    conversion.images.tell_unused()


def read_case(row: Row, files: "Files", orientation: str | None) -> Annotation:
    """The annotation that a row is."""
    found, path = files.find(row.cells["image"])
    masks = [files.find_mask(text) for text in list_masks(row)]
    volumes = [mask for mask in masks if is_volume(mask)]
    annotation = Annotation(found, path)
    if is_volume(path) or volumes:
        annotation = read_pair(found, path, volumes, orientation)
    plain = [Shape(MASK, partial(read_plain, mask)) for mask in masks if mask not in volumes]
    return add_row(replace(annotation, shapes=(*annotation.shapes, *plain)), row)


def list_masks(row: Row) -> list[str]:
    """The masks that a row names."""
    return [text.strip() for text in row.cells["mask"].split(";") if text.strip()]


class Files:
    """The files that the cells of a sheet name: images, NIfTI, NRRD and MetaImage files.

    Args:
        conversion: The sheet.
        rows: Of it.
    """

    def __init__(self, conversion: Conversion, rows: list[Row]) -> None:
        folder = conversion.image_folder or conversion.folder
        self._kinds = (conversion.images, Images(folder, is_volume))
        self._bare_images = name_no_folders(row.cells["image"] for row in rows)
        self._bare_masks = name_no_folders((text for row in rows for text in list_masks(row)), MASK_FOLDER)

    def find(self, text: str, of_mask: bool = False) -> tuple[str, Path]:
        """The name and the path of a file.

        Raises:
            InputError: If there is none, or several.
        """
        bare, idle = (self._bare_masks, MASK_FOLDER) if of_mask else (self._bare_images, IMAGE_FOLDER)
        images, volumes = self._kinds
        try:
            return images.find(text, stem=True, bare=bare, idle=idle)
        except InputError:
            with suppress(InputError):
                return volumes.find(text, bare=bare, idle=idle)
            raise

    def find_mask(self, text: str) -> Path:
        """The path of a mask.

        Raises:
            InputError: If there is none, or several.
        """
        try:
            return self.find(text, of_mask=True)[1]
        except NotThere as error:
            raise InputError(f"no such mask: {text}") from error


def add_row(annotation: Annotation, row: Row, of_clip: bool = False) -> Annotation:
    """An annotation with what a row says beside it; a row about a clip counts for each of its frames."""
    cells, values = row.cells, {name: value for name, value in row.values.items() if value is not None}
    spacing = values.pop("spacing", None) or annotation.spacing
    frame = annotation.name[annotation.name.rindex(" [") :] if of_clip and cells["id"] else ""
    return replace(
        annotation,
        name=f"{cells['id']}{frame}" if cells["id"] else annotation.name,
        tags=(*annotation.tags, *([cells["label"]] if cells["label"] else [])),
        patient=cells["patient"] or annotation.patient,
        spacing=spacing,
        values={**annotation.values, **values},
    )


def read_plain(path: Path, *_: int) -> Mask:
    """A mask of black and one other value."""
    return read_one(path, to_mask)


def add_sheet(found: list[Found], path: Path, columns: Mapping[str, str], root: Path) -> list[Found]:
    """Add what a sheet says to the annotations of another format.

    A row is about the image that its cell ``image`` means (see `busi.formats.images.Names`), with or without
    suffix, or about all frames of such a clip. A class that a row gives to no image may be that of any.

    Args:
        found: The annotations and problems.
        path: The sheet.
        columns: See `read_sheet_rows`.
        root: The folder of the images.

    Returns:
        The annotations and problems, and one for each row that is about no image, or about several.
    """
    rows = read_sheet_rows(path, columns)
    places: dict[str, list[int]] = {}
    for k, one in enumerate(found):
        for name in {one.name, one.clip or one.name} if isinstance(one, Annotation) else ():
            places.setdefault(name, []).append(k)
    failed = Names(
        (
            name
            for one in found
            if isinstance(one, Problem) and not isinstance(one, Unplaced)
            for name in (one.id, one.file)
        ),
        root,
    )
    bare = name_no_folders(row.cells["image"] for row in rows)
    names, result, told = Names(places, root), list(found), Counter[int]()
    for row in rows:
        text = row.cells["image"]
        mine = names.find(text, stem=True, bare=bare) if text else []
        indices = [k for name in mine for k in places[name]]
        told.update(indices)
        if mine or (text and failed.find(text, stem=True, bare=bare)):
            result += row.problems
        else:
            kind = "row of the sheet without an image" if text else "row of the sheet that names no image"
            where = f"{text} (row {row.number} of {path.name})"
            lost = Unplaced if row.cells["label"] else Problem
            result += [
                lost(one.id, one.kind, one.file)
                for one in row.problems or [Problem(text or f"row {row.number}", kind, where)]
            ]
        for k in indices:
            one, name = result[k], getattr(found[k], "name", "")
            if row.problems or len(mine) > 1 or told[k] > 1:
                result[k] = Problem(name, "image whose row of the sheet is not clear", name)
            elif isinstance(one, Annotation):
                result[k] = add_row(one, row, of_clip=mine[0] == one.clip)
    return result
