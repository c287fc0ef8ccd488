"""A page on this computer that shows what a model sees in a picture."""

import logging
import os
import signal
import tempfile
from functools import partial
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from busi.core import CLASSES, InputError
from busi.data import Frame, draw_sample, read_frames
from busi.figures import draw_overlay
from busi.inference.bundle import is_bundle
from busi.inference.demo_text import View, describe, draw_heat, measure, name_model, pack
from busi.inference.predictor import Predictor

log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # with which gradio asks its own page whether it is up

MAX_FRAMES = 500
"""Of one file; later ones are not offered."""
SAFE_BUTTONS: Any = ["download", "fullscreen"]
"""Of pictures; gradio's third one would upload them to a public server."""
NOTICE = (
    "**For research only. This is no medical device and gives no medical advice.** "
    "Pictures stay on this computer, and are deleted when the demo ends."
)
Shown = dict[Any, Any]
"""New values of components of the page."""


def serve_demo(source: str | Path, port: int) -> None:
    """Serve the page of a model until Ctrl-C or SIGTERM; see `build_page`.

    Args:
        source: Run folder, checkpoint or bundle.
        port: Of 127.0.0.1.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or the pictures would stay behind
    with tempfile.TemporaryDirectory(prefix="busi-demo-") as name:
        # Both are read when gradio is imported: where it keeps uploads, and whether it reports its use.
        os.environ["GRADIO_TEMP_DIR"], os.environ["GRADIO_ANALYTICS_ENABLED"] = name, "False"
        serve(build_page(Path(source).expanduser(), Path(name)), port)


def serve(page: Any, port: int) -> None:
    """Serve a page to this computer alone, until Ctrl-C."""
    import gradio

    font = ["system-ui", "sans-serif"]  # the default ones are fetched from a server
    theme = gradio.themes.Default(font=font, font_mono=["monospace"])
    try:
        page.launch(
            server_name="127.0.0.1",
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size="200mb",
            footer_links=[],
            ssr_mode=False,
            theme=theme,
        )
    except OSError as error:
        raise InputError(f"port {port} is taken: give another with --port") from error
    log.info("Open http://127.0.0.1:%d in a browser; Ctrl-C ends it", port)
    page.block_thread()


def build_page(source: Path, folder: Path) -> Any:
    """Build the page of a model.

    Args:
        source: Run folder, checkpoint or bundle. A bundle has no gradients: its page lacks what needs them.
        folder: For sample pictures and results.

    Raises:
        InputError: If the model or a package is missing.
    """
    try:
        import gradio
    except ModuleNotFoundError as error:
        raise InputError(f"the demo needs the package {error.name}: pip install 'busi[demo]'") from error
    predictor, explainer = open_model(source)
    facts = predictor.facts[0]
    with gradio.Blocks(title="busi demo", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        view = gradio.State()
        gradio.Markdown(f"# Lesion mask and class of a breast ultrasound picture\n{NOTICE}")
        gradio.Markdown(name_model(facts, explainer is not None))
        with gradio.Row():
            with gradio.Column(min_width=300):
                file = gradio.File(label="Picture: PNG, JPEG, BMP, TIFF or DICOM", height=140)
                number = gradio.Slider(1, 2, 1, step=1, label="Frame", visible=False)
                gradio.Examples(
                    [[str(path)] for path in write_samples(folder)],
                    [file],
                    label="Made samples",
                    cache_examples=False,
                )
            with gradio.Column(min_width=300):
                verdict = gradio.HTML(label="Result", elem_id="verdict")
                probs = gradio.Label(label="Probabilities", show_heading=False, visible=False)
                blank = gradio.Label(label="With the guide blank", show_heading=False, visible=False)
        with gradio.Row(visible=False) as controls:
            opacity = gradio.Slider(0, 1, 0.25, step=0.05, label="Opacity of the mask", min_width=280)
            cut = gradio.Slider(
                0.05, 0.95, facts.mask_rule.threshold, step=0.05, label="Threshold of the mask", min_width=280
            )
        with gradio.Row(visible=False) as pictures:
            shown = partial(
                gradio.Image, interactive=False, format="png", min_width=280, buttons=SAFE_BUTTONS
            )
            overlay, mask = shown(label="Overlay"), shown(label="Mask")
            heat = shown(label="Grad-CAM of the class", visible=explainer is not None)
        measured = gradio.Markdown(elem_id="measured")
        download = gradio.DownloadButton("Download mask, overlay and numbers", visible=False)

        def redraw(view: View | None, opacity_now: float, cut_now: float) -> Shown:
            if view is None:
                return {measured: ""}
            found = view.prediction.with_threshold(cut_now)
            drawn = draw_overlay(view.frame.gray, found.mask, opacity_now)
            return {
                overlay: drawn,
                mask: found.mask * np.uint8(255),
                measured: measure(found),
                download: gradio.update(value=str(pack(folder, view.name, drawn, found)), visible=True),
            }

        def clear(message: str) -> Shown:
            hidden = gradio.update(visible=False)
            parts = dict.fromkeys((controls, pictures, probs, blank, download), hidden)
            return {view: None, verdict: message, measured: "", **parts}

        def predict(path: str | None, number_now: float, opacity_now: float, cut_now: float) -> Shown:
            if path is None:
                return clear("")
            try:
                name, frame = read_frame(Path(path), int(number_now))
            except InputError as error:
                text = str(error).replace(path, Path(path).name)
                return clear(f"<p role='alert'><b>{escape(text)}</b></p>")
            found = View(name, frame, predictor.predict_one(frame))
            values = {
                view: found,
                verdict: describe(found, facts.level),
                probs: gradio.update(value=found.prediction.probs, visible=True),
                controls: gradio.update(visible=True),
                pictures: gradio.update(visible=True),
            }
            if explainer is not None:
                answer = explainer.ask_without_guide(frame.gray).tolist()
                values[blank] = gradio.update(value=dict(zip(CLASSES, answer, strict=True)), visible=True)
                label = CLASSES.index(found.prediction.class_name)
                values[heat] = draw_heat(frame.gray, explainer.locate(frame.gray, label))
            return values | redraw(found, opacity_now, cut_now)

        def open_file(path: str | None, opacity_now: float, cut_now: float) -> Shown:
            count = 1 if path is None else count_frames(Path(path))
            slider = gradio.update(value=1, maximum=max(2, count), visible=count > 1)
            return {number: slider, **predict(path, 1, opacity_now, cut_now)}

        drawn = [overlay, mask, measured, download]
        all_shown = [view, verdict, probs, blank, controls, pictures, heat, *drawn]
        file.change(open_file, [file, opacity, cut], [number, *all_shown], api_visibility="private")
        number.input(
            predict,
            [file, number, opacity, cut],
            all_shown,
            api_visibility="private",
            trigger_mode="always_last",
        )
        for slider in (opacity, cut):
            slider.change(
                redraw, [view, opacity, cut], drawn, api_visibility="private", trigger_mode="always_last"
            )
    return page


def open_model(source: Path) -> tuple[Predictor, Any]:
    """Open a model, and what explains it; None for a bundle, which has no gradients."""
    if is_bundle(source):
        return Predictor(source), None
    try:
        from busi.inference.explain import Explainer
    except ModuleNotFoundError as error:
        raise InputError(f"the demo needs the package {error.name}: pip install 'busi[demo]'") from error
    from busi.inference.pipeline import as_network, load_pipeline

    pipeline, facts = load_pipeline(source)
    return Predictor.of(as_network(pipeline), facts), Explainer(pipeline, facts.image_size)


def write_samples(folder: Path) -> list[Path]:
    """Write a made picture of each class."""
    paths = []
    for label, name in enumerate(CLASSES):
        path = folder / f"made {name}.png"
        Image.fromarray(draw_sample(label, np.random.default_rng([3, label]), 400).picture).save(path)
        paths.append(path)
    return paths


def count_frames(path: Path) -> int:
    """How many pictures of a file can be read, at most `MAX_FRAMES`."""
    count = 0
    try:
        for _ in islice(read_frames(path), MAX_FRAMES):
            count += 1
    except InputError:
        pass  # said when the first one is read
    return count


def read_frame(path: Path, number: int) -> tuple[str, Frame]:
    """Read one picture of a file, counted from 1, and its name.

    Raises:
        InputError: If it cannot be read.
    """
    for frame in islice(read_frames(path), number - 1, None):
        return (path.stem if number == 1 else f"{path.stem} [{number}]"), frame
    raise InputError(f"{path} has no picture {number}")
