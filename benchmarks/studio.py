"""The studio in a real Chromium: how soon it moves, how it bears many, how it looks.

    python benchmarks/studio.py latency       last stroke → first moving frame, median of 20
    python benchmarks/studio.py load          50 clients at once for five minutes
    python benchmarks/studio.py screenshots   docs/assets/studio/*.webp

A server of its own is started, and Chromium where it is needed.
"""

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Page, sync_playwright

REPOSITORY = Path(__file__).resolve().parents[1]
STREET = REPOSITORY / "examples" / "street.png"
INSTANCES = REPOSITORY / "examples" / "street_instances.png"
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
PATIENCE = 120_000
LARGEST_SHOT = 150_000
"""Bytes of a picture in the documents."""


@contextlib.contextmanager
def serving(model: str) -> Iterator[tuple[int, str]]:
    """Run a studio; give its process id and address."""
    words = [sys.executable, "-m", "seg2vid", "studio", "--open", "false", "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    process = subprocess.Popen(
        [*words, "--model", model], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        lines = process.stdout or ()
        address = next(one for one in lines if one.startswith("studio: ")).split()[1]
        with httpx.Client(transport=httpx.HTTPTransport(retries=20)) as client:
            client.get(address, timeout=60)
        yield process.pid, address
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def browsing(address: str, **options: Any) -> Iterator[Page]:
    """Give a page of the studio in Chromium."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=FLAGS)
        page = browser.new_page(**options)
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.wait_for_selector("body[data-state=ready]")
        yield page
        browser.close()


def until(page: Page, expression: str) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(expression):
        if time.monotonic() > end:
            raise TimeoutError(expression)
        page.wait_for_timeout(10)


IS_NEW = "(one) => one.video && !one.classList.contains('old')"
"""Whether one of the four futures is of what is painted now."""


def is_whole(page: Page) -> None:
    """Wait until a video is made and all four futures play."""
    until(page, "/frames in/.test(document.all['progress-text'].textContent)")
    until(page, "[...document.all.futures.children].every(IS_NEW)".replace("IS_NEW", IS_NEW))


def at(page: Page, x: float, y: float) -> tuple[float, float]:
    """Return the place on the screen of a point of the map, in shares of it."""
    box = page.locator("#sheet").bounding_box()
    if box is None:
        raise RuntimeError("the map is not shown")
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def drag(page: Page, *places: tuple[float, float]) -> None:
    """Drag over the map, by shares of it."""
    page.evaluate("scrollTo(0, 0)")
    page.mouse.move(*at(page, *places[0]))
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*at(page, *place), steps=6)
    page.mouse.up()


def choose(page: Page, name: str) -> None:
    """Choose a class."""
    page.locator("#palette").get_by_role("radio", name=name, exact=True).click()


# The clock runs in the page: from the pointer's release to the first frame of another video.
CLOCK = """() => {
  window.times = [];
  document.addEventListener("pointerup", () => (window.released = performance.now()), true);
  new MutationObserver(() => window.times.push(performance.now() - window.released))
    .observe(document.body, { attributes: true, attributeFilter: ["data-videos"] });
}"""


def measure_latency(model: str, count: int) -> None:
    """Print how long a stroke takes to move."""
    with serving(model) as (_, address), browsing(address) as page:
        page.select_option("#template", "empty")
        is_whole(page)
        page.evaluate(CLOCK)
        choose(page, "car")
        for number in range(count):
            place = 0.2 + 0.6 * number / count
            drag(page, (place, 0.7), (place + 0.04, 0.71))
            until(page, f"times.length > {number}")
            is_whole(page)  # the next stroke finds the server at rest
        times = [one / 1000 for one in page.evaluate("times")]
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"last stroke to first moving frame, {model}, {os.cpu_count()} cores, load {load}:")
    print(f"median of {count}: {statistics.median(times):.2f} s", end=", ")
    print(f"{min(times):.2f} to {max(times):.2f} s")


def memory_of(pid: int) -> float:
    """Return the megabytes that a process holds."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", text)
    return int(found[1]) / 1024 if found else 0.0


