"""The page of a review, served to this computer alone."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from busi.core import InputError, expand, printable
from busi.figures import encode_png
from busi.inference import App, serve_app
from busi.review.queue import read_predictions
from busi.review.session import Session
from busi.review.store import MANIFEST, OtherWindow, ReviewFolder
from busi.review.work import clean_name, parse_work

if TYPE_CHECKING:  # of the extra demo
    from starlette.requests import Request
    from starlette.responses import Response

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
FILES = {"/": "index.html", "/page.js": "page.js", "/page.css": "page.css"}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
Call = Callable[[int, bytes, str], dict[str, Any]]
"""What answers a request: of the image's place, the body, and the reviewer of the query."""


def serve_review(folder: str | Path, save: str | Path | None, port: int) -> None:
    """Serve the page that corrects predictions, until Ctrl-C, SIGTERM or SIGHUP.

    Args:
        folder: What `busi.predict` wrote.
        save: Where the corrections go; without it ``review`` in `folder`.
        port: Of 127.0.0.1.

    Raises:
        InputError: If a folder cannot be used, a package is missing, or the port cannot be had.
    """
    predictions = read_predictions(expand(folder))
    if not predictions.rows:
        raise InputError(
            f"no image of {predictions.folder} was predicted: give another folder, or see the column error "
            "of its predictions.csv"
        )
    store = ReviewFolder(predictions.folder / "review" if save is None else expand(save))
    session = Session(predictions, store)
    images = {(row.id, row.sha256) for row in predictions.rows}
    done = len(images & {(one.id, one.sha256) for one in store.corrections().values()})
    log.info("%d images, %d corrected: %s", len(predictions.rows), done, store.folder / MANIFEST)
    if predictions.num_failed:
        log.info("%d that could not be predicted are left out", predictions.num_failed)

    def make(_: Path) -> Callable[[int], App]:
        app = make_app(session)
        return lambda _: app

    serve_app(make, port)


def make_app(session: Session) -> App:
    """The application that shows a session.

    Raises:
        ModuleNotFoundError: Without the extra ``demo``.
    """
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import FileResponse, JSONResponse, Response
    from starlette.routing import Route

    def file_route(path: str, name: str) -> Route:
        async def send(_: "Request") -> "Response":
            return FileResponse(PAGE / name, headers=HEADERS)

        return Route(path, send)

    def call_route(path: str, method: str, call: Call) -> Route:
        async def answer(request: "Request") -> "Response":
            place, body = request.path_params.get("place", 0), await request.body()
            if "place" in request.path_params and not 0 <= place < len(session.queue):
                return JSONResponse({"error": "there is no such image: reload the page"}, 404, HEADERS)
            reviewer = request.query_params.get("reviewer", "")
            try:
                answered = await run_in_threadpool(call, place, body, reviewer)
            except OtherWindow as error:
                return JSONResponse({"error": printable(str(error))}, 409, HEADERS)
            except InputError as error:
                return JSONResponse({"error": printable(str(error))}, 422, HEADERS)
            except OSError as error:
                return JSONResponse({"error": printable(f"{error.filename}: {error.strerror}")}, 422, HEADERS)
            return JSONResponse(answered, headers=HEADERS)

        return Route(path, answer, methods=[method])

    def keep(place: int, body: bytes, _: str) -> dict[str, Any]:
        return session.keep_draft(place, parse_work(body))

    def correct(place: int, body: bytes, _: str) -> dict[str, Any]:
        return session.correct(place, parse_work(body))

    async def send_pixels(request: "Request") -> "Response":
        place = request.path_params["place"]
        try:
            gray = (await run_in_threadpool(session.read, place)).gray
        except (InputError, IndexError):
            return Response(status_code=404)  # the page has been told why
        return Response(encode_png(gray), 200, HEADERS, "image/png")

    one = "/images/{place:int}"
    app: App = Starlette(
        routes=[
            *(file_route(path, name) for path, name in FILES.items()),
            call_route("/images", "GET", lambda _, __, name: session.list_images(clean_name(name))),
            call_route(one, "GET", lambda place, _, name: session.open_image(place, clean_name(name))),
            call_route(f"{one}/draft", "POST", keep),
            call_route(f"{one}/correction", "POST", correct),
            Route(f"{one}/pixels.png", send_pixels),
        ]
    )
    return app
