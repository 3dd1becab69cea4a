"""Motion transfer: codes of real clips, placed on other first frames, mixed and played."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seg2vid
from seg2vid.cli import main as cli
from seg2vid.data.motion_clip import MotionClip
from seg2vid.media.passes import join_passes
from seg2vid.media.pictures import read_image, write_image, write_label_map
from seg2vid.media.video import read_video
from seg2vid.models.control import Control
from seg2vid.models.motion_decoder import MotionDecoder
from seg2vid.models.motion_encoder import build_motion_encoder
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Latent
from seg2vid.tools.errors import MediaError, ModelError, Seg2VidError
from seg2vid.transfer import (
    PARTS,
    MotionCode,
    encode_motion,
    interpolate_codes,
    place_motion,
    play_motion,
    resample_code,
)
from tests.tiny import CONFIG, HEIGHT, NUM_FRAMES, WIDTH, street_map

pytestmark = pytest.mark.usefixtures("arithmetic")

CAR, PERSON = 13, 11
SPACE = seg2vid.get_label_space("cityscapes")


def make_pipe(semantics: str = "split") -> Seg2VidPipeline:
    """A tiny pipeline with its motion encoder."""
    torch.manual_seed(0)
    pipe = Seg2VidPipeline.from_config(replace(CONFIG, semantics=semantics))
    encoder = build_motion_encoder(pipe.config)
    pipe.motion_encoder_weights = {
        f"motion_encoder.{name}": value for name, value in encoder.state_dict().items()
    }
    return pipe


@pytest.fixture(scope="module")
def pipe() -> Seg2VidPipeline:
    return make_pipe()


def clip(seed: int = 0, time: int = NUM_FRAMES + 1) -> torch.Tensor:
    """A clip (1, time, 3, height, width) of noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, time, 3, HEIGHT, WIDTH, generator=generator)


def squares(*places: tuple[int, int, int]) -> torch.Tensor:
    """A road with 16 x 16 objects of (class, top, left)."""
    label_map = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.long)
    for number, top, left in places:
        label_map[:, top : top + 16, left : left + 16] = number
    return label_map


def numbered(pipe: Seg2VidPipeline, label_map: torch.Tensor) -> MotionCode:
    """A code in which the n-th object carries the numbers (n, n) and the background 1, 2, 3."""
    objects = pipe.find_objects(label_map, None)
    foreground = objects.unsqueeze(1).repeat(1, 2, 1, 1).float()
    return MotionCode(Latent(torch.tensor([[1.0, 2.0, 3.0]]), foreground), objects, label_map)


