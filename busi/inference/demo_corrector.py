"""What the demo does with an image whose mask a person wants to correct."""

from html import escape
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from busi.core import InputError, printable
from busi.data import Frame
from busi.inference.demo_files import count_frames, read_frame
from busi.inference.demo_guard import App
from busi.inference.demo_text import View
from busi.inference.prediction import Prediction

CORRECT = "/correct"
"""Where masks are corrected."""


@runtime_checkable
class Corrector(Protocol):
    """What keeps images whose masks a person wants to correct, and serves the page for that.

    Attributes:
        folder: Where they are kept.
        app: The page, which is served at `CORRECT`.
    """

    folder: Path
    app: App

    def add(self, path: Path, number: int | None, frame: Frame, prediction: Prediction) -> int:
        """Keep an image; its place in the list of the page, from 1.

        Args:
            path: Of the file.
            number: Of the image in it, from 1; None if that holds one.
            frame: The image.
            prediction: Of it.

        Raises:
            InputError: If it cannot be kept.
        """


def keep(corrector: Corrector, path: Path, number: int, view: View) -> str:
    """Keep an image to be corrected; HTML that says where that is done.

    Args:
        corrector: Keeps it.
        path: Of its file.
        number: Of the image in it, from 1.
        view: What the page shows of it.
    """
    try:
        name, frame = read_frame(path, number)
        if name != view.name or not np.array_equal(frame.gray, view.frame.gray):
            raise InputError("another image was chosen meanwhile: wait for its mask")
        several = count_frames(path, 2) > 1
        place = corrector.add(path, number if several else None, view.frame, view.prediction)
    except InputError as error:
        return f"<p role='alert'><b>{escape(printable(str(error).replace(str(path), path.name)))}</b></p>"
    link = f"<a href='{CORRECT.strip('/')}/#{place}' target='_blank'>Paint its mask right</a>"
    return f"<p>{escape(view.name)} is kept. {link}, in a new tab.</p>"
