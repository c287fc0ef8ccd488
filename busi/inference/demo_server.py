"""The demo, served to this computer alone."""

import contextlib
import errno
import logging
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from busi.core import InputError, expand
from busi.inference.bundle import Model, is_bundle
from busi.inference.demo_corrector import Corrector
from busi.inference.demo_folder import ENDING, demo_folder
from busi.inference.demo_guard import HOST, App, Guard, stay_local
from busi.inference.predictor import Predictor

if TYPE_CHECKING:  # PyTorch
    from busi.inference.explain import Explainer

log = logging.getLogger(__name__)
logging.getLogger("uvicorn.error").setLevel(logging.WARNING)

SWITCHES = {
    "GRADIO_RUN_HISTORY": "False",  # or the browser would keep every image and answer
    "OTEL_SDK_DISABLED": "true",  # or FastAPI would report to the server that OTEL_* variables name
}
"""Environment variables, for the demo alone, beside those of `busi.core.silence`."""


def serve_demo(
    source: str | Path, port: int, open_corrector: Callable[[Predictor], Corrector] | None = None
) -> None:
    """Serve the page of a model until Ctrl-C, SIGTERM or SIGHUP; see `DemoPage`.

    Args:
        source: Run folder, checkpoint or bundle. A bundle has no gradients, and a segmentation model tells no
            class: their pages lack what needs them.
        port: Of 127.0.0.1.
        open_corrector: Of the model, makes what keeps images to be corrected.

    Raises:
        InputError: If the model or a package is missing, the port cannot be had, or images cannot be kept.
    """

    def make_page(folder: Path) -> Callable[[int], App]:
        from busi.inference.demo_page import DemoPage

        predictor, explainer = open_model(expand(source))
        corrector = None if open_corrector is None else open_corrector(predictor)
        return DemoPage(predictor, explainer, folder, corrector).as_app

    serve_app(make_page, port)


def serve_app(make: Callable[[Path], Callable[[int], App]], port: int) -> None:
    """Serve an application to this computer alone until Ctrl-C, SIGTERM or SIGHUP.

    Args:
        make: Of a temporary folder, makes what makes the application of a port.
        port: Of 127.0.0.1; 0 takes a free one.

    Raises:
        InputError: If a package is missing, or the port cannot be had.
    """
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves SIGHUP
            signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), demo_folder() as folder:
        stay_local()
        os.environ.update(SWITCHES, GRADIO_TEMP_DIR=str(folder))
        try:
            as_app = make(folder)
        except ModuleNotFoundError as error:
            raise InputError(f"the demo needs the package {error.name}: pip install '.[demo]'") from error
        with listen(port) as listener:
            port = listener.getsockname()[1]
            log.info("Open http://%s:%d in a browser; Ctrl-C ends it", HOST, port)
            run_server(Guard(as_app(port), port), listener)


def listen(port: int) -> socket.socket:
    """Take a port of this computer alone.

    Raises:
        InputError: If it is taken, forbidden or no port.
    """
    try:
        return socket.create_server((HOST, port))
    except OverflowError:
        raise InputError(f"--port {port}: give a number from 1 to 65535") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port {port} is taken: give another with --port") from error
        raise InputError(
            f"port {port} cannot be used ({error.strerror}): give another with --port"
        ) from error


def run_server(app: App, listener: socket.socket) -> None:
    """Answer requests until a signal ends the demo."""
    import uvicorn

    # The page keeps a connection open, which is not waited for. That it is cut then is no error.
    config = uvicorn.Config(
        app, log_config=None, access_log=False, proxy_headers=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, server.handle_exit)  # as uvicorn itself does with the other two
    server.run(sockets=[listener])


def open_model(source: Path) -> "tuple[Predictor, Explainer | None]":
    """Open a model for prediction, and for explanation unless it is a bundle or tells no class."""
    if is_bundle(source):
        return Predictor(source), None
    from busi.inference.explain import Explainer
    from busi.inference.loading import as_network, load_networks
    from busi.models import TwoStage

    networks, info = load_networks(source)
    explainer = Explainer(networks, info.image_size) if isinstance(networks, TwoStage) else None
    return Predictor(Model(as_network(networks), info)), explainer
