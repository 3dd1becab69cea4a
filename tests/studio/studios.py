"""Studios for tests: the tiny networks behind a client, or a server in a process of its own."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import torch
from PIL import Image
from starlette.testclient import TestClient

from seg2vid.labels.space import get_label_space
from seg2vid.media.pictures import draw_label_map
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.studio.doors import Doors
from seg2vid.studio.jobs import Limits
from seg2vid.studio.server import Studio
from tests.tiny import CONFIG, street_map

SPACE = get_label_space("cityscapes")
SCRIPT = "from seg2vid.cli.main import main; raise SystemExit(main())"
REPOSITORY = Path(__file__).resolve().parents[2]


def tiny_model(folder: Path) -> Path:
    """Save the tiny networks, untrained, and return their folder."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    Seg2VidPipeline.from_config(CONFIG).save_pretrained(folder)
    return folder


def png(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def labels_png(ids: np.ndarray | None = None) -> bytes:
    """A street of the tiny networks' size, as the page sends it."""
    return png(draw_label_map(street_map()[0].numpy() if ids is None else ids, SPACE))


def instances_png() -> bytes:
    """Its two cars, numbered 1 and 2."""
    ids = street_map()[0].numpy()
    numbers = np.where(ids == 13, 1, 0)
    numbers[:, 50:] *= 2
    return png(Image.fromarray(numbers.astype(np.uint16)))


@contextmanager
def client_of(
    pipe: Seg2VidPipeline,
    limits: Limits | None = None,
    doors: Doors | None = None,
    streets: Path | None = None,
) -> Iterator[TestClient]:
    """A client of a studio, and the studio as its attribute."""
    studio = Studio(pipe, doors or Doors("127.0.0.1", None), limits or Limits(), streets)
    with TestClient(studio.app(), base_url="http://127.0.0.1:8765") as client:
        client.studio = studio
        yield client


def ask(client: TestClient, wishes: dict[str, Any] | None = None, **files: bytes) -> Any:
    """Send a form of files and wishes."""
    parts = {name: (f"{name}.png", content, "image/png") for name, content in files.items()}
    data = {} if wishes is None else {"wishes": json.dumps(wishes)}
    return client.post("/api/videos", files=parts, data=data)


def ended(client: TestClient, told: dict[str, Any]) -> dict[str, Any]:
    """Follow a video's events to the end."""
    last = {}
    with client.stream("GET", f"/api/videos/{told['id']}/events") as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                last = json.loads(line.removeprefix("data: "))
    return last


@contextmanager
def process_of(*words: str, **changes: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``seg2vid studio`` and give the process and its address."""
    command = [sys.executable, "-c", SCRIPT, "studio", "--open", "false", *words]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    # Of what runs in the background of a shell, Ctrl-C is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, env=environment | changes, **pipes)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("studio: "):
                break
        assert lines and lines[-1].startswith("studio: "), "".join(lines)
        address = lines[-1].split()[1]
        for _ in range(200):
            try:
                urlopen(address, timeout=5).close()
                break
            except HTTPError as refusal:  # it is there, and knows no cookie
                refusal.close()
                break
            except OSError:
                time.sleep(0.05)
        yield process, address
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
