"""A page that shows the mask and the diagnosis of an image."""

from collections.abc import Iterator
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio
import numpy as np
from fastapi import FastAPI

from busi.core import CLASSES, InputError, printable
from busi.figures import draw_overlay
from busi.inference.demo_corrector import CORRECT, Corrector, keep
from busi.inference.demo_files import count_frames, read_frame, write_samples
from busi.inference.demo_guard import HOST
from busi.inference.demo_text import (
    View,
    describe_diagnosis,
    describe_mask,
    describe_model,
    describe_scale,
    draw_heatmap,
    write_results,
)
from busi.inference.predictor import Predictor

if TYPE_CHECKING:  # PyTorch
    from busi.inference.explain import Explainer

NOTICE = (
    "**For research only. This is no medical device and gives no medical advice.** "
    "Images stay on this computer, and are deleted when the demo ends."
)
INVITATION = (
    "<p>Choose an image, or one of the synthetic samples: here appear the image, its class with the "
    "probabilities, and below them the mask.</p>"
)
"""Where the answer goes, until there is one."""
SAFE_BUTTONS: Any = ["download", "fullscreen"]
"""Of images; gradio's third one would upload them to a public server."""
Updates = dict[Any, Any]
"""Components of the page -> their new values."""


class DemoPage:
    """The components of the page, and what changes them.

    Args:
        predictor: Of one model.
        explainer: Of the same model; without one, the page lacks Grad-CAM and the answer with an empty guide.
        folder: For sample images and results.
        corrector: Keeps images to be corrected; without one, the page does not offer it.

    Attributes:
        blocks: The page, as gradio has it.
    """

    def __init__(
        self,
        predictor: Predictor,
        explainer: "Explainer | None",
        folder: Path,
        corrector: Corrector | None = None,
    ) -> None:
        self.predictor, self.explainer, self.folder = predictor, explainer, folder
        self.corrector = corrector
        self.info = predictor.infos[0]
        self.blocks = gradio.Blocks(title="busi demo", analytics_enabled=False, delete_cache=(600, 3600))
        with self.blocks:
            self.view = gradio.State()
            gradio.Markdown(f"# Lesion mask and class of a breast ultrasound image\n{NOTICE}")
            if corrector is not None:
                place = escape(printable(str(corrector.folder)))
                gradio.HTML(f"<p>What you choose to correct is kept in <code>{place}</code>.</p>")
            gradio.HTML(describe_model(self.info, explainer is not None), elem_id="model")
            with gradio.Row():
                self._add_inputs()
                self._add_answer()
            self._add_sliders()
            self._add_images()
            self.mask_text = gradio.Markdown(elem_id="mask-text")
            self.download = gradio.DownloadButton("Download mask, overlay and numbers", visible=False)
            self.correct_button = gradio.Button("Correct this mask", visible=False)
            self.kept_text = gradio.HTML(elem_id="kept")
            self._connect()

    def _add_inputs(self) -> None:
        with gradio.Column(min_width=300):
            self.file = gradio.File(label="Image: PNG, JPEG, BMP, TIFF or DICOM", height=140)
            self.number = gradio.Slider(1, 2, 1, step=1, label="Frame", visible=False)
            samples = [[str(path)] for path in write_samples(self.folder)]
            gradio.Examples(samples, [self.file], label="Synthetic samples", cache_examples=False)
            self.original = gradio.Image(
                label="Image",
                interactive=False,
                format="png",
                height=320,
                visible=False,
                buttons=SAFE_BUTTONS,
            )

    def _add_answer(self) -> None:
        with gradio.Column(min_width=300):
            self.diagnosis = gradio.HTML(INVITATION, label="Result", elem_id="diagnosis")
            self.probs = gradio.Label(label="Probabilities", show_heading=False, visible=False)
            self.empty_probs = gradio.Label(label="With an empty guide", show_heading=False, visible=False)

    def _add_sliders(self) -> None:
        slider = partial(gradio.Slider, step=0.05, min_width=280)
        with gradio.Row(visible=False) as self.sliders:
            self.opacity = slider(0, 1, 0.25, label="Opacity of the mask")
            self.threshold = slider(
                0.05, 0.95, self.info.postprocess.threshold, label="Threshold of the mask"
            )

    def _add_images(self) -> None:
        image = partial(gradio.Image, interactive=False, format="png", min_width=280, buttons=SAFE_BUTTONS)
        with gradio.Row(visible=False) as self.images:
            self.overlay, self.mask = image(label="Overlay"), image(label="Mask")
            with gradio.Column(min_width=280, visible=self.explainer is not None):
                self.heatmap = image(label="Grad-CAM of the class")
                gradio.HTML(describe_scale(), elem_id="scale")

    def _connect(self) -> None:
        """Say which component calls which method, with the values of which, and what it may change."""
        sliders = [self.opacity, self.threshold]
        drawn = [self.overlay, self.mask, self.mask_text, self.download]
        shown = [self.view, self.diagnosis, self.probs, self.empty_probs, self.sliders, self.images]
        shown += [self.original, self.heatmap, *drawn, self.correct_button, self.kept_text]
        private: Any = {"api_visibility": "private"}
        latest = private | {"trigger_mode": "always_last"}
        self.file.change(self.open_file, [self.file, *sliders], [self.number, *shown], **private)
        self.number.input(self.predict, [self.file, self.number, *sliders], shown, **latest)
        for slider in sliders:
            slider.change(self.redraw, [self.view, *sliders], drawn, **latest)
        if self.corrector is not None:
            given = [self.file, self.number, self.view]
            self.correct_button.click(self.keep, given, self.kept_text, **private)

    def open_file(self, path: str | None, opacity: float, threshold: float) -> Iterator[Updates]:
        """Offer the frames of a file, and predict the first; without a file, clear the page."""
        count = 1 if path is None else count_frames(Path(path))
        slider = gradio.update(value=1, maximum=max(2, count), visible=count > 1)
        for updates in self.predict(path, 1, opacity, threshold):
            yield {self.number: slider, **updates}

    def predict(self, path: str | None, number: int, opacity: float, threshold: float) -> Iterator[Updates]:
        """Show a frame of a file, and then what is predicted of it."""
        if path is None:
            yield self._clear(INVITATION)
            return
        try:
            name, frame = read_frame(Path(path), int(number))
            original = gradio.update(value=frame.gray, visible=True)
            yield self._clear("<p>Predicting.</p>") | {self.original: original}
            view = View(name, frame, self.predictor.predict_one(frame))
        except InputError as error:
            text = str(error).replace(path, Path(path).name)
            yield self._clear(f"<p role='alert'><b>{escape(text)}</b></p>")
            return
        yield self._show(view) | self.redraw(view, opacity, threshold)

    def redraw(self, view: View | None, opacity: float, threshold: float) -> Updates:
        """Draw the mask at another threshold or opacity."""
        if view is None:
            return {self.mask_text: ""}
        prediction = view.prediction.with_threshold(threshold)
        overlay = draw_overlay(view.frame.gray, prediction.mask, opacity)
        results = write_results(self.folder / f"{id(view):x}", view.name, overlay, prediction)
        return {
            self.overlay: overlay,
            self.mask: prediction.mask * np.uint8(255),
            self.mask_text: describe_mask(prediction),
            self.download: gradio.update(value=str(results), visible=True),
        }

    def keep(self, path: str | None, number: int, view: View | None) -> str:
        """Keep an image to be corrected, and say where that is done."""
        if path is None or view is None or self.corrector is None:
            return ""
        return keep(self.corrector, Path(path), int(number), view)

    def _show(self, view: View) -> Updates:
        """Everything but what `redraw` draws."""
        prediction, gray = view.prediction, view.frame.gray
        updates = {
            self.view: view,
            self.diagnosis: describe_diagnosis(view, self.info.level),
            self.probs: gradio.update(value=prediction.probs, visible=bool(prediction.probs)),
            self.sliders: gradio.update(visible=True),
            self.images: gradio.update(visible=True),
            self.correct_button: gradio.update(visible=self.corrector is not None),
        }
        if self.explainer is not None and prediction.pred is not None:
            probs = dict(zip(CLASSES, self.explainer.predict_with_empty_guide(gray).tolist(), strict=True))
            updates[self.empty_probs] = gradio.update(value=probs, visible=True)
            heatmap = self.explainer.compute_heatmap(gray, CLASSES.index(prediction.pred))
            updates[self.heatmap] = draw_heatmap(gray, heatmap)
        return updates

    def _clear(self, message: str) -> Updates:
        hidden = (
            *(self.original, self.sliders, self.images),
            *(self.probs, self.empty_probs, self.download, self.correct_button),
        )
        updates = dict.fromkeys(hidden, gradio.update(visible=False))
        texts = {self.diagnosis: message, self.mask_text: "", self.kept_text: ""}
        return {self.view: None, **texts, **updates}

    def as_app(self, port: int) -> FastAPI:
        """The page as a web application.

        Args:
            port: At which it is served.
        """
        # The default fonts are fetched from a server.
        theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
        outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        if self.corrector is not None:
            outer.mount(CORRECT, self.corrector.app)
        app: FastAPI = gradio.mount_gradio_app(
            outer,
            self.blocks,
            path="/",
            server_name=HOST,
            server_port=port,
            max_file_size="200mb",
            footer_links=[],
            ssr_mode=False,
            mcp_server=False,
            show_error=False,
            theme=theme,
        )
        self.blocks.has_launched = True  # or any file of this computer could be named in place of an upload
        return app
