"""The main path with tiny real networks: shapes, seeds, chaining, errors, saving and loading."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seg2vid.labels.convert import colourise
from seg2vid.labels.space import get_label_space
from seg2vid.media.generated import GeneratedVideo
from seg2vid.media.passes import join_passes
from seg2vid.models.checkpoint import save_checkpoint
from seg2vid.models.control import Control
from seg2vid.models.layers import coarse_labels
from seg2vid.models.weights import find_weights, list_models
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Latent
from seg2vid.tools.errors import LabelMapError, ModelError
from seg2vid.tools.files import digest_of
from seg2vid.warp import warp_labels
from tests.tiny import CONFIG, HEIGHT, NUM_FRAMES, WIDTH, street_map

pytestmark = pytest.mark.usefixtures("arithmetic")


@pytest.fixture(scope="module")
def pipe() -> Seg2VidPipeline:
    torch.manual_seed(0)
    return Seg2VidPipeline.from_config(CONFIG)


ONE_PASS = {"num_frames": NUM_FRAMES + 1}


def same(one: GeneratedVideo, other: GeneratedVideo) -> bool:
    pictures = torch.equal(one.first_frame, other.first_frame)
    return pictures and torch.equal(one.frames, other.frames)


def test_result_holds_everything_known_of_each_frame(pipe: Seg2VidPipeline) -> None:
    video = pipe(street_map(), **ONE_PASS, seed=1)
    assert video.first_frame.shape == (1, 3, HEIGHT, WIDTH)
    assert video.frames.shape == (1, NUM_FRAMES, 3, HEIGHT, WIDTH)
    assert video.frames.dtype == video.first_frame.dtype == torch.float32
    assert 0 <= float(video.frames.min()) <= float(video.frames.max()) <= 1
    assert video.label_maps.shape == (1, NUM_FRAMES, HEIGHT, WIDTH)
    assert video.motion.forward_flow.shape == (1, NUM_FRAMES, 2, HEIGHT, WIDTH)
    assert video.motion.backward_visible.shape == (1, NUM_FRAMES, 1, HEIGHT, WIDTH)
    assert video.instance_maps is None
    assert video.label_space == "cityscapes"


def test_seed_decides_look_and_motion(pipe: Seg2VidPipeline) -> None:
    once, again, other = (pipe(street_map(), **ONE_PASS, seed=seed) for seed in (1, 1, 2))
    assert same(once, again)
    assert not torch.equal(once.first_frame, other.first_frame)
    assert not torch.equal(once.motion.backward_flow, other.motion.backward_flow)


def test_generator_and_seed_agree(pipe: Seg2VidPipeline) -> None:
    generator = torch.Generator().manual_seed(5)
    assert same(
        pipe(street_map(), **ONE_PASS, seed=5), pipe(street_map(), **ONE_PASS, generator=generator)
    )


def test_without_seed_every_call_is_another_future(pipe: Seg2VidPipeline) -> None:
    assert not same(pipe(street_map(), **ONE_PASS), pipe(street_map(), **ONE_PASS))


def test_sample_of_a_batch_is_the_same_alone(pipe: Seg2VidPipeline) -> None:
    both, alone = (
        pipe(street_map(), **ONE_PASS, seed=[3, 4]),
        pipe(street_map(), **ONE_PASS, seed=4),
    )
    assert both.frames.shape[0] == 2
    torch.testing.assert_close(both.sample(1).frames, alone.frames, atol=2e-2, rtol=0)
    torch.testing.assert_close(both.sample(1).first_frame, alone.first_frame, atol=2e-2, rtol=0)


def test_users_first_frame_is_returned_bit_identical(pipe: Seg2VidPipeline) -> None:
    photo = torch.rand(1, 3, HEIGHT, WIDTH)
    video = pipe(street_map(), first_frame=photo, seed=1, num_frames=6)
    assert torch.equal(video.first_frame, photo)
    # The same seed moves a photo as it moves a painted frame: z does not depend on who painted.
    assert torch.equal(video.z.background, pipe(street_map(), **ONE_PASS, seed=1).z.background)


@pytest.mark.parametrize("num_frames", [1, 2, 3, NUM_FRAMES + 1, 3 * NUM_FRAMES + 3])
def test_any_number_of_frames(pipe: Seg2VidPipeline, num_frames: int) -> None:
    video = pipe(street_map(), num_frames=num_frames, seed=1)
    assert video.frames.shape[1] == video.label_maps.shape[1] == num_frames - 1
    assert video.motion.backward_flow.shape[1] == num_frames - 1
    per_key = NUM_FRAMES * pipe.animator.passes_per_key
    assert video.pass_starts == tuple(range(0, max(num_frames - 1, 1), per_key))


def test_longer_video_begins_like_the_shorter_one(pipe: Seg2VidPipeline) -> None:
    short, long = (pipe(street_map(), num_frames=n, seed=1) for n in (NUM_FRAMES + 1, 9))
    assert torch.equal(long.frames[:, :NUM_FRAMES], short.frames)


def test_stream_yields_passes_that_join_to_the_whole(pipe: Seg2VidPipeline) -> None:
    passes = list(pipe.stream(street_map(), num_frames=12, seed=1))
    assert [chunk.frames.shape[1] for chunk in passes] == [3, 3, 3, 2]
    assert same(join_passes(passes), pipe(street_map(), num_frames=12, seed=1))
    # A new key is the last frame shown before, not the first frame again.
    key = pipe.animator.passes_per_key
    assert torch.equal(passes[key].first_frame, passes[key - 1].frames[:, -1])
    assert torch.equal(passes[key].label_map, passes[key - 1].label_maps[:, -1])
    assert torch.equal(passes[key].z.background, passes[0].z.background)


def test_labels_move_with_the_pixels(pipe: Seg2VidPipeline) -> None:
    video = pipe(street_map(), **ONE_PASS, seed=1)
    moved = warp_labels(video.label_map, video.motion.backward_flow[:, 1])
    visible = video.motion.backward_visible[:, 1, 0] > 0.5
    assert visible.any()
    assert torch.equal(video.label_maps[:, 1][visible], moved[visible])


def test_instances_are_those_of_the_map_on_foreground_only(pipe: Seg2VidPipeline) -> None:
    instances = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.long)
    instances[:, 32:48, 16:36], instances[:, 34:44, 60:72] = 26001, 26002
    video = pipe(street_map(), instance_map=instances, seed=1, num_frames=6)
    assert video.instance_maps is not None
    assert set(video.instance_maps.unique().tolist()) <= {0, 26001, 26002}
    assert bool((video.label_maps[video.instance_maps > 0] >= 11).all())


def as_file(tmp_path: Path) -> Path:
    path = tmp_path / "labels.png"
    Image.fromarray(street_map()[0].numpy().astype(np.uint8)).save(path)
    return path


WAYS: dict[str, Callable[[Path], object]] = {
    "path": lambda path: path,
    "text": str,
    "Pillow": Image.open,
    "colours": lambda path: colourise(np.asarray(Image.open(path)), get_label_space("cityscapes")),
    "uint8": lambda path: np.asarray(Image.open(path)),
    "flipped twice": lambda path: np.asarray(Image.open(path))[:, ::-1][:, ::-1],
    "2-D": lambda path: street_map()[0],
    "3-D": lambda path: street_map(),
    "short tensor": lambda path: street_map().to(torch.uint8),
    "lists": lambda path: street_map()[0].tolist(),
    "batch of lists": lambda path: street_map().tolist(),
    "list of paths": lambda path: [path],
}


@pytest.mark.filterwarnings("ignore:every value exists")
@pytest.mark.parametrize("way", WAYS)
def test_label_maps_come_in_every_form(pipe: Seg2VidPipeline, tmp_path: Path, way: str) -> None:
    wanted = pipe(street_map(), num_frames=1, seed=1)
    video = pipe(WAYS[way](as_file(tmp_path)), num_frames=1, seed=1)
    assert torch.equal(video.label_map, wanted.label_map)
    assert torch.equal(video.first_frame, wanted.first_frame)


def test_255_is_void_and_batches_may_be_lists(pipe: Seg2VidPipeline, tmp_path: Path) -> None:
    ids = street_map()[0].numpy().astype(np.uint8)
    ids[:8] = 255
    Image.fromarray(ids).save(tmp_path / "void.png")
    video = pipe([ids, ids, tmp_path / "void.png"], num_frames=1, seed=[1, 2, 3])
    assert (video.label_map[:, :8] == 19).all() and video.first_frame.shape[0] == 3


def test_a_doubtful_file_is_warned_of_in_words_of_python(
    pipe: Seg2VidPipeline, tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match="every value exists .*add encoding raw"):
        pipe(as_file(tmp_path), num_frames=1)
    photo = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    with pytest.raises(LabelMapError, match="photos go to first_frame") as caught:
        pipe(photo, num_frames=1)
    assert "--" not in str(caught.value)


def test_pictures_are_fitted_together(pipe: Seg2VidPipeline, tmp_path: Path) -> None:
    large = np.kron(street_map()[0].numpy(), np.ones((2, 2), np.int64))
    numbers = np.where(large == 13, 26001, 0)
    picture = Image.fromarray(colourise(large, get_label_space("cityscapes")))
    photo = Image.effect_noise((256, 128), 64).convert("RGB")
    photo.save(tmp_path / "photo.png")
    video = pipe(picture, instance_map=numbers, first_frame=photo, seed=1, **ONE_PASS)
    assert video.label_map.shape == (1, HEIGHT, WIDTH)
    assert torch.equal(video.instance_map == 26001, street_map() == 13)
    again = pipe(
        street_map(), instance_map=numbers[::2, ::2], first_frame=tmp_path / "photo.png", seed=1,
        **ONE_PASS,
    )  # fmt: skip
    assert same(video, again)


@pytest.mark.filterwarnings("ignore:only road and car")
def test_a_picture_of_instance_ids_brings_its_objects(pipe: Seg2VidPipeline) -> None:
    numbers = np.full((64, 128), 7, np.uint16)
    numbers[20:40, 40:80] = 26004
    video = pipe(Image.fromarray(numbers), num_frames=1)
    assert video.label_map.unique().tolist() == [0, 13]
    assert video.instance_map.unique().tolist() == [0, 26004]


def test_first_frame_may_be_a_callable(pipe: Seg2VidPipeline) -> None:
    seen = []

    def paint(label_map: torch.Tensor) -> Image.Image:
        seen.append(label_map)
        return Image.new("RGB", (256, 128), (51 * len(seen), 0, 0))

    video = pipe(street_map().repeat(2, 1, 1), first_frame=paint, num_frames=1, seed=1)
    assert torch.equal(torch.stack(seen), street_map().repeat(2, 1, 1))
    assert video.first_frame[:, 0, 0, 0].tolist() == pytest.approx([0.2, 0.4])
    exact = torch.rand(3, HEIGHT, WIDTH)
    video = pipe(street_map(), first_frame=lambda ids: exact, num_frames=1)
    assert torch.equal(video.first_frame[0], exact)


def test_the_first_frame_alone_needs_no_motion(
    pipe: Seg2VidPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pipe(street_map(), **ONE_PASS, instance_map=street_map(), seed=1)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("motion was decoded")

    monkeypatch.setattr(pipe.animator, "forward", refuse)
    still = pipe(street_map(), num_frames=1, instance_map=street_map(), seed=1)
    assert torch.equal(still.first_frame, whole.first_frame) and still.frames.shape[1] == 0
    assert torch.equal(still.instance_map, street_map())


def test_three_seconds_unless_told_otherwise(pipe: Seg2VidPipeline) -> None:
    assert pipe(street_map()).frames.shape[1] == 3 * 12 - 1


def test_numbers_of_numpy_are_seeds(pipe: Seg2VidPipeline) -> None:
    wanted = pipe(street_map(), num_frames=1, seed=[3, 4])
    for seeds in (np.array([3, 4]), [np.int64(3), np.uint8(4)], range(3, 5)):
        assert same(pipe(street_map(), num_frames=np.int32(1), seed=seeds), wanted)
    alone = pipe(street_map(), num_frames=1, seed=3)
    assert same(pipe(street_map(), num_frames=1, seed=np.int64(3)), alone)


def test_the_video_tells_its_seeds_and_its_model(pipe: Seg2VidPipeline, tmp_path: Path) -> None:
    video = pipe(street_map().repeat(2, 1, 1), num_frames=2)
    again = pipe(street_map(), num_frames=2, seed=video.seeds[1])
    torch.testing.assert_close(again.frames, video.sample(1).frames, atol=2e-2, rtol=0)
    assert video.sample(1).seeds == video.seeds[1:]
    loaded = Seg2VidPipeline.from_pretrained(pipe.save_pretrained(tmp_path))
    video = loaded(street_map(), num_frames=1)
    assert video.model == str(tmp_path / "model.safetensors")
    assert video.model_sha256 == digest_of(tmp_path / "model.safetensors")


def test_z_is_one_for_all_seeds_or_one_for_each(pipe: Seg2VidPipeline) -> None:
    z = pipe(street_map(), num_frames=1, seed=5).z
    both = pipe(street_map(), num_frames=2, seed=[1, 2], z=z)
    assert torch.equal(both.z.background, z.background.expand(2, -1))


def test_texts_are_short(pipe: Seg2VidPipeline) -> None:
    video = pipe(street_map(), num_frames=2, seed=1)
    assert repr(pipe) == (
        "Seg2VidPipeline('untrained', 128x64, 3 frames a pass at 12 fps, cityscapes, on cpu)"
    )
    text = "1 x 2 frames, 128x64 at 12 fps, cityscapes, model None, seeds (1,)"
    assert repr(video) == f"GeneratedVideo({text})"
    assert repr(video.z) == "Latent(background=(1, 3), foreground=(1, 2, 8, 16))"
    assert len(repr(video.motion)) < 400


def test_long_videos_show_a_bar_on_demand(pipe: Seg2VidPipeline, capsys) -> None:
    pipe(street_map(), num_frames=20)
    assert capsys.readouterr().err == "", "no terminal, no bar"
    pipe(street_map(), num_frames=20, progress=True)
    assert "/20" in capsys.readouterr().err


def test_any_frame_rate_and_speed_show_the_same_drive(pipe: Seg2VidPipeline) -> None:
    usual = pipe(street_map(), num_frames=7, seed=3)
    smooth = pipe(street_map(), num_frames=13, seed=3, frames_per_second=24)
    slow = pipe(street_map(), num_frames=13, seed=3, speed=0.5)
    assert smooth.frames_per_second == 24 and slow.frames_per_second == usual.frames_per_second
    paths = [video.motion.camera_path for video in (usual, smooth, slow)]
    assert torch.allclose(paths[0], paths[1][:, 1::2], atol=1e-6)
    assert torch.equal(paths[1], paths[2])
    seen = usual.motion.backward_visible > 0
    difference = (usual.frames - smooth.frames[:, 1::2]).abs() * seen
    assert difference.max() < 1e-4, "what is seen is read from the same place"


def test_a_key_is_always_a_frame_of_the_video(pipe: Seg2VidPipeline) -> None:
    """Three passes of three frames; at a speed of 2.5 that is three frames of the video."""
    video = pipe(street_map(), num_frames=8, seed=3, speed=2.5)
    assert video.pass_starts == (0, 3, 6)
    assert pipe(street_map(), num_frames=3, seed=3, speed=40.0).pass_starts == (0, 1)


def test_a_photo_moves_at_its_own_size(pipe: Seg2VidPipeline) -> None:
    large = street_map().repeat_interleave(2, 1).repeat_interleave(2, 2)
    torch.manual_seed(0)
    photo = torch.rand(1, 3, 2 * HEIGHT, 2 * WIDTH)
    video = pipe(large, first_frame=photo, num_frames=4, seed=3, scale=2)
    assert torch.equal(video.first_frame, photo)
    assert video.frames.shape == (1, 3, 3, 2 * HEIGHT, 2 * WIDTH)
    assert video.label_maps.shape == (1, 3, 2 * HEIGHT, 2 * WIDTH)
    small = torch.nn.functional.avg_pool2d(photo, 2)
    coarse = pipe(street_map(), first_frame=small, num_frames=4, seed=3)
    assert torch.allclose(video.motion.camera_path, coarse.motion.camera_path, atol=1e-5)
    longer = pipe(large, first_frame=photo, num_frames=12, seed=3, scale=2)
    assert longer.pass_starts == (0, 9) and bool(longer.frames.isfinite().all())


def test_a_label_map_is_painted_and_moved_at_a_larger_size(pipe: Seg2VidPipeline) -> None:
    large = street_map().repeat_interleave(2, 1).repeat_interleave(2, 2)
    video = pipe(large, num_frames=4, seed=3, scale=2)
    assert video.first_frame.shape == (1, 3, 2 * HEIGHT, 2 * WIDTH)
    assert video.frames.shape == (1, 3, 3, 2 * HEIGHT, 2 * WIDTH)
    assert video.label_maps.shape == (1, 3, 2 * HEIGHT, 2 * WIDTH)
    # Looks and objects are those of the smaller map.
    small = pipe(street_map(), num_frames=4, seed=3)
    assert torch.equal(video.look.segments, small.look.segments)
    assert torch.equal(video.z.foreground, small.z.foreground)


def test_what_is_large_is_painted_as_on_the_map_that_was_learned_from() -> None:
    """With weights that know cars: painted at once at twice the size, a large one would be two."""
    pipe, pool = Seg2VidPipeline.from_pretrained("toycity"), torch.nn.functional.avg_pool2d
    street = torch.full((1, 256, 512), 2)  # houses
    street[:, 128:] = 0  # a road
    street[:, 96:208, 64:208] = 13  # a car
    large = pipe(street, num_frames=1, seed=1, scale=2)
    small, objects = coarse_labels(street, 2), pipe.find_objects(street, None, 2)
    finer = objects.repeat_interleave(2, 1).repeat_interleave(2, 2)
    with torch.inference_mode():
        learned = pipe.first_frame(small, objects, large.look)
        at_once = pipe.first_frame(street, finer, large.look)

    def difference(frame: torch.Tensor) -> torch.Tensor:
        """How far the colours of 16 x 16 pixels are from what they are on the small map."""
        return (pool(frame, 16) - pool(learned, 8)).abs().mean(1)

    is_large = pool((street != 2)[:, None].float(), 16)[:, 0] == 1
    mended, broken = (difference(one)[is_large].mean() for one in (large.first_frame, at_once))
    assert mended < 0.6 * broken
    # What is not is painted at once, as far as convolutions of the last two levels see.
    assert (large.first_frame - at_once)[..., :48, :].abs().max() < 0.03  # of bfloat16
    assert (large.first_frame - at_once).abs().max() > 0.1


def test_resample_changes_the_named_classes_and_keeps_the_others(pipe: Seg2VidPipeline) -> None:
    label_map = street_map()
    before = pipe(label_map, seed=1, num_frames=1).first_frame
    after = pipe(label_map, seed=1, num_frames=1, resample={"car"}, resample_seed=7).first_frame
    change = (after - before).abs().mean(1)
    car = label_map == 13
    # Convolutions carry the change over the edge, but no further than they see: 24 pixels.
    near = torch.nn.functional.max_pool2d(car.float(), 49, 1, 24) > 0
    assert float(change[car].mean()) > 1e-3
    assert float(change[~near].max()) == 0


def test_resample_of_nothing_changes_nothing(pipe: Seg2VidPipeline) -> None:
    video = pipe(street_map(), **ONE_PASS, seed=1, resample=(), resample_seed=7)
    assert same(video, pipe(street_map(), **ONE_PASS, seed=1))


def test_path_of_a_label_map_is_fitted_to_the_model(
    pipe: Seg2VidPipeline, shared_data: Path
) -> None:
    path = next((shared_data / "label_maps").glob("*_labelIds.png"))
    assert pipe(path, seed=1).first_frame.shape == (1, 3, HEIGHT, WIDTH)


def test_save_pretrained_and_back(pipe: Seg2VidPipeline, tmp_path: Path) -> None:
    path = pipe.save_pretrained(tmp_path / "model")
    for name in (path, path.parent, str(path.parent)):
        again = Seg2VidPipeline.from_pretrained(name)
        assert again.config == pipe.config
    # Weights are stored in half precision.
    difference = (
        again(street_map(), seed=1).first_frame - pipe(street_map(), **ONE_PASS, seed=1).first_frame
    )
    assert float(difference.abs().max()) < 0.02


def test_motion_encoder_travels_along(pipe: Seg2VidPipeline, tmp_path: Path) -> None:
    boxes = {"first_frame": pipe.first_frame, "animator": pipe.animator}
    others = {"motion_encoder.x": torch.ones(3)}
    save_checkpoint(tmp_path / "a.safetensors", boxes, CONFIG, {"how": "test"}, others=others)
    loaded = Seg2VidPipeline.from_pretrained(tmp_path / "a.safetensors")
    again = Seg2VidPipeline.from_pretrained(loaded.save_pretrained(tmp_path / "b"))
    assert torch.equal(again.motion_encoder_weights["motion_encoder.x"], torch.ones(3))
    assert again.provenance == {"how": "test"}


BAD_CALLS = {
    "multiples of 32": lambda pipe: pipe(street_map()[:, :50]),
    "ids 0 ... 19 of cityscapes": lambda pipe: pipe(street_map() + 20),
    "num_frames of at least 1; got 0": lambda pipe: pipe(street_map(), num_frames=0),
    "label_map as a path, a Pillow image, an array": lambda pipe: pipe([[1, 2], [3]]),
    "a map of whole numbers; got float64": lambda pipe: pipe(street_map().numpy() * 1.0),
    "label_map of one size; got 128x64 and 96x64": lambda pipe: pipe(
        [street_map()[0], street_map()[0, :, :96]]
    ),
    "first_frame as a path, a Pillow": lambda pipe: pipe(street_map(), first_frame=[[3]]),
    "proportions of the labels (128x64); got a picture with 64x64": lambda pipe: pipe(
        street_map(), first_frame=Image.new("RGB", (64, 64))
    ),
    "z.background of shape (1, 3); got (1, 4)": lambda pipe: pipe(
        street_map(), z=Latent(torch.zeros(1, 4), torch.zeros(1, 2, 8, 16))
    ),
    "z.foreground of shape (1, 2, 8, 16); got (1, 2, 8, 8)": lambda pipe: pipe(
        street_map(), z=Latent(torch.zeros(1, 3), torch.zeros(1, 2, 8, 8))
    ),
    "finite numbers in z.background; got nan or inf": lambda pipe: pipe(
        street_map(), z=Latent(torch.full((1, 3), torch.nan), torch.zeros(1, 2, 8, 16))
    ),
    "a whole number as seed; got np.float64(1.5)": lambda pipe: pipe(
        street_map(), seed=np.array([1.5])
    ),
    "instance map of the label map's size": lambda pipe: pipe(
        street_map(), instance_map=street_map()[:, :32]
    ),
    "a first frame of floats of shape (3, 64, 128)": lambda pipe: pipe(
        street_map(), first_frame=torch.rand(1, 3, 32, 32)
    ),
    "colours in [0, 1]": lambda pipe: pipe(
        street_map(), first_frame=torch.full((1, 3, HEIGHT, WIDTH), 255.0)
    ),
    "a seed or a generator": lambda pipe: pipe(
        street_map(), **ONE_PASS, seed=1, generator=torch.Generator()
    ),
    "one seed or generator for each of 2": lambda pipe: pipe(
        street_map().repeat(2, 1, 1), seed=[1, 2, 3]
    ),
    "a seed from 0 to 9223372036854775807; got 1000": lambda pipe: pipe(
        street_map(), **ONE_PASS, seed=10**30
    ),
    "a seed from 0 to 9223372036854775807; got -10": lambda pipe: pipe(
        street_map(), seed=1, resample={"car"}, resample_seed=-(10**30)
    ),
    "frames_per_second from 1 to 240; got 0": lambda pipe: pipe(street_map(), frames_per_second=0),
    "speed from 0.01 to 100; got -1": lambda pipe: pipe(street_map(), speed=-1.0),
    "scale from 1 to 16; got 0": lambda pipe: pipe(street_map(), scale=0),
    "multiples of 64; got 128x96": lambda pipe: pipe(street_map().repeat(1, 2, 1)[:, :96], scale=2),
    "classes of cityscapes: road": lambda pipe: pipe(street_map(), resample={"dragon"}),
}


@pytest.mark.parametrize("text", BAD_CALLS)
def test_bad_input_says_what_was_expected_what_came_and_what_to_do(
    pipe: Seg2VidPipeline, text: str
) -> None:
    with pytest.raises((LabelMapError, ModelError)) as caught:
        BAD_CALLS[text](pipe)
    message = str(caught.value)
    assert message.startswith("Expected ")
    assert text in message
    assert message.count(";") >= 2, "expected; got; what to do"


def test_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(
        ModelError, match=r"Expected a model: .*; got 'dragon'; see: seg2vid models"
    ):
        find_weights("dragon")


def test_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a weight file at"):
        Seg2VidPipeline.from_pretrained(tmp_path)


def test_name_on_the_hub_without_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def refuse(*_: object, **__: object) -> str:
        raise OSError("offline")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(
        ModelError, match=r"a model on the hub .*; got no answer .*; check the name"
    ):
        find_weights("somebody/something")


def test_hub_model_is_loaded_from_what_the_hub_gives(
    pipe: Seg2VidPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = pipe.save_pretrained(tmp_path)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda name, file, **_: str(saved))
    assert Seg2VidPipeline.from_pretrained("somebody/something").config == CONFIG


def test_bundled_models_have_cards_and_load() -> None:
    models = list_models()
    assert "toycity" in [model.name for model in models]
    for model in models:
        assert 0 < model.megabytes <= 25 and model.licence != "unknown"
        pipe = Seg2VidPipeline.from_pretrained(model.name)
        assert pipe.label_space.names[0] == "road"
    assert sum(model.megabytes for model in models) <= 40


def test_weights_of_another_configuration_are_refused(
    pipe: Seg2VidPipeline, tmp_path: Path
) -> None:
    wider = replace(CONFIG, first_frame=replace(CONFIG.first_frame, widths=(6, 6, 8)))
    boxes = {"first_frame": pipe.first_frame, "animator": pipe.animator}
    save_checkpoint(tmp_path / "model.safetensors", boxes, wider, {})
    with pytest.raises(ModelError, match=r"tensors of first_frame; got .*of another shape"):
        Seg2VidPipeline.from_pretrained(tmp_path)


def test_a_loop_leads_back_to_its_first_frame(pipe: Seg2VidPipeline) -> None:
    control = Control.read(camera="forward=5,turn=15")
    wishes = {"num_frames": 40, "seed": 3, "control": control}
    video = pipe(street_map(), loop=True, **wishes)
    frames = torch.cat((video.first_frame[:, None], video.frames), 1)[0]
    assert len(frames) == 40 and video.repeats == tuple(range(19, 0, -1))
    steps = torch.cat((frames, frames[:1])).diff(dim=0).abs().mean((1, 2, 3))
    assert 0 < steps[-1] <= steps.median(), "from the last to the first"
    assert torch.equal(frames[1:20], frames[21:].flip(0)), "the way back shows the same"
    assert video.poses is not None
    assert np.array_equal(video.poses[0, 1:20], video.poses[0, 21:][::-1])
    # Midway it is as fast as a video without end, at both ends it stands.
    way = np.linalg.norm(np.diff(video.poses[0, :21, :3, 3], axis=0), axis=1)
    assert way.max() == pytest.approx(5 / 12, rel=0.02) and way[0] < 0.1 * way.max()
    assert way[-1] < 0.1 * way.max()
    assert video.reference_frames == (0,) * 13 + (12,) * 15 + (0,) * 12
    passes = list(pipe.stream(street_map(), loop=True, **wishes))
    assert torch.equal(torch.cat([one.frames for one in passes], 1), video.frames)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5])
def test_a_short_loop_is_one_too(pipe: Seg2VidPipeline, num_frames: int) -> None:
    video = pipe(street_map(), num_frames=num_frames, seed=3, loop=True)
    assert video.frames.shape[1] == num_frames - 1
    assert len(video.repeats) == max(0, (num_frames - 1) // 2)
