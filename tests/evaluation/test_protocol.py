"""Protocols: frozen to the byte, whole, and refused with a reason where they are wrong."""

import json
import re
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest
import yaml

from seg2vid.data.recordings.folder import list_recordings
from seg2vid.data.recordings.recording import Recording
from seg2vid.data.stills import StillFolder
from seg2vid.evaluation import protocol as module
from seg2vid.evaluation.cases import EVERY
from seg2vid.evaluation.judges import JUDGE_FILES, SEGMENTER_FILE, judge_digests
from seg2vid.evaluation.metric_table import METRICS
from seg2vid.evaluation.protocol import BASELINE_KEYS, Protocol, get_protocol, list_protocols
from seg2vid.labels.space import get_label_space
from seg2vid.models.judges.files import JUDGES
from seg2vid.models.weights import SEGMENTER, find_weights
from seg2vid.tools.errors import Seg2VidError
from seg2vid.tools.files import digest_of

FROZEN = {
    "cityscapes-generation-v2": "5ad96cb2bca83b08f9b00bd0a63c28219abc7909434ee1c9cab96073fccf0144",
    "cityscapes-official-generation-v2": (
        "97c5769f4bc77a445140b1fcbc9fe57d70d44c8699e7f536efeb3d812fbbdd15"
    ),
    "cityscapes-official-prediction-v2": (
        "8a4aa93ea88ce071d0d2b6e15ec6078cdfe14ff241879ae9a88d2ddd1fd63708"
    ),
    "cityscapes-prediction-v2": "1acffed55094d9b943bc0437cd6599e2b524c9d910183ea1be1636a83ce9228f",
    "cityscapes-stills-v2": "23a16291a2b5d65703b9a4ddd542bacdda640975bd6ab31c42dd6a78aa475e82",
    "kitti-transfer-v2": "8a5075817ffdb373ac9b1eb8462bd305f1a5b3d7d51e752ca92848e248742a35",
    "long-24-v2": "26a61cb0bab9734581e64ff13af886c672150531bc16ac6903a27a3d103bdd04",
    "toycity-long-v2": "3881fd2fbf44b2d1faba2d724c22d4ab8f04d6078e2e64418001977203abc508",
    "toycity-quick-v2": "45c285a386fb27e7cdd17f08e4c8970257a99f4244ee2571be5554a04ee55ddb",
    "toycity-stills-v2": "03afa08c0aac2ae1f0a62b3242b81d7fa89f2683bee0f923e7b66bfb4bc912be",
    "toycity-v2": "34badc0273d1efd68e303b8b201833b2fd6ec9a979d5ca49cd8b014df7fe9b03",
}
"""SHA-256 of every file: a figure is known by its protocol's name, so the file behind a name must
never change once it was published. What shall be otherwise is a new file, NAME-v2.yaml.
"""

QUICK = "toycity-quick-v2"
"""The one that is there to see that all runs."""
GOOD = {"name": "own-v1", "about": "mine", "task": "prediction", "source": "toycity", "clips": "3"}


recordings_of = cache(list_recordings)


def write(path: Path, **changes: str) -> str:
    """Write a protocol of the user's own."""
    lines = (GOOD | changes).items()
    path.write_text("".join(f"{key}: {value}\n" for key, value in lines if value))
    return str(path)


def test_every_file_is_the_frozen_one() -> None:
    assert {name: get_protocol(name).sha256 for name in list_protocols()} == FROZEN


@pytest.mark.parametrize("name", FROZEN)
def test_a_protocol_is_whole(name: str) -> None:
    protocol = get_protocol(name)
    assert protocol.name == name and protocol.about
    last = protocol.num_frames
    assert protocol.horizons[-1] == last and list(protocol.horizons) == sorted(protocol.horizons)
    assert set(protocol.baselines) <= set(BASELINE_KEYS) and protocol.baselines[0] == "truth"
    assert all(time in protocol.compared_times for time in protocol.picture_times)
    assert all(1 <= time <= last for time in protocol.warping_times)
    assert set(protocol.enough) <= set(METRICS)
    size = (64, 128) if name == QUICK else (128, 256)
    assert (protocol.height, protocol.width) == size
    assert protocol.precision == "float32" and protocol.replicates >= 1000
    assert bool(protocol.training) == bool({"nearest", "mean_colour"} & set(protocol.baselines))


