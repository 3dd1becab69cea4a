"""The site that makes videos in the browser: what it holds, and that Chromium runs it."""

import base64
import functools
import http.server
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seg2vid.cli.export import toy_maps
from seg2vid.cli.main import main
from seg2vid.export import web
from seg2vid.models import key_frame, motion_decoder, parting
from seg2vid.models.amodal import Amodal, complete_objects
from seg2vid.models.config import PRESETS
from seg2vid.models.objects import seats_of
from seg2vid.models.parting import part_objects
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.tools.devices import exact_arithmetic
from seg2vid.tools.errors import MediaError, ModelError
from tests.tiny import CONFIG, NUM_FRAMES, street_map

SPACE = CONFIG.label_space
PACKAGE = os.environ.get("SEG2VID_ORT")
"""The npm package of onnxruntime-web, where a machine cannot fetch it."""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
"""A graphics card that the processor plays, so that every machine tests WebGPU."""
SETTLED = """() => / frames in /.test(document.getElementById("status").textContent)
    || !document.getElementById("error").hidden"""
MAKE = """async ([ids, frames, z, look]) => {
  const numbers = (given) =>
    Object.fromEntries(Object.entries(given).map(([name, one]) => [name, Float32Array.from(one)]));
  const options = { frames, z: numbers(z), look: numbers(look) };
  const made = await seg2vid.make(Uint8Array.from(ids), options);
  const pack = (array) => {
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  };
  return {
    pictures: made.frames.map(({ picture }) => pack(picture)),
    labels: made.frames.map(({ labels }) => pack(Int32Array.from(labels))),
    depth: pack(made.frames[1].depth),
    seconds: made.seconds,
  };
}"""


def numbers(text: str, kind: Any = np.float32) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), kind).copy())


