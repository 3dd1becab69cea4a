"""What wakes those who wait in the event loop."""

import asyncio
import contextlib
from collections.abc import Callable

from seg2vid.studio.refusals import Refused


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
