"""A photo in place of a label map: segmented alone, and as the input of a video."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from seg2vid.cli import main as cli
from seg2vid.cli import segment
from seg2vid.data.teachers import photos
from seg2vid.data.teachers.labels import WORKING_PIXELS, get_label_teacher
from seg2vid.data.teachers.photos import clear_sky, label_photo, segment_photo
from seg2vid.data.teachers.teacher import LabelTeacher
from seg2vid.labels.doctor import diagnose
from seg2vid.labels.fit import fit_image
from seg2vid.labels.space import get_label_space
from seg2vid.media.label_maps import read_label_map, read_picture
from seg2vid.media.pictures import read_image
from seg2vid.media.video import read_video
from seg2vid.models.weights import SEGMENTER, find_weights, list_models
from seg2vid.tools.errors import MediaError
from tests.cli.test_main import FakePipeline
from tests.cli.test_main import pipe as pipe

SPACE = get_label_space("cityscapes")


class BrightnessTeacher:
    """Calls bright pixels sky and dark ones road; it remembers what it was shown."""

    name = "brightness"
    space = SPACE

    def __init__(self) -> None:
        self.shown: list[Tensor] = []

    def probabilities(self, pictures: Tensor) -> Tensor:
        self.shown.append(pictures)
        bright = pictures.mean(1)
        return torch.stack(
            [bright if n == 10 else 1 - bright if n == 0 else 0 * bright for n in range(19)], 1
        )


def street_photo(height: int = 217, width: int = 333) -> np.ndarray:
    """Bright above, dark below, with noise of many colours; the right part below is bright too."""
    pixels = np.random.default_rng(0).integers(0, 80, (height, width, 3))
    pixels[: height // 2] += 170
    pixels[height // 2 :, width * 3 // 4 :] += 170
    return pixels.astype(np.uint8)


def save_photo(path: Path, height: int = 217, width: int = 333) -> Path:
    Image.fromarray(street_photo(height, width)).save(path)
    return path


SIZES = [(217, 333), (333, 217), (12, 20), (16, 400), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
def test_photo_of_any_size_gives_a_map_of_its_size(size: tuple[int, int]) -> None:
    teacher = get_label_teacher("segmenter")
    assert isinstance(teacher, LabelTeacher) and teacher.space == SPACE
    ids, sure = label_photo(street_photo(*size), teacher)
    assert ids.shape == sure.shape == size and ids.dtype == np.int64
    assert ids.min() >= 0 and ids.max() < SPACE.void_id
    assert 1 / 19 <= sure.min() <= sure.max() <= 1 + 1e-4


@pytest.mark.parametrize("size", SIZES)
def test_our_network_looks_at_as_many_pixels_of_any_photo(size: tuple[int, int]) -> None:
    teacher = get_label_teacher("segmenter")
    shown: list[Tensor] = []
    teacher.network.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    label_photo(street_photo(*size), teacher)
    for picture in shown:
        height, width = picture.shape[2:]
        assert height % 16 == 0 == width % 16 and min(height, width) >= 16
        assert 0.75 < height * width / WORKING_PIXELS < 1.35
        assert picture.min() >= 0 and picture.max() <= 1
        if min(size) > 16:
            assert 0.85 < (width / height) / (size[1] / size[0]) < 1.18, "hardly stretched"
    assert len(shown) == 2, "as it is and mirrored"


def test_a_large_photo_costs_no_more_memory_than_a_million_pixels(monkeypatch) -> None:
    monkeypatch.setattr(photos, "COMPARED_PIXELS", 64 * 98)
    teacher = BrightnessTeacher()
    ids = label_photo(street_photo(), teacher)[0]
    assert teacher.shown[0].shape == (1, 3, 64, 98)
    assert ids.shape == (217, 333) and ids.dtype == np.int64
    expected = label_photo_at_full_size(street_photo())
    assert (ids == expected).mean() > 0.97


def label_photo_at_full_size(photo: np.ndarray) -> np.ndarray:
    """The map that the brightness teacher means: sky where it is bright."""
    rows, columns = np.mgrid[: photo.shape[0], : photo.shape[1]]
    return np.where((rows < photo.shape[0] // 2) | (columns >= photo.shape[1] * 3 // 4), 10, 0)


def test_labels_lie_where_the_photo_shows_them() -> None:
    ids = label_photo(street_photo(), BrightnessTeacher())[0]
    assert (ids == label_photo_at_full_size(street_photo())).all()


def test_photo_and_mirror_image_count_alike() -> None:
    class Partial(BrightnessTeacher):
        """Says sky of the left half of whatever it is shown."""

        def probabilities(self, pictures: Tensor) -> Tensor:
            self.shown.append(pictures)
            left = torch.arange(pictures.shape[-1]) < pictures.shape[-1] // 2
            ids = torch.where(left, 10, 0).expand(len(pictures), *pictures.shape[2:])
            return F.one_hot(ids, 19).permute(0, 3, 1, 2).float()

    teacher = Partial()
    _, sure = label_photo(street_photo(width=334), teacher)
    assert (sure == 0.5).all()
    assert teacher.shown[1].equal(teacher.shown[0].flip(-1))


def test_unsure_pixels_become_void() -> None:
    photo = street_photo()
    every, sure = label_photo(photo, BrightnessTeacher())
    ids, again = label_photo(photo, BrightnessTeacher(), min_confidence=0.85)
    assert ((ids == SPACE.void_id) == (sure <= 0.85)).all() and (again == sure).all()
    assert 0.05 < (ids == SPACE.void_id).mean() < 0.95
    assert (ids[sure > 0.85] == every[sure > 0.85]).all()


def test_what_floats_in_the_sky_is_the_sky() -> None:
    """A cloud seen as a house, and one at the edge; a lamp, a tree on its trunk, the unsure."""
    house, tree, lamp = (SPACE.names.index(name) for name in ("building", "vegetation", "pole"))
    ids = np.full((20, 40), 10)
    ids[12:] = 0
    ids[2:5, 20:26], ids[0:4, 36:] = house, house
    kept = ids.copy()
    kept[2:5, 20:26], kept[0:4, 36:] = 10, 10
    for one in (ids, kept):
        one[1:3, 10:12], one[6, 30:34] = lamp, SPACE.void_id
        one[2:6, 2:8], one[6:12, 5] = tree, tree
        one[6, 6] = tree
    assert (clear_sky(ids, SPACE) == kept).all()
    assert (clear_sky(kept, SPACE) == kept).all()
    # A puddle mirrors it, and what lies in the puddle is no cloud.
    ids[14:18, 4:20], ids[15:17, 8:12] = 10, house
    assert (clear_sky(ids, SPACE)[12:] == ids[12:]).all()
    assert (clear_sky(ids, get_label_space("object")) == ids).all(), "there is no sky"


def test_confidence_is_the_probability_of_the_winner() -> None:
    photo = street_photo()
    _, sure = label_photo(photo, BrightnessTeacher())
    bright = photo.mean(2) / 255
    assert np.abs(sure - np.maximum(bright, 1 - bright)).max() < 1e-6


# The verb.


@pytest.fixture
def brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "get_label_teacher", lambda name, _: BrightnessTeacher())


def test_segment_writes_a_palette_of_train_ids(brightness, tmp_path: Path, capsys) -> None:
    photo, output = save_photo(tmp_path / "photo.png"), tmp_path / "map.png"
    assert cli.main(["segment", str(photo), "-o", str(output)]) == 0
    expected = label_photo(street_photo(), BrightnessTeacher())[0]
    assert (read_label_map(output, space=SPACE).ids == expected).all()
    assert read_picture(output).mode == "P"
    first, second = capsys.readouterr().out.splitlines()
    sky = (expected == 10).mean()
    assert first == (f"{photo}: 333x217, labelled by brightness: sky {sky:.0%}, road {1 - sky:.0%}")
    assert second.startswith(f"wrote {output} (")
    mean = label_photo(street_photo(), BrightnessTeacher())[1].mean()
    assert second.endswith(f" s, mean confidence {mean:.2f})")
    assert sorted(tmp_path.iterdir()) == [output, photo]


def test_a_drawing_is_not_segmented_in_silence(brightness, tmp_path: Path, capsys) -> None:
    for name, pixels in (("photo", street_photo()), ("drawing", street_photo() // 128 * 128)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        words = ["segment", str(tmp_path / f"{name}.png"), "-o", str(tmp_path / f"{name}_map.png")]
        assert cli.main(words) == 0
        assert ("few flat colours" in capsys.readouterr().err) == (name == "drawing")


def test_confidence_is_written_as_a_grey_picture(brightness, tmp_path: Path) -> None:
    photo, grey = save_photo(tmp_path / "photo.png"), tmp_path / "sure.png"
    words = ["segment", photo, "-o", tmp_path / "map.png", "--confidence", grey]
    assert cli.main([str(word) for word in words]) == 0
    pixels = read_image(grey)
    sure = label_photo(street_photo(), BrightnessTeacher())[1]
    assert (pixels == pixels[..., :1]).all()
    assert np.abs(pixels[..., 0] / 255 - sure).max() <= 0.5 / 255 + 1e-6


def test_overlay_is_the_photo_under_its_colours(brightness, tmp_path: Path, capsys) -> None:
    photo = save_photo(tmp_path / "photo.png")
    output, overlay = tmp_path / "map.png", tmp_path / "over.png"
    words = ["segment", photo, "-o", output, "--overlay", overlay, "--min-confidence", "0.85"]
    assert cli.main([str(word) for word in words]) == 0
    assert f"wrote {overlay}" in capsys.readouterr().out
    drawn = read_image(overlay).astype(int)
    assert drawn.shape == (217, 333, 3)
    ids = read_label_map(output, space=SPACE).ids
    assert (ids == SPACE.void_id).any(), "--min-confidence arrived"
    colour, pixels = np.array(SPACE.colours).astype(int)[ids], street_photo().astype(int)
    lies_between = (drawn >= np.minimum(pixels, colour) - 1) & (
        drawn <= np.maximum(pixels, colour) + 1
    )
    assert lies_between[ids != SPACE.void_id].all()
    assert (drawn != pixels).any() and (drawn != colour).any()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("photo.png -o map.jpg", "a picture ending in .png; got 'map.jpg'; change the ending"),
        (
            "photo.png -o map.png --overlay over.gif",
            "a picture ending in .*; got 'over.gif'; change",
        ),
        ("photo.png -o none/map.png", "an existing folder to write to; got none"),
        ("photo.png -o map.png --overlay none/o.png", "an existing folder to write to; got none"),
        ("photo.png -o map.png --min-confidence 1.5", "--min-confidence from 0 to 1; got 1.5; ch"),
        ("photo.png -o map.png --min-confidence=-1", "--min-confidence from 0 to 1; got -1"),
        ("photo.png -o map.png --labels dragon", "a label teacher: segmenter, .*; got 'dragon'"),
        ("none.png -o map.png", "Expected a photo; got no file"),
        ("text.png -o map.png", "got .*which is no picture"),
        ("photo.png", "required: --output/-o"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    words: str, message: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    save_photo(tmp_path / "photo.png")
    (tmp_path / "text.png").write_text("no picture")
    assert cli.main(["segment", *words.split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("seg2vid: Expected ") and line.count("; ") >= 2
    assert re.search(message, line), line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.png", "text.png"]


# A video from a photo.


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the brightness teacher stand for the bundled one."""
    monkeypatch.setattr(photos, "get_label_teacher", lambda name, _: BrightnessTeacher())


