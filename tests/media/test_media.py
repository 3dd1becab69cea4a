"""Pictures, flow files and videos: round trips, colours, and whole or not at all."""

import json
import os
import warnings
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from seg2vid import __version__
from seg2vid.labels.space import get_label_space
from seg2vid.media.drawing import contact_sheet, flow_to_colours, overlay, pick_evenly
from seg2vid.media.extras import output_paths, to_pixels
from seg2vid.media.generated import GeneratedVideo, VideoSink
from seg2vid.media.label_maps import label_maps_in
from seg2vid.media.pictures import read_flow, read_image, write_flow, write_image, write_label_map
from seg2vid.media.video import VideoWriter, frame_rate, read_video, video_ending
from seg2vid.structures import Latent, Motion
from seg2vid.tools import files
from seg2vid.tools.errors import LabelMapError, MediaError

CITYSCAPES = get_label_space("cityscapes")
ENDINGS = [".mp4", ".webm", ".gif", ".webp", ""]
BARS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (128, 128, 128), (255, 255, 255))


def bars(count: int = 5, height: int = 64, width: int = 96) -> np.ndarray:
    """Colour bars over a marker that moves one column a frame."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    for index, colour in enumerate(BARS):
        frames[:, :, index * 16 : index * 16 + 16] = colour
    for index in range(count):
        frames[index, -8:, index * 8 : index * 8 + 8] = 0
    return frames


def make_video(count: int = 4, height: int = 32, width: int = 64) -> GeneratedVideo:
    """A video whose frames, labels and flow are all different."""
    shape = (1, count, 2, height, width)
    flow = torch.arange(1.0, count + 1).view(1, -1, 1, 1, 1).expand(shape).clone()
    visible = torch.ones(1, count, 1, height, width)
    visible[..., : width // 2] = 0
    ids = torch.arange(count).view(1, -1, 1, 1).expand(1, count, height, width) % 19
    return GeneratedVideo(
        first_frame=torch.full((1, 3, height, width), 0.5),
        frames=torch.linspace(0, 1, count).view(1, -1, 1, 1, 1).expand(1, count, 3, height, width),
        label_map=torch.full((1, height, width), 19),
        label_maps=ids,
        motion=Motion(-flow, flow, visible, visible),
        z=Latent(torch.zeros(1, 2), torch.zeros(1, 2, 2, 4)),
        frames_per_second=12.0,
        label_space="cityscapes",
    )


# Pictures


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp"])
def test_image_round_trip(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    image = np.full((20, 30, 3), (200, 100, 50), np.uint8)
    write_image(path, image)
    error = np.abs(read_image(path).astype(int) - image)
    assert error.max() <= (0 if ending == ".png" else 6)
    assert os.listdir(tmp_path) == [path.name]


def test_image_with_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"ending in \.png, .*; got 'a\.bmp'; change the ending"):
        write_image(tmp_path / "a.bmp", np.zeros((4, 4, 3), np.uint8))


def test_photo_is_turned_flattened_and_eight_bit(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "turned.png", exif=exif)
    assert read_image(tmp_path / "turned.png").shape == (30, 20, 3)
    Image.fromarray(np.zeros((5, 5, 4), np.uint8)).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png") == 255).all()
    Image.fromarray(np.full((5, 5), 7, np.uint8)).save(tmp_path / "grey.png")
    assert (read_image(tmp_path / "grey.png") == 7).all()
    Image.fromarray(np.full((5, 5), 7, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(MediaError, match=r"8-bit photo; got .*I;16.*export it with 8 bits"):
        read_image(tmp_path / "deep.png")


def test_damaged_exif_data_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    cut = b"Exif\0\0II*\0\x08\0\0\0\x01\0abcd"
    Image.new("RGB", (4, 2), "red").save(path, exif=cut, dpi=(72, 72))
    assert read_image(path).shape == (2, 4, 3)


def test_what_decoders_remark_of_damage_is_not_printed(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    table = int.from_bytes(content[4:8], "little")
    content[table + 6 : table + 10] = b"\xff\xff\xff\0"  # the width is told in so many numbers
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        with pytest.raises(MediaError, match=r"Expected a photo; got .*a\.tiff, which is "):
            read_image(path)
    assert remarks == []


def test_label_map_must_end_in_png(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"ending in \.png; got 'a\.jpg'; .*lose ids"):
        write_label_map(tmp_path / "a.jpg", np.zeros((9, 9), np.int64), CITYSCAPES)


# Flow


@given(
    arrays(
        np.float32,
        st.tuples(st.just(2), st.integers(1, 5), st.integers(1, 5)),
        elements=st.floats(-1e3, 1e3, width=32),
    )
)
def test_flow_round_trip(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("flow") / "a.flo"
    write_flow(path, torch.from_numpy(values))
    assert torch.equal(read_flow(path), torch.from_numpy(values))


def test_flow_file_is_middlebury(tmp_path: Path) -> None:
    flow = torch.zeros(2, 3, 4)
    flow[0, 1, 2], flow[1, 1, 2] = 5, -7
    write_flow(tmp_path / "a.flo", flow)
    content = (tmp_path / "a.flo").read_bytes()
    assert np.frombuffer(content, "<f4", 1)[0] == np.float32(202021.25)
    assert np.frombuffer(content, "<i4", 2, 4).tolist() == [4, 3], "width, height"
    vectors = np.frombuffer(content, "<f4", offset=12).reshape(3, 4, 2)
    assert vectors[1, 2].tolist() == [5, -7], "interleaved dx, dy"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin with PIEH"),
        (b"nope" + bytes(20), "does not begin with PIEH"),
        (b"PIEH" + bytes(8), "Expected 12 bytes for 0x0"),
        (b"PIEH\2\0\0\0\2\0\0\0" + bytes(31), "Expected 44 bytes for 2x2 .*; got 43; .*cut off"),
    ],
)
def test_damaged_flow_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.flo").write_bytes(content)
    with pytest.raises(MediaError, match=message):
        read_flow(tmp_path / "a.flo")


def test_missing_flow_file(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"Expected a \.flo file; got no file"):
        read_flow(tmp_path / "a.flo")


def colour_of(dx: float, dy: float, largest: float | None = 1.0) -> list[float]:
    flow = torch.tensor([dx, dy]).view(2, 1, 1)
    return [round(float(part), 2) for part in flow_to_colours(flow, largest).flatten()]


def test_flow_colours_follow_baker() -> None:
    """Middlebury's wheel: right is red, down yellow, left cyan to blue, up violet, rest white."""
    assert colour_of(0.0, 0.0) == [1, 1, 1]
    assert colour_of(1.0, 0.0) == [1, 0, 0]
    assert (
        colour_of(0.0, 1.0)[0] > 0.9
        and colour_of(0.0, 1.0)[1] > 0.85
        and colour_of(0.0, 1.0)[2] == 0
    )
    red, green, blue = colour_of(-1.0, 0.0)
    assert red == 0 and green > 0.6 and blue == 1
    red, green, blue = colour_of(0.0, -1.0)
    assert 0 < red < blue == 1 and green == 0


