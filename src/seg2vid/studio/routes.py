"""What each route takes and answers: OpenAPI for programs, and a page of it for people."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from html import escape
from typing import Any

from docstring_parser import parse_from_object

from seg2vid import __version__
from seg2vid.studio.jobs import Limits
from seg2vid.studio.layers import LAYERS
from seg2vid.studio.wishes import Wishes

JSON, EVENTS = "application/json", "text/event-stream"
ID = {"id": "of a video, as POST /api/videos tells it"}
EXAMPLE = """\
curl -sF labels=@street.png -F 'wishes={"seed": 1, "frames": 9}' http://127.0.0.1:8765/api/videos
curl -so scene.mp4 http://127.0.0.1:8765/api/videos/ID/scene.mp4"""


def describe(limits: Limits) -> dict[str, Any]:
    """Return the routes as an OpenAPI document."""
    size = f"up to {limits.upload_bytes >> 20} MiB in all and {limits.pixels:,} pixels each"
    videos = {
        "labels": "label map of any kind that `seg2vid labels check` knows; needed",
        "instances": "map that tells objects apart, of the same size",
        "first_frame": "photo to begin with, of the label map's proportions",
        "look": "photo whose light, weather and materials are taken on",
        "wishes": "JSON: any of the fields of Wishes",
    }
    paths: dict[str, Any] = {
        "/api/about": {"get": _route("The model, its classes, and the limits", JSON)},
        "/api/openapi.json": {"get": _route("This", JSON)},
        "/api/templates/{name}": {
            "get": _route(
                "A street to begin with, as POST /api/canvas answers",
                JSON,
                {"name": "toycity, or one of the templates that /api/about names"},
                {"seed": "of the toy city, 0 or more"},
            )
        },
        "/api/canvas": {
            "post": _route(
                "What may be painted on, read from a label map or a photo: planes as base64",
                JSON,
                form={"picture": f"label map or photo, {size}"},
            )
        },
        "/api/videos": {
            "post": _route(
                f"Put a video into the queue; pictures {size}. Answers with its id and place",
                JSON,
                form=videos,
                status="202",
            )
        },
        "/api/videos/{id}": {
            "get": _route("How far it is, and its place in the queue", JSON, ID),
            "delete": _route("Stop it, or forget it", "", ID, status="204"),
        },
        "/api/videos/{id}/events": {
            "get": _route("The same as server-sent events, until it is over", EVENTS, ID)
        },
        "/api/videos/{id}/layers/{layer}": {
            "get": _route(
                "Frames of a layer, one below the other in one picture",
                "image/*",
                ID | {"layer": "; ".join(f"{one}: {what}" for one, what in LAYERS.items())},
                {"begin": "first frame, 0 by default", "end": "before which, all that are ready"},
            )
        },
        "/api/videos/{id}/ground": {
            "get": _route("The camera of the first frame: takes pixels to metres", JSON, ID)
        },
        "/api/videos/{id}/recipe": {
            "get": _route("The command and the lines of Python that make the same", JSON, ID)
        },
        "/api/videos/{id}/scene.{ending}": {
            "get": _route(
                "The whole video, once it is made; a zip holds all that is known of it too",
                "video/*",
                ID | {"ending": "mp4, webm, gif, webp or zip"},
            )
        },
    }
    about = (
        "Errors are JSON: {error: what was expected, what came, what to do}. 503 is a full queue."
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "seg2vid studio", "version": __version__, "description": about},
        "paths": paths,
        "components": {"schemas": {"Wishes": _schema(Wishes)}},
    }


def _route(
    summary: str,
    answer: str,
    path: Mapping[str, str] = {},
    query: Mapping[str, str] = {},
    *,
    form: Mapping[str, str] | None = None,
    status: str = "200",
) -> dict[str, Any]:
    text = {"type": "string"}
    parameters = [
        {"name": name, "in": place, "required": place == "path", "description": what}
        | {"schema": text}
        for place, told in (("path", path), ("query", query))
        for name, what in told.items()
    ]
    answers: dict[str, Any] = {"description": "as told"}
    if answer:
        answers["content"] = {answer: {}}
    route: dict[str, Any] = {"summary": summary, "parameters": parameters}
    if form is not None:
        properties = {
            name: {"type": "string", "description": what}
            | ({"format": "binary"} if name != "wishes" else {})
            for name, what in form.items()
        }
        schema = {"type": "object", "properties": properties}
        route["requestBody"] = {"content": {"multipart/form-data": {"schema": schema}}}
    return route | {"responses": {status: answers}}


def _schema(kind: type) -> dict[str, Any]:
    """Return a JSON schema of a dataclass, as far as a person wants to know."""
    texts = {one.arg_name: str(one.description) for one in parse_from_object(kind).params}
    properties = {}
    for one in fields(kind):
        told: dict[str, Any] = {"description": " ".join(texts.get(one.name, "").split())}
        if one.default is not MISSING:
            told["default"] = one.default
        if "range" in one.metadata:
            told["minimum"], told["maximum"] = one.metadata["range"]
        properties[one.name] = told
    return {"type": "object", "properties": properties}


def render(document: Mapping[str, Any]) -> str:
    """Return the routes as a page."""
    parts = []
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2>")
            parts.append(f"<p>{escape(route['summary'])}.</p>")
            rows = [(one["name"], one["description"]) for one in route["parameters"]]
            if "requestBody" in route:
                (content,) = route["requestBody"]["content"].values()
                told = content["schema"]["properties"].items()
                rows += [(name, value["description"]) for name, value in told]
            parts.append(_table(rows))
    wishes = document["components"]["schemas"]["Wishes"]["properties"]
    rows = []
    for name, value in wishes.items():
        given = f"default: {value['default']}" if value.get("default") not in (None, ()) else ""
        limits = f"{value['minimum']} to {value['maximum']}" if "minimum" in value else ""
        rows.append((name, "; ".join(filter(None, [value["description"], limits, given]))))
    info = document["info"]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])}: routes</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="/page/icon.svg">
<link rel="stylesheet" href="/page/style.css"></head>
<body class="text"><main><h1>{escape(info["title"])}: routes for scripts</h1>
<p><a href="/">Back to the studio</a> · <a href="/api/openapi.json">as OpenAPI</a></p>
<p>{escape(info["description"])}</p><pre>{escape(EXAMPLE)}</pre>
{"".join(parts)}<h2>Wishes</h2>{_table(rows)}</main></body></html>"""


def _table(rows: list[tuple[str, str]]) -> str:
    cells = [f"<tr><th><code>{escape(a)}</code></th><td>{escape(b)}</td></tr>" for a, b in rows]
    return f"<table>{''.join(cells)}</table>" if cells else ""
