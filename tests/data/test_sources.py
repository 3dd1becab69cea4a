"""What ``--data`` names: every kind of place, its weight and label space, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg2vid.data.clips import ClipFolder, ClipSource
from seg2vid.data.prepared import PreparedDataset, StreamedDataset
from seg2vid.data.sources import open_training_data, open_validation_data
from seg2vid.data.stills import StillFolder
from seg2vid.labels.space import get_label_space
from seg2vid.models.config import ModelConfig
from seg2vid.tools.errors import MediaError
from tests import shards, tiny


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A place of every kind that lies on a disk."""
    root = tmp_path_factory.mktemp("places")
    tiny.write_clips(root / "toycity", count=2)
    recordings = {name: [shards.make_clip(n) for n in range(3)] for name in ("a", "b")}
    shards.write_dataset(root / "prepared", recordings, {"a": "train", "b": "val"})
    for folder in ("photos", "labels"):
        (root / "stills" / folder).mkdir(parents=True)
        Image.fromarray(np.arange(64, dtype=np.uint8).repeat(128).reshape(64, 128) % 19).save(
            root / "stills" / folder / "1.png"
        )
    (root / "begun" / "parts").mkdir(parents=True)
    (root / "empty").mkdir()
    return {path.name: str(path) for path in root.iterdir()}


MODEL: ModelConfig = tiny.CONFIG


def only(place: str) -> tuple[ClipSource, float]:
    """The source of one place and its weight."""
    [opened], _ = open_training_data([place], [], MODEL)
    return opened


def test_a_folder_of_toy_city_clips_is_recognised(places: dict[str, str]) -> None:
    source, weight = only(places["toycity"])
    assert isinstance(source, ClipFolder) and len(source) == weight == 2


@pytest.mark.parametrize("name", ["", "/index.json"])
def test_a_prepared_dataset_is_recognised_and_its_split_taken(
    places: dict[str, str], name: str
) -> None:
    source, weight = only(places["prepared"] + name)
    [held_out] = open_validation_data([places["prepared"] + name], MODEL, is_named=False)
    assert weight == 3
    for opened, recording in ((source, "a"), (held_out, "b")):
        assert isinstance(opened, PreparedDataset) and len(opened) == 3
        assert {clip["recording"] for clip in opened.clips} == {recording}


def test_one_clip_of_twenty_is_held_out_of_a_folder(tmp_path: Path) -> None:
    clip = tiny.write_clips(tmp_path / "one", count=1) / "clip_000000.safetensors"
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(41):
        (folder / f"clip_{number:06d}.safetensors").hardlink_to(clip)
    train, _ = only(str(folder))
    [held_out] = open_validation_data([str(folder)], MODEL, is_named=False)
    assert [path.name for path in held_out.files] == [
        "clip_000019.safetensors",
        "clip_000039.safetensors",
    ]
    assert {*train.files} & {*held_out.files} == set() and len(train) == 39
    # Named for validation, all of it is; then training takes all of its own.
    [named] = open_validation_data([str(folder)], MODEL, is_named=True)
    [(everything, _)], _ = open_training_data([str(folder)], [], MODEL, holds_out=False)
    assert len(named) == len(everything) == 41
    assert open_validation_data([str(tmp_path / "one")], MODEL, is_named=False) == [], "too few"


def test_photos_are_held_out_only_where_they_are_named(places: dict[str, str]) -> None:
    assert open_validation_data([places["stills"]], MODEL, is_named=False) == []
    [named] = open_validation_data([places["stills"]], MODEL, is_named=True)
    assert isinstance(named, StillFolder)


def test_streams_are_no_place_for_validation(places: dict[str, str]) -> None:
    place = f"file://{places['prepared']}"
    assert open_validation_data([place], MODEL, is_named=False) == []
    with pytest.raises(MediaError, match=r"folders with clips for --validation; got file://"):
        open_validation_data([place], MODEL, is_named=True)


def test_a_prepared_dataset_with_its_parts_is_not_one_that_was_begun(
    places: dict[str, str],
) -> None:
    assert (Path(places["prepared"]) / "parts").is_dir()
    assert isinstance(only(places["prepared"])[0], PreparedDataset)


def test_a_folder_of_photos_is_recognised_and_fitted_to_the_model(places: dict[str, str]) -> None:
    source, weight = only(places["stills"])
    assert isinstance(source, StillFolder) and len(source) == weight == 1
    assert source.read(0).first_frame.shape == (1, 3, MODEL.height, MODEL.width)
    assert source.read(0).label_map[0, :, 0].tolist() == [row % 19 for row in range(64)]