def test_flow_colours_scale() -> None:
    assert colour_of(0.5, 0.0) == [1, 0.5, 0.5]
    assert colour_of(3.0, 0.0, None) == [1, 0, 0], "the largest motion sets the scale"
    assert colour_of(2.0, 0.0) == [0.75, 0, 0], "beyond the scale it darkens"
    batch = flow_to_colours(torch.randn(2, 3, 2, 4, 5) * 9)
    assert batch.shape == (2, 3, 3, 4, 5) and batch.min() >= 0 and batch.max() <= 1
    assert torch.equal(flow_to_colours(torch.zeros(2, 3, 3)), torch.ones(3, 3, 3))


# Drawing


def test_overlay_mixes_halves() -> None:
    frames, colours = np.full((2, 4, 4, 3), 100, np.uint8), np.full((2, 4, 4, 3), 200, np.uint8)
    assert (overlay(frames, colours) == 150).all()
    assert (overlay(colours, colours) == 200).all(), "no byte runs over"


def test_contact_sheet_lays_rows_of_any_length() -> None:
    sheet = contact_sheet({"a": bars(3), "b": bars(1, 32, 16)})
    assert sheet.shape == (4 + 16 + 64 + 4 + 16 + 32 + 4, 4 + 3 * 100, 3)
    assert np.array_equal(sheet[20:84, 4:100], bars(1)[0])
    with pytest.raises(MediaError, match="frames for the sheet; got none"):
        contact_sheet({})