@pytest.fixture
def served() -> Iterator[Any]:
    """Serve a folder as `python -m http.server` does; gives a function folder → address."""
    servers = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: Any) -> None: ...

    def serve(folder: Path) -> str:
        handler = functools.partial(Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def page(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page of real Chromium; whatever it complains of, or fetches elsewhere, is an error.

    With the parameter ``webgpu`` it has a graphics card.
    """
    has_gpu = getattr(request, "param", "wasm") == "webgpu"
    flags = [one for one in FLAGS if one != "--disable-gpu"] + GPU if has_gpu else FLAGS
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("there is no chromium")
    wrong: list[str] = []
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.set_default_timeout(600_000)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: wrong.append(request.url))
        ours = ("http://127.0.0.1", "data:", "blob:")
        page.on("request", lambda one: one.url.startswith(ours) or wrong.append(one.url))
        yield page
        browser.close()
    assert wrong == []


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of onnxruntime-web: what SEG2VID_ORT names, or what npm fetches."""
    if PACKAGE is not None:
        return Path(PACKAGE)
    folder = tmp_path_factory.mktemp("package")
    command = ["npm", "pack", "--silent", web.PACKAGE]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=100)
    except (OSError, subprocess.SubprocessError) as problem:
        pytest.skip(f"the package {web.PACKAGE} cannot be had: {problem}")
    return next(folder.glob("*.tgz"))


def build_site(
    pipe: Seg2VidPipeline,
    folder: Path,
    package: Path,
    label_map: torch.Tensor | None = None,
    **how: Any,
) -> Path:
    pipe.save_pretrained(folder / "model")
    label_map = street_map()[0] if label_map is None else label_map
    maps = {"street": label_map, "mirrored": label_map.flip(1)}
    lines = [*web.export_site(str(folder / "model"), folder / "site", maps, package=package, **how)]
    assert lines[-1].startswith("wrote ")
    return folder / "site"


def tiny_that_moves() -> Seg2VidPipeline:
    torch.manual_seed(0)
    pipe = Seg2VidPipeline.from_config(CONFIG)
    camera = pipe.animator.flow_decoder.camera  # type: ignore[union-attr]
    # 20 m/s ahead, turning right.
    camera[-1].bias.data = torch.tensor((2.0, 0.0, 1.0, 0.0) * 3)
    return pipe


@pytest.fixture(scope="module")
def tiny_site(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of a tiny model, which lies in model/ beside it."""
    folder = tmp_path_factory.mktemp("tiny")
    return build_site(tiny_that_moves(), folder, package, weights="float32")


def low_map() -> torch.Tensor:
    """A straight road whose horizon is low, with a car on it and a bonnet that is called one."""
    row, column = torch.meshgrid(torch.arange(64.0), torch.arange(128.0), indexing="ij")
    below = row - 0.6 * 64
    road, pavement, sky, car = 0, 1, 10, 13
    label_map = torch.where((column - 63.5).abs() < 4 * below, road, pavement)
    label_map = torch.where(below > 0, label_map, sky)
    label_map[40:46, 56:64] = label_map[60:, 40:90] = car
    return label_map[None]


@pytest.mark.slow
@pytest.mark.timeout(600)  # the processor plays the graphics card
@pytest.mark.parametrize(
    ("name", "frames", "page", "backend"),
    [
        ("tiny", 5 * NUM_FRAMES, "wasm", "WebAssembly"),
        ("tiny", 5 * NUM_FRAMES, "webgpu", "WebGPU"),
        ("low", 5 * NUM_FRAMES, "wasm", "WebAssembly"),
        ("toycity", 25, "wasm", "WebAssembly"),
        ("behind", 17, "wasm", "WebAssembly"),
        ("row", 9, "wasm", "WebAssembly"),
        ("toycity", 9, "webgpu", "WebGPU"),
    ],
    indirect=["page"],
)
def test_chromium_makes_the_videos_of_python(
    name: str,
    frames: int,
    page: Any,
    backend: str,
    served: Any,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``frames`` of the tiny model are more than a key frame is good for.

    Its weights are float32, those of the bundled model float16.
    """
    is_tiny = name in ("tiny", "low")
    if is_tiny:
        site = request.getfixturevalue("tiny_site")
        label_map = street_map() if name == "tiny" else low_map()
    else:
        package = request.getfixturevalue("package")
        pipe = Seg2VidPipeline.from_pretrained("toycity")
        label_map = toy_maps(pipe.label_space, (pipe.width, pipe.height))["toy city 0"][None]
        site = build_site(pipe, tmp_path, package, label_map[0])
    if name == "behind":
        # A truck half behind a car.
        label_map[0, 48:76, 56:70], label_map[0, 60:88, 66:104] = 14, 13
    if name == "row":
        # Parked cars from the left border to where the road ends.
        near = 1 - torch.arange(256)[None] / 118
        below = (torch.arange(128)[:, None] - 54) / 50
        label_map[0, 62:70, 150:162], label_map[0, 50:62, 153:159] = 18, 12  # a rider
        label_map[0, (below < near) & (below > -0.35 * near) & (near > 0.1)] = 13
    page.goto(served(site))
    page.wait_for_function("() => globalThis.seg2vid?.isReady()")
    assert page.evaluate("() => seg2vid.backend()").startswith(backend)
    pipe = Seg2VidPipeline.from_pretrained(site.parent / "model")  # a file's weights are rounded
    made_up: list[Amodal] = []
    parted: list[torch.Tensor] = []

    companions: list[torch.Tensor] = []

    def part(*given: Any) -> torch.Tensor:
        parted.append(part_objects(*given))
        return parted[-1]

    def carry(*given: Any) -> torch.Tensor:
        companions.append(seats_of(*given))
        return companions[-1]

    def complete(*given: Any) -> Amodal:
        made_up.append(complete_objects(*given))
        return made_up[-1]

    monkeypatch.setattr(key_frame, "complete_objects", complete)
    monkeypatch.setattr(parting, "part_objects", part)
    monkeypatch.setattr(motion_decoder, "seats_of", carry)
    with exact_arithmetic():
        video = pipe(label_map, num_frames=frames, seed=1)
    assert (made_up[0].rows > 0).any() == (name in ("behind", "row"))
    if name == "row":
        assert len(parted[1][:, :, :12].unique()) > 2, "ground, and several cars"
        assert (companions[0] != torch.arange(64)).any(), "a rider"
    assert video.look is not None
    assert float((video.motion.backward_visible < 0.5).float().mean()) > 0.01
    z = {"background": video.z.background, "foreground": video.z.foreground}
    look = {"whole": video.look.whole, "looks": video.look.segments}
    if video.look.grain is not None:
        look["grain"] = video.look.grain
    given = [{name: one.flatten().tolist() for name, one in part.items()} for part in (z, look)]
    made = page.evaluate(MAKE, [label_map.flatten().tolist(), frames, *given])
    shape = (3, *label_map.shape[1:])
    pictures = torch.stack([numbers(one).view(shape) for one in made["pictures"]])
    labels = torch.stack([numbers(one, np.int32).view(shape[1:]) for one in made["labels"]])
    assert len(pictures) == frames
    assert video.first_inverse_depth is not None
    depth = (numbers(made["depth"]).view(shape[1:]) - video.first_inverse_depth[0]).abs()
    first = (pictures[0] - video.first_frame[0]).abs()
    later = (pictures[1:] - video.frames[0]).abs()
    for what, one in (("first frame", first), ("depth", depth), ("later frames", later)):
        print(f"{name}, {backend}, {what}: largest {one.max():.1e}, mean {one.mean():.1e}")
    print(f"{name}, {backend}: {frames} frames in {made['seconds']:.1f} s")
    assert float(first.max()) < (1e-4 if is_tiny else 1e-3)
    assert float(depth.max()) < (1e-4 if is_tiny else 1e-3)
    # A pixel at an edge of depth may fall on the other side of it.
    assert float(later.mean()) < 1e-3
    assert float((later > 0.02).float().mean()) < 0.01
    assert float((labels[1:] != video.label_maps[0]).float().mean()) < 0.01


@pytest.mark.slow
def test_a_visitor_paints_and_sees_it_move(
    page: Any, served: Any, tiny_site: Path, tmp_path: Path
) -> None:
    page.goto(served(tiny_site))
    page.wait_for_function(SETTLED)
    assert page.locator("#error").is_hidden()
    shown = "() => document.getElementById('video').toDataURL()"
    page.click("#play")
    page.fill("#frame", "0")
    first = page.evaluate(shown)
    page.fill("#frame", "5")
    assert page.evaluate(shown) != first
    assert page.inner_text("#number") == f"6 of {1 + 3 * NUM_FRAMES}"
    painted = "() => document.getElementById('map').toDataURL()"
    before = page.evaluate(painted)
    page.locator("#map").click(position={"x": 200, "y": 200})
    after = page.evaluate(painted)
    assert after != before
    page.check("input[value=fill]")
    page.locator("#map").focus()
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("Space")
    assert page.evaluate(painted) != after
    page.click("#undo")
    page.click("#undo")
    page.locator("#seed").focus()  # the brush's own frame goes
    assert page.evaluate(painted) == before
    page.click("#another")
    page.wait_for_function(
        "() => document.getElementById('status').textContent === ''"
        " || / of /.test(document.getElementById('status').textContent)"
    )
    page.wait_for_function(SETTLED)
    page.click("#play")
    page.fill("#frame", "0")
    assert page.evaluate(shown) != first
    page.fill("#seed", "-1")
    page.click("#make")
    assert "whole number" in page.inner_text("#error")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert (tmp_path / "page.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_broken_site_says_so(page: Any, served: Any, tiny_site: Path, tmp_path: Path) -> None:
    site = Path(shutil.copytree(tiny_site, tmp_path / "site"))
    (site / "boxes" / "depth.onnx").write_bytes(b"no graph")
    page.goto(served(site))
    page.wait_for_function(SETTLED)
    assert "That did not work" in page.inner_text("#error")
    assert page.locator("#make").is_disabled()


def test_a_site_needs_a_model_of_a_scene() -> None:
    with pytest.raises(ModelError, match="a model of a scene with objects apart"):
        web.describe(Seg2VidPipeline.from_config(replace(PRESETS["paper"], label_space=SPACE)))


def test_a_site_is_told_the_classes() -> None:
    facts = web.describe(Seg2VidPipeline.from_config(CONFIG))
    assert facts["classes"][10] == {"name": "sky", "colour": [70, 130, 180]}
    assert facts["sky"] == 10
    assert facts["void"] == 19
    json.dumps(facts)


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "No such file"), (b"no archive", "not a gzip file|could not be opened")],
)
def test_a_package_that_is_none_is_told(
    content: bytes | None, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "package.tgz"
    if content is not None:
        package.write_bytes(content)
    with pytest.raises(MediaError, match=told):
        web.copy_runtime(package, tmp_path)
    site = tmp_path / "site"
    words = ["export", "toycity", "--to", "web", "-o", str(site), "--ort", str(package)]
    assert main(words) == 2
    assert "get it with: npm pack onnxruntime-web@1.30.0" in capsys.readouterr().err
    assert not site.exists()


def test_another_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    with pytest.raises(MediaError, match=r"webgpu.bundle.min.mjs.*got none in"):
        web.copy_runtime(tmp_path, tmp_path)
    for name in web.FILES:
        (tmp_path / "dist" / name).write_text("other")
    with pytest.raises(MediaError, match="with other bytes"):
        web.copy_runtime(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("script", "told"), [("exit 1", "npm failed: 1"), (None, "npm, which fetches it")]
)
def test_without_npm_the_package_has_to_be_named(
    script: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script is not None:
        (tmp_path / "npm").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin" if script else str(tmp_path))
    with pytest.raises(MediaError, match=rf"{told}.*name its file with --ort"):
        web.copy_runtime(None, tmp_path)
