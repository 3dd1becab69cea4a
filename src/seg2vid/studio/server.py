"""The server: routes over the workshop, for the page and for scripts. It calls the pipeline and
nothing else, and keeps all it knows in memory and in one folder, which goes with it.
"""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, TypeVar, cast

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from seg2vid import __version__
from seg2vid.media.generated import GeneratedVideo
from seg2vid.models.control import WORDS
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.studio import layers
from seg2vid.studio.bell import Bell
from seg2vid.studio.doors import Doors, Guard
from seg2vid.studio.forms import read_form
from seg2vid.studio.ground import find_ground
from seg2vid.studio.jobs import OVER, Job, Limits, Workshop
from seg2vid.studio.refusals import HANDLERS, Refused
from seg2vid.studio.routes import describe, render
from seg2vid.studio.saving import ENDINGS, save_scene
from seg2vid.studio.uploads import NAMES, Canvas, Uploads, draw_toy_city, find_streets, read_street
from seg2vid.studio.wishes import MOST_FRAMES, Recipe, Scene, Wishes
from seg2vid.tools.errors import MediaError
from seg2vid.tools.ranges import LARGEST_SEED

Result = TypeVar("Result")
TYPES = {".html": "text/html", ".css": "text/css"}
TYPES |= {".js": "text/javascript", ".svg": "image/svg+xml"}
HEARTBEAT = 15.0
"""Seconds after which a stream of events says that it is still there."""
CHUNK = 1 << 16


