"""At which size a photo moves."""

from dataclasses import replace

import pytest

from seg2vid.cli.inputs import own_size
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


def test_only_a_scene_moves_at_another_size() -> None:
    config = replace(CONFIG, architecture="paper", height=128, width=256)
    assert own_size(1024, 512, Seg2VidPipeline.from_config(config)) == (256, 128, 1)