@pytest.mark.parametrize("verb", ["generate", "animate"])
def test_a_photo_is_segmented_and_the_video_begins_with_it(
    pipe: FakePipeline, seen, tmp_path: Path, capsys, verb: str
) -> None:
    photo = save_photo(tmp_path / "photo.png")
    assert cli.main([verb, str(photo), "-o", str(tmp_path / "frames")]) == 0
    output = capsys.readouterr().out
    assert "a photo, segmented first; it becomes the first frame" in output
    assert f"{photo}: train ids (a photo" in output and "333x217" in output
    fitted = fit_image(street_photo(), height=32, width=64)
    frame = pipe.calls[0]["first_frame"]
    assert ((frame[0].permute(1, 2, 0) * 255).round().byte().numpy() == fitted).all()
    assert (read_video(tmp_path / "frames")[0] == fitted).all(), "not a bit is changed"
    label_map = pipe.calls[0]["label_map"][0]
    assert (label_map[:8] == 10).all() and (label_map[24:, :40] == 0).all()


def test_another_first_frame_wins_over_the_photo(
    pipe: FakePipeline, seen, tmp_path: Path, capsys
) -> None:
    photo = save_photo(tmp_path / "photo.png")
    other = 255 - street_photo()
    Image.fromarray(other).save(tmp_path / "other.png")
    words = ["generate", photo, "-o", tmp_path / "frames", "--first-frame", tmp_path / "other.png"]
    assert cli.main([str(word) for word in words]) == 0
    fitted = fit_image(other, height=32, width=64)
    assert (read_video(tmp_path / "frames")[0] == fitted).all()
    output = capsys.readouterr().out
    assert "a photo, segmented first" in output and "becomes the first frame" not in output