def measure_load(model: str, clients: int, minutes: float) -> None:
    """Print how many clients at once are served, and what memory does."""
    ends: Counter[str] = Counter()
    waits: list[float] = []
    stop = time.monotonic() + 60 * minutes
    files = {"labels": STREET.read_bytes(), "instances": INSTANCES.read_bytes()}

    def visit(address: str, number: int) -> None:
        with httpx.Client(base_url=address, timeout=300) as client:
            turn = 0
            while time.monotonic() < stop:
                wishes = json.dumps({"frames": 9, "seed": 1000 * number + turn})
                turn += 1
                begin = time.monotonic()
                try:
                    answer = client.post("/api/videos", files=files, data={"wishes": wishes})
                    if answer.status_code == 503:
                        ends["told that the queue is full"] += 1
                        time.sleep(float(answer.headers["retry-after"]))
                        continue
                    told = answer.raise_for_status().json()
                    ends["told a place"] += told["place"] > 0
                    with client.stream("GET", f"/api/videos/{told['id']}/events") as events:
                        for line in events.iter_lines():
                            told = json.loads(line[6:]) if line.startswith("data: ") else told
                    answer = client.get(f"/api/videos/{told['id']}/layers/frames")
                    image = Image.open(io.BytesIO(answer.raise_for_status().content))
                    ends["served" if image.height == 9 * 128 else "served in part"] += 1
                    client.delete(f"/api/videos/{told['id']}")
                    waits.append(time.monotonic() - begin)
                except httpx.HTTPError as error:
                    ends[f"lost: {type(error).__name__} {error}"] += 1

    with serving(model) as (pid, address):
        threads = [
            threading.Thread(target=visit, args=(address, number)) for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        held = []
        while any(thread.is_alive() for thread in threads):
            time.sleep(2)
            held.append(memory_of(pid))
    third = len(held) // 3
    print(f"{clients} clients for {minutes:g} minutes, {model}:")
    print("\n".join(f"  {count} {what}" for what, count in sorted(ends.items())))
    print(f"  wait: median {statistics.median(waits):.1f} s, longest {max(waits):.1f} s")
    thirds = [max(held[:third]), max(held[third : 2 * third]), max(held[2 * third :])]
    print(f"  memory, largest of each third: {', '.join(f'{one:.0f}' for one in thirds)} MB")


def shoot(page: Page, folder: Path, name: str) -> None:
    """Save what is seen, small enough for a document."""
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for quality in (85, 70, 50, 30):
        file = io.BytesIO()
        image.save(file, "WEBP", quality=quality, method=6)
        if len(file.getvalue()) <= LARGEST_SHOT:
            break
    (folder / f"{name}.webp").write_bytes(file.getvalue())
    print(f"{folder / name}.webp, {len(file.getvalue()) // 1000} kB")


def take_screenshots(model: str, folder: Path) -> None:
    """Save the page at five moments."""
    folder.mkdir(parents=True, exist_ok=True)
    size = {"width": 1360, "height": 900}
    with serving(model) as (_, address):
        with browsing(address, viewport=size) as page:
            shoot(page, folder, "empty")
            page.select_option("#template", "empty")
            is_whole(page)
            page.locator("#guide").check()
            choose(page, "car")
            page.keyboard.press("p")
            for place in ((0.36, 0.58), (0.42, 0.58), (0.45, 0.66), (0.45, 0.76), (0.33, 0.76)):
                page.mouse.click(*at(page, *place))
            page.mouse.click(*at(page, 0.33, 0.66))
            page.mouse.move(*at(page, 0.36, 0.585))
            shoot(page, folder, "painting")
            page.mouse.click(*at(page, 0.36, 0.58))
            page.locator("#guide").uncheck()
            page.set_input_files("#import-file", STREET)
            until(page, "/scaled/.test(document.all.status.textContent)")
            is_whole(page)
            page.locator("#compare").check()
            page.locator("#split").fill("35")
            until(page, "document.all.veil.hidden")
            page.wait_for_timeout(1500)
            page.locator("#scrub").fill("14")
            shoot(page, folder, "playing")
            page.locator("#compare").uncheck()
            page.locator("#turn").fill("-8")
            page.keyboard.press("d")
            car = page.evaluate(NEAREST_CAR)
            drag(page, car, (car[0] - 0.05, car[1] + 0.08), (car[0] - 0.1, car[1] + 0.1))
            page.locator("#freeze").get_by_label("sky").check()
            page.wait_for_timeout(500)
            is_whole(page)
            page.locator("#scrub").fill("16")
            page.evaluate("scrollTo(0, 280)")
            shoot(page, folder, "control")
        phone = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}
        with browsing(address, **phone, color_scheme="dark", has_touch=True) as page:
            page.select_option("#template", "street")
            is_whole(page)
            page.locator("#scrub").fill("9")
            page.locator("#stage").scroll_into_view_if_needed()
            page.evaluate("scrollTo(0, document.all.stage.offsetTop - 150)")
            shoot(page, folder, "phone")


NEAREST_CAR = """() => {
  const { width, height } = document.all.map;
  const pixels = document.all.map.getContext("2d").getImageData(0, 0, width, height).data;
  for (let y = height - 1; y > 0; y--)
    for (let x = 4; x < width; x++) {
      const place = 4 * ((y - 6) * width + x + 4);
      if (pixels[place] === 0 && pixels[place + 1] === 0 && pixels[place + 2] === 142)
        return [(x + 4.5) / width, (y - 5.5) / height];
    }
}"""
"""A place within the nearest car, in shares of the map."""


def main() -> None:
    """Do what is asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("latency", "load", "screenshots"))
    parser.add_argument("--model", default="street")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "docs" / "assets" / "studio")
    asked = parser.parse_args()
    if asked.what == "latency":
        measure_latency(asked.model, asked.count)
    elif asked.what == "load":
        measure_load(asked.model, asked.clients, asked.minutes)
    else:
        take_screenshots(asked.model, asked.folder)


if __name__ == "__main__":
    main()
