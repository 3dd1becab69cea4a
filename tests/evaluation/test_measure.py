"""A unit of measurement: perfect frames score perfectly, and every array has its stated axes."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg2vid.evaluation.baselines import BASELINES
from seg2vid.evaluation.cases import Cases
from seg2vid.evaluation.measure import ARRAYS, Judges, Measurement, Unit, motion_arrays
from seg2vid.evaluation.metrics.motion import (
    end_point_error_by_frame,
    hidden_average_precision,
    visibility_scores,
)
from seg2vid.evaluation.output import Output
from seg2vid.models.depth import Depth
from seg2vid.models.judges.inception import InceptionOutput
from seg2vid.models.judges.perceptual import PerceptualDistance
from seg2vid.structures import Clip, Motion
from tests.evaluation_runs import SPACE, TINY, Guesser, still_protocol

VOID = SPACE.void_id
OF_MADE_FRAMES = {"class_gradient_sum", "class_gradient_count", "grid_peaks"}
"""Where the first frame was generated."""
OF_SCENES = {"depth_error", "depth_within", "camera_distance", "camera_turn", "speed", "turning"}
"""Where motion is that of a scene, and the true scene is known."""


class Absolute(PerceptualDistance):
    """Mean absolute difference in place of LPIPS: figures can be told by hand."""

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Compare pictures (batch, 3, height, width)."""
        return self.distance_map(predicted, target).mean((1, 2))

    def distance_map(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Compare their pixels."""
        return (predicted - target).abs().mean(1)


class Colours(nn.Module):
    """Mean colours, over and over, in place of Inception; remembers what it was shown."""

    def __init__(self, *, has_classes: bool = True) -> None:
        super().__init__()
        self.has_classes = has_classes
        self.shown: list[Tensor] = []

    def forward(self, pictures: Tensor) -> InceptionOutput:
        """Look at pictures (batch, 3, height, width)."""
        self.shown.append(pictures)
        seen = pictures.mean((2, 3)).repeat(1, 683)
        return InceptionOutput(seen[:, :2048], seen[:, :1008] if self.has_classes else None)


class Lengths(nn.Module):
    """The length of a clip and its mean in place of I3D."""

    def forward(self, clips: Tensor) -> Tensor:
        """Look at clips (batch, time, 3, height, width)."""
        mean = clips.mean((1, 2, 3, 4))
        return torch.stack((torch.full_like(mean, clips.shape[1]), mean), 1)


@dataclass
class Standing:
    """No flow at all in place of RAFT; remembers the pairs."""

    name: str = "standing"
    pairs: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def flow(self, first: Tensor, second: Tensor) -> Tensor:
        """Zero flow between pictures (batch, 3, height, width)."""
        self.pairs.append((first, second))
        return torch.zeros_like(first[:, :2])


def every_judge() -> Judges:
    return Judges(Guesser(), Absolute(), Colours(), Lengths(), Standing())


ALONE = Judges(Guesser())


@pytest.fixture(scope="module")
def clip() -> Clip:
    return Cases(TINY).read(0)


@pytest.fixture(scope="module")
def oracle(clip: Clip) -> Output:
    """Two futures, both of them the real one."""
    output = BASELINES["truth"].make(clip, 0)
    return twice(output)


def twice(output: Output) -> Output:
    """The same future two times."""
    return Output(
        output.frames.repeat(2, 1, 1, 1, 1),
        output.label_maps.repeat(2, 1, 1, 1),
        output.motion.map(lambda t: t.repeat(2, *[1] * (t.ndim - 1))),
        1.5,
    )


@pytest.fixture(scope="module")
def noisy(clip: Clip, oracle: Output) -> Output:
    """Two futures with noise in pictures, labels and motion."""
    generator = torch.Generator().manual_seed(3)

    def shake(tensor: Tensor) -> Tensor:
        return tensor + 0.1 * torch.randn(tensor.shape, generator=generator)

    labels = oracle.label_maps.clone()
    labels[..., ::5] = 2
    return Output(shake(oracle.frames).clamp(0, 1), labels, oracle.motion.map(shake))


def measure(output: Output, clip: Clip, *, is_real: bool = False) -> Unit:
    return Measurement(TINY, every_judge()).measure(output, clip, is_real=is_real)


def test_perfect_frames_score_perfectly(clip: Clip, oracle: Output) -> None:
    unit = measure(oracle, clip)
    assert (unit["psnr"] == 100).all() and (unit["lpips"] == 0).all()
    for name in ("ssim", "ms_ssim"):
        torch.testing.assert_close(unit[name], torch.ones(2, 3))
    assert not unit["class_lpips_sum"].any() and not unit["pairwise_lpips"].any()
    assert not unit["epe_forward"].any() and not unit["epe_backward"].any()
    assert not unit["flow_spread"].any()
    assert (unit["hidden_forward"] == 1).all() and (unit["hidden_backward"] == 1).all()
    moved = unit["confusion_moved"]
    assert not moved[..., 19].any()
    moved = moved[..., :19]
    assert torch.equal(moved, torch.diag_embed(moved.diagonal(dim1=1, dim2=2)))
    assert torch.equal(unit["confusion_truth"], unit["confusion_own"])
    assert float(unit["seconds"]) == 1.5


def test_real_weights_see_no_distance_in_the_same_picture(clip: Clip, oracle: Output) -> None:
    judge = PerceptualDistance()
    for head in judge.heads:
        nn.init.ones_(head)
    unit = Measurement(TINY, Judges(Guesser(), judge)).measure(oracle, clip, is_real=False)
    assert (unit["lpips"] == 0).all() and (unit["pairwise_lpips"] == 0).all()


def test_noise_is_noticed_by_every_array(clip: Clip, oracle: Output, noisy: Output) -> None:
    before, after = measure(oracle, clip), measure(noisy, clip)
    for name in ("psnr", "ssim", "ms_ssim"):
        assert bool((after[name] < before[name] - 0.01).all()), name
    for name in ("lpips", "epe_forward", "epe_backward", "pairwise_lpips", "warping_error"):
        assert bool((after[name] > before[name]).all()), name
    assert float(after["consistency"].mean()) > float(before["consistency"].mean())
    assert int(after["confusion_moved"].diagonal(dim1=1, dim2=2).sum()) < int(
        before["confusion_moved"].diagonal(dim1=1, dim2=2).sum()
    )


def test_every_array_has_its_stated_axes(clip: Clip, noisy: Output) -> None:
    path = torch.cat((clip.ego_motion.repeat(2, 1, 1), torch.zeros(2, 3, 1)), 2)
    seen = Depth(clip.inverse_depth.repeat(2, 1, 1), clip.camera)
    known = replace(noisy, motion=replace(noisy.motion, camera_path=path), depth=seen)
    unit = measure(known, clip)
    start = Measurement(replace(TINY, task="generation"), ALONE).measure(known, clip, is_real=False)
    assert set(start) - set(unit) == OF_MADE_FRAMES
    unit |= {name: start[name] for name in OF_MADE_FRAMES}
    assert set(unit) == set(ARRAYS)
    sizes = {"sample": 2, "compared_time": 3, "pair": 1, "time": 3, "picture_time": 2, "score": 4}
    sizes |= {"period": 3, "horizon": 2, "warping_time": 1, "truth": 19, "said": 20, "class": 19}
    for name, axes in ARRAYS.items():
        words, shape = axes.split(), unit[name].shape
        assert len(words) == len(shape), name
        free = {"feature"} | ({"class"} if name == "inception_logits" else set())
        for word, size in zip(words, shape, strict=True):
            assert word in free or sizes[word] == size, (name, word)
        assert unit[name].dtype == torch.float32 and unit[name].is_contiguous(), name


def test_the_real_clip_is_not_compared_with_itself(clip: Clip) -> None:
    unit = measure(BASELINES["truth"].make(clip, 0), clip, is_real=True)
    left = {"inception", "inception_logits", "i3d", "warping_error", "seconds"}
    left |= {"sharpness", "pole_distance", "speed", "turning"}
    assert set(unit) == left | {"confusion_truth", "confusion_own", "confusion_moved"}


def test_what_a_missing_judge_measures_is_left_out(clip: Clip, noisy: Output) -> None:
    unit = Measurement(TINY, ALONE).measure(noisy, clip, is_real=False)
    without = {"lpips", "class_lpips_sum", "class_lpips_count", "pairwise_lpips", "i3d"}
    without |= {"inception", "inception_logits", "warping_error"}
    assert set(unit) == set(ARRAYS) - without - OF_MADE_FRAMES - OF_SCENES
    judges = replace(ALONE, inception=Colours(has_classes=False))
    unit = Measurement(TINY, judges).measure(noisy, clip, is_real=False)
    assert "inception" in unit and "inception_logits" not in unit


def test_one_future_has_no_diversity(clip: Clip) -> None:
    unit = measure(BASELINES["repeat"].make(clip, 0), clip)
    assert {"pairwise_lpips", "flow_spread"} & set(unit) == set()
    assert unit["psnr"].shape == (1, 3)


def test_pictures_are_compared_by_hand(clip: Clip, oracle: Output) -> None:
    """The second future is a tenth brighter everywhere, and clipped nowhere."""
    dark = replace(clip, first_frame=0.8 * clip.first_frame, frames=0.8 * clip.frames)
    frames = 0.8 * oracle.frames
    frames[1] += 0.1
    unit = measure(replace(oracle, frames=frames), dark)
    torch.testing.assert_close(unit["lpips"], torch.tensor([[0.0] * 3, [0.1] * 3]))
    torch.testing.assert_close(
        unit["psnr"], torch.tensor([[100.0] * 3, [20.0] * 3]), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(unit["pairwise_lpips"], torch.full((1, 3), 0.1))
    counts = torch.bincount(clip.label_maps.flatten(), minlength=20)[:19].float()
    assert torch.equal(unit["class_lpips_count"], 2 * counts)
    torch.testing.assert_close(unit["class_lpips_sum"], 0.1 * counts, rtol=1e-4, atol=1e-4)


def test_judges_are_shown_the_frames_of_the_protocol(clip: Clip, noisy: Output) -> None:
    inception, flow = Colours(), Standing()
    judges = Judges(Guesser(), None, inception, Lengths(), flow)
    protocol = replace(TINY, warping_times=(1, 3))
    unit = Measurement(protocol, judges).measure(noisy, clip, is_real=False)
    assert torch.equal(inception.shown[0], noisy.frames[0, [1, 3]])
    # Clips of 3 and 4 frames are played to and fro until there are nine.
    assert unit["i3d"][:, 0].tolist() == [9, 9]
    first, third = (
        noisy.frames[0, [0, 1, 2, 1, 0, 1, 2, 1, 0]],
        noisy.frames[0, [0, 1, 2, 3, 2, 1, 0, 1, 2]],
    )
    torch.testing.assert_close(unit["i3d"][:, 1], torch.stack((first.mean(), third.mean())))
    assert torch.equal(flow.pairs[0][0], noisy.frames[0, [1, 3]])
    assert torch.equal(flow.pairs[0][1], noisy.frames[0, [0, 2]])
    steps = (noisy.frames[0, 1:] - noisy.frames[0, :-1]).square().mean((1, 2, 3))
    torch.testing.assert_close(unit["warping_error"], steps[[0, 2]])


def test_the_first_frame_is_judged_where_it_was_generated(clip: Clip, noisy: Output) -> None:
    protocol = replace(TINY, task="generation")
    unit = Measurement(protocol, ALONE).measure(noisy, clip, is_real=False)
    assert unit["psnr"].shape == (2, 4)
    assert unit["confusion_truth"].shape[0] == 4 and unit["epe_backward"].shape == (2, 3)


def test_segmented_labels_are_counted_by_hand(clip: Clip) -> None:
    """White is said to be class 18, black class 0, on both halves of the picture."""
    frames = torch.zeros(1, 4, 3, 64, 128)
    frames[:, 2:] = 1
    truth = torch.full((1, 3, 64, 128), 5)
    own = torch.full((1, 4, 64, 128), 7)
    known = replace(clip, label_maps=truth)
    unit = Measurement(TINY, ALONE).measure(Output(frames, own), known, is_real=False)
    said = [0, 18, 18]
    for time in range(3):
        for name, row, column in (
            ("truth", 5, said[time]),
            ("own", 7, said[time]),
            ("moved", 5, 7),
        ):
            matrix = unit[f"confusion_{name}"][time]
            assert int(matrix[row, column]) == int(matrix.sum()) == 64 * 128


def test_void_is_nowhere_counted(clip: Clip, oracle: Output) -> None:
    maps = clip.label_maps.clone()
    maps[:, :, :32] = VOID
    unit = measure(oracle, replace(clip, label_maps=maps))
    for name in ("confusion_truth", "confusion_moved"):
        assert (unit[name].sum((1, 2)) == 32 * 128).all()
    assert int(unit["class_lpips_count"].sum()) == 2 * 3 * 32 * 128
    own = oracle.label_maps.clone()
    own[:, :, :16] = VOID
    unit = measure(replace(oracle, label_maps=own), clip)
    assert (unit["confusion_own"].sum((1, 2)) == 48 * 128).all()


def test_unknown_labels_leave_out_what_needs_them(clip: Clip, oracle: Output) -> None:
    video = replace(clip, label_maps=None, motion=None)
    unit = measure(Output(oracle.frames), video)
    assert not any(name.startswith(("confusion", "class", "epe", "consist")) for name in unit)
    unit = measure(oracle, video)
    assert {"confusion_own", "consistency", "flow_spread"} <= set(unit)
    assert not {"confusion_truth", "confusion_moved", "epe_forward", "hidden_forward"} & set(unit)


def test_a_single_picture_is_judged_alone(clip: Clip) -> None:
    protocol = still_protocol()
    photo = Clip(clip.first_frame, clip.frames[:, :0], clip.label_map)
    output = Output((0.9 * clip.first_frame).unsqueeze(1), clip.label_map.unsqueeze(1))
    unit = Measurement(protocol, every_judge()).measure(output, photo, is_real=False)
    assert unit["psnr"].shape == unit["lpips"].shape == (1, 1)
    assert unit["confusion_truth"].shape == (1, 19, 20) and unit["inception"].shape == (1, 2048)
    assert not {"i3d", "warping_error", "consistency"} & set(unit)


def test_motion_is_measured_sample_by_sample(clip: Clip, noisy: Output) -> None:
    assert clip.motion is not None
    unit = motion_arrays(noisy.motion, clip.motion)
    for sample in range(2):
        alone = motion_arrays(noisy.motion.sample(sample), clip.motion)
        for name in ("epe_forward", "epe_backward", "consistency"):
            torch.testing.assert_close(unit[name][sample : sample + 1], alone[name])
        torch.testing.assert_close(
            unit["hidden_backward"][:, sample : sample + 1], alone["hidden_backward"]
        )
    visible = clip.motion.backward_visible
    weights = visible.sum((2, 3, 4))
    distance = (noisy.motion.sample(0).backward_flow - clip.motion.backward_flow).norm(dim=2)
    whole = (distance[:, :, None] * visible).sum((1, 2, 3, 4)) / weights.sum(1)
    means = (unit["epe_backward"][:1] * weights).sum(1) / weights.sum(1)
    torch.testing.assert_close(means, whole)
    shifted = Motion(*(getattr(clip.motion, name) for name in Motion.__annotations__))
    shifted = replace(
        shifted, backward_flow=shifted.backward_flow + torch.tensor([3.0, 4.0])[:, None, None]
    )
    torch.testing.assert_close(
        motion_arrays(shifted, clip.motion)["epe_backward"], torch.full((1, 3), 5.0)
    )
    assert not motion_arrays(shifted, clip.motion)["epe_forward"].any()


def test_each_way_has_its_own_flow_and_visibility(clip: Clip, noisy: Output) -> None:
    assert clip.motion is not None and noisy.motion is not None
    unit = motion_arrays(noisy.motion, clip.motion)
    for way in ("forward", "backward"):
        flow, shown = (getattr(noisy.motion, f"{way}_{name}") for name in ("flow", "visible"))
        exact, truly = (
            getattr(clip.motion, f"{way}_{name}").repeat(2, 1, 1, 1, 1)
            for name in ("flow", "visible")
        )
        errors = end_point_error_by_frame(flow, exact, truly)
        torch.testing.assert_close(unit[f"epe_{way}"], errors)
        expected = (*visibility_scores(shown, truly), hidden_average_precision(shown, truly))
        assert torch.equal(unit[f"hidden_{way}"], torch.stack(expected))


# Moving scenes.


def test_a_perfect_scene_is_perfect(clip: Clip, oracle: Output) -> None:
    assert clip.ego_motion is not None and clip.inverse_depth is not None
    path = torch.cat((clip.ego_motion, torch.ones(1, 3, 1)), 2)
    shifted = path + torch.tensor([3.0, 4.0, 0.1, 0.0])
    motion = replace(oracle.motion, camera_path=torch.cat((path, shifted)))
    depths = torch.cat((clip.inverse_depth, clip.inverse_depth / 2))
    unit = measure(replace(oracle, motion=motion, depth=Depth(depths, clip.camera)), clip)
    assert unit["depth_error"].tolist() == pytest.approx([0, 1], abs=1e-6)
    assert unit["depth_within"].tolist() == [1, 0]
    torch.testing.assert_close(unit["camera_distance"], torch.tensor([[0.0] * 3, [5.0] * 3]))
    degrees = torch.tensor([[0.0] * 3, [0.1] * 3]).rad2deg()
    torch.testing.assert_close(unit["camera_turn"], degrees, atol=1e-4, rtol=1e-4)
    real = measure(BASELINES["truth"].make(clip, 0), clip, is_real=True)
    for name in ("speed", "turning"):
        torch.testing.assert_close(unit[name][:1], real[name])
        assert unit[name][1] > unit[name][0]
    seconds = 3 / clip.frames_per_second
    turned = clip.ego_motion[0, -1, 2].rad2deg() / seconds
    torch.testing.assert_close(real["turning"], turned[None])


def test_the_own_car_and_unknown_scenes_are_left_out(clip: Clip, oracle: Output) -> None:
    seen = Depth(clip.inverse_depth.clone(), clip.camera)
    seen.inverse_depth[:, 48:] *= 3
    bonnet = clip.label_map.clone()
    bonnet[:, 48:] = VOID
    output = replace(oracle, depth=seen)
    assert float(measure(output, clip)["depth_error"]) > 0.1
    assert float(measure(output, replace(clip, label_map=bonnet))["depth_error"]) < 1e-6
    unknown = replace(clip, inverse_depth=None, ego_motion=None)
    assert not OF_SCENES & set(measure(output, unknown))
    moving = replace(output, motion=replace(oracle.motion, camera_path=torch.rand(2, 3, 4)))
    assert not OF_SCENES & set(measure(moving, unknown))
    assert not OF_SCENES & set(measure(oracle, clip)), "without a scene there is nothing to see"


def test_still_frames_are_as_sharp_and_straight_as_the_first(clip: Clip) -> None:
    still = BASELINES["repeat"].make(clip, 0)
    unit = measure(still, clip)
    torch.testing.assert_close(unit["sharpness"], torch.ones(1, 3))
    assert unit["pole_distance"].unique().numel() == 1
    blurred = still.frames.clone()
    blurred[:, 1:] = F.avg_pool2d(still.frames[0, 1:], 3, 1, 1)
    unit = measure(replace(still, frames=blurred), clip)
    assert bool((unit["sharpness"] < 0.7).all())


def test_steps_of_brightness_are_counted_by_own_labels(clip: Clip) -> None:
    """Stripes of half the height on road, flat sky; the last row and column have no step."""
    frames = torch.zeros(2, 1, 3, 64, 128)
    frames[:, :, :, :32, ::2] = 0.5
    labels = torch.zeros(2, 1, 64, 128, dtype=torch.long)
    labels[:, :, 32:] = 10
    photo = Clip(clip.first_frame, clip.frames[:, :0], clip.label_map)
    unit = Measurement(still_protocol(), ALONE).measure(
        Output(frames, labels), photo, is_real=False
    )
    counts, sums = unit["class_gradient_count"], unit["class_gradient_sum"]
    assert counts[0] == 2 * 32 * 127 and counts[10] == 2 * 31 * 127
    assert float(counts.sum()) == float(counts[[0, 10]].sum())
    # Each step to the right has 0.25; each second column steps down to the sky once.
    assert float(sums[0]) == pytest.approx(2 * (32 * 127 * 0.25 + 64 * 0.25), rel=1e-5)
    assert float(sums[10]) == 0
    assert bool((unit["grid_peaks"][:, 0] > 100).all()), "stripes of two pixels"
