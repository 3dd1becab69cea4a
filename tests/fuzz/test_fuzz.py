"""The fuzzer: bad files, words and places at every border; the program takes all of them well.

``SEG2VID_FUZZ=SEED:COUNT`` chooses seed and number of the cases of the slow test, as in
``SEG2VID_FUZZ=7:10000 python -m pytest -m slow -s tests/fuzz``; ``SEED:1:NUMBER`` runs one again.
Each failure is printed with its number. ``SEG2VID_FUZZ_MINUTES`` bounds the time.
"""

import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fuzz import mutations, oracle
from tests.fuzz.cases import BORDERS, COMMANDS, make_case
from tests.fuzz.oracle import Guard, Hang, complaints, observe, snapshot
from tests.fuzz.seeds import street
from tests.fuzz.sessions import run_cases

Wrongs = Callable[..., list[str]]
LINE = "seg2vid: Expected a file; got none; name one."


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_nothing_gets_past_the_borders(tmp_path: Path) -> None:
    seed, count, first = (*map(int, os.environ.get("SEG2VID_FUZZ", "0:10000").split(":")), 0)[:3]
    minutes = float(os.environ.get("SEG2VID_FUZZ_MINUTES", "25"))
    *_, tally = run_cases(tmp_path, seed, count, first=first, minutes=minutes)
    print(f"\n{tally}")
    assert tally.cases >= min(count, 100) and not tally.findings, str(tally)


def test_every_verb_is_tried() -> None:
    from seg2vid.cli.main import VERBS

    # What the studio is sent is tried in tests/studio; an export takes ten seconds.
    tried = set(VERBS) - {"studio", "export"}
    assert set(COMMANDS) == tried
    assert {verb for border in BORDERS.values() for verb in border.verbs} == tried


# The same number gives the same case