class Studio:
    """One model, its workshop, and the answers to requests."""

    def __init__(
        self,
        pipe: Seg2VidPipeline,
        doors: Doors,
        limits: Limits = Limits(),  # noqa: B008
        streets: Path | None = None,
    ) -> None:
        self.pipe, self.doors, self.limits = pipe, doors, limits
        self.streets = find_streets(streets)
        self.bell = Bell()
        self.workshop = Workshop(limits, self.bell.ring)
        self.readers = anyio.CapacityLimiter(1)
        """Pictures of any size are decoded one at a time: memory is bounded."""
        self.pages = _read_pages()
        self.folder = Path()

    def app(self) -> ASGIApp:
        """Return the application."""
        routes = [
            Route("/", self.index),
            Route("/page/{name}", self.page),
            Route("/api", self.api),
            Route("/api/openapi.json", self.openapi),
            Route("/api/about", self.about),
            Route("/api/canvas", self.read_canvas, methods=["POST"]),
            Route("/api/templates/{name}", self.template),
            Route("/api/videos", self.make, methods=["POST"]),
            Route("/api/videos/{id}", self.tell, methods=["GET"]),
            Route("/api/videos/{id}", self.cancel, methods=["DELETE"]),
            Route("/api/videos/{id}/events", self.events),
            Route("/api/videos/{id}/layers/{layer}", self.layer),
            Route("/api/videos/{id}/ground", self.ground),
            Route("/api/videos/{id}/recipe", self.recipe),
            Route("/api/videos/{id}/scene.{ending}", self.save),
        ]
        inner = Starlette(routes=routes, exception_handlers=HANDLERS, lifespan=self._lifespan)
        return Guard(inner, self.doors)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        with TemporaryDirectory(prefix="seg2vid-studio-", ignore_cleanup_errors=True) as folder:
            self.folder = Path(folder)
            self.bell.hang()
            self.workshop.start()
            try:
                yield
            finally:
                self.bell.ring_out()
                await run_in_threadpool(self.workshop.stop)

    # The page.

    async def index(self, request: Request) -> Response:
        """Answer with the page."""
        return _file(self.pages["index.html"], "index.html")

    async def page(self, request: Request) -> Response:
        """Answer with a part of the page: one of a fixed table, no path."""
        name = request.path_params["name"]
        if name not in self.pages:
            raise HTTPException(404)
        return _file(self.pages[name], name)

    async def api(self, request: Request) -> Response:
        """Answer with the routes, for a person."""
        return HTMLResponse(render(describe(self.limits)))

    async def openapi(self, request: Request) -> Response:
        """Answer with the routes, for a program."""
        return JSONResponse(describe(self.limits))

    async def about(self, request: Request) -> Response:
        """Answer with the model, its classes and the limits."""
        space, pipe = self.pipe.label_space, self.pipe
        classes = [
            {
                "id": one.id,
                "name": one.name,
                "colour": list(one.colour),
                "moves": one.foreground,
                "value": space.file_value if one.id == space.void_id else one.id,
            }
            for one in space.channels
        ]
        return JSONResponse(
            {
                "version": __version__,
                "model": pipe.source.get("model", ""),
                "licence": pipe.provenance.get("licence", ""),
                "label_space": space.name,
                "classes": classes,
                "width": pipe.width,
                "height": pipe.height,
                "frames_per_second": pipe.frames_per_second,
                "frames_of_a_pass": pipe.num_frames,
                "layers": layers.LAYERS,
                "camera_words": WORDS if space.ids_named({"road"}) else [],
                "templates": list(self.streets),
                "most_frames": MOST_FRAMES,
                "limits": asdict(self.limits),
                "waiting": self.workshop.waiting,
            }
        )

    # Canvases.

    async def read_canvas(self, request: Request) -> Response:
        """Answer with what may be painted on, read from a label map or photo."""
        form = await read_form(request, {"picture"}, self.limits)
        if "picture" not in form.files:
            raise MediaError("a picture in the field picture", got="none", fix="see /api")
        return await self._canvas(lambda: self._uploads().canvas(form.files["picture"]))

    async def template(self, request: Request) -> Response:
        """Answer with a street to begin with."""
        name = request.path_params["name"]
        if name == "toycity":
            seed = _whole(request, "seed", 0, LARGEST_SEED)
            return await self._canvas(lambda: draw_toy_city(seed, self.pipe))
        if name not in self.streets:
            raise HTTPException(404)
        return await self._canvas(lambda: read_street(self.streets[name], self.pipe))

    async def _canvas(self, make: Callable[[], Canvas]) -> Response:
        return JSONResponse((await self._do(make)).to_dict())

    async def _do(self, make: Callable[[], Result]) -> Result:
        """Let the workshop make something, in its turn."""
        job = Job(make() for _ in range(1))
        self.workshop.add(job)
        try:
            await self.bell.until(lambda: job.is_over)
            if job.state != "done":
                raise Refused(job.error or "Expected to finish; got stopped; try again.", 400)
            return cast(Result, job.results[0])
        finally:
            self.workshop.cancel(job)

    def _uploads(self) -> Uploads:
        return Uploads(self.pipe, self.limits.pixels, self.folder)

    # Videos.

    async def make(self, request: Request) -> Response:
        """Put a video into the queue."""
        form = await read_form(request, set(NAMES) - {"picture"}, self.limits)
        wishes = Wishes.read(form.wishes)
        read = self._uploads().scene
        scene, notes = await anyio.to_thread.run_sync(
            lambda: read(form.files, wishes), limiter=self.readers
        )
        job = Job(
            scene.passes(self.pipe),
            about=scene,
            total=wishes.frames,
            in_background=wishes.background,
        )
        self.workshop.add(job)
        place = {"Location": f"/api/videos/{job.id}"}
        return JSONResponse(self._told(job) | {"notes": notes}, 202, place)

    def _job(self, request: Request) -> Job:
        job = self.workshop.find(request.path_params["id"])
        if job is None or not isinstance(job.about, Scene):
            what = "Expected a video that is still known; got one that is not"
            raise Refused(f"{what}; ask for it again.", 404)
        return job

    def _told(self, job: Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "state": job.state,
            "place": self.workshop.place(job),
            "ready": job.ready,
            "total": job.total,
            "seconds": round(job.seconds, 3),
            "error": job.error,
        }

    async def tell(self, request: Request) -> Response:
        """Answer with how far a video is."""
        return JSONResponse(self._told(self._job(request)))

    async def cancel(self, request: Request) -> Response:
        """Stop a video, or forget it; one that is not known any more is no mistake."""
        job = self.workshop.find(request.path_params["id"])
        if job is not None:
            self.workshop.cancel(job)
        return Response(status_code=204)

    async def events(self, request: Request) -> Response:
        """Answer with how far a video is, again whenever that changes, until it is over."""
        job = self._job(request)

        async def stream() -> AsyncIterator[str]:
            before: dict[str, Any] = {}
            while not self.bell.is_last:
                event, now = self.bell.event, self._told(job)
                if now != before:
                    before = now
                    yield f"data: {json.dumps(now)}\n\n"
                if now["state"] in OVER:
                    return
                try:
                    async with asyncio.timeout(HEARTBEAT):
                        await event.wait()
                except TimeoutError:
                    yield ": still here\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def layer(self, request: Request) -> Response:
        """Answer with frames of one layer, one below the other in one picture."""
        job = self._job(request)
        passes = _passes(job)
        begin = _whole(request, "begin", 0, MOST_FRAMES, default=0)
        end = _whole(request, "end", 0, MOST_FRAMES, default=job.ready)
        name, space = request.path_params["layer"], self.pipe.label_space
        picture = await run_in_threadpool(layers.draw, passes, name, begin, end, space)
        return Response(picture, media_type=layers.media_type(name))

    async def ground(self, request: Request) -> Response:
        """Answer with the camera that took the first frame."""
        passes = _passes(self._job(request))
        return JSONResponse(asdict(await self._do(lambda: find_ground(self.pipe, passes[0]))))

    async def recipe(self, request: Request) -> Response:
        """Answer with the command and the lines of Python that make the same video."""
        recipe = Recipe.of(self._job(request).about, self.pipe)
        told = {"command": recipe.line, "python": recipe.python, "files": list(recipe.files)}
        return JSONResponse(told)

    async def save(self, request: Request) -> Response:
        """Answer with the whole video as a file, once it is made."""
        job, ending = self._job(request), request.path_params["ending"]
        if ending not in ENDINGS:
            what = f"Expected scene.{', scene.'.join(ENDINGS)}; got another ending"
            raise Refused(f"{what}; choose one of them.", 404)
        await self.bell.until(lambda: job.is_over)
        passes = _passes(job)
        folder = Path(mkdtemp(dir=self.folder))

        def write() -> Path:
            recipe = Recipe.of(job.about, self.pipe)
            return save_scene(passes, folder, ending, self.pipe.label_space, recipe)

        async def stream(path: Path) -> AsyncIterator[bytes]:
            try:
                async with await anyio.open_file(path, "rb") as file:
                    while chunk := await file.read(CHUNK):
                        yield chunk
            finally:
                shutil.rmtree(folder, ignore_errors=True)

        try:
            path = await anyio.to_thread.run_sync(write, limiter=self.readers)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        headers = {
            "Content-Disposition": f'attachment; filename="scene.{ending}"',
            "Content-Length": str(path.stat().st_size),
        }
        return StreamingResponse(stream(path), media_type=ENDINGS[ending], headers=headers)


def _passes(job: Job) -> list[GeneratedVideo]:
    """Return what a job has made; raise ``Refused`` where that is nothing, or it failed."""
    if job.state in ("failed", "cancelled"):
        raise Refused(job.error or "Expected a video; got one that was cancelled.", 409)
    if not job.results:
        raise Refused("Expected frames; got none so far; wait for its turn.", 409)
    return list(job.results)


def _whole(
    request: Request, name: str, least: int, most: int, *, default: int | None = None
) -> int:
    text = request.query_params.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal() or len(text) > 19 or not least <= int(text) <= most:
        got = "none" if text is None else text[:40]
        what, fix = f"{name}, a whole number from {least} to {most}", "see /api"
        raise MediaError(what, got=got, fix=fix)
    return int(text)


def _read_pages() -> dict[str, bytes]:
    folder = resources.files("seg2vid.studio") / "page"
    found = [one for one in folder.iterdir() if one.name.endswith(tuple(TYPES))]
    return {one.name: one.read_bytes() for one in found}


def _file(content: bytes, name: str) -> Response:
    kind = TYPES[Path(name).suffix]
    return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})
