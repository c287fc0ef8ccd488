"""Images of the demo that a person wants to correct: kept as `busi.predict` keeps them, and reviewed."""

import hashlib
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from busi.core import InputError, file_hash, printable, write_whole, writing_to
from busi.data import Frame, InputFile, Item
from busi.inference import Prediction, Predictor, add_prediction, check_appending, serve_demo
from busi.review.app import make_app
from busi.review.queue import read_predictions
from busi.review.session import Session
from busi.review.store import ReviewFolder

if TYPE_CHECKING:
    from busi.inference import App

FILES = "uploads"
"""The folder of the files, in that of their predictions."""
MAX_STEM = 100
"""Characters of a file's name that its id begins with."""


def serve_uploads(run: str | Path, folder: Path, port: int) -> None:
    """Serve the demo of a model with a page to correct what was uploaded.

    Args:
        run: See `busi.inference.serve_demo`.
        folder: Where images, predictions and corrections are kept. ``--review`` shows it, too.
        port: Of 127.0.0.1.

    Raises:
        InputError: As `busi.inference.serve_demo`, or if the folder is of another model or cannot be written.
    """
    serve_demo(run, port, partial(Uploads, folder))


class Uploads:
    """A folder of images to be corrected, and the page for that.

    Args:
        folder: Made if it is not there.
        predictor: Of the demo.

    Raises:
        InputError: If it is of another model or of other files, damaged, or cannot be written.
    """

    def __init__(self, folder: Path, predictor: Predictor) -> None:
        self._predictor = predictor
        self.folder = Path(os.path.realpath(folder))  # however it was typed, the table names the same files
        self._files = self.folder / FILES
        check_appending(predictor, self.folder, self._files)
        store = ReviewFolder(self.folder / "review")
        self._session = Session(read_predictions(self.folder), store, in_order=True)
        self.app: App = make_app(self._session)

    def add(self, path: Path, number: int | None, frame: Frame, prediction: Prediction) -> int:
        """Keep an image; see `busi.inference.demo_corrector.Corrector`. A second time, it is the same one."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {path}: choose the file again") from error
        digest = hashlib.sha256(content).hexdigest()[:16]
        stem = printable(path.stem, "_").strip()[:MAX_STEM] or "image"
        file = InputFile(f"{stem}-{digest[:8]}", self._files / f"{stem}-{digest[:8]}{path.suffix}")
        with writing_to(self.folder):
            if not file.path.exists() or file_hash(file.path)[:16] != digest:
                write_whole(file.path, lambda part: part.write_bytes(content))
        item = Item(file, number, digest, frame, "")
        add_prediction(self._predictor, self.folder, self._files, item, prediction)
        self._session.renew(read_predictions(self.folder))
        return 1 + [row.id for row, _ in self._session.queue].index(item.id)