def test_a_label_map_is_not_taken_for_a_photo(
    pipe: FakePipeline, monkeypatch, tmp_path: Path, capsys
) -> None:
    def refuse(name: str, _: object) -> LabelTeacher:
        raise AssertionError("nothing is to be segmented")

    monkeypatch.setattr(photos, "get_label_teacher", refuse)
    ids = np.full((64, 128), 7, np.uint8)
    ids[:20] = 23
    Image.fromarray(ids).save(tmp_path / "raw.png")
    colours = np.array(SPACE.colours, np.uint8)[np.where(ids == 7, 0, 10)]
    Image.fromarray(colours).save(tmp_path / "colours.png")
    for name in ("raw.png", "colours.png"):
        assert diagnose(read_picture(tmp_path / name), space=SPACE).kind != "photo"
        words = ["generate", str(tmp_path / name), "-o", str(tmp_path / f"{name}.gif")]
        assert cli.main(words) == 0
        assert "photo" not in capsys.readouterr().out
    assert all(call["first_frame"] is None for call in pipe.calls)
    photo = read_picture(save_photo(tmp_path / "p.png"))
    assert diagnose(photo, space=SPACE).kind == "photo"


def test_without_a_segmenter_a_photo_is_refused_as_a_map(
    pipe: FakePipeline, tmp_path: Path, capsys
) -> None:
    """The labels of ``animate`` are a label map; the photo stands beside it."""
    photo = str(save_photo(tmp_path / "photo.png"))
    assert cli.main(["animate", photo, "--labels", photo, "-o", str(tmp_path / "s.gif")]) == 2
    assert "as in a photo; give a label map" in capsys.readouterr().err


