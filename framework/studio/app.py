"""The web application: JSON, PNGs and the files of the page. Errors have messages for the user."""

import json
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.figures.films import webp
from slotlab.framework.figures.png import to_png
from slotlab.framework.figures.slot_colors import slot_color
from slotlab.framework.studio.clip_studio import ClipStudio
from slotlab.framework.studio.request_limit import BoundedBodies
from slotlab.framework.studio.requests import ClipRequest, CompositionRequest, DrawRequest, NonNegative
from slotlab.framework.studio.studio import Studio
from slotlab.registry import SlotlabError

if TYPE_CHECKING:
    from fastapi import FastAPI, Response

MOST_PROBLEMS = 8
"""How many errors of one request are reported."""
HEADERS = {
    # Another run may be served at the same address later.
    "Cache-Control": "no-store",
    # Nothing is loaded from elsewhere, and no other page may show this one.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def create_app(studio: Studio, *, hosts: Sequence[str]) -> "FastAPI":
    """Return the application.

    Args:
        studio: the model and the images.
        hosts: the host names under which the page is served, `*` for any. A page elsewhere cannot
            reach this one under a name of its own (DNS rebinding).
    """
    from fastapi import FastAPI, Request, Response
    from fastapi.staticfiles import StaticFiles
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)  # the docs would load from a CDN
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))

    @app.middleware("http")
    async def add_headers(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await go_on(request)
        response.headers.update(HEADERS)
        return response

    app.add_middleware(BoundedBodies, headers=HEADERS)  # outermost, so that it comes before anything is read
    answer_errors(app)
    add_images(app, studio)
    add_compositions(app, studio)
    add_clips(app, studio.clips)
    page = resources.files("slotlab.framework.studio") / "static"
    app.mount("/", StaticFiles(directory=str(page), html=True))
    return app


def answer_errors(app: "FastAPI") -> None:
    """Answer errors with status 422 and a message in `detail`."""
    from fastapi import Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse

    @app.exception_handler(SlotlabError)
    async def refuse(request: Request, error: SlotlabError) -> JSONResponse:
        return JSONResponse({"detail": "; ".join(error.lines())}, 422)

    @app.exception_handler(RequestValidationError)
    async def refuse_request(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = error.errors()
        words = [f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in problems[:MOST_PROBLEMS]]
        if len(problems) > MOST_PROBLEMS:
            words.append(f"and {len(problems) - MOST_PROBLEMS} more")
        return JSONResponse({"detail": "; ".join(words)}, 422)


def add_images(app: "FastAPI", studio: Studio) -> None:
    """Add the routes of the run, its images, and their slots."""
    from fastapi import Response

    @app.get("/api/run")
    def run() -> dict[str, Any]:
        return facts(studio)

    @app.get("/api/images/{position}")
    def image(position: NonNegative) -> dict[str, Any]:
        taken = studio.take_apart(position)
        slots = [{"slot": k, "color": slot_color(k), "area": area} for k, area in enumerate(taken.areas)]
        return {"position": position, "id": taken.id, "slots": slots}

    @app.get("/api/images/{position}/image.png")
    def original(position: NonNegative) -> Response:
        return png(studio.image(position))

    @app.get("/api/images/{position}/reconstruction.png")
    def reconstruction(position: NonNegative) -> Response:
        return png(studio.take_apart(position).reconstruction_HWC)

    @app.get("/api/images/{position}/segments.png")
    def segments(position: NonNegative) -> Response:
        return png(studio.take_apart(position).segments_HWC)

    @app.get("/api/images/{position}/slots/{slot}/cutout.png")
    def cutout(position: NonNegative, slot: NonNegative) -> Response:
        return png(one_of(studio.take_apart(position).cutouts_KHWC, slot))

    @app.get("/api/images/{position}/slots/{slot}/mask.png")
    def mask(position: NonNegative, slot: NonNegative) -> Response:
        return png(one_of(studio.take_apart(position).masks_KHW, slot))


def add_compositions(app: "FastAPI", studio: Studio) -> None:
    """Add the routes of new pictures, from chosen and from random slots."""
    from fastapi import Response
    from fastapi.responses import StreamingResponse

    @app.post("/api/compose")
    def compose(wanted: CompositionRequest) -> Response:
        make = studio.compose if wanted.show == "picture" else studio.compose_segments
        return png(make(wanted.slots))

    @app.post("/api/draw")
    def draw(wanted: DrawRequest) -> Response:
        frames = studio.draw(wanted.slots, wanted.draw)
        first = next(frames)  # now, so that a mistake is answered in words
        return StreamingResponse(map(as_line, chain([first], frames)), media_type="application/x-ndjson")

    @app.get("/api/samples/{seed}/{number}.png")
    def sample(seed: NonNegative, number: NonNegative) -> Response:
        return png(studio.sample(seed, number))


def add_clips(app: "FastAPI", clips: ClipStudio) -> None:
    """Add the routes of clips, their slots, and new clips; films have their frames one above the other."""
    from fastapi import Response

    @app.get("/api/clips/{position}")
    def clip(position: NonNegative) -> dict[str, Any]:
        taken = clips.take_apart(position)
        slots = [{"slot": k, "color": slot_color(k), "area": area} for k, area in enumerate(taken.areas)]
        return {"position": position, "id": taken.id, "frames": taken.seen.frames, "slots": slots}

    @app.get("/api/clips/{position}/first.png")
    def first(position: NonNegative) -> Response:
        return png(clips.first_frame(position))

    @app.get("/api/clips/{position}/{name}.png")
    def film(position: NonNegative, name: Literal["image", "reconstruction", "segments"]) -> Response:
        return png(getattr(clips.take_apart(position), name))

    @app.get("/api/clips/{position}/slots/{slot}/{name}.png")
    def film_of_slot(position: NonNegative, slot: NonNegative, name: Literal["cutout", "mask"]) -> Response:
        return png(one_of(getattr(clips.take_apart(position), f"{name}s"), slot))

    @app.post("/api/compose-clip")
    def compose_clip(wanted: ClipRequest) -> Response:
        film, frames = clips.compose(wanted.slots, frames=wanted.frames, show=wanted.show)
        if wanted.form == "webp":
            return Response(webp(np.split(film, frames)), media_type="image/webp")
        return Response(to_png(film), media_type="image/png", headers={"X-Frames": str(frames)})


def facts(studio: Studio) -> dict[str, Any]:
    """Return what the page shows about the run."""
    spec = studio.composer.spec
    slots = spec.evaluated_slots
    return {
        "name": spec.name,
        "step": studio.composer.step,
        "dataset": spec.data.dataset.name,
        "split": studio.split,
        "protocol": spec.data.protocol_name,
        "images": studio.images,
        "clips": studio.clips.count,
        "history": studio.clips.history,
        "ratio": spec.data.size[1] / spec.data.size[0],
        "image_size": spec.data.settings.image_size,
        "slots": slots,
        "seed": spec.seed,
        "draws": studio.composer.model.sampling is not None,
        "device": str(studio.composer.engine.device),
    }


def as_line(frame: tuple[int, int, NDArray[np.uint8]]) -> bytes:
    """Return one line of JSON: how many of how many steps are done, and the picture, a PNG in base 64."""
    done, total, picture = frame
    content = b64encode(to_png(picture)).decode()
    return json.dumps({"done": done, "total": total, "png": content}).encode() + b"\n"


def one_of(pictures: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], slot: int) -> NDArray[np.uint8]:
    """Return one slot's picture.

    Raises:
        SlotlabError: if the slot does not exist.
    """
    if slot >= len(pictures):
        raise SlotlabError(f"there is no slot {slot}: the slots are 0 to {len(pictures) - 1}")
    picture: NDArray[np.uint8] = pictures[slot]
    return picture


def png(picture: NDArray[np.uint8]) -> "Response":
    """Return a response with a PNG file."""
    from fastapi import Response

    return Response(to_png(picture), media_type="image/png")
