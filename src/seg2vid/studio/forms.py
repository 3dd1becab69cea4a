"""Forms that clients send, read in memory and within limits."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from seg2vid.studio.jobs import Limits
from seg2vid.studio.refusals import Refused


class _InMemory(MultiPartParser):
    """Keeps files in memory, however large: how large is checked before."""

    spool_max_size = 1 << 31


@dataclass(frozen=True)
class Form:
    """What a client sent."""

    files: dict[str, bytes]
    wishes: str


async def read_form(request: Request, names: set[str], limits: Limits) -> Form:
    """Read a form of pictures and wishes; raise ``Refused`` for what is none, or too large."""
    most = limits.upload_bytes
    large = Refused(f"Expected at most {most >> 20} MiB; got more; scale the pictures down.", 413)
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
        async with asyncio.timeout(limits.upload_seconds):
            found = await parser.parse()
            parts = [(name, await _content(value)) for name, value in found.multi_items()]
            await found.close()
    except TimeoutError:
        seconds = f"{limits.upload_seconds:g} seconds"
        raise Refused(f"Expected a form within {seconds}; got part of it.", 408) from None
    except (MultiPartException, ClientDisconnect):
        raise Refused("Expected a whole form; got one that breaks off; see /api.", 400) from None
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


async def _content(value: UploadFile | str) -> bytes:
    return await value.read() if isinstance(value, UploadFile) else value.encode()