@pytest.mark.parametrize("name", FROZEN)
def test_the_judges_of_a_protocol_are_the_pinned_ones(name: str) -> None:
    protocol = get_protocol(name)
    pinned = {key: JUDGES[key].sha256 for key in JUDGE_FILES}
    pinned[SEGMENTER_FILE] = digest_of(find_weights(SEGMENTER))
    assert protocol.judges.items() <= pinned.items()
    needed = set(pinned)
    if protocol.is_still:
        needed -= {"i3d_kinetics400_fp16.safetensors", "raft_small.safetensors"}
    assert set(protocol.judges) == needed


def test_the_judges_that_are_there_are_the_protocols(shared_data: Path) -> None:
    assert judge_digests(shared_data / "judges") == get_protocol("toycity").judges
    assert set(judge_digests(shared_data)) == {SEGMENTER_FILE}


@pytest.mark.parametrize("name", FROZEN)
def test_the_clips_of_a_protocol_exist(shared_data: Path, name: str) -> None:
    protocol = get_protocol(name)
    if EVERY in protocol.starts:
        pytest.skip("only who has Cityscapes knows; tests/evaluation/test_cases.py has its layout")
    if protocol.source == "toycity":
        assert protocol.clips >= (2 if name == QUICK else 64)
        assert protocol.first_seed >= 900_000, "models are trained on the seeds below"
    elif protocol.source == "stills":
        for folder, count in ((protocol.folder, 249), (protocol.training, 2975)):
            stills = StillFolder(
                shared_data / folder, get_label_space("cityscapes"), height=128, width=256
            )
            assert len(stills) == count
    else:
        found = {entry.name: entry for entry in recordings_of(shared_data / protocol.folder)}
        for name_of_recording, starts in protocol.starts.items():
            check_starts(protocol, found[name_of_recording], starts)


def check_starts(protocol: Protocol, recording: Recording, starts: tuple[int, ...]) -> None:
    """Every frame of every clip is there, with a label map."""
    assert list(starts) == sorted(set(starts))
    for start in starts:
        times = range(start, start + protocol.num_frames * protocol.step + 1, protocol.step)
        assert times[-1] < len(recording.pictures)
        assert all(time in recording.label_files for time in times)


def test_judged_times_leave_out_what_was_given() -> None:
    assert get_protocol("cityscapes-prediction").compared_times == tuple(range(1, 9))
    assert get_protocol("cityscapes-generation").compared_times == tuple(range(9))
    stills = get_protocol("cityscapes-stills")
    assert stills.compared_times == (0,) and stills.is_still
    assert not get_protocol("long-24").is_still


def test_a_name_without_version_gives_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "protocols"
    folder.mkdir()
    for version in ("own-v1", "own-v2", "own-v10", "own-other-v11"):
        write(folder / f"{version}.yaml", name=version)
    (folder / "notes.txt").write_text("no protocol")
    monkeypatch.setattr(module, "PROTOCOLS", folder)
    assert list_protocols() == ["own-other-v11", "own-v1", "own-v10", "own-v2"]
    assert get_protocol("own").name == "own-v10"
    assert get_protocol("own-v2").name == "own-v2"


def test_a_protocol_of_ones_own_is_read_from_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "own.yaml", horizons="[4, 8]", starts="{a: [0, 9]}", judges="{x: y}")
    protocol = get_protocol(path)
    assert protocol == get_protocol(tmp_path / "own.yaml")
    assert protocol.horizons == (4, 8) and protocol.starts == {"a": (0, 9)}
    assert protocol.clips == 3 and protocol.judges == {"x": "y"}
    assert protocol.sha256 == digest_of(tmp_path / "own.yaml")
    plain = Protocol("own-v1", "mine", "prediction", "toycity")
    assert asdict(plain)["seed"] == asdict(protocol)["seed"] == 0
    before = protocol.sha256
    write(tmp_path / "own.yaml", seed="1")
    assert get_protocol(path).sha256 != before