def test_a_case_is_known_by_seed_and_number(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    for kind in ("map", "instances", "model"):
        (seeds / kind).mkdir(parents=True)
        Image.fromarray(street().astype(np.uint8)).save(seeds / kind / "a.png")
    made = []
    for name, number in (("a", 3), ("b", 3), ("c", 4)):
        folder = tmp_path / name
        folder.mkdir()
        _, case = make_case(seeds, folder, 5, number, "label maps")
        made.append((case.words, case.harm, snapshot(folder)))
    assert made[0] == made[1] and made[0] != made[2]


@pytest.mark.parametrize("ending", [".json", ".yaml", ".png", ".safetensors", ".tar", ".mp4"])
def test_damages_are_many_and_repeat(tmp_path: Path, ending: str) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(street().astype(np.uint8)).save(picture)
    values = {"a": [1, 2.5, "b"], "c": {"d": None, "e": True}}
    header = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    header |= {"__metadata__": {"config": json.dumps(values)}}
    text = json.dumps(header).encode()
    content = {
        ".json": json.dumps(values).encode(),
        ".yaml": b"a: [1, 2.5, b]\nc: {d: null, e: true}\n",
        ".png": picture.read_bytes(),
        ".safetensors": len(text).to_bytes(8, "little") + text + b"\0" * 8,
        ".tar": mutations._write_tar(
            [(mutations.tarfile.TarInfo("k.00.png"), picture.read_bytes())]
        ),
        ".mp4": b"\0\0\0\x18ftypmp42" + bytes(range(256)),
    }[ending]
    made = [mutations.damage(Random(n), content, ending) for n in range(100)]
    assert made == [mutations.damage(Random(n), content, ending) for n in range(100)]
    assert len({one.content for one in made}) > 40
    assert len({one.what for one in made}) > 5


def test_an_alias_bomb_is_damaged_as_text() -> None:
    bomb = mutations.BOMB.encode()
    assert all(mutations.damage(Random(n), bomb, ".yaml").content for n in range(20))


# Each kind of failure is seen


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Guard:
    return Guard((tmp_path_factory.mktemp("scratch"),))


@pytest.fixture
def wrongs(tmp_path: Path, guard: Guard, monkeypatch: pytest.MonkeyPatch) -> Wrongs:
    """Run a stand-in for the command line in a folder with a user's file; return the complaints."""
    folder, scratch = tmp_path / "case", tmp_path / "scratch"
    for one in (folder / "place", scratch):
        one.mkdir(parents=True)
    (folder / "precious.png").write_bytes(b"a file of the user")
    monkeypatch.setattr(oracle, "SECONDS", 0.4)
    monkeypatch.setattr(oracle, "TICK", 0.1)

    def run(call: Callable[[], int], **more: Any) -> list[str]:
        before = snapshot(folder)
        outcome = observe(call, folder, scratch, guard)
        return complaints(outcome, folder, before, **({"outputs": ["place/out.png"]} | more))

    return run


def said(status: int, line: str = "") -> int:
    """Speak and end as the command line does."""
    print(line, file=sys.stderr if status else sys.stdout)
    return status


def write(path: str, content: bytes, status: int = 0) -> int:
    Path(path).write_bytes(content)
    return said(status, LINE if status else "wrote it")


def test_what_is_well_is_not_complained_of(wrongs: Wrongs) -> None:
    assert wrongs(lambda: said(2, LINE)) == []
    assert wrongs(lambda: said(0, "a map")) == []

    def whole() -> int:
        Image.new("RGB", (8, 8)).save("place/out.png")
        return said(0, "wrote it")

    assert wrongs(whole) == []


def test_what_looks_like_harm_and_is_none(wrongs: Wrongs) -> None:
    assert (
        wrongs(lambda: said(0, f"step 0: SqrtBackward0\n  term {'flow':<24} {math.nan:12.5g}"))
        == []
    )
    assert wrongs(lambda: write("report.txt", b"a"), outputs=["place/.."]) == []
    line = "step 0: Expected finite losses at step 0; got depth = nan; see what was kept."
    assert wrongs(lambda: said(0, line)) == []
    named = "place/a;touch escaped"
    assert wrongs(lambda: write(named, b"a"), outputs=[named]) == []
    assert wrongs(lambda: write("escaped", b"a")) == ["execution: it made 'escaped'"]
    assert wrongs(lambda: write("/tmp/escaped", b"a"), outputs=["/tmp/escaped"]) == []
    assert wrongs(lambda: write("../new.txt", b"a"), outputs=[".."]) == []
    assert any("writes outside" in one for one in wrongs(lambda: write("../new.txt", b"a")))
    assert "execution: it made /tmp/escaped" in wrongs(lambda: write("/tmp/escaped", b"a"))
    assert wrongs(lambda: write("precious.png", b"other"), outputs=["place/.."]) == [
        "changed: a file of the user"
    ]


def loud(text: str) -> int:
    warnings.warn(text, UserWarning, stacklevel=1)
    return 0


def work() -> int:
    while True:
        pass


FAULTS: dict[str, tuple[Callable[[], int], str]] = {
    "traceback": (lambda: {}["none"], r"traceback: KeyError at test_fuzz\.py"),
    "status": (lambda: said(130, LINE), "status 130"),
    "two lines": (lambda: said(2, f"{LINE}\n{LINE}"), "2 lines of error"),
    "no advice": (lambda: said(2, "seg2vid: no"), "does not say what to do"),
    "long line": (lambda: said(2, LINE.replace("none", "x" * 5000)), "5 thousand letters"),
    "control": (lambda: said(2, LINE.replace("none", "\x1b[31m")), "control characters"),
    "nan": (lambda: said(0, "LPIPS nan"), "nan: printed"),
    "warning": (lambda: loud("odd"), "warning of Python: UserWarning: odd"),
    "hang": (lambda: time.sleep(5) or 0, "hang: "),
    "work": (lambda: work(), "hang: "),
    "partial": (lambda: write("place/.out.12.partial.png", b"a"), "half-written"),
    "left": (lambda: write("place/out.png", b"a", 2), "a failed command wrote"),
    "changed": (lambda: write("precious.png", b"other"), "changed: a file of the user"),
    "elsewhere": (lambda: write("place/other.png", b"a"), "changed: a file of the user"),
    "cut output": (lambda: write("place/out.png", b"\x89PNG"), r"output: \.png that cannot be"),
    "outside": (lambda: write("../outside", b"a"), "writes outside: open .*/outside/"),
    "network": (lambda: socket.create_connection(("127.0.0.1", 9)) and 0, "network: socket"),
    "execution": (lambda: subprocess.run(["true"], check=True).returncode, "execution: subproc"),
    "memory": (lambda: len(bytearray(300_000_000)) and 0, "memory: "),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_kind_of_failure_is_seen(
    wrongs: Wrongs, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle, "MEGABYTES", 200)
    call, pattern = FAULTS[name]
    found = wrongs(call)
    assert any(re.search(pattern, one) for one in found), found


def test_damage_that_must_be_seen(wrongs: Wrongs) -> None:
    assert wrongs(lambda: said(0, "fine"), must_fail=True) == [
        "silent: damage that must be seen was not"
    ]


def test_a_hang_does_not_leave_its_alarm(wrongs: Wrongs) -> None:
    before = signal.getsignal(signal.SIGALRM)
    wrongs(lambda: time.sleep(5) or 0)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0) and issubclass(Hang, BaseException)
