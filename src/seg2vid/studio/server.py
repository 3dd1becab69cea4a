"""The server: routes over the workshop, for the page and for scripts. It calls the pipeline and
nothing else, and keeps all it knows in memory and in one folder, which goes with it.
"""

import asyncio
import contextlib
import json
import shutil
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, cast

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from seg2vid import __version__
from seg2vid.media.generated import GeneratedVideo, VideoSink
from seg2vid.models.control import WORDS
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.studio import layers
from seg2vid.studio.doors import Doors, Guard
from seg2vid.studio.ground import find_ground
from seg2vid.studio.jobs import OVER, Job, Limits, StudioError, Workshop
from seg2vid.studio.routes import describe, render
from seg2vid.studio.uploads import (
    NAMES,
    Canvas,
    Uploads,
    draw_toy_city,
    find_streets,
    read_street,
)
from seg2vid.studio.wishes import MOST_FRAMES, Recipe, Scene, Wishes
from seg2vid.tools.errors import MediaError, Seg2VidError
from seg2vid.tools.ranges import LARGEST_SEED

TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
ENDINGS = {
    "mp4": "video/mp4",
    "webm": "video/webm",
    "gif": "image/gif",
    "webp": "image/webp",
    "zip": "application/zip",
}
"""What a video is saved as."""
BASIC = ("flow", "visible", "forward_visible", "labels", "overlay", "painted")
OF_SCENES = ("depth", "source", "kitti_flow", "poses")
OF_OBJECTS = ("instances", "boxes")
HEARTBEAT = 15.0
"""Seconds after which a stream of events says that it is still there."""
CHUNK = 1 << 16


class Refused(Exception):
    """A request that is answered with words and a status."""

    def __init__(self, text: str, status: int, **headers: str) -> None:
        super().__init__(text)
        self.status, self.headers = status, {k.replace("_", "-"): v for k, v in headers.items()}


class Bell:
    """Wakes those in the event loop who wait for something to change; rung from any thread."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.is_last = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def hang(self) -> None:
        """Belong to the running loop."""
        self._loop = asyncio.get_running_loop()

    def ring(self) -> None:
        """Wake all."""
        with contextlib.suppress(RuntimeError):  # a loop that is closed
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        event, self.event = self.event, asyncio.Event()
        event.set()

    def ring_out(self) -> None:
        """Wake all for the last time: the server stops."""
        self.is_last = True
        self.ring()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so; raise ``Refused`` where the server stops before."""
        while True:
            event = self.event
            if is_so():
                return
            if self.is_last:
                raise Refused("Expected a server at work; got one that stops; start it again.", 503)
            await event.wait()


class _InMemory(MultiPartParser):
    """Keeps files in memory, however large: how large is checked before."""

    spool_max_size = 1 << 31


