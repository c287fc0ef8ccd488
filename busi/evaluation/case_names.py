"""By which names other tools may call the images of a data set."""

from collections.abc import Sequence
from pathlib import Path

from busi.core import Record
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


def list_names(places: Sequence[int], names: CaseNames, most: int = 10) -> str:
    """``3 images (a, b, c)``."""
    more = f" and {len(places) - most} more" if len(places) > most else ""
    listed = ", ".join(names.ids[i] for i in places[:most])
    return f"{len(places)} image{'s' * (len(places) > 1)} ({listed}{more})"
