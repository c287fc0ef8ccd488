"""What is converted: a file or a folder, the images that belong to it, and how it is to be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from busi.formats.files import list_all
from busi.formats.images import Images


@dataclass(frozen=True)
class Conversion:
    """What is converted.

    Attributes:
        path: File or folder.
        image_folder: Where its images lie, if elsewhere.
        columns: Column of a manifest -> what a sheet calls it.
        orientation: One of `busi.formats.known.ORIENTATIONS`; None is ``header`` where that is no guess.
        text: As it was typed: the name of a data set.
    """

    path: Path
    image_folder: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    orientation: str | None = None
    text: str = ""

    @property
    def folder(self) -> Path:
        """The folder, or that of the file."""
        return self.path if self.path.is_dir() else self.path.parent

    @cached_property
    def files(self) -> list[Path]:
        """The file, or all files of the folder."""
        return list_all(self.path) if self.path.is_dir() else [self.path]

    def place_of(self, path: Path) -> str:
        """The folder of a file, below that of the conversion; empty for that itself."""
        return path.relative_to(self.folder).parent.as_posix().removeprefix(".")

    @cached_property
    def images(self) -> Images:
        """The images that belong to it."""
        return Images(self.image_folder or self.folder)
