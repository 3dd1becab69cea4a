"""How camera and objects of a clip moved, read off its pictures."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seg2vid.data.clips import render_toycity
from seg2vid.data.toycity.clip import ToyCityConfig
from seg2vid.geometry import scene_flow
from seg2vid.labels.space import get_label_space
from seg2vid.models.depth import Depth
from seg2vid.models.layers import OBJECT_FACTOR, find_objects
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.models.motion_tracker import track_motion
from seg2vid.structures import Clip, Labels, Objects, ScenePaths
from tests import tiny

FOREGROUND = get_label_space("cityscapes").foreground_ids
FRAMES = 8
CONFIG = replace(tiny.CONFIG, height=128, width=256, num_frames=FRAMES)


class Knowing(MotionDecoder):
    """A decoder that sees the exact depth of a clip."""

    def __init__(self, clip: Clip) -> None:
        super().__init__(CONFIG)
        assert clip.inverse_depth is not None and clip.camera is not None
        known = Depth(clip.inverse_depth, clip.camera)
        self.depth.forward = lambda picture, label_map: known


def objects_of(label_map: Labels, instance_map: Labels | None) -> Objects:
    return find_objects(label_map, instance_map, foreground=FOREGROUND, factor=OBJECT_FACTOR)


@pytest.fixture(scope="module")
def clip() -> Clip:
    """The camera drives straight on, and so do cars before it and towards it."""
    return render_toycity(900_007, ToyCityConfig(num_frames=FRAMES))


@pytest.fixture(scope="module")
def tracked(clip: Clip) -> ScenePaths:
    objects = objects_of(clip.label_map, clip.instance_map)
    with torch.inference_mode():
        given = (clip.first_frame, clip.frames, clip.label_map, objects)
        return track_motion(Knowing(clip), *given)


def test_the_camera_of_the_toy_city_is_found(clip: Clip, tracked: ScenePaths) -> None:
    assert clip.ego_motion is not None
    exact = F.pad(clip.ego_motion, (0, 1))
    torch.testing.assert_close(tracked.camera[0, -1], exact[0, -1], atol=0.05, rtol=0.03)
    # An eighth of the way after an eighth of the time: it drives at a steady speed.
    assert float(tracked.camera[0, 0, 0]) == pytest.approx(float(exact[0, 0, 0]), rel=0.15)


def test_objects_move_as_their_exact_flow(clip: Clip, tracked: ScenePaths) -> None:
    decoder, objects = Knowing(clip), objects_of(clip.label_map, clip.instance_map)
    scene = decoder.at_rest(decoder.depth(None, clip.label_map), clip.label_map, objects)
    assert clip.motion is not None
    exact = clip.motion.forward_flow
    shown = clip.motion.forward_visible * (scene.rows > 0)[:, None, None]
    errors = []
    for ways in (tracked.objects, torch.zeros_like(tracked.objects)):
        flow = scene_flow(replace(scene, paths=replace(tracked, objects=ways)))
        distance = (flow - exact).norm(dim=2, keepdim=True)
        errors.append(float((distance * shown).sum() / shown.sum()))
    assert errors[0] < 0.3 * errors[1]


@pytest.mark.parametrize("seed", [900_034, 900_055])
def test_a_street_that_repeats_itself_does_not_lead_astray(seed: int) -> None:
    """A drive past like fronts and a turn by 18 degrees: both look like other drives."""
    clip = render_toycity(seed, ToyCityConfig(num_frames=FRAMES))
    nothing = torch.zeros_like(objects_of(clip.label_map, None))
    with torch.inference_mode():
        given = (clip.first_frame, clip.frames, clip.label_map, nothing)
        camera = track_motion(Knowing(clip), *given).camera[0, -1]
    assert clip.ego_motion is not None
    exact = clip.ego_motion[0, -1]
    assert (camera[:2] - exact[:2]).norm() < 0.2 and (camera[2] - exact[2]).abs() < 0.01


def standing(frames: int = FRAMES) -> tuple[Tensor, Tensor, Labels, Objects]:
    label_map = tiny.street_map()
    first = torch.rand(1, 3, *label_map.shape[1:], generator=torch.Generator().manual_seed(0))
    objects = objects_of(label_map, None)
    return first, first.unsqueeze(1).repeat(1, frames, 1, 1, 1), label_map, objects


def test_in_a_still_clip_all_stands() -> None:
    torch.manual_seed(0)
    decoder = MotionDecoder(tiny.CONFIG).eval()
    with torch.inference_mode():
        paths = track_motion(decoder, *standing(tiny.NUM_FRAMES))
    assert paths.camera.abs().max() < 0.02 and paths.objects.abs().max() < 0.02


def test_without_objects_or_ground_there_are_no_ways() -> None:
    decoder = MotionDecoder(tiny.CONFIG).eval()
    first, frames, label_map, objects = standing(tiny.NUM_FRAMES)
    road = torch.zeros_like(label_map)
    with torch.inference_mode():
        paths = track_motion(decoder, first, frames, road, torch.zeros_like(objects))
        assert not paths.objects.any()
        decoder.has_ground = False
        assert not track_motion(decoder, first, frames.flip(-1), label_map, objects).camera.any()


def test_samples_of_a_batch_are_tracked_by_themselves() -> None:
    decoder = MotionDecoder(tiny.CONFIG).eval()
    first, frames, label_map, objects = standing(tiny.NUM_FRAMES)
    road, nothing = torch.zeros_like(label_map), torch.zeros_like(objects)
    clips = torch.cat((frames, frames.roll(1, -1)))
    pair = [one.repeat(2, *[1] * (one.ndim - 1)) for one in (first, road, nothing)]
    with torch.inference_mode():
        together = track_motion(decoder, pair[0], clips, *pair[1:])
        alone = track_motion(decoder, first, frames, road, nothing)
    torch.testing.assert_close(together.camera[:1], alone.camera)
    assert not torch.equal(together.camera[1:], alone.camera)
