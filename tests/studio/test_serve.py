"""The command: addresses, ports, tokens, stopping; and what is said without the extra."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from seg2vid.cli import main as cli
from seg2vid.media.video import read_video
from tests.studio.studios import REPOSITORY, SCRIPT, process_of
from tests.test_readme import blocks_of


def test_a_port_or_host_that_is_not_ours_is_told(model: Path, capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["studio", "--model", str(model), "--port", port]) == 2
    error = capsys.readouterr().err
    assert f"Expected a free port at 127.0.0.1; got {port}: " in error
    assert "choose another: --port 0 takes any" in error
    assert cli.main(["studio", "--model", str(model), "--host", "203.0.113.7"]) == 2
    assert "Expected a free port at 203.0.113.7" in capsys.readouterr().err
    assert cli.main(["studio", "--port", "99999"]) == 2


def test_without_the_extra_one_line_says_what_to_install(model: Path) -> None:
    block = "import sys; sys.modules['starlette'] = None; sys.modules['uvicorn'] = None; "
    words = [sys.executable, "-c", block + SCRIPT, "studio", "--model", str(model)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    result = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "pip install 'seg2vid[studio]'" in result.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_at_once_and_leaves_nothing(model: Path, how: int, tmp_path: Path) -> None:
    words = ("--model", str(model), "--port", "0")
    with process_of(*words, TMPDIR=str(tmp_path)) as (process, address):
        events = f"{address}api/about"
        with urlopen(events, timeout=20) as answer:
            assert answer.status == 200
        assert [one.name.startswith("seg2vid-studio-") for one in tmp_path.iterdir()] == [True]
        process.send_signal(how)
        assert process.wait(20) == 130
        assert list(tmp_path.iterdir()) == []
        assert process.stdout is not None
        assert "Traceback" not in process.stdout.read()


def test_for_others_there_is_a_token_in_the_address(model: Path) -> None:
    words = ("--model", str(model), "--port", "0", "--host", "0.0.0.0")
    with process_of(*words) as (_, address):
        place, _, token = address.replace("0.0.0.0", "127.0.0.1").partition("?token=")
        assert len(token) >= 32
        with pytest.raises(HTTPError, match="401") as refusal:
            urlopen(f"{place}api/about", timeout=20)
        refusal.value.close()
        asked = Request(f"{place}api/about", headers={"Authorization": f"Bearer {token}"})
        with urlopen(asked, timeout=20) as answer:
            assert answer.status == 200


def test_the_examples_of_the_page_run(model: Path, tmp_path: Path, monkeypatch) -> None:
    page = (REPOSITORY / "docs" / "studio.md").read_text("utf-8")
    blocks = {block.language: block.text for block in blocks_of(page) if "8765/api" in block.text}
    python = next(one.text for one in blocks_of(page) if one.language == "python")
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    monkeypatch.chdir(tmp_path)
    with process_of("--model", str(model), "--port", "0") as (_, address):
        place = address.rstrip("/")
        exec(python.replace("http://127.0.0.1:8765", place), {})
        assert read_video(Path("scene.webp")).shape[0] == 9
        ask, fetch = blocks["bash"].replace("http://127.0.0.1:8765", place).splitlines()
        if shutil.which("curl") is None:
            pytest.skip("needs curl for the other example")
        told = subprocess.run(ask, shell=True, capture_output=True, text=True, check=True)
        video = json.loads(told.stdout)["id"]
        subprocess.run(fetch.replace("ID", video), shell=True, check=True)
        assert read_video(Path("scene.mp4")).shape[0] == 9
