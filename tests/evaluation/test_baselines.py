"""Baselines: flow that goes on as it began, the photo whose map is most alike, mean colours."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from seg2vid.evaluation.baselines import BASELINES, TrainingPhotos, thumbnail
from seg2vid.evaluation.output import Candidate
from seg2vid.media.pictures import write_label_map
from seg2vid.structures import Clip
from seg2vid.tools.errors import MediaError
from tests.evaluation_runs import SPACE
from tests.tiny import HEIGHT, WIDTH, street_map

pytestmark = pytest.mark.usefixtures("arithmetic")


def translating(dx: int, dy: int, count: int = 4) -> Clip:
    """A smooth random picture that moves by (dx, dy) pixels from frame to frame."""
    height, width = HEIGHT + 32, WIDTH + 32
    noise = torch.rand(1, 3, height // 4, width // 4, generator=torch.Generator().manual_seed(1))
    large = F.interpolate(noise, (height, width), mode="bicubic").clamp(0, 1)
    frames = [
        large[:, :, 16 - dy * t : 16 - dy * t + HEIGHT, 16 - dx * t : 16 - dx * t + WIDTH]
        for t in range(count)
    ]
    labels = street_map()
    return Clip(frames[0], torch.stack(frames[1:], 1), labels)


def test_extrapolated_flow_goes_on_as_it_began() -> None:
    clip = translating(2, 1)
    output = BASELINES["extrapolated"].make(clip, 0)
    inside = (..., slice(16, -16), slice(16, -16))
    for time in range(3):
        expected = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1) * (time + 1)
        flows = (output.motion.forward_flow[:, time], -output.motion.backward_flow[:, time])
        for flow in flows:
            error = (flow - expected)[inside].norm(dim=1)
            assert float(error.mean()) < 0.1 * (time + 1) and float(error.median()) < 0.25
    assert torch.equal(output.frames[:, 0], clip.first_frame)
    errors = (output.frames[:, 1:] - clip.frames)[inside].abs().mean((0, 2, 3, 4))
    still = (clip.first_frame[:, None] - clip.frames)[inside].abs().mean((0, 2, 3, 4))
    assert bool((errors < 0.05 * still).all())
    # Labels move with the frames, by whole pixels.
    moved = clip.label_map[:, 16 - 3 : -16 - 3, 16 - 6 : -16 - 6]
    assert float((output.label_maps[:, 3][inside] == moved).float().mean()) > 0.98
    assert float(output.motion.backward_visible[..., 0, 0].max()) == 0, "the corner is new"


def test_extrapolation_sees_no_third_frame() -> None:
    clip = translating(2, 1)
    other = replace(clip, frames=torch.cat((clip.frames[:, :1], torch.rand(1, 2, 3, 64, 128)), 1))
    first, second = (BASELINES["extrapolated"].make(given, 0) for given in (clip, other))
    assert torch.equal(first.frames, second.frames)


def write_photo(folder: Path, name: str, halves: tuple[int, int], brightness: int) -> None:
    """Write a photo of one grey with two classes, the left and the right half."""
    for kind in ("photos", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    ids = np.full((32, 64), halves[0])
    ids[:, 32:] = halves[1]
    pixels = np.full((32, 64, 3), brightness, np.uint8)
    pixels[:, 32:, 0] = 255
    Image.fromarray(pixels).save(folder / "photos" / f"{name}.png")
    write_label_map(folder / "labels" / f"{name}.png", ids, SPACE)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> TrainingPhotos:
    """Three photos: sky and road; road and sky; road and buildings."""
    folder = tmp_path_factory.mktemp("train")
    for name, halves, brightness in (("a", (10, 0), 0), ("b", (0, 10), 51), ("c", (0, 2), 102)):
        write_photo(folder, name, halves, brightness)
    return TrainingPhotos(folder, 32, 64)


def clip_of(label_map: torch.Tensor) -> Clip:
    """A grey picture with this label map (1, height, width)."""
    frame = torch.full((1, 3, *label_map.shape[1:]), 0.5)
    return Clip(frame, frame[:, None][:, :0], label_map)


def halves(left: int, right: int) -> torch.Tensor:
    """A label map (1, 32, 64) of two classes."""
    label_map = torch.full((1, 32, 64), left)
    label_map[:, :, 32:] = right
    return label_map


def test_a_thumbnail_holds_every_fourth_pixel_of_both_axes() -> None:
    label_map = torch.arange(8 * 12).view(1, 8, 12)
    found = thumbnail(label_map)
    assert found.tolist() == [[12 * y + x for y in (2, 6) for x in (2, 6, 10)]]
    assert found.dtype == torch.uint8


def test_the_nearest_photo_agrees_at_most_places(photos: TrainingPhotos) -> None:
    assert [photos.nearest(halves(*pair)) for pair in ((10, 0), (0, 10), (0, 2))] == [0, 1, 2]
    # Road on the left is in two photos: the right half decides, or else the first one is taken.
    assert photos.nearest(halves(0, 13)) == 1
    mostly = halves(0, 2)
    mostly[:, :16] = 5
    assert photos.nearest(mostly) == 2


def test_nearest_is_that_of_a_slow_search(photos: TrainingPhotos) -> None:
    maps = [photos.stills.read(number).label_map for number in range(3)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        sought = torch.tensor([0, 2, 10])[torch.randint(0, 3, (1, 32, 64), generator=generator)]
        agreeing = [
            sum(
                int(sought[0, y, x] == other[0, y, x])
                for y in range(2, 32, 4)
                for x in range(2, 64, 4)
            )
            for other in maps
        ]
        assert photos.nearest(sought) == agreeing.index(max(agreeing))


def test_the_nearest_photo_is_shown_with_its_own_labels(photos: TrainingPhotos) -> None:
    candidate = photos.baselines["nearest"]
    output = candidate.make(clip_of(halves(0, 3)), 9)
    found = photos.stills.read(1)
    assert isinstance(candidate, Candidate)
    assert torch.equal(output.frames[:, 0], found.first_frame)
    assert torch.equal(output.label_maps[:, 0], found.label_map)
    assert output.motion is None


def test_mean_colours_are_those_of_all_pixels_of_a_class(photos: TrainingPhotos) -> None:
    colours = photos.mean_colours
    # Road: 32x32 pixels on the right of a, on the left of b and c.
    road = torch.tensor([(255 + 51 + 102) / 3, (0 + 51 + 102) / 3, (0 + 51 + 102) / 3]) / 255
    torch.testing.assert_close(colours[0], road)
    torch.testing.assert_close(colours[2], torch.tensor([255.0, 102, 102]) / 255)
    assert not colours[5].any(), "a class that no photo shows is black"
    output = photos.baselines["mean_colour"].make(clip_of(halves(0, 2)), 0)
    assert output.frames.shape == (1, 1, 3, 32, 64)
    torch.testing.assert_close(output.frames[0, 0, :, 7, 3], road)
    torch.testing.assert_close(output.frames[0, 0, :, 7, 40], colours[2])
    assert torch.equal(output.label_maps[:, 0], halves(0, 2))


def test_missing_photos_are_told(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"photos .* in .*photos; got none"):
        _ = TrainingPhotos(tmp_path, 32, 64).mean_colours


def test_a_training_photo_is_nearest_to_itself(shared_data: Path) -> None:
    folder = shared_data / "cityscapes_stills" / "val"
    photos = TrainingPhotos(folder, 128, 256)
    photos.stills.photos = photos.stills.photos[:40]
    label_map = photos.stills.read(17).label_map
    assert photos.nearest(label_map) == 17
    colours = photos.mean_colours
    sky, road = colours[SPACE.names.index("sky")], colours[SPACE.names.index("road")]
    assert float(sky.mean()) > float(road.mean()) > 0.1