def test_a_url_is_streamed(places: dict[str, str]) -> None:
    source, weight = only(f"file://{places['prepared']}")
    assert isinstance(source, StreamedDataset) and len(source) == weight == 3
    assert source.split == "train" and source.read(0).frames.shape == (1, 2, 3, 32, 32)


def test_sources_come_in_the_order_of_their_places_with_their_weights(
    places: dict[str, str],
) -> None:
    named = [places[name] for name in ("stills", "prepared", "toycity")]
    opened, space = open_training_data(named, [], MODEL)
    assert [type(source) for source, _ in opened] == [StillFolder, PreparedDataset, ClipFolder]
    assert [weight for _, weight in opened] == [1.0, 3.0, 2.0], "by their numbers of clips"
    assert space.names == get_label_space("cityscapes").names
    opened, _ = open_training_data(named, [0.5, 7.0, 2.0], MODEL)
    assert [weight for _, weight in opened] == [0.5, 7.0, 2.0]
    twice, _ = open_training_data([places["toycity"]] * 2, [1.0, 3.0], MODEL)
    assert [weight for _, weight in twice] == [1, 3]


def other_space(places: dict[str, str], tmp_path: Path) -> str:
    """A copy of the prepared dataset whose label maps are said to be CamVid's."""
    folder = Path(shutil.copytree(places["prepared"], tmp_path / "camvid"))
    index = (folder / "index.json").read_text()
    assert index.count('"road"') >= 1
    (folder / "index.json").write_text(index.replace('"road"', '"street"'))
    return str(folder)


def test_the_label_space_is_that_of_the_places(places: dict[str, str], tmp_path: Path) -> None:
    place = other_space(places, tmp_path)
    _, space = open_training_data([place, place], [], MODEL)
    assert space.names[0] == "street"


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
@pytest.mark.parametrize("kind", ["toycity", "stills", "prepared"])
def test_places_of_different_label_spaces_are_refused(
    places: dict[str, str], tmp_path: Path, kind: str, order: list[int]
) -> None:
    named = [places[kind], other_space(places, tmp_path)]
    first, second = (named[number] for number in order)
    message = (
        rf"Expected the label space of {first}: cityscapes; got cityscapes at {second}; train on "
        r"datasets of one label space\."
    )
    with pytest.raises(MediaError, match=message):
        open_training_data([first, second], [], MODEL)


def test_no_place_is_refused() -> None:
    message = r"^Expected at least one place with clips; got none; name it with --data\.$"
    with pytest.raises(MediaError, match=message):
        open_training_data([], [], MODEL)


@pytest.mark.parametrize(
    ("weights", "got"),
    [([1.0], "1.0"), ([1.0, 2.0, 3.0], "1.0, 2.0, 3.0"), ([0.0, 1.0], "0.0, 1.0")],
)
def test_weights_that_do_not_fit_are_refused(
    places: dict[str, str], weights: list[float], got: str
) -> None:
    message = (
        rf"Expected a weight above 0 for each of 2 datasets; got {got}; give --data-weights in the "
        r"order of --data\."
    )
    with pytest.raises(MediaError, match=message):
        open_training_data([places["toycity"], places["prepared"]], weights, MODEL)


def test_a_dataset_that_was_begun_is_not_taken_for_something_else(places: dict[str, str]) -> None:
    message = (
        rf"Expected a finished dataset at {places['begun']}; got one that was begun; run its "
        r"`seg2vid prepare` command again\."
    )
    with pytest.raises(MediaError, match=message):
        only(places["begun"])


def test_a_place_with_nothing_is_refused(places: dict[str, str]) -> None:
    with pytest.raises(
        MediaError,
        match=rf"a folder of clips .* at {places['empty']}; got none; make .*seg2vid prepare",
    ):
        only(places["empty"])
    with pytest.raises(MediaError, match=r"a folder of clips .* at nowhere; got no such folder; "):
        only("nowhere")
    with pytest.raises(
        MediaError, match=r"clips of split test in .*; got \{'train': 3, 'val': 3\}"
    ):
        PreparedDataset(Path(places["prepared"]), "test")
    with pytest.raises(
        MediaError, match=r"prepared dataset .* at file:///nowhere; got .*No such file"
    ):
        only("file:///nowhere")


def test_commands_are_a_place_where_they_are_allowed(places: dict[str, str]) -> None:
    place = f"pipe:cat {places['prepared']}"
    with pytest.raises(MediaError, match=r"a place that runs no command; got pipe:cat .*--allow-"):
        only(place)
    [(source, weight)], _ = open_training_data([place], [], MODEL, allow_pipe=True)
    assert isinstance(source, StreamedDataset) and weight == 3
