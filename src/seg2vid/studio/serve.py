"""Listening: a socket, a token where others may come, and a stop that leaves nothing behind."""

import secrets
import socket
import threading
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import uvicorn

from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.studio.doors import Doors, is_loopback
from seg2vid.studio.server import Studio
from seg2vid.tools.errors import Seg2VidError

MOST_CLIENTS = 512
"""Requests at a time, streams of events among them."""
PATIENCE = 3
"""Seconds that answers under way are given when the server stops."""


class _Server(uvicorn.Server):
    """Ends streams of events first when it stops: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, studio: Studio) -> None:
        super().__init__(config)
        self.studio = studio

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.studio.bell.ring_out()
        super().handle_exit(sig, frame)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raise ``Seg2VidError`` for a host or port that is not ours."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        what, got = f"a free port at {host}", f"{port}: {error.strerror or error}"
        raise Seg2VidError(what, got=got, fix="choose another: --port 0 takes any") from None


def serve(
    pipe: Seg2VidPipeline, *, host: str, port: int, is_shown: bool, streets: Path | None = None
) -> Iterator[str]:
    """Serve until stopped; yield the address first. Raises ``Seg2VidError``."""
    with listen(host, port) as sock:
        token = None if is_loopback(host) else secrets.token_urlsafe(24)
        studio = Studio(pipe, Doors(host, token), streets=streets)
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{sock.getsockname()[1]}/"
        if token is not None:
            address += f"?token={token}"
        yield f"studio: {address} (Ctrl-C ends it)"
        config = uvicorn.Config(
            studio.app(),
            log_level="warning",
            access_log=False,  # it would show the token
            server_header=False,
            ws="none",
            limit_concurrency=MOST_CLIENTS,
            timeout_graceful_shutdown=PATIENCE,
        )
        if is_shown:
            threading.Timer(0.5, webbrowser.open, (address,)).start()
        _Server(config, studio).run(sockets=[sock])