def test_every_key_is_documented_with_its_default() -> None:
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text("utf-8")
    section = text.partition("### Keys of a protocol")[2].partition("\n**Judges**")[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    found = {}
    for keys, defaults in rows:
        names, values = (
            re.findall(r"`(\w+)`", keys),
            yaml.safe_load(f"[{defaults}]".replace("`", "")),
        )
        found |= dict(zip(names, values or [None] * len(names), strict=True))
    plain = json.loads(json.dumps(asdict(Protocol("", "", "prediction", "toycity"))))
    needed = dict.fromkeys(("name", "about", "task", "source"))
    assert found == {k: v for k, v in plain.items() if k != "sha256"} | needed


WRONG = {
    "unknown field": ({"frames": "3"}, r"only name, about, .* in protocol .*; got frames; repair"),
    "missing field": ({"about": ""}, r"the field about in protocol .*; got none"),
    "checksum given": ({"sha256": "abc"}, r"no sha256, which is that of the file in .*; got 'abc'"),
    "task": ({"task": "dreaming"}, r"one of prediction, generation, stills as task .*'dreaming'"),
    "source": ({"source": "moon"}, r"one of toycity, recordings, .* as source in .*; got 'moon'"),
    "late": ({"horizons": "[4, 9]"}, r"times from 0 to 8 in protocol .*; got \[4, 8, 9\]; repair"),
    "early": ({"warping_times": "[-1]"}, r"times from 0 to 8"),
    "many": (
        {"num_frames": "many"},
        r"a whole number as num_frames in protocol .*; got text; repair",
    ),
    "no list": ({"horizons": "8"}, r"a list as horizons in protocol .*; got a whole number"),
    "no mapping": ({"judges": "[a]"}, r"a mapping as judges in .*; got a list"),
    "one start": ({"starts": "{a: 3}"}, r"a list as starts.* in .*; got a whole number"),
    "baseline": ({"baselines": "[truth, lucky]"}, r"baselines out of truth, .*; got truth, lucky"),
    "no boolean": ({"clips": "true"}, "a whole number as clips in .*; got true or false"),
    "of ids": ({"horizons": "[a]"}, r"a whole number as horizons\[0\] in .*; got text"),
    "absurd": ({"clips": "1000000000000"}, "clips in protocol .* from 0 to 100000; got 1000000000"),
    "no truth": ({"baselines": "[repeat]"}, r"truth among them in protocol .*; got repeat"),
    "of a picture": ({"task": "stills", "horizons": "[0]"}, r"times from 0 to 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_protocol_is_refused(tmp_path: Path, case: str) -> None:
    changes, message = WRONG[case]
    with pytest.raises(Seg2VidError, match=message):
        get_protocol(write(tmp_path / "own.yaml", **changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: [", r"Expected a protocol in .*own\.yaml; got no YAML: .*; repair it"),
        ("clips: 2020-13-45", "got no YAML: month must be in"),
        ("- name", r"Expected a mapping in protocol .*; got a list; repair"),
        ("", r"Expected a mapping in protocol .*; got nothing"),
    ],
)
def test_what_is_no_protocol_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "own.yaml").write_text(content)
    with pytest.raises(Seg2VidError, match=message):
        get_protocol(tmp_path / "own.yaml")


def test_unknown_names_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Seg2VidError, match=r"a protocol \(cityscapes-gen.*\) or .*; got 'moon'"):
        get_protocol("moon")
    with pytest.raises(Seg2VidError, match=r"Expected a protocol .*; got 'toycity-v9'"):
        get_protocol("toycity-v9")
    missing = tmp_path / "none.yaml"
    with pytest.raises(Seg2VidError, match=r"a protocol file; got no file .*none\.yaml; check"):
        get_protocol(missing)