@given(st.integers(1, 100), st.integers(1, 12))
def test_picked_frames_are_spread(length: int, columns: int) -> None:
    picked = pick_evenly(length, columns)
    assert len(picked) == min(length, columns) and picked[0] == 0
    assert columns == 1 or picked[-1] == length - 1


def test_to_pixels_rounds_and_clips() -> None:
    frame = torch.tensor([-1.0, 0.5, 2.0]).view(3, 1, 1)
    assert to_pixels(frame).tolist() == [[[0, 128, 255]]]


# Videos


@pytest.mark.parametrize("ending", ENDINGS)
def test_video_keeps_count_size_and_colours(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    frames = bars()
    with VideoWriter(path, frames_per_second=12.0) as writer:
        assert not path.exists(), "nothing appears before it is whole"
        for frame in frames:
            writer.write(frame)
    found = read_video(path)
    assert found.shape == frames.shape
    tolerance = {".mp4": 6, ".webm": 6, ".webp": 24, ".gif": 8, "": 0}[ending]
    centres = [found[3, 20, index * 16 + 8].tolist() for index in range(6)]
    assert np.abs(np.array(centres) - BARS).max() <= tolerance
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(("ending", "codec"), [(".mp4", "h264"), (".webm", "vp9")])
def test_browsers_get_what_they_need(tmp_path: Path, ending: str, codec: str) -> None:
    path = tmp_path / f"a{ending}"
    with VideoWriter(path, frames_per_second=12.5) as writer:
        for frame in bars():
            writer.write(frame)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == (codec, "yuv420p")
        assert float(stream.average_rate) == 12.5
        frame = next(container.decode(video=0))
        # 1 is BT.709, and 1 is limited range: without them browsers guess and colours shift.
        assert (int(frame.colorspace), int(frame.color_range)) == (1, 1)
        assert (context.color_primaries, context.color_trc) == (1, 1)
    if ending == ".mp4":
        content = path.read_bytes()
        assert content.index(b"moov") < content.index(b"mdat"), "plays before it is loaded"


def test_gif_and_webp_loop_at_the_right_speed(tmp_path: Path) -> None:
    for ending in (".gif", ".webp"):
        path = tmp_path / f"a{ending}"
        with VideoWriter(path, frames_per_second=10.0) as writer:
            for frame in bars(12):
                writer.write(frame)
        with Image.open(path) as image:
            assert image.n_frames == 12 and image.info["loop"] == 0
            image.seek(5)
            image.load()
            assert image.info["duration"] == 100


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("count", [1, 20])
def test_short_and_long_videos(tmp_path: Path, ending: str, count: int) -> None:
    path = tmp_path / f"a{ending}"
    with VideoWriter(path, frames_per_second=24.0) as writer:
        for index in range(count):
            writer.write(np.full((32, 32, 3), index * 12, np.uint8))
    assert len(read_video(path)) == count


def test_odd_sides_repeat_their_last_pixels(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", frames_per_second=12.0) as writer:
        writer.write(np.full((31, 33, 3), 200, np.uint8))
    found = read_video(tmp_path / "a.mp4")
    assert found.shape == (1, 32, 34, 3) and np.abs(found.astype(int) - 200).max() < 4


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_video_leaves_nothing(tmp_path: Path, ending: str, error: type) -> None:
    def fail() -> None:
        with VideoWriter(tmp_path / f"a{ending}", frames_per_second=12.0) as writer:
            writer.write(bars()[0])
            raise error("stop")

    with pytest.raises(error):
        fail()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("ending", [".mp4", ".gif", ""])
def test_a_failed_video_leaves_the_older_one(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    with VideoWriter(path, frames_per_second=12.0) as writer:
        writer.write(bars()[0])
    with pytest.raises(MediaError), VideoWriter(path, frames_per_second=12.0) as writer:
        writer.write(bars()[0])
        writer.write(bars(1, 32)[0])
    assert read_video(path).shape == (1, 64, 96, 3) and os.listdir(tmp_path) == [path.name]
    with VideoWriter(path, frames_per_second=12.0) as writer:
        for frame in bars(3):
            writer.write(frame)
    assert len(read_video(path)) == 3 and os.listdir(tmp_path) == [path.name]


def test_writer_refuses_what_is_no_frame_of_the_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    message = r"frames of one shape \(64, 96, 3\).*\(32, 96, 3\)"
    writer = VideoWriter(path, frames_per_second=12.0)
    with pytest.raises(MediaError, match=message), writer:
        writer.write(bars()[0])
        writer.write(bars(1, 32)[0])
    with pytest.raises(MediaError, match="at least one frame; got none"):
        VideoWriter(path, frames_per_second=12.0).__exit__(None, None, None)
    writer = VideoWriter(path, frames_per_second=12.0)
    writer.discard()
    with pytest.raises(MediaError, match="Expected an open writer; got a closed one"):
        writer.write(bars()[0])
    assert os.listdir(tmp_path) == []


def test_unknown_ending_and_rate(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"\.mp4, \.webm, \.webp, \.gif, or a folder.*'a\.avi'"):
        VideoWriter(tmp_path / "a.avi", frames_per_second=12.0)
    for rate in (0.0, -1.0, float("nan"), float("inf"), 1000.0):
        with pytest.raises(MediaError, match="frames per second above 0 and at most 240; got"):
            VideoWriter(tmp_path / "a.mp4", frames_per_second=rate)
    assert frame_rate(29.97) == frame_rate(2997 / 100) and float(frame_rate(12.0)) == 12
    assert video_ending(tmp_path) == "" and video_ending(Path("A.MP4")) == ".mp4"
    assert os.listdir(tmp_path) == []


def test_unreadable_videos(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    (tmp_path / "a.gif").write_bytes(b"no gif")
    for name in ("a.mp4", "a.gif", "none.mp4"):
        with pytest.raises(MediaError, match="Expected a video or a folder of png frames; got"):
            read_video(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="Expected frames; got none in"):
        read_video(tmp_path / "empty")
    for side in (8, 9):
        Image.new("RGB", (8, side)).save(tmp_path / "empty" / f"{side}.png")
    with pytest.raises(MediaError, match="Expected frames of one size; got 8x8 and 8x9 in"):
        read_video(tmp_path / "empty")


def test_a_gif_cut_off_anywhere_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    images = [Image.new("L", (8, 8), 90 * index) for index in range(3)]
    images[0].save(path, save_all=True, append_images=images[1:], loop=0)
    content = path.read_bytes()
    messages = set()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        try:
            assert read_video(path).shape[1:] == (8, 8, 3)
        except MediaError as error:
            messages.add(str(error).replace(str(path), ""))
    assert any("index out of range" in one for one in messages)


# Places


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MediaError, match=r"existing folder.*which is no folder; create it: mkdir"):
        files.check_place(tmp_path / "none" / "a.mp4")
    with pytest.raises(MediaError, match=r"file name to write to; got .*which is a folder"):
        files.check_place(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match=r"folder for the frames; got .*which is a file"):
        files.check_place(tmp_path / "file", is_folder=True)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").touch()
    with pytest.raises(MediaError, match=r"holds thesis\.txt .*; .*nothing is overwritten"):
        files.check_place(tmp_path / "own", is_folder=True)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(MediaError, match="folder with write permission; got"):
        files.check_place(tmp_path / "a.mp4")


def write_folder(path: Path, count: int = 3) -> None:
    with VideoWriter(path, frames_per_second=12.0) as writer:
        for frame in bars(count):
            writer.write(frame)


REFUSED = (
    r"a new or empty folder, or one that seg2vid wrote; got .*{}.*; .*nothing is overwritten\.$"
)


def test_a_folder_of_frames_that_seg2vid_did_not_write_is_never_replaced(tmp_path: Path) -> None:
    """Frames, labels/ and flow/ are the very layout that ``prepare`` reads."""
    own = tmp_path / "own"
    (own / "labels").mkdir(parents=True)
    for name in ("000000.png", "labels/000000.png"):
        (own / name).write_bytes(b"a year of work")
    with pytest.raises(MediaError, match=REFUSED.format(r"holds 000000\.png and no video\.json")):
        write_folder(own)
    for marker in ("", "[]", "{}", '{"format": "other", "frames": 3}', '{"frames": ', "\xff"):
        (own / "video.json").write_text(marker, "latin-1")
        with pytest.raises(MediaError, match=REFUSED.format(r"a video\.json of something else")):
            make_video().save(own)
    assert (own / "labels" / "000000.png").read_bytes() == b"a year of work"
    assert os.listdir(tmp_path) == ["own"]


@pytest.mark.parametrize(
    "name",
    [
        "thesis.txt",
        "poses.txt",
        "labels/thesis.txt",
        "instances/000000.png",
        "000003.png",
        "flow/000003.png",
    ],
)
def test_what_was_added_to_a_written_folder_keeps_it(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path / "s")
    files.check_place(tmp_path / "s", is_folder=True)
    (tmp_path / "s" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "s" / name).touch()
    added = name.partition("/")[0]
    with pytest.raises(MediaError, match=REFUSED.format(f"holds {added} besides")):
        files.check_place(tmp_path / "s", is_folder=True)


@pytest.mark.parametrize("name", [".", "..", "s/..", "/"])
def test_a_place_without_a_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is empty, and yet the folder a person works in is not to be moved away."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MediaError, match=r"name of a file or folder to write; got '.*'; n"):
        write_folder(Path(name))


def test_a_folder_that_is_filled_meanwhile_is_kept(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with (
        pytest.raises(MediaError, match=r"holds thesis\.txt"),
        VideoWriter(tmp_path / "s", frames_per_second=12.0) as writer,
    ):
        writer.write(bars()[0])
        (tmp_path / "s" / "thesis.txt").touch()
    assert os.listdir(tmp_path) == ["s"] and os.listdir(tmp_path / "s") == ["thesis.txt"]


def test_a_link_to_a_written_folder_is_replaced_but_not_what_it_leads_to(tmp_path: Path) -> None:
    write_folder(tmp_path / "there")
    (tmp_path / "link").symlink_to("there")
    write_folder(tmp_path / "link", 1)
    assert len(read_video(tmp_path / "there")) == 3 and len(read_video(tmp_path / "link")) == 1
    assert sorted(os.listdir(tmp_path)) == ["link", "there"]


def test_a_written_folder_tells_what_it_is(tmp_path: Path) -> None:
    extras = ("flow", "labels")
    make_video().save(tmp_path / "s", extras=extras)
    assert sorted(path.name for path in tmp_path.rglob("*.json")) == ["video.json"]
    found = json.loads((tmp_path / "s" / "video.json").read_text("utf-8"))
    assert found == {
        "written_by": f"seg2vid {__version__}",
        "format": "seg2vid-frames-1",
        "command": None,
        "model": None,
        "model_sha256": None,
        "device": None,
        "precision": None,
        "seed": None,
        "label_space": "cityscapes",
        "extras": ["flow", "labels"],
        "reference_frames": [0, 0, 0, 0, 0],
        "frames": 5,
        "frames_per_second": 12.0,
    }
    video = replace(
        make_video(), model="toycity", model_sha256="ab", seeds=(7,), pass_starts=(0, 2)
    )
    with VideoSink(tmp_path / "s", frames_per_second=12.5, command=["seg2vid"]) as sink:
        sink.write(video)
    found = json.loads((tmp_path / "s" / "video.json").read_text("utf-8"))
    assert (found["model"], found["model_sha256"], found["seed"]) == ("toycity", "ab", 7)
    assert (found["command"], found["frames_per_second"]) == (["seg2vid"], 12.5)
    assert found["reference_frames"] == [0, 0, 0, 2, 2], "flow of frames 3 and 4 is to frame 2"


def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    message = r"can be written; got .*No space left on device"
    with pytest.raises(MediaError, match=message), files.replacing(tmp_path / "a.txt") as half:
        half.write_text("half")
        full()
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(MediaError, match="No space left"), files.replacing(tmp_path / "a.txt"):
        pass
    monkeypatch.setattr(Path, "touch", full)
    with pytest.raises(MediaError, match="No space left"):
        files.Replacement(tmp_path / "a.txt")
    assert os.listdir(tmp_path) == []


def test_all_appear_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = [files.Replacement(tmp_path / "a"), files.Replacement(tmp_path / "b", is_folder=True)]
    monkeypatch.setattr(pair[1], "commit", lambda: (_ for _ in ()).throw(MediaError("no")))
    with pytest.raises(MediaError):
        files.commit_all(pair)
    assert os.listdir(tmp_path) == []
    order = [files.Replacement(tmp_path / "b", is_folder=True), files.Replacement(tmp_path / "a")]
    monkeypatch.setattr(order[1], "commit", lambda: (_ for _ in ()).throw(MediaError("no")))
    with pytest.raises(MediaError):
        files.commit_all(order)
    assert os.listdir(tmp_path) == []


# Generated videos


def test_saved_video_begins_with_the_first_frame(tmp_path: Path) -> None:
    video = make_video()
    path = video.save(tmp_path / "s.mp4", extras=("flow", "visible", "labels", "overlay"))
    assert path == tmp_path / "s.mp4"
    names = {"s.mp4", "s_flow.mp4", "s_visible.mp4", "s_labels.mp4", "s_overlay.mp4"}
    assert set(os.listdir(tmp_path)) == names
    assert all(len(read_video(tmp_path / name)) == 5 for name in names)
    frames = read_video(path)[:, 16, 32].astype(int)
    assert np.abs(frames - np.array([[128], [0], [85], [170], [255]])).max() <= 3
    assert (read_video(tmp_path / "s_flow.mp4")[0] > 250).all(), "the first frame is at rest"
    visible = read_video(tmp_path / "s_visible.mp4")
    assert (visible[0] > 250).all() and (visible[1, :, :28] < 5).all()
    assert (visible[1, :, 36:] > 250).all()
    labels = read_video(tmp_path / "s_labels.mp4")[:, 16, 32].astype(int)
    assert np.abs(labels - CITYSCAPES.colours[[19, 0, 1, 2, 3]]).max() <= 6


def test_folder_holds_exact_data(tmp_path: Path) -> None:
    video = make_video()
    folder = video.save(tmp_path / "s", extras=("flow", "visible", "labels", "overlay"))
    assert os.listdir(tmp_path) == ["s"]
    assert np.array_equal(read_video(folder)[1:], to_pixels(video.frames[0]))
    assert torch.equal(
        read_flow(folder / "flow" / "000003_backward.flo"), video.motion.backward_flow[0, 2]
    )
    assert torch.equal(
        read_flow(folder / "flow" / "000001_forward.flo"), video.motion.forward_flow[0, 0]
    )
    labels = np.asarray(Image.open(folder / "labels" / "000000.png"))
    assert (labels == 255).all(), "void is 255 in files"
    labels = np.asarray(Image.open(folder / "labels" / "000004.png"))
    assert (labels == 3).all()
    for name in ("flow", "visible", "labels", "overlay"):
        assert len(list((folder / name).glob("*.png"))) == 5
    video.save(tmp_path / "s", extras=())
    assert not (folder / "flow").exists() and len(read_video(folder)) == 5


def test_passes_are_appended(tmp_path: Path) -> None:
    sink = VideoSink(
        tmp_path / "s.gif",
        extras=("flow",),
        frames_per_second=12.0,
        label_space=CITYSCAPES,
        keep=(0, 5, 8),
    )
    with sink:
        for _ in range(2):
            sink.write(make_video())
    assert len(read_video(tmp_path / "s.gif")) == 9, "one first frame, twice four frames"
    assert {name: len(row) for name, row in sink.kept.items()} == {"frames": 3, "flow": 3}


def test_a_still_is_a_video_of_one_frame(tmp_path: Path) -> None:
    make_video(0).save(tmp_path / "s.mp4", extras=("labels", "flow"))
    assert len(read_video(tmp_path / "s.mp4")) == len(read_video(tmp_path / "s_flow.mp4")) == 1


def test_failed_sink_leaves_nothing(tmp_path: Path) -> None:
    for path in (tmp_path / "s.mp4", tmp_path / "s"):
        extras = ("flow", "visible", "labels", "overlay")
        sink = VideoSink(path, extras=extras, frames_per_second=12.0, label_space=CITYSCAPES)
        with pytest.raises(KeyboardInterrupt), sink:
            sink.write(make_video())
            raise KeyboardInterrupt
        assert os.listdir(tmp_path) == []
    (tmp_path / "s_flow.mp4").mkdir()
    with pytest.raises(MediaError, match="which is a folder"):
        make_video().save(tmp_path / "s.mp4", extras=("labels", "flow"))
    assert os.listdir(tmp_path) == ["s_flow.mp4"]


def test_extras_are_checked(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"out of flow, visible, .*, control-flow; got 'shadows'"):
        output_paths(tmp_path / "s.mp4", ["shadows"])
    with pytest.raises(MediaError, match="a label space for labels; got none"):
        VideoSink(tmp_path / "s.mp4", extras=("labels",), frames_per_second=12.0)
    unknown = GeneratedVideo(**{**vars(make_video()), "label_space": "mine"})
    with pytest.raises(LabelMapError, match="got 'mine'"):
        unknown.save(tmp_path / "s.mp4", extras=("labels",))
    assert unknown.save(tmp_path / "s.mp4").exists()


def test_second_sample_can_be_saved(tmp_path: Path) -> None:
    two = make_video().map(lambda tensor: torch.cat([tensor, torch.zeros_like(tensor)]))
    two.save(tmp_path / "s", sample=1)
    assert (read_video(tmp_path / "s") == 0).all()


def test_label_maps_of_a_folder_come_with_their_instance_maps(tmp_path: Path) -> None:
    names = ("b_gtFine_labelIds.png", "b_gtFine_instanceIds.png", "a_instances.png", "a.png")
    for name in (*names, "c_gtFine_instanceIds.png", "d.PNG", "notes.txt"):
        (tmp_path / name).touch()
    found = [(one.name, own and own.name) for one, own in label_maps_in(tmp_path).items()]
    assert found == [
        ("a.png", "a_instances.png"),
        ("b_gtFine_labelIds.png", "b_gtFine_instanceIds.png"),
        ("c_gtFine_instanceIds.png", None),
        ("d.PNG", None),
    ]
    for place in (tmp_path / "a.png", tmp_path / "nowhere"):
        with pytest.raises(
            MediaError, match=r"Expected a folder of label maps .*; got .* with none"
        ):
            label_maps_in(place)
