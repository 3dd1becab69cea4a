"""The z that decodes to paths: found, near where the search began, each thing by itself."""

from dataclasses import replace

import pytest
import torch

from seg2vid.labels.space import get_label_space
from seg2vid.models.latent_search import (
    follow_camera,
    follow_objects,
    levenberg,
    search_latent,
    weigh_objects,
)
from seg2vid.models.layers import OBJECT_FACTOR, find_objects
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.models.objects import SceneFeatures
from seg2vid.structures import Latent, join_batch
from tests.tiny import CONFIG, street_map


@pytest.fixture(scope="module")
def decoder() -> MotionDecoder:
    """One whose heads listen to z: those of a decoder that learned nothing say little."""
    torch.manual_seed(0)
    decoder = MotionDecoder(CONFIG).eval().requires_grad_(False)
    for head in (decoder.camera, decoder.objects):
        head[-1].weight.normal_()
    return decoder


def look(decoder: MotionDecoder, seed: int) -> SceneFeatures:
    label_map = street_map()
    things = get_label_space("cityscapes").foreground_ids
    objects = find_objects(label_map, None, foreground=things, factor=OBJECT_FACTOR)
    assert objects.max() > 1
    dice = torch.Generator().manual_seed(seed)
    return decoder.look(torch.rand(1, 3, *label_map.shape[1:], generator=dice), label_map, objects)


def draw(decoder: MotionDecoder, seen: SceneFeatures, seed: int) -> Latent:
    return decoder.draw(seen.objects, torch.Generator().manual_seed(seed))


def test_levenberg_finds_the_bottom_of_each_valley() -> None:
    """Rosenbrock's valley, which bends, with its bottom at (a, a²): a problem for each group."""
    bottoms = torch.tensor([1.0, -0.5])

    def gaps(numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = numbers.unbind(1)
        slopes = torch.stack(
            (torch.stack((-1 + 0 * x, 0 * x), 1), torch.stack((-20 * x, 10 + 0 * x), 1)), 1
        )
        return torch.stack((bottoms - x, 10 * (y - x.square())), 1), slopes

    def look(numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        gap, slopes = gaps(numbers)
        right = (slopes.mT @ gap.unsqueeze(2)).squeeze(2)
        return gap.square().sum(1), slopes.mT @ slopes, right

    start = torch.tensor([[-1.2, 1.0], [-1.2, 1.0]])
    found, cost = levenberg(look, start, 60)
    torch.testing.assert_close(
        found, torch.stack((bottoms, bottoms.square()), 1), atol=1e-3, rtol=0
    )
    assert (cost < 1e-6).all()
    assert torch.equal(levenberg(look, found, 3)[0], found), "it never goes uphill"


def test_paths_that_z_decodes_to_are_found_from_another_z(decoder: MotionDecoder) -> None:
    seen = look(decoder, 0)
    wanted = decoder.paths(seen, draw(decoder, seen, 1))
    start = draw(decoder, seen, 2)
    before, after = (
        decoder.paths(seen, z) for z in (start, search_latent(decoder, seen, start, wanted))
    )
    for name in ("camera", "objects"):
        gaps = [(getattr(one, name) - getattr(wanted, name)).abs().max() for one in (before, after)]
        assert gaps[1] < 0.1 * gaps[0], name


def test_what_decodes_to_the_paths_already_stays(decoder: MotionDecoder) -> None:
    seen = look(decoder, 0)
    z = draw(decoder, seen, 1)
    found = search_latent(decoder, seen, z, decoder.paths(seen, z))
    torch.testing.assert_close(found.background, z.background, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.foreground, z.foreground, atol=1e-4, rtol=0)


def test_camera_and_objects_are_searched_apart(decoder: MotionDecoder) -> None:
    seen = look(decoder, 0)
    z, wanted = draw(decoder, seen, 1), decoder.paths(seen, draw(decoder, seen, 2))
    camera = follow_camera(decoder, seen, z, wanted.camera)
    assert torch.equal(camera.foreground, z.foreground)
    assert not torch.equal(camera.background, z.background)
    objects = follow_objects(decoder, seen, z, wanted)
    assert torch.equal(objects.background, z.background)
    assert (objects.foreground[:, :, seen.objects[0] == 0] == 0).all()


def test_samples_of_a_batch_are_searched_by_themselves(decoder: MotionDecoder) -> None:
    alone = [look(decoder, seed) for seed in (0, 3)]
    codes = [draw(decoder, alone[0], seed) for seed in (1, 4)]
    wanted = [decoder.paths(seen, draw(decoder, seen, 2)) for seen in alone]
    together = search_latent(decoder, join_batch(alone), join_batch(codes), join_batch(wanted))
    for index, given in enumerate(zip(alone, codes, wanted, strict=True)):
        found = search_latent(decoder, *given)
        torch.testing.assert_close(
            together.sample(index).background, found.background, atol=0.02, rtol=0
        )


def test_far_objects_weigh_less(decoder: MotionDecoder) -> None:
    ways, pivots = torch.ones(1, 2, 1, 3), torch.tensor([[[5.0, 0.0], [40.0, 3.0]]])
    assert weigh_objects(ways, pivots).flatten().tolist() == [1, 1, 2, 0.25, 0.25, 2]


def test_what_was_seen_is_not_mended(decoder: MotionDecoder) -> None:
    """Careful or not, z decodes to the same paths where nothing is in the way, and else not."""
    seen = look(decoder, 0)
    z = replace(
        draw(decoder, seen, 1), background=torch.zeros(1, CONFIG.flow_decoder.background_code)
    )
    raw = decoder.paths(seen, z)
    times = torch.arange(CONFIG.num_frames)
    as_seen, careful = (
        decoder.follow(seen, z, careful=careful).at(times).paths for careful in (False, True)
    )
    torch.testing.assert_close(as_seen.camera, raw.camera)
    torch.testing.assert_close(as_seen.objects, raw.objects)
    assert not torch.equal(careful.objects, as_seen.objects)
