"""Who works in a folder works alone, and what a killed process left half written is swept up."""

import subprocess
import sys
from pathlib import Path

import pytest

from seg2vid.tools.errors import Seg2VidError
from seg2vid.tools.files import Replacement, remove_strays, working_alone


def test_the_second_in_a_folder_is_told_so(tmp_path: Path) -> None:
    with working_alone(tmp_path):
        with (
            pytest.raises(Seg2VidError, match="to be free; got another seg2vid at work in it; "),
            working_alone(tmp_path),
        ):
            pass
        with (
            pytest.raises(Seg2VidError, match="another seg2vid at work"),
            working_alone(tmp_path, among_others=True),
        ):
            pass
    with working_alone(tmp_path):
        pass


def test_several_may_share_a_folder_that_nobody_has_alone(tmp_path: Path) -> None:
    with (
        working_alone(tmp_path, among_others=True),
        working_alone(tmp_path, among_others=True),
        pytest.raises(Seg2VidError, match="at work"),
        working_alone(tmp_path),
    ):
        pass


def test_a_killed_process_lets_go_and_its_strays_are_removed(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from seg2vid.tools.files import Replacement;"
        f"place = pathlib.Path({str(tmp_path)!r});"
        "Replacement(place / 'a.mp4'); Replacement(place / 'b', is_folder=True); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    (tmp_path / ".a.notes.partial.mp4").touch()
    live = Replacement(tmp_path / "a.mp4")
    assert len(list(tmp_path.glob(".a.*.partial.mp4"))) == 3
    remove_strays(tmp_path / "c.mp4")
    assert len(list(tmp_path.glob(".*.partial*"))) == 4
    for name in ("a.mp4", "b"):
        remove_strays(tmp_path / name)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {".a.notes.partial.mp4", live.temporary.name}, "others' files, and who works"
    live.commit()
    assert (tmp_path / "a.mp4").is_file()
