"""What the readers of published data sets share: the folder, its files, and tables of its images."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from busi.core import CLASSES, InputError, Record, expand, is_file, is_folder, printable, read_table
from busi.data.files import is_image, strip_suffix
from busi.data.records import (
    UNREAD_SUFFIXES,
    Problem,
    Reading,
    WrongLayout,
    check_ids,
    file_name,
    has_images,
    list_files,
    natural,
)

Row = Mapping[str, str]
Rows = Mapping[str, Sequence[Row]]
"""Name of an image -> its rows in a table; there should be one."""

MAX_DEPTH = 3
"""How often an archive may nest its folder."""
UNKNOWN_LABEL = "label that the data set does not have"
UNREAD = "file that training does not read"
NO_MASK = "lesion without a mask"


@dataclass(frozen=True)
class Layout:
    """A published data set as a folder.

    Attributes:
        name: Short, as in ``data=busbra``.
        title: As it was published.
        needs: What the folder holds, as patterns below it.
        variable: The environment variable that gives the folder.
        url: Where it is published.
        ignored: Folders that may hold images and are not read.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    variable: str
    url: str
    ignored: tuple[str, ...] = ()

    def find(self, root: Path) -> Path:
        """The folder that has this layout: `root`, or the only folder in it, as archives nest it.

        Raises:
            WrongLayout: If there is none.
        """
        root = expand(root)
        if not is_folder(root):
            what = "is a file, not a folder" if is_file(root) else "is not there"
            raise self._wrong(f"{root} {what}. {self._how_to_get_it()}")
        folder = root
        for _ in range(MAX_DEPTH):
            if self._fits(folder):
                return folder
            if len(inner := _folders(folder)) != 1:
                break
            (folder,) = inner
        if self._fits(folder):
            return folder
        near = [path for path in (root.absolute().parent, *islice(_folders(root), 100)) if self._fits(path)]
        hint = f"did you mean data.root={near[0]}? " if near else ""
        missing = ", ".join(need for need in self.needs if not _has(root, need))
        text = f"{root} is not {self.title}, it lacks {missing}: {hint}{self._how_to_get_it()}"
        raise self._wrong(text, f" (found in {near[0]})" if near else "")

    def refuse_strangers(self, folder: Path) -> None:
        """Raise `WrongLayout` if other folders hold images: whoever put them there would miss them."""
        known = {Path(need).parts[0] for need in self.needs}
        for path in _folders(folder):
            if path.name not in known | set(self.ignored) and (
                has_images(path) or any(has_images(below) for below in _folders(path))
            ):
                raise self._wrong(
                    f"{folder} is not {self.title}, which has no images in {path.name}: move that folder "
                    "away, or list all images in a manifest (data=csv)"
                )

    def finish(self, folder: Path, records: list[Record], problems: list[Problem]) -> Reading:
        """What a reader returns.

        Raises:
            InputError: If the folder has the layout, and no images.
        """
        if not records and not problems:
            raise InputError(f"no images in {folder}. {self._how_to_get_it()}")
        check_ids(record.id for record in records)
        return sorted(records, key=lambda record: natural(record.id)), problems

    def _wrong(self, text: str, where: str = "") -> WrongLayout:
        return WrongLayout(text, f"{', '.join(self.needs)}{where}")

    def _fits(self, folder: Path) -> bool:
        return all(_has(folder, need) for need in self.needs)

    def _how_to_get_it(self) -> str:
        return (
            f"{self.title} holds {', '.join(self.needs)}: give its folder with data.root=FOLDER or the "
            f"environment variable {self.variable}; it is published at {self.url}"
        )