@dataclass(frozen=True)
class Form:
    """What a client sent."""

    files: dict[str, bytes]
    wishes: str


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
        handlers: dict[Any, Any] = {
            Refused: _refused,
            StudioError: _too_much,
            Seg2VidError: _unfit,
            HTTPException: _no_such,
            Exception: _unforeseen,
        }
        inner = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)
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
        form = await self._form(request, {"picture"})
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
        def steps() -> Iterator[Canvas]:
            yield make()

        job = Job(steps())
        self.workshop.add(job)
        try:
            await self.bell.until(lambda: job.is_over)
            if job.state != "done":
                raise Refused(job.error or "Expected to finish; got stopped; try again.", 400)
            (canvas,) = job.results
            return JSONResponse(canvas.to_dict())
        finally:
            self.workshop.cancel(job)

    def _uploads(self) -> Uploads:
        return Uploads(self.pipe, self.limits.pixels, self.folder)

    async def _form(self, request: Request, names: set[str]) -> Form:
        """Read a form of pictures and wishes; raise ``Refused`` for what is none, or too large."""
        most = self.limits.upload_bytes
        large = Refused(
            f"Expected at most {most >> 20} MiB; got more; scale the pictures down.", 413
        )
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            what = "Expected a form (multipart/form-data); got something else; see /api."
            raise Refused(what, 415)
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > most:
            raise large
        count = 0

        async def stream() -> AsyncIterator[bytes]:
            nonlocal count
            async for chunk in request.stream():
                count += len(chunk)
                if count > most:
                    raise large
                yield chunk

        parser = _InMemory(
            request.headers, cast(Any, stream()), max_files=8, max_fields=8, max_part_size=1 << 20
        )
        try:
            async with asyncio.timeout(self.limits.upload_seconds):
                found = await parser.parse()
                parts = [(name, await _content(value)) for name, value in found.multi_items()]
                await found.close()
        except TimeoutError:
            seconds = f"{self.limits.upload_seconds:g} seconds"
            raise Refused(f"Expected a form within {seconds}; got part of it.", 408) from None
        except (MultiPartException, ClientDisconnect):
            raise Refused(
                "Expected a whole form; got one that breaks off; see /api.", 400
            ) from None
        files, wishes = {}, b"{}"
        for name, content in parts:
            if name == "wishes":
                wishes = content
            elif name in names and name not in files:
                files[name] = content
            else:
                what = f"Expected files in the fields {', '.join(sorted(names))}"
                raise Refused(f"{what}, once each; got others; see /api.", 400)
        try:
            return Form(files, wishes.decode())
        except UnicodeDecodeError:
            raise Refused("Expected wishes in UTF-8; got other bytes; see /api.", 400) from None

    # Videos.

    async def make(self, request: Request) -> Response:
        """Put a video into the queue."""
        form = await self._form(request, set(NAMES) - {"picture"})
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

        def steps() -> Iterator[Any]:
            yield find_ground(self.pipe, passes[0])

        job = Job(steps())
        self.workshop.add(job)
        try:
            await self.bell.until(lambda: job.is_over)
            if job.state != "done":
                raise Refused(job.error or "Expected to finish; got stopped; try again.", 400)
            return JSONResponse(asdict(job.results[0]))
        finally:
            self.workshop.cancel(job)

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

        async def stream(path: Path) -> AsyncIterator[bytes]:
            try:
                async with await anyio.open_file(path, "rb") as file:
                    while chunk := await file.read(CHUNK):
                        yield chunk
            finally:
                shutil.rmtree(folder, ignore_errors=True)

        try:
            path = await anyio.to_thread.run_sync(
                lambda: self._write(job.about, passes, folder, ending), limiter=self.readers
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        headers = {
            "Content-Disposition": f'attachment; filename="scene.{ending}"',
            "Content-Length": str(path.stat().st_size),
        }
        return StreamingResponse(stream(path), media_type=ENDINGS[ending], headers=headers)

    def _write(self, scene: Scene, passes: list[GeneratedVideo], folder: Path, ending: str) -> Path:
        recipe, first = Recipe.of(scene, self.pipe), passes[0]
        extras: tuple[str, ...] = BASIC if ending == "zip" else ()
        if ending == "zip" and first.motion.inverse_depth is not None:
            extras += OF_SCENES
        if ending == "zip" and first.instance_map is not None:
            extras += OF_OBJECTS
        place = folder / ("scene" if ending == "zip" else f"scene.{ending}")
        with VideoSink(
            place,
            extras=extras,
            frames_per_second=first.frames_per_second,
            label_space=self.pipe.label_space,
            command=recipe.command,
        ) as sink:
            for chunk in passes:
                sink.write(chunk)
        if ending != "zip":
            return place
        target = folder / "scene.zip"
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            for path in sorted(place.rglob("*")):
                if path.is_file():
                    file.write(path, path.relative_to(folder).as_posix())
            for name, content in recipe.files.items():
                file.writestr(name, content)
            file.writestr("command.txt", f"{recipe.line}\n")
            file.writestr("scene.py", recipe.python)
        return target


async def _content(value: UploadFile | str) -> bytes:
    return await value.read() if isinstance(value, UploadFile) else value.encode()


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


async def _refused(request: Request, error: Exception) -> Response:
    told = cast(Refused, error)
    return JSONResponse({"error": str(told)}, told.status, told.headers)


async def _too_much(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 503, {"Retry-After": "5"})


async def _unfit(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _no_such(request: Request, error: Exception) -> Response:
    told = cast(HTTPException, error)
    text = f"Expected one of the routes at /api; got {told.detail.lower()}; see there."
    return JSONResponse({"error": text}, told.status_code, told.headers)


async def _unforeseen(request: Request, error: Exception) -> Response:
    text = "Expected no mistake in seg2vid itself; got one; report what the terminal shows."
    return JSONResponse({"error": text}, 500)
