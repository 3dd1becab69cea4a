"""Who may come in: hosts, origins and a token; and the headers of every answer."""

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "seg2vid_studio"
POLICY = "; ".join(
    [
        "default-src 'self'",
        "img-src 'self' blob: data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "object-src 'none'",
    ]
)
SECURITY = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Return whether a name or address is this machine's own."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


@dataclass(frozen=True)
class Doors:
    """The host that is listened on, and the token that whoever comes from afar must have."""

    host: str
    token: str | None

    def refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that may not come in."""
        headers = Headers(scope=scope)
        if not self._is_own(headers.get("host", "")):
            what = "Expected the address that the terminal shows; got another host name"
            return _refuse(f"{what}; open that address", 421)
        origin = headers.get("origin")
        is_foreign = origin is not None and urlsplit(origin).netloc != headers.get("host")
        is_visit = headers.get("sec-fetch-mode") == "navigate" and scope["path"] == "/"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not is_visit:
            is_foreign = True
        if is_foreign:
            return _refuse("Expected the studio's own page; got another; open the studio", 403)
        if self.token is None:
            return None
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        if scope["path"] == "/" and self._fits(query.get("token", [""])[0]):
            answer = RedirectResponse("/", 303)
            options = {"httponly": True, "path": "/"}
            answer.set_cookie(COOKIE, self.token, samesite="strict", **options)  # type: ignore[arg-type]
            return answer
        given = [headers.get("authorization", "").removeprefix("Bearer "), _cookie(headers)]
        if not any(self._fits(one) for one in given):
            what = "Expected this server's token; got none, or another"
            return _refuse(f"{what}; open the address that the terminal shows", 401)
        return None

    def _is_own(self, given: str) -> bool:
        try:
            name = (urlsplit(f"//{given}").hostname or "").removesuffix(".")
        except ValueError:
            return False
        if self.token is None:
            return is_loopback(name)
        # Names that an attacker made point here are names, never addresses.
        return name in ("localhost", self.host.lower()) or _address(name) is not None

    def _fits(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self.token or "").encode())


def _cookie(headers: Mapping[str, str]) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _refuse(text: str, status: int) -> Response:
    return JSONResponse({"error": f"{text}."}, status)


class Guard:
    """Turns away who may not come in, and puts the headers on every answer."""

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        self.app, self.doors = app, doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self.doors.refusal(scope) or self.app
        await answer(scope, receive, send_guarded)
