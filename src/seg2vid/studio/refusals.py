"""Requests that are not done: what is answered to each kind of error."""

from typing import Any, cast

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from seg2vid.studio.jobs import StudioError
from seg2vid.tools.errors import Seg2VidError


class Refused(Exception):
    """A request that is answered with words and a status."""

    def __init__(self, text: str, status: int, **headers: str) -> None:
        super().__init__(text)
        self.status, self.headers = status, {k.replace("_", "-"): v for k, v in headers.items()}


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


HANDLERS: dict[Any, Any] = {
    Refused: _refused,
    StudioError: _too_much,
    Seg2VidError: _unfit,
    HTTPException: _no_such,
    Exception: _unforeseen,
}
"""What answers each kind of error."""