def _has(folder: Path, need: str) -> bool:
    try:
        return next(folder.glob(need), None) is not None
    except OSError:
        return False


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, without those that only file managers and archivers see."""
    try:
        names = list_files(folder)
    except InputError:
        return []
    return sorted(folder / name for name in names if name != "__MACOSX" and (folder / name).is_dir())


def list_images(folder: Path) -> tuple[dict[str, Path], list[Problem]]:
    """The image files of a folder by their names without suffix, in natural order, and those of no use.

    Notes and thumbnails are passed over. Two files whose names differ in case or suffix alone are a problem.

    Raises:
        InputError: If the folder cannot be listed, or a folder in it holds images.
    """
    found: dict[str, list[Path]] = {}
    problems = []
    for path in sorted((folder / name for name in list_files(folder)), key=natural):
        if path.is_dir():
            if has_images(path):
                raise InputError(f"{path} has images: move them to {folder}, where they are looked for")
        elif is_image(path):
            found.setdefault(file_name(_name(path)).casefold(), []).append(path)
        elif path.suffix.lower() in UNREAD_SUFFIXES:
            problems.append(Problem(printable(path.stem, "_"), UNREAD, path.name))
    images = {}
    for paths in found.values():
        name = _name(paths[0])
        if len(paths) == 1:
            images[name] = paths[0]
        else:
            problems.append(Problem(name, "several files of one name", ", ".join(x.name for x in paths)))
    return images, problems


def _name(path: Path) -> str:
    return printable(strip_suffix(path.name), "_")


def stray_masks(masks: Mapping[str, Path], used: Collection[str]) -> list[Problem]:
    """A problem for each mask that no image has."""
    return [
        Problem(name, "mask without an image", path.name) for name, path in masks.items() if name not in used
    ]


def read_rows(path: Path, key: str, columns: Sequence[str]) -> Rows:
    """Read a published table as rows of an image; other columns are passed over.

    Args:
        path: A CSV file in any form that `busi.core.read_table` takes.
        key: The column that names the image, with or without the suffix of its file.
        columns: The other columns that are needed.

    Raises:
        InputError: If it cannot be read, a column is missing, or there are no rows.
    """
    try:
        rows = read_table(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return index_rows(path, rows, key, columns)


def index_rows(path: Path, rows: Iterable[Row], key: str, columns: Sequence[str]) -> Rows:
    """Sort the rows of a table by the image that they name; see `read_rows`."""
    found: dict[str, list[Row]] = {}
    for cells in rows:
        row = {name.strip(): text.strip() for name, text in cells.items()}
        if missing := [name for name in (key, *columns) if name not in row]:
            raise InputError(
                f"{path} has no column {', '.join(missing)} (it has {', '.join(row)}): get the file again"
            )
        if any(row.values()):
            found.setdefault(strip_suffix(row[key]), []).append(row)
    if not found:
        raise InputError(f"{path} has no rows: get the file again")
    return found


def match_rows(
    images: Mapping[str, Path], rows: Rows, table: str
) -> tuple[list[tuple[str, Path, Row]], list[Problem]]:
    """Give each image its row.

    Args:
        images: Name -> file.
        rows: Of the table.
        table: Its file name.

    Returns:
        Name, file and row of each image that has one row, and a problem for every other image and row.
    """
    matched, problems = [], []
    for name, path in images.items():
        mine = rows.get(name, ())
        if len(mine) == 1:
            matched.append((name, path, mine[0]))
        else:
            kind = f"image with several rows in {table}" if mine else f"image without a row in {table}"
            problems.append(Problem(name, kind, path.name))
    for name in rows.keys() - images.keys():
        shown = printable(name) or "(no name)"
        problems.append(Problem(shown, f"row of {table} without an image", shown))
    return matched, sorted(problems, key=lambda problem: natural(problem.id))


def read_label(text: str, among: Sequence[str] = CLASSES) -> int | None:
    """Position in `CLASSES` of a class name in any case; None for any other text."""
    name = text.strip().casefold()
    return CLASSES.index(name) if name in among else None


def unknown_label(name: str, text: str, table: str) -> Problem:
    """The problem of an image whose label is no class."""
    return Problem(name, UNKNOWN_LABEL, f"{printable(text) or '(empty)'} ({name} in {table})")
