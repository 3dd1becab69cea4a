"""At which size a photo moves."""

from dataclasses import replace

import pytest

from seg2vid.cli.inputs import own_size, scale_of, warn_of_size
from seg2vid.pipeline import Seg2VidPipeline
from tests.tiny import CONFIG


@pytest.mark.parametrize(
    ("photo", "expected"),
    [
        ((1024, 512), (1024, 512, 4)),
        ((2048, 1024), (2048, 1024, 8)),
        ((4096, 2048), (2048, 1024, 8)),  # no larger than that
        ((384, 192), (384, 192, 2)),
        ((1242, 375), (1216, 320, 2)),  # KITTI
        ((256, 128), (256, 128, 1)),
        ((200, 90), (256, 128, 1)),
    ],
)
def test_a_photo_moves_at_its_own_size(
    photo: tuple[int, int], expected: tuple[int, int, int]
) -> None:
    pipe = Seg2VidPipeline.from_config(replace(CONFIG, height=128, width=256))
    assert own_size(*photo, pipe) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((256, 128), 1),
        ((512, 256), 2),
        ((1024, 512), 4),
        ((768, 448), 2),  # 384x224; at 3 or 4 parts of cells would be left
        ((480, 256), 1),
        ((64, 64), 1),
    ],
)
def test_at_a_size_that_is_given_the_networks_look_at_what_they_are_used_to(
    size: tuple[int, int], expected: int
) -> None:
    pipe = Seg2VidPipeline.from_config(replace(CONFIG, height=128, width=256))
    assert scale_of(*size, pipe) == expected


@pytest.mark.parametrize(
    ("size", "better"),
    [
        ((256, 128), None),
        ((512, 256), None),
        ((768, 448), None),
        ((480, 256), "512x256"),
        ((992, 512), "1024x512"),
        ((64, 64), None),
    ],
)
def test_a_size_that_the_networks_would_look_at_whole_is_warned_of(
    size: tuple[int, int], better: str | None
) -> None:
    pipe = Seg2VidPipeline.from_config(replace(CONFIG, height=128, width=256))
    warnings = warn_of_size(*size, pipe)
    assert bool(warnings) == (better is not None)
    if better is not None:
        seen = "x".join(map(str, size))
        assert warnings[0].startswith(f"the networks look at {seen}, used to 256x128: ")
        assert f"--size {better} is faster" in warnings[0]
        wide, tall = map(int, better.split("x"))
        assert not warn_of_size(wide, tall, pipe)


def test_only_a_scene_moves_at_another_size() -> None:
    config = replace(CONFIG, architecture="paper", height=128, width=256)
    paper = Seg2VidPipeline.from_config(config)
    assert own_size(1024, 512, paper) == (256, 128, 1)
    assert scale_of(1024, 512, paper) == 1
    assert not warn_of_size(992, 512, paper)
