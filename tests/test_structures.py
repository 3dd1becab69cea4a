"""Carriers: moving and slicing field by field, frozen, shapes checked, joined along the batch."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from jaxtyping import TypeCheckError

from seg2vid.data.clips import stack
from seg2vid.media.generated import GeneratedVideo
from seg2vid.media.passes import join_passes
from seg2vid.structures import Animation, Carrier, Clip, Latent, Motion, Posterior

BATCH, TIME, HEIGHT, WIDTH = 3, 2, 4, 6


def make_motion(batch: int = BATCH) -> Motion:
    """Motion of random numbers."""
    flows = torch.randn(2, batch, TIME, 2, HEIGHT, WIDTH)
    return Motion(*flows, *torch.rand(2, batch, TIME, 1, HEIGHT, WIDTH))


def make_clip(batch: int = BATCH) -> Clip:
    """A clip in which every field is filled."""
    labels = torch.randint(20, (batch, TIME + 1, HEIGHT, WIDTH))
    return Clip(
        first_frame=torch.rand(batch, 3, HEIGHT, WIDTH),
        frames=torch.rand(batch, TIME, 3, HEIGHT, WIDTH),
        label_map=labels[:, 0],
        label_maps=labels[:, 1:],
        instance_map=labels[:, 0] * 1000,
        instance_maps=labels[:, 1:] * 1000,
        motion=make_motion(batch),
        ego_motion=torch.randn(batch, TIME, 3),
        frames_per_second=7.0,
    )


def make_latent() -> Latent:
    """Latent of random numbers."""
    return Latent(torch.randn(BATCH, 5), torch.randn(BATCH, 4, 1, 2))


def make_video() -> GeneratedVideo:
    """A generated video without instances."""
    clip = make_clip()
    return GeneratedVideo(
        first_frame=clip.first_frame,
        frames=clip.frames,
        label_map=clip.label_map,
        label_maps=clip.label_maps,
        motion=clip.motion,
        z=make_latent(),
        frames_per_second=12.0,
        label_space="cityscapes",
        pass_starts=(0, 1),
    )


def make_posterior() -> Posterior:
    """A carrier of carriers."""
    return Posterior(make_latent(), make_latent(), torch.zeros(BATCH, 1, 2).long())


def make_animation() -> Animation:
    """What one pass returns."""
    pictures = torch.rand(2, BATCH, TIME, 3, HEIGHT, WIDTH)
    return Animation(make_motion(), *pictures, torch.randn(BATCH, TIME, 20, 2, 3))


MAKERS = [make_motion, make_clip, make_latent, make_video, make_posterior, make_animation]
each_carrier = pytest.mark.parametrize("make", MAKERS)


def tensors_of(carrier: Carrier) -> list[torch.Tensor]:
    """Every tensor of a carrier, in the order of the fields."""
    found = []
    for field in dataclasses.fields(carrier):
        value = getattr(carrier, field.name)
        if isinstance(value, Carrier):
            found += tensors_of(value)
        elif isinstance(value, torch.Tensor):
            found.append(value)
    return found


@each_carrier
def test_map_reaches_every_tensor_once(make: Callable[[], Carrier]) -> None:
    carrier = make()
    seen: list[int] = []
    mapped = carrier.map(lambda tensor: seen.append(id(tensor)) or tensor.clone())
    assert sorted(seen) == sorted(id(tensor) for tensor in tensors_of(carrier))
    assert type(mapped) is type(carrier)
    for before, after in zip(tensors_of(carrier), tensors_of(mapped), strict=True):
        assert before is not after and torch.equal(before, after)


@each_carrier
def test_to_moves_every_tensor(make: Callable[[], Carrier]) -> None:
    moved = make().to("meta")
    assert {tensor.device.type for tensor in tensors_of(moved)} == {"meta"}


@each_carrier
def test_sample_is_a_batch_of_one(make: Callable[[], Carrier]) -> None:
    carrier = make()
    for before, after in zip(tensors_of(carrier), tensors_of(carrier.sample(1)), strict=True):
        assert after.shape == (1, *before.shape[1:])
        assert torch.equal(after[0], before[1])


@each_carrier
def test_carriers_are_frozen(make: Callable[[], Carrier]) -> None:
    carrier = make()
    name = dataclasses.fields(carrier)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(carrier, name, None)


def test_map_leaves_what_is_no_tensor() -> None:
    video = make_video().map(lambda tensor: tensor + 0)
    assert (video.frames_per_second, video.label_space) == (12.0, "cityscapes")
    assert video.pass_starts == (0, 1) and video.instance_map is None


def test_map_leaves_the_original_as_it_is() -> None:
    clip = make_clip()
    before = clip.motion.forward_flow.clone()
    doubled = clip.map(lambda tensor: tensor * 2)
    assert torch.equal(clip.motion.forward_flow, before)
    assert torch.equal(doubled.motion.forward_flow, 2 * before)


def test_fields_that_contradict_each_other_are_refused() -> None:
    flow, visible = torch.zeros(1, 2, 2, 4, 6), torch.ones(1, 2, 1, 4, 6)
    with pytest.raises(TypeCheckError):
        Motion(flow, flow, visible, visible[:, :1])
    with pytest.raises(TypeCheckError):
        Latent(torch.zeros(1, 5), torch.zeros(2, 4, 1, 2))


def test_label_maps_must_be_whole_numbers() -> None:
    with pytest.raises(TypeCheckError):
        Clip(torch.rand(1, 3, 4, 6), torch.rand(1, 2, 3, 4, 6), torch.rand(1, 4, 6))


def test_channels_come_before_height_and_width() -> None:
    with pytest.raises(TypeCheckError):
        Clip(torch.rand(1, 4, 6, 3), torch.rand(1, 2, 3, 4, 6), torch.zeros(1, 4, 6).long())


def test_stack_joins_the_batch_axis_of_every_field() -> None:
    clips = [make_clip(1), make_clip(2)]
    joined = stack(clips)
    assert joined.frames.shape == (3, TIME, 3, HEIGHT, WIDTH) and joined.frames_per_second == 7.0
    parts = zip(*(tensors_of(clip) for clip in clips), strict=True)
    for both, whole in zip(parts, tensors_of(joined), strict=True):
        assert torch.equal(torch.cat(both), whole)


def test_stack_then_sample_returns_each_clip() -> None:
    clips = [make_clip(1) for _ in range(3)]
    again = stack(clips).sample(2)
    for before, after in zip(tensors_of(clips[2]), tensors_of(again), strict=True):
        assert torch.equal(before, after)


def test_stack_keeps_what_is_absent_absent() -> None:
    bare = Clip(*(getattr(make_clip(1), name) for name in ("first_frame", "frames", "label_map")))
    joined = stack([bare, bare])
    assert joined.motion is None and joined.instance_map is None and len(joined.label_map) == 2


def test_passes_are_joined_along_time() -> None:
    passes = [make_video(), dataclasses.replace(make_video(), pass_starts=(4,))]
    joined = join_passes(passes)
    one, other = passes
    assert joined.pass_starts == (0, 1, 4) and joined.label_space == "cityscapes"
    assert torch.equal(joined.frames, torch.cat((one.frames, other.frames), 1))
    assert torch.equal(joined.label_maps, torch.cat((one.label_maps, other.label_maps), 1))
    for name in ("forward_flow", "backward_flow", "forward_visible", "backward_visible"):
        parts = [getattr(video.motion, name) for video in passes]
        assert torch.equal(getattr(joined.motion, name), torch.cat(parts, 1)), name
    # What belongs to the video as a whole is that of its first pass.
    assert torch.equal(joined.first_frame, one.first_frame)
    assert torch.equal(joined.label_map, one.label_map)
    assert torch.equal(joined.z.background, one.z.background)


def test_instances_are_joined_where_every_pass_has_them() -> None:
    bare = make_video()
    filled = dataclasses.replace(bare, instance_map=bare.label_map, instance_maps=bare.label_maps)
    both = join_passes([filled, filled])
    assert torch.equal(both.instance_maps, torch.cat([filled.instance_maps] * 2, 1))
    assert join_passes([filled, bare]).instance_maps is None


def at_times(clip: Clip, times: torch.Tensor) -> Clip:
    """``train_motion.at_times``, imported here because the module needs Lightning."""
    pytest.importorskip("lightning")
    from seg2vid.training import motion as train_motion

    return train_motion.at_times(clip, times)


def test_at_times_keeps_every_field_that_has_times() -> None:
    clip = make_clip()
    chosen = at_times(clip, torch.tensor([1]))
    for name in ("frames", "label_maps", "instance_maps", "ego_motion"):
        assert torch.equal(getattr(chosen, name), getattr(clip, name)[:, 1:]), name
    assert torch.equal(chosen.motion.backward_flow, clip.motion.backward_flow[:, 1:])
    assert torch.equal(chosen.first_frame, clip.first_frame)
    assert torch.equal(chosen.label_map, clip.label_map)


def test_at_times_keeps_the_order_that_is_asked_for() -> None:
    clip = make_clip()
    swapped = at_times(clip, torch.tensor([1, 0]))
    assert torch.equal(swapped.frames, clip.frames.flip(1))
    assert torch.equal(swapped.instance_maps, clip.instance_maps.flip(1))
    assert torch.equal(swapped.motion.forward_visible, clip.motion.forward_visible.flip(1))
