"""The page in a real Chromium: paint, play, steer, keep, take away; by pointer and by keys."""

import base64
import io
import json
import os
import shutil
import signal
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seg2vid.cli import main as cli
from seg2vid.media.label_maps import read_label_map
from seg2vid.media.video import read_video
from tests.studio.studios import SPACE, labels_png, png, process_of
from tests.tiny import HEIGHT, WIDTH, street_map

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright (extra `dev`) to drive a browser"
)
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
if CHROMIUM is None:
    pytest.skip("needs Chromium, which this machine has not", allow_module_level=True)

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
PATIENCE = 30_000
"""Milliseconds: beside other work everything takes longer."""


@pytest.fixture(scope="module")
def address(model: Path) -> Iterator[str]:
    """A studio of the tiny networks, in a process of its own."""
    with process_of("--model", str(model), "--port", "0") as (_, found):
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield made
        made.close()


LISTEN = """const append = FormData.prototype.append;
window.sent = [];
FormData.prototype.append = function (...words) {
  if (words[0] === "wishes") window.sent.push(words[1]);
  return append.apply(this, words);
};"""
"""Notes the wishes that are sent."""


class Visit:
    """A page of the studio, and what it said and asked for."""

    def __init__(self, context: Any, address: str, path: str = "") -> None:
        self.context, self.address = context, address
        context.add_init_script(LISTEN)
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda one: self.said.append(f"{one.type}: {one.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda one: self.asked.append(one.url))
        self.open(path)

    def open(self, path: str = "") -> None:
        self.page.goto(f"{self.address}{path}")
        self.page.wait_for_selector("body[data-state=ready]")

    @property
    def videos(self) -> int:
        """Videos that began to play so far."""
        return int(self.page.evaluate("document.body.dataset.videos || 0"))

    def until(self, expression: str) -> None:
        """Wait until something holds; Playwright's own way would need eval, which is forbidden."""
        end = time.monotonic() + PATIENCE / 1000
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, expression
            self.page.wait_for_timeout(20)

    def moves_after(self, action: Any) -> None:
        """Do something, and wait until another video plays and is whole."""
        before = self.videos
        action()
        self.until(f"(document.body.dataset.videos || 0) > {before}")
        self.until("/frames in/.test(document.all['progress-text'].textContent)")

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place on the screen of a pixel of the map."""
        box = self.page.locator("#sheet").bounding_box()
        return box["x"] + (x + 0.5) / WIDTH * box["width"], box["y"] + (
            (y + 0.5) / HEIGHT * box["height"]
        )

    def drag(self, *places: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*places[0]))
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*self.at(*place), steps=4)
        self.page.mouse.up()

    def tool(self, name: str) -> None:
        self.page.locator(f"[data-tool={name}]").click()

    def choose(self, name: str) -> None:
        self.page.locator("#palette").get_by_role("radio", name=name, exact=True).click()

    def begin_with(self, name: str) -> None:
        self.moves_after(lambda: self.page.select_option("#template", name))

    def pixels(self) -> np.ndarray:
        """Ids of the map that is painted, read off its colours."""
        colours = self._read("map").reshape(HEIGHT, WIDTH, 1, 3)
        return (colours == SPACE.colours).all(-1).argmax(-1)

    def screen(self) -> np.ndarray:
        """What the player shows."""
        return self._read("screen").astype(np.float32)

    def _read(self, canvas: str) -> np.ndarray:
        code = f"document.all.{canvas}.toDataURL().split(',')[1]"
        content = base64.b64decode(self.page.evaluate(code))
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))

    def saved(self, action: Any, folder: Path) -> Path:
        with self.page.expect_download() as found:
            action()
        target = folder / found.value.suggested_filename
        found.value.save_as(target)
        return target


@pytest.fixture
def visit(browser, address: str) -> Iterator[Visit]:
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, permissions=["clipboard-read", "clipboard-write"]
    )
    made = Visit(context, address)
    yield made
    assert made.said == [], "the console stays silent"
    assert all(one.startswith((address, "data:", "blob:")) for one in made.asked), "nothing outside"
    context.close()


def test_painting_moves_as_soon_as_it_pauses(visit: Visit) -> None:
    assert visit.page.locator("#veil").is_visible()
    visit.begin_with("empty")
    ids = visit.pixels()
    assert ids[2, WIDTH // 2] == 10 and ids[-1, WIDTH // 2] == 0 and ids[20, 2] == 2
    before = visit.screen()
    visit.choose("car")
    visit.moves_after(lambda: visit.drag((30, 45), (50, 45)))
    assert (visit.pixels()[45, 30:50] == 13).all()
    assert np.abs(visit.screen() - before).mean() > 0.1
    shown = []
    for _ in range(40):
        shown.append(visit.page.locator("#time").text_content())
        visit.page.wait_for_timeout(50)
    assert len(set(shown)) > 3, "it plays"
    visit.page.keyboard.press("k")
    first = visit.screen()
    visit.page.keyboard.press(".")
    assert np.abs(visit.screen() - first).mean() > 0, "frames differ"


@pytest.mark.slow
def test_every_tool_paints_and_every_step_is_undone(visit: Visit) -> None:
    visit.begin_with("empty")
    states = [visit.pixels()]

    def step(tool: str, name: str, *places: tuple[float, float]) -> np.ndarray:
        if tool != "eraser" and tool not in ("move", "pick"):
            visit.choose(name)
        visit.tool(tool)
        visit.drag(*places) if len(places) > 1 else visit.page.mouse.click(*visit.at(*places[0]))
        states.append(visit.pixels())
        return states[-1]

    assert (step("line", "pole", (20, 10), (20, 40))[10:40, 20] == 5).all()
    visit.choose("person")
    visit.tool("polygon")
    for place in ((90, 40), (110, 40), (110, 60), (90, 60)):
        visit.page.mouse.click(*visit.at(*place))
    visit.page.mouse.click(*visit.at(90, 40))
    states.append(visit.pixels())
    assert (states[-1][42:58, 92:108] == 11).all()
    assert (step("fill", "terrain", (64, 60))[-1, 64] == 9).all()
    moved = step("move", "", (100, 50), (80, 50))
    assert (moved[42:58, 73:87] == 11).all() and (moved[42:58, 95:108] != 11).all()
    assert (step("eraser", "", (5, 5), (30, 5))[5, 5:30] == 19).all()
    visit.tool("pick")
    visit.page.mouse.click(*visit.at(80, 50))
    assert visit.page.locator("#status").text_content() == "person"
    for state in reversed(states[:-1]):
        visit.page.locator("#undo").click()
        assert (visit.pixels() == state).all()
    for state in states[1:]:
        visit.page.keyboard.press("Control+Shift+Z")
        assert (visit.pixels() == state).all()
    visit.page.keyboard.press("Control+z")
    assert (visit.pixels() == states[-2]).all()


@pytest.mark.slow
def test_mirror_guide_and_zoom(visit: Visit) -> None:
    visit.begin_with("empty")
    visit.page.locator("#mirror").check()
    visit.page.locator("#guide").check()
    visit.choose("car")
    visit.drag((20, 50), (30, 50))
    ids = visit.pixels()
    assert ids[50, 25] == 13 and ids[50, WIDTH - 1 - 25] == 13
    wide = visit.page.locator("#sheet").bounding_box()["width"]
    visit.page.locator("#zoom-in").click()
    assert visit.page.locator("#sheet").bounding_box()["width"] > 1.4 * wide
    visit.page.locator("#zoom-out").click()


def test_the_whole_way_by_keys_alone(visit: Visit) -> None:
    """From the first Tab to a saved video, without a pointer."""
    page = visit.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "template"
    visit.moves_after(lambda: page.keyboard.press("ArrowDown"))
    page.keyboard.press("Tab")
    page.keyboard.press("/")
    page.keyboard.type("motorc")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "stage"

    def paint() -> None:
        page.keyboard.press("Enter")
        for _ in range(6):
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")

    visit.moves_after(paint)
    assert (visit.pixels() == 17).sum() > 50
    page.keyboard.press("f")
    assert page.locator("[data-tool=fill]").get_attribute("aria-pressed") == "true"
    page.keyboard.press("4")
    assert page.locator("#layers [aria-checked=true]").text_content() == "depth"
    page.keyboard.press("Control+z")
    assert (visit.pixels() == 17).sum() == 0
    page.locator("#palette [aria-checked=true]").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#palette [aria-checked=true]").text_content() == "bicycle"
    reached = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.id || document.activeElement.textContent")
        )
    wanted = {"scrub", "compare", "steer", "forward", "turn", "speed", "seed", "seconds", "loop"}
    assert wanted <= reached


@pytest.mark.slow
def test_polygons_and_moves_by_keys(visit: Visit) -> None:
    visit.begin_with("empty")
    page = visit.page
    visit.choose("truck")
    page.locator("#stage").focus()
    page.keyboard.press("p")
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft"):
        page.keyboard.press("Enter")
        page.keyboard.press(f"Shift+{key}")
    page.keyboard.press("Enter")
    page.keyboard.press("c")
    before = visit.pixels() == 14
    assert 40 < before.sum() < 100
    page.keyboard.press("m")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Enter")
    after = visit.pixels() == 14
    assert (after == np.roll(before, 8, axis=1)).all()
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Escape")
    assert ((visit.pixels() == 14) == after).all(), "given up"


@pytest.mark.slow
def test_layers_scrubber_and_comparison(visit: Visit) -> None:
    visit.begin_with("empty")
    page = visit.page
    page.locator("#scrub").fill("5")
    assert "frame 5" in page.locator("#time").text_content()
    page.wait_for_timeout(200)
    assert "frame 5" in page.locator("#time").text_content(), "it stands"
    seen = {}
    for number, name in enumerate(
        ("frames", "labels", "instances", "depth", "flow", "visible", "source"), 1
    ):
        page.keyboard.press(str(number))
        end = time.monotonic() + PATIENCE / 1000
        while True:
            seen[name] = visit.screen()
            others = [one for other, one in seen.items() if other != name]
            if all(np.abs(seen[name] - other).mean() > 1 for other in others):
                break
            assert time.monotonic() < end, name
            page.wait_for_timeout(50)
    page.keyboard.press("1")
    page.locator("#compare").check()
    page.wait_for_timeout(200)
    mixed, half = visit.screen(), WIDTH
    assert np.abs(mixed[:, :half] - seen["labels"][:, :half]).mean() < 2
    assert np.abs(mixed[:, half:] - seen["frames"][:, half:]).mean() < 2


def sent(visit: Visit, action: Any) -> dict[str, Any]:
    """The wishes that an action sends."""
    before = visit.page.evaluate("sent.length")
    visit.moves_after(action)
    wishes = [json.loads(one) for one in visit.page.evaluate("sent")[before:]]
    return [one for one in wishes if "background" not in one][-1]


@pytest.mark.slow
def test_wishes_for_the_motion(visit: Visit) -> None:
    visit.begin_with("empty")
    visit.choose("car")
    visit.moves_after(lambda: visit.drag((40, 50), (50, 50)))
    page = visit.page
    told = sent(visit, lambda: page.locator("#turn").fill("-12"))
    assert told["camera"] == "forward=5,turn=-12"
    told = sent(visit, lambda: page.locator("#speeds input").fill("0"))
    assert told["move"] == {"car": "still"}
    told = sent(visit, lambda: page.locator("#freeze").get_by_label("sky").check())
    assert told["freeze"] == ["sky"]
    visit.moves_after(lambda: page.locator("#speeds input").fill("1"))
    visit.tool("path")
    told = sent(visit, lambda: visit.drag((45, 50), (60, 50), (70, 52)))
    ((name, poses),) = told["paths"].items()
    assert name == "car#1" and poses[0] == {"time": 0, "forward": 0, "right": 0}
    assert poses[-1]["right"] > 0.5 and poses[-1]["forward"] < 0 and poses[-1]["time"] == 2
    assert page.locator("#paths li").text_content().startswith("car#1")
    told = sent(visit, lambda: page.get_by_role("button", name="Remove the path of car#1").click())
    assert "paths" not in told
    told = sent(visit, lambda: page.locator("#pad").click(position={"x": 10, "y": 10}))
    assert told["camera"].startswith("forward=") and "turn=-" in told["camera"]
    told = sent(visit, lambda: page.locator("#loop").check())
    assert told["loop"] is True
    told = sent(visit, lambda: page.select_option("#seconds", "1"))
    assert told["frames"] == 13


@pytest.mark.slow
def test_four_futures_and_looks(visit: Visit) -> None:
    visit.begin_with("empty")
    page = visit.page
    futures = page.locator("#futures button")
    visit.until("[...document.all.futures.children].every((one) => one.video)")
    told = sent(visit, lambda: futures.nth(2).click())
    assert told["seed"] == 2 and futures.nth(2).get_attribute("aria-checked") == "true"
    told = sent(visit, lambda: page.locator("#others").click())
    assert told["seed"] == 4
    page.locator("#look summary").click()
    page.select_option("#anew", "building")
    told = sent(visit, lambda: page.locator("#roll").click())
    assert (told["resample"], told["resample_seed"]) == (["building"], 1)
    told = sent(visit, lambda: page.locator("#anew-clear").click())
    assert "resample" not in told


@pytest.mark.slow
def test_maps_and_photos_are_opened(visit: Visit, tmp_path: Path) -> None:
    (tmp_path / "map.png").write_bytes(labels_png())
    photo = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    (tmp_path / "photo.jpg").write_bytes(png(Image.fromarray(photo), "JPEG"))
    page = visit.page
    visit.moves_after(lambda: page.set_input_files("#import-file", tmp_path / "map.png"))
    assert (visit.pixels() == street_map()[0].numpy()).all()
    visit.moves_after(lambda: page.set_input_files("#import-file", tmp_path / "photo.jpg"))
    assert "found by the segmenter" in page.locator("#status").text_content()
    page.locator("#look summary").click()
    assert page.locator("#begin").is_checked()
    saved = visit.saved(page.locator("#export").click, tmp_path)
    read = read_label_map(saved, space=SPACE)
    assert (read.ids == visit.pixels()).all()


@pytest.mark.slow
def test_what_cannot_be_opened_is_told_in_words(browser, address: str, tmp_path: Path) -> None:
    context = browser.new_context()
    visit = Visit(context, address)
    (tmp_path / "bad.png").write_bytes(b"<svg><script>alert(1)</script></svg>")
    visit.page.set_input_files("#import-file", tmp_path / "bad.png")
    visit.page.wait_for_selector("#trouble:not([hidden])")
    assert "Expected a picture" in visit.page.locator("#trouble").text_content()
    assert "export it again as PNG" in visit.page.locator("#trouble").text_content()
    visit.page.locator("#trouble button").click()
    assert visit.page.locator("#trouble").is_hidden()
    visit.open("#s=nonsense")
    visit.page.reload()
    context.close()


@pytest.mark.slow
def test_videos_are_taken_away(visit: Visit, tmp_path: Path, monkeypatch) -> None:
    visit.begin_with("empty")
    visit.choose("car")
    visit.moves_after(lambda: visit.drag((40, 50), (50, 50)))
    visit.tool("path")
    visit.moves_after(lambda: visit.drag((45, 50), (60, 52)))
    page = visit.page
    visit.moves_after(lambda: page.select_option("#seconds", "1"))
    page.locator("#take summary").click()
    visit.until("document.all.command.textContent")
    for ending in ("mp4", "gif", "webp"):
        path = visit.saved(page.locator(f"[data-ending={ending}]").click, tmp_path)
        assert len(read_video(path)) == 13
    archive = visit.saved(page.locator("[data-ending=zip]").click, tmp_path)
    zipfile.ZipFile(archive).extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    command = page.locator("#command").text_content()
    assert command == (tmp_path / "command.txt").read_text().strip()
    words = command.replace("scene.mp4", "again").replace("'", "").split()
    assert cli.main(words[1:]) == 0
    assert (read_video(Path("again")) == read_video(Path("scene"))).all()
    page.locator("[data-copy=python]").click()
    visit.until("document.all.status.textContent.startsWith('copied')")
    assert page.evaluate("navigator.clipboard.readText()") == (tmp_path / "scene.py").read_text()


@pytest.mark.slow
def test_a_link_opens_the_same_state_and_a_reload_keeps_it(visit: Visit, browser) -> None:
    visit.begin_with("empty")
    visit.choose("bus")
    visit.moves_after(lambda: visit.drag((40, 50), (50, 50)))
    visit.moves_after(lambda: visit.page.locator("#turn").fill("9"))
    ids = visit.pixels()
    visit.page.locator("#copy-link").click()
    visit.until("document.all.status.textContent.startsWith('copied')")
    link = visit.page.evaluate("navigator.clipboard.readText()")
    visit.page.wait_for_timeout(500)
    visit.open()
    visit.until("document.body.dataset.videos")
    assert (visit.pixels() == ids).all() and visit.page.locator("#turn").input_value() == "9"
    visit.page.locator("#undo").click()
    assert (visit.pixels() == 15).sum() == 0, "the steps are kept too"
    context = browser.new_context()
    other = Visit(context, visit.address, link.removeprefix(visit.address))
    assert (other.pixels() == ids).all() and other.page.locator("#steer").is_checked()
    assert "#" not in other.page.url
    context.close()


@pytest.mark.slow
def test_two_tabs_do_not_disturb_each_other(visit: Visit) -> None:
    visit.begin_with("empty")
    other = Visit(visit.context, visit.address)
    other.begin_with("empty")
    other.choose("bus")
    other.moves_after(lambda: other.drag((40, 50), (50, 50)))
    visit.choose("car")
    visit.moves_after(lambda: visit.drag((80, 50), (90, 50)))
    mine, theirs = visit.pixels(), other.pixels()
    assert not (mine == theirs).all()
    visit.page.wait_for_timeout(500)
    visit.open()
    other.open()
    assert (visit.pixels() == mine).all() and (other.pixels() == theirs).all()
    assert other.said == []


@pytest.mark.slow
def test_a_video_is_stopped(visit: Visit) -> None:
    visit.begin_with("empty")
    page = visit.page
    page.select_option("#seconds", "10")
    page.locator("#cancel").click(timeout=PATIENCE)
    visit.until("document.all['progress-text'].textContent == 'stopped'")
    visit.moves_after(lambda: page.select_option("#seconds", "1"))


@pytest.mark.slow
def test_light_dark_and_phone_have_contrast_and_fit(browser, address: str) -> None:
    for scheme, width in (("light", 1280), ("dark", 1280), ("dark", 390), ("light", 390)):
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 844}, has_touch=width < 500
        )
        visit = Visit(context, address)
        visit.begin_with("empty")
        for name in ("look", "take"):
            visit.page.locator(f"#{name} summary").click()
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        poor = visit.page.evaluate(CONTRASTS)
        assert poor == [], (scheme, width)
        visit.page.locator("#theme").click()
        assert visit.page.evaluate(CONTRASTS) == []
        nameless = visit.page.evaluate(NAMELESS)
        assert nameless == []
        context.close()


CONTRASTS = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((one) => one / 255)
    .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
    .reduce((sum, one, n) => sum + one * [0.2126, 0.7152, 0.0722][n], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((one) => one.nodeType === 3 && one.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(":disabled")) continue;
    if (element.id === "veil" || element.matches("option")) continue;
    const [a, b] = [parse(getComputedStyle(element).color), behind(element)].map(light);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${element.outerHTML.slice(0, 80)} ${ratio.toFixed(2)}`);
  }
  return poor;
}"""
"""Texts whose contrast with what is behind them is below 4.5, WCAG's AA."""

NAMELESS = """() =>
  [...document.querySelectorAll("button, input, select, canvas[role], [role=application]")]
  .filter((one) => one.checkVisibility())
  .filter((one) => !(one.textContent.trim() || one.ariaLabel || one.labels?.length
    || one.getAttribute("aria-labelledby"))).map((one) => one.outerHTML)"""
"""Controls that a screen reader would have no name for."""


@pytest.mark.slow
def test_a_killed_server_is_told_and_painting_goes_on(browser, model: Path) -> None:
    words = ("--model", str(model), "--port")
    with process_of(*words, "0") as (process, address):
        context = browser.new_context()
        visit = Visit(context, address)
        visit.begin_with("empty")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        visit.choose("car")
        visit.drag((40, 50), (50, 50))
        visit.page.wait_for_selector("#gone:not([hidden])")
        assert "seg2vid studio" in visit.page.locator("#gone").text_content()
        visit.drag((80, 50), (90, 50))
        ids = visit.pixels()
        before = visit.videos
        port = address.rstrip("/").rpartition(":")[2]
        with process_of(*words, port):
            visit.until(f"(document.body.dataset.videos || 0) > {before}")
            assert visit.page.locator("#gone").is_hidden()
            assert (visit.pixels() == ids).all()
        context.close()


@pytest.mark.slow
def test_from_afar_the_address_with_its_token_opens_the_page(browser, model: Path) -> None:
    words = ("--model", str(model), "--port", "0", "--host", "0.0.0.0")
    with process_of(*words) as (_, address):
        assert "?token=" in address
        context = browser.new_context()
        place = address.replace("0.0.0.0", "127.0.0.1")
        visit = Visit(context, place)
        assert "token" not in visit.page.url
        visit.begin_with("empty")
        assert visit.said == []
        context.close()
        stranger = browser.new_context().new_page()
        assert stranger.goto(place.partition("?")[0]).status == 401