def code_at(z: Latent, top: int, left: int) -> float:
    """The foreground code of the coarse cell that holds this pixel."""
    return float(z.foreground[0, 0, top // 8, left // 8])


# Encoding.


def test_the_code_of_a_clip_does_not_change(pipe: Seg2VidPipeline) -> None:
    street = street_map()
    code = encode_motion(pipe, clip(), street)
    assert code.z.background.shape == (1, 3) and code.z.foreground.shape == (1, 2, 8, 16)
    assert torch.equal(code.objects, pipe.find_objects(street, None))
    again = encode_motion(pipe, clip(), street)
    assert torch.equal(code.z.background, again.z.background)
    other = encode_motion(pipe, clip(1), street)
    assert not torch.equal(code.z.background, other.z.background)


def test_frames_after_the_pass_are_not_looked_at(pipe: Seg2VidPipeline) -> None:
    long = torch.cat((clip(), clip(1)), 1)
    short, whole = (encode_motion(pipe, c, street_map()) for c in (clip(), long))
    assert torch.equal(short.z.background, whole.z.background)


def test_encoding_what_does_not_fit(pipe: Seg2VidPipeline) -> None:
    with pytest.raises(ModelError, match=f"a clip of at least {NUM_FRAMES + 1} frames; got 2"):
        encode_motion(pipe, clip(time=2), street_map())
    with pytest.raises(ModelError, match=f"clip and label map of {WIDTH}x{HEIGHT}.* fit both"):
        encode_motion(pipe, clip()[..., :32], street_map())
    with pytest.raises(ModelError, match="clip and label map of"):
        encode_motion(pipe, clip(), street_map().repeat(2, 1, 1))
    with pytest.raises(Seg2VidError, match=r"ids 0 \.\.\. 19"):
        encode_motion(pipe, clip(), street_map() + 30)
    bare = Seg2VidPipeline.from_config(CONFIG)
    with pytest.raises(ModelError, match="a model with its motion encoder; got one that can only"):
        encode_motion(bare, clip(), street_map())


# Placing.


def test_on_its_own_frame_a_code_stays_as_it_is(pipe: Seg2VidPipeline) -> None:
    code = encode_motion(pipe, clip(), street_map())
    z = place_motion(pipe, code, street_map())
    torch.testing.assert_close(z.foreground, code.z.foreground)
    assert torch.equal(z.background, code.z.background)


def test_objects_take_the_code_of_the_nearest_of_their_class(pipe: Seg2VidPipeline) -> None:
    code = numbered(pipe, squares((CAR, 0, 0), (CAR, 0, 96), (PERSON, 40, 96)))
    names = {code_at(code.z, *place): place for place in ((0, 0), (0, 96), (40, 96))}
    left, right, person = (code_at(code.z, *place) for place in names.values())
    target = squares((CAR, 32, 8), (CAR, 40, 104), (PERSON, 0, 0))
    z = place_motion(pipe, code, target)
    assert code_at(z, 32, 8) == left
    # The person stands nearer, but a car moves like a car.
    assert code_at(z, 40, 104) == right
    assert code_at(z, 0, 0) == person
    assert z.background.tolist() == [[1.0, 2.0, 3.0]]
    cells = pipe.find_objects(target, None)
    assert (z.foreground[:, 0][cells == 0] == 0).all()


def test_another_class_is_better_than_none(pipe: Seg2VidPipeline) -> None:
    code = numbered(pipe, squares((CAR, 0, 0), (CAR, 0, 96)))
    z = place_motion(pipe, code, squares((PERSON, 40, 104)))
    assert code_at(z, 40, 104) == code_at(code.z, 0, 96) > 0


def test_without_objects_there_is_nothing_to_take(pipe: Seg2VidPipeline) -> None:
    empty = numbered(pipe, squares())
    assert place_motion(pipe, empty, squares((CAR, 0, 0))).foreground.abs().sum() == 0
    full = numbered(pipe, squares((CAR, 0, 0)))
    assert place_motion(pipe, full, squares()).foreground.abs().sum() == 0


def test_instances_tell_touching_objects_apart(pipe: Seg2VidPipeline) -> None:
    street = squares((CAR, 0, 0), (CAR, 0, 16))
    instances = torch.zeros_like(street)
    instances[:, :16, :16], instances[:, :16, 16:32] = 1, 2
    code = numbered(pipe, squares((CAR, 0, 0), (CAR, 0, 96)))
    apart = place_motion(pipe, code, street, instance_map=instances)
    assert (apart.foreground != 0).sum() == 2 * 8
    assert code_at(apart, 0, 0) == code_at(apart, 0, 16) == code_at(code.z, 0, 0)


# Mixing.


def test_interpolation_meets_both_ends_and_the_middle(pipe: Seg2VidPipeline) -> None:
    codes = [encode_motion(pipe, clip(seed), street_map()).z for seed in (0, 1)]
    for weight, expected in ((0.0, codes[0]), (1.0, codes[1])):
        mixed = interpolate_codes(*codes, weight)
        torch.testing.assert_close(mixed.background, expected.background)
        torch.testing.assert_close(mixed.foreground, expected.foreground)
    middle = interpolate_codes(*codes, 0.5).background
    torch.testing.assert_close(middle, (codes[0].background + codes[1].background) / 2)


def test_codes_of_two_frames_do_not_mix(pipe: Seg2VidPipeline) -> None:
    z = encode_motion(pipe, clip(), street_map()).z
    smaller = Latent(z.background, z.foreground[..., :4])
    with pytest.raises(ModelError, match=r"two codes of one first frame; got shapes .* place_mot"):
        interpolate_codes(z, smaller, 0.5)


@pytest.mark.parametrize("part", PARTS)
def test_one_part_is_drawn_anew_and_the_other_kept(pipe: Seg2VidPipeline, part: str) -> None:
    (kept,) = set(PARTS) - {part}
    z = encode_motion(pipe, clip(), street_map()).z
    seeded = [torch.Generator().manual_seed(seed) for seed in (5, 5, 6)]
    drawn = [resample_code(pipe, z, street_map(), part, generator=g) for g in seeded]
    for one in drawn:
        assert torch.equal(getattr(one, kept), getattr(z, kept))
        assert not torch.equal(getattr(one, part), getattr(z, part))
    assert torch.equal(getattr(drawn[0], part), getattr(drawn[1], part))
    assert not torch.equal(getattr(drawn[0], part), getattr(drawn[2], part))
    outside = pipe.find_objects(street_map(), None) == 0
    assert (drawn[0].foreground[:, 0][outside] == 0).all()


def test_resampling_what_is_not_there(pipe: Seg2VidPipeline) -> None:
    z = encode_motion(pipe, clip(), street_map()).z
    with pytest.raises(ModelError, match="background or foreground; got 'middle'"):
        resample_code(pipe, z, street_map(), "middle")
    joint = make_pipe("joint")
    with pytest.raises(ModelError, match="encodes foreground apart; got joint"):
        resample_code(joint, z, street_map(), "foreground")


def test_the_camera_drives_the_same_path_in_another_scene() -> None:
    pipe = make_pipe()
    code, other = numbered(pipe, squares((CAR, 0, 0))), torch.tensor([[-1.0, 1.0, 0.5]])
    decoder, frame = pipe.animator.flow_decoder, clip(7)[:, 0]
    assert isinstance(decoder, MotionDecoder)
    torch.nn.init.normal_(decoder.requires_grad_(False).camera[-1].weight)

    def camera(picture: torch.Tensor, label_map: torch.Tensor, z: Latent) -> torch.Tensor:
        seen = pipe.animator.look(picture, label_map, pipe.find_objects(label_map, None))
        assert seen is not None
        return decoder.paths(seen, z).camera

    # The code alone would drive another path there.
    wanted = camera(clip()[:, 0], code.label_map, replace(code.z, background=other))
    z = place_motion(pipe, replace(code, camera=wanted), street_map(), first_frame=frame)
    gaps = [
        (camera(frame, street_map(), replace(z, background=background)) - wanted).abs().max()
        for background in (code.z.background, z.background)
    ]
    assert gaps[1] < 0.1 * gaps[0]


# Playing.


def test_elsewhere_a_drive_is_careful(pipe: Seg2VidPipeline, monkeypatch: Any) -> None:
    asked = []
    drive = MotionDecoder.drive

    def watch(*args: Any, careful: bool, **kwargs: Any) -> Any:
        asked.append(careful)
        return drive(*args, careful=careful, **kwargs)

    monkeypatch.setattr(MotionDecoder, "drive", watch)
    code = encode_motion(pipe, clip(), street_map())
    for target in (street_map(), squares((CAR, 0, 0))):
        list(play_motion(pipe, [code], target, num_frames=4, first_frame=clip(7)[:, 0]))
    assert asked == [False, True]


def test_one_code_plays_as_its_z_does(pipe: Seg2VidPipeline) -> None:
    code = encode_motion(pipe, clip(), street_map())
    frame = clip(7)[:, 0]
    passes = play_motion(pipe, [code], street_map(), num_frames=6, first_frame=frame)
    played = join_passes(list(passes))
    z = place_motion(pipe, code, street_map())
    # What happened in the clip is not mended.
    seen = Control(careful=False)
    plain = pipe(street_map(), num_frames=6, first_frame=frame, z=z, seed=0, control=seen)
    assert torch.equal(played.first_frame, frame)
    assert torch.equal(played.frames, plain.frames)
    assert played.pass_starts == plain.pass_starts


def test_each_pass_moves_like_its_own_code(pipe: Seg2VidPipeline) -> None:
    codes = [encode_motion(pipe, clip(seed), street_map()) for seed in (0, 1)]
    played = list(play_motion(pipe, codes, street_map(), num_frames=9, seed=1))
    assert [chunk.frames.shape[1] for chunk in played] == [3, 3, 2]
    # Both are read from one key frame.
    assert [chunk.pass_starts for chunk in played] == [(0,), (), ()]
    assert torch.equal(played[0].z.background, codes[0].z.background)
    assert played[0].look is not None, "the first frame was painted"
    given = (played[0].label_maps[:, -1], played[0].frames[:, -1])
    second = place_motion(pipe, codes[1], given[0], first_frame=given[1])
    assert torch.equal(played[1].z.background, second.background)
    assert not torch.equal(played[1].z.background, played[0].z.background)
    # After the last code its motion goes on.
    assert torch.equal(played[2].z.background, second.background)
    short = list(play_motion(pipe, codes, street_map(), num_frames=3))
    assert [chunk.frames.shape[1] for chunk in short] == [2]


# Clips on disk.


def write_folder(folder: Path, count: int, *, labels: tuple[int, ...] = (0,)) -> Path:
    """A folder of frames, twice the model's size, some with a label map."""
    (folder / "labels").mkdir(parents=True)
    ids = street_map()[0].numpy().repeat(2, 0).repeat(2, 1)
    for index in range(count):
        pixels = np.full((2 * HEIGHT, 2 * WIDTH, 3), 10 * index, dtype=np.uint8)
        write_image(folder / f"{index:06d}.png", pixels)
        if index in labels:
            write_label_map(folder / "labels" / f"{index:06d}.png", ids, SPACE)
    return folder


def passes(motion: MotionClip, most: int = 9) -> list[seg2vid.Clip]:
    """Its passes at the tiny model's size."""
    return motion.passes(SPACE, height=HEIGHT, width=WIDTH, num_frames=NUM_FRAMES, most=most)


def brightness(one: seg2vid.Clip) -> list[int]:
    """The numbers of the frames of a pass, first frame included."""
    frames = torch.cat((one.first_frame[:, None], one.frames), 1)
    return (frames.mean((0, 2, 3, 4)) * 25.5).round().int().tolist()


def test_folder_is_read_pass_by_pass(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clip", 8, labels=(0, 3))
    first, second = passes(MotionClip(folder))
    assert brightness(first) == [0, 1, 2, 3] and brightness(second) == [3, 4, 5, 6]
    assert torch.equal(first.label_map, street_map())
    assert first.instance_map is None
    assert len(passes(MotionClip(folder), most=1)) == 1


def test_every_second_frame_can_be_taken(tmp_path: Path) -> None:
    (only,) = passes(MotionClip(write_folder(tmp_path / "clip", 8), step=2))
    assert brightness(only) == [0, 2, 4, 6]


def test_passes_end_where_labels_do(tmp_path: Path) -> None:
    assert len(passes(MotionClip(write_folder(tmp_path / "clip", 12, labels=(0, 6))))) == 1


def test_instances_beside_the_labels_are_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clip", 4)
    (folder / "instances").mkdir()
    shutil.copy(folder / "labels" / "000000.png", folder / "instances" / "000000.png")
    (only,) = passes(MotionClip(folder))
    assert only.instance_map is not None and only.instance_map.shape == (1, HEIGHT, WIDTH)


def test_video_with_labels_named(tmp_path: Path, pipe: Seg2VidPipeline) -> None:
    video = pipe(street_map(), num_frames=5, seed=0).save(tmp_path / "clip.mp4")
    labels = write_folder(tmp_path / "f", 1) / "labels" / "000000.png"
    (only,) = passes(MotionClip(video, labels))
    assert only.frames.shape == (1, NUM_FRAMES, 3, HEIGHT, WIDTH)


Broken = Callable[[Path], MotionClip]
UNLABELLED = "the label map of the clip's first frame; got "
BROKEN: dict[str, Broken] = {
    "a folder of frames or a video .* got no .*/x; check": lambda p: MotionClip(p / "x"),
    r"frames \(.jpg, .jpeg, .png\) in .* got none": MotionClip,
    UNLABELLED + "none beside .*name its file": lambda p: MotionClip(
        write_folder(p / "a", 4, labels=())
    ),
    UNLABELLED + "no .*/l.png": lambda p: MotionClip(write_folder(p / "b", 4), p / "l.png"),
    "a step of at least 1 in the clip that lends its motion; got 0": lambda p: MotionClip(
        p, step=0
    ),
}


@pytest.mark.parametrize("message", BROKEN)
def test_clips_that_cannot_lend_motion(message: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=message):
        BROKEN[message](tmp_path)


def test_clip_shorter_than_a_pass(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clip", 5)
    with pytest.raises(
        MediaError, match=r"4 frames from 0 of clip, every 2; got 3 in .*clip; give a longer"
    ):
        passes(MotionClip(folder, step=2))


def test_file_that_is_no_video(tmp_path: Path) -> None:
    labels = write_folder(tmp_path / "f", 1) / "labels" / "000000.png"
    (tmp_path / "clip.mp4").write_text("no video")
    with pytest.raises(MediaError, match=r"a video or a folder of png frames; got .*clip.mp4"):
        passes(MotionClip(tmp_path / "clip.mp4", labels))


# The verb.


def test_animate_moves_a_photo_like_a_clip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_pipe().save_pretrained(tmp_path / "model")
    folder = write_folder(tmp_path / "clip", 7, labels=(0, 3))
    pixels = np.random.default_rng(0).integers(0, 255, (2 * HEIGHT, 2 * WIDTH, 3), dtype=np.uint8)
    write_image(tmp_path / "photo.png", pixels)
    plain, moved = tmp_path / "plain", tmp_path / "moved"
    words = ["animate", tmp_path / "photo.png", "--labels", folder / "labels" / "000000.png"]
    words += ["--model", tmp_path / "model", "--frames", 7]
    assert cli.main([*map(str, words), "-o", str(plain), "--seed", "3"]) == 0
    assert "motion of" not in capsys.readouterr().out
    given = [*words, "--motion-from", folder, "-o", moved, "--contact-sheet", tmp_path / "s.png"]
    assert cli.main([str(word) for word in given]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert f"{folder}: motion of 7 frames, 2 passes" in printed and "wrote" in printed
    one, other = read_video(plain), read_video(moved)
    assert one.shape == other.shape == (7, 2 * HEIGHT, 2 * WIDTH, 3), "the photo's own size"
    assert (one[0] == other[0]).all() and (one[1:] != other[1:]).any()
    assert read_image(tmp_path / "s.png").size > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--motion-from", "nowhere"], "a folder of frames or a video to take motion from"),
        (["--motion-from", ".", "--motion-step", "x"], "a whole number for --motion-step"),
        (["--frames", "0"], "--frames of at least 1"),
    ],
)
def test_animate_refuses_in_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "clip", 1)
    labels = folder / "labels" / "000000.png"
    given = ["animate", str(folder / "000000.png"), "--labels", str(labels), "-o", "out.mp4"]
    assert cli.main([*given, *words]) == 2
    line = capsys.readouterr().err
    assert message in line and line.count("\n") == 1
    assert not Path("out.mp4").exists()


def test_animate_needs_a_photo(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["animate", "photo.png", "-o", "out.mp4"]) == 2
    assert "Expected a photo; got no file photo.png; check" in capsys.readouterr().err
