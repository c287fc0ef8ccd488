"""By which names other tools may call the images of a data set."""

from collections.abc import Sequence
from pathlib import Path

from busi.core import Record, list_some
from busi.data import file_name


class CaseNames:
    """Finds images by their ids, as they are or as names of files; else by the names of their own files.

    Args:
        records: The images.

    Attributes:
        ids: Of the images.
        hint: How images are called, for errors.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.ids = [record.id for record in records]
        self._by_id = {file_name(one).casefold(): i for i, one in enumerate(self.ids)}
        self._by_file: dict[str, int | None] = {}
        for i, record in enumerate(records):
            for text in {record.image.name.casefold(), record.image.stem.casefold()}:
                self._by_file[text] = None if text in self._by_file else i
        self.hint = f"Images are called by their ids, e.g. {file_name(self.ids[0])}"

    def find(self, text: str) -> int | None:
        """The position of an image; None if there is none of that name, or several."""
        name = file_name(text.strip()).casefold()
        found = self._by_id.get(name)
        return found if found is not None else self._by_file.get(Path(text.strip()).name.casefold())


def list_images(ids: Sequence[str]) -> str:
    """``3 images (a, b, c)``."""
    return f"{len(ids)} image{'s' * (len(ids) > 1)} ({list_some(ids)})"


def list_names(places: Sequence[int], names: CaseNames) -> str:
    """Images by their positions, see `list_images`."""
    return list_images([names.ids[i] for i in places])
