"""The demo, served to this computer alone."""

import logging
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from busi.core import InputError
from busi.inference.bundle import Model, is_bundle
from busi.inference.predictor import Predictor

if TYPE_CHECKING:  # PyTorch
    from busi.inference.explain import Explainer

log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # with which gradio asks its own page whether it is up


def serve_demo(source: str | Path, port: int) -> None:
    """Serve the page of a model until Ctrl-C or SIGTERM; see `DemoPage`.

    Args:
        source: Run folder, checkpoint or bundle. A bundle has no gradients: its page lacks what needs them.
        port: Of 127.0.0.1.

    Raises:
        InputError: If the model or a package is missing, or the port is taken.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or the images would stay behind
    with tempfile.TemporaryDirectory(prefix="busi-demo-") as folder:
        # Both are read when gradio is imported: where it keeps uploads, and whether it reports its use.
        os.environ["GRADIO_TEMP_DIR"], os.environ["GRADIO_ANALYTICS_ENABLED"] = folder, "False"
        try:
            from busi.inference.demo_page import DemoPage

            page = DemoPage(*open_model(Path(source).expanduser()), Path(folder))
        except ModuleNotFoundError as error:
            raise InputError(f"the demo needs the package {error.name}: pip install 'busi[demo]'") from error
        try:
            page.launch(port)
        except OSError as error:
            raise InputError(f"port {port} is taken: give another with --port") from error
        log.info("Open http://127.0.0.1:%d in a browser; Ctrl-C ends it", port)
        page.blocks.block_thread()


def open_model(source: Path) -> "tuple[Predictor, Explainer | None]":
    """Open a model for prediction, and for explanation unless it is a bundle."""
    if is_bundle(source):
        return Predictor(source), None
    from busi.inference.explain import Explainer
    from busi.inference.loading import as_network, load_two_stage

    two_stage, info = load_two_stage(source)
    return Predictor(Model(as_network(two_stage), info)), Explainer(two_stage, info.image_size)