def test_model_of_other_classes_needs_the_photos_label_map(
    pipe: FakePipeline, seen, tmp_path: Path, capsys
) -> None:
    pipe.label_space = get_label_space("object")
    photo = str(save_photo(tmp_path / "photo.png"))
    assert cli.main(["generate", photo, "-o", str(tmp_path / "s.gif")]) == 2
    error = capsys.readouterr().err
    assert (
        "a model of the label space cityscapes, to label a photo for it; got one of object;"
        in error
    )
    assert "seg2vid animate PHOTO --labels MAP" in error
    with pytest.raises(MediaError, match="label space cityscapes"):
        segment_photo(street_photo(), pipe.label_space)
    assert segment_photo(street_photo(), SPACE).shape == (217, 333)


def test_segmenter_is_found_by_name_but_is_no_model() -> None:
    assert SEGMENTER not in [model.name for model in list_models()]
    assert find_weights(SEGMENTER).is_file()


# Quality.


def _stills(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the first 60 photos with their maps."""
    for photo in sorted((folder / "photos").iterdir())[:60]:
        path = folder / "labels" / f"{photo.stem}.png"
        yield read_image(photo), read_label_map(path, space=SPACE, encoding="train").ids


@pytest.mark.slow
def test_bundled_segmenter_labels_unseen_streets(shared_data: Path) -> None:
    """Holds for the weights that are shipped; those of the first hours of training lie below."""
    folder = shared_data / "cityscapes_stills" / "val"
    if not folder.is_dir():
        pytest.skip(f"needs photos with label maps in {folder}, which is absent")
    teacher = get_label_teacher("segmenter")
    confusion = np.zeros((20, 20))
    for photo, truth in _stills(folder):
        said = label_photo(photo, teacher)[0]
        np.add.at(confusion, (truth.ravel(), said.ravel()), 1)
    confusion = confusion[:19, :19]
    hits = confusion.diagonal()
    union = confusion.sum(0) + confusion.sum(1) - hits
    present = confusion.sum(1) > 0
    assert (hits[present] / union[present]).mean() >= 0.40
