"""Generated videos and their files: what is known is written, what is no picture is refused."""

import base64
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from seg2vid.geometry import rays_of
from seg2vid.geometry.paths import rigid_motion
from seg2vid.media.annotations import camera_pose, flow_between
from seg2vid.media.generated import GeneratedVideo, VideoSink
from seg2vid.media.label_maps import read_instance_map
from seg2vid.media.pictures import write_sixteen_bits
from seg2vid.media.video import read_video
from seg2vid.models.control import Control
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Camera, Motion, ScenePaths
from seg2vid.tools.errors import MediaError
from seg2vid.tools.files import CONTROLS
from seg2vid.warp import backward_warp, warp_labels
from tests.media.test_media import make_video
from tests.tiny import CONFIG, HEIGHT, WIDTH, street_map


@pytest.mark.parametrize("ending", [".mp4", ".gif", ""])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_frames_that_are_not_finite_are_refused(tmp_path: Path, value: float, ending: str) -> None:
    video = make_video()
    frames, first = video.frames.clone(), video.first_frame.clone()
    frames[0, 2, 1, 5, 7] = value
    first[0, 0, 0, 0] = value
    for number, damaged in (
        (3, replace(video, frames=frames)),
        (0, replace(video, first_frame=first)),
    ):
        message = rf"^Expected finite colours in .*; got nan or inf in frame {number}; .*\.$"
        with pytest.raises(MediaError, match=message):
            damaged.save(tmp_path / f"s{ending}")
    assert os.listdir(tmp_path) == []


def test_a_later_pass_that_is_not_finite_leaves_nothing(tmp_path: Path) -> None:
    video = make_video()
    damaged = replace(video, frames=video.frames * float("nan"))
    with (
        pytest.raises(MediaError, match=r"nan or inf in frame 5; "),
        VideoSink(tmp_path / "s.mp4", frames_per_second=12.0) as sink,
    ):
        sink.write(video)
        sink.write(damaged)
    assert os.listdir(tmp_path) == []


def test_what_is_not_finite_in_another_sample_does_not_matter(tmp_path: Path) -> None:
    video = make_video()
    both = video.map(lambda tensor: tensor.repeat(2, *[1] * (tensor.ndim - 1)))
    both.frames[1] = float("nan")
    assert both.save(tmp_path / "s.mp4").exists()


def test_a_notebook_plays_every_sample(tmp_path: Path) -> None:
    both = make_video().map(lambda tensor: tensor.repeat(2, *[1] * (tensor.ndim - 1)))
    players = re.findall(
        r'<video [^>]*src="data:video/mp4;base64,([^"]+)"></video>', both._repr_html_()
    )
    assert len(players) == 2
    (tmp_path / "s.mp4").write_bytes(base64.b64decode(players[1]))
    assert read_video(tmp_path / "s.mp4").shape == (5, 32, 64, 3)


def test_convention_of_poses_is_that_of_the_moved_scene() -> None:
    """Points of the first camera, brought into a later one by both ways."""
    path = torch.tensor([3.0, -1.0, 0.3, 0.1])
    camera = Camera(torch.tensor([50.0]), torch.tensor([[31.5, 15.5]]))
    points = rays_of(camera, 32, 64)[0] * torch.linspace(2, 30, 32 * 64)
    still = ScenePaths(path.view(1, 1, 4), torch.zeros(1, 0, 1, 3), torch.zeros(1, 0, 2))
    move = rigid_motion(still)
    cosine, sine = move.cosine[0, 0], move.sine[0, 0]
    x = cosine * points[0] + sine * points[2] + move.rightward[0, 0]
    z = cosine * points[2] - sine * points[0] + move.forward[0, 0]
    up, level = move.pitch[0].sin(), move.pitch[0].cos()
    expected = torch.stack((x, level * points[1] + up * z, level * z - up * points[1]))
    pose = camera_pose(*path.tolist())
    found = np.linalg.inv(pose) @ np.concatenate((points.numpy(), np.ones((1, 32 * 64))))
    assert np.abs(found[:3] - expected.numpy()).max() < 1e-4
    ahead = camera_pose(2.0, 0.0, np.pi / 2, 0.0) @ np.array([0, 0, 1, 1])
    assert ahead == pytest.approx([1, 0, 2, 1]), "two metres ahead, then a turn to the right"
    above = camera_pose(0.0, 0.0, 0.0, np.pi / 2) @ np.array([0, 0, 1, 1])
    assert above == pytest.approx([0, -1, 0, 1]), "y points down"


def test_numbers_past_sixteen_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"from 0 to 65535 in .*; got 7 \.\.\. 70000; number"):
        write_sixteen_bits(tmp_path / "a.png", np.array([[7, 70_000]]))
    assert os.listdir(tmp_path) == []


@pytest.fixture(scope="module")
def video() -> GeneratedVideo:
    """Two keys of a street with two cars, a real model's."""
    torch.manual_seed(0)
    pipe, cars = Seg2VidPipeline.from_config(CONFIG), torch.zeros_like(street_map())
    cars[:, 32:48, 16:36], cars[:, 34:44, 60:72] = 26_001, 26_002
    control = Control.read(camera="forward=5,turn=15")
    return pipe(street_map(), num_frames=13, seed=1, instance_map=cars, control=control)


def test_the_video_has_what_is_written(video: GeneratedVideo, tmp_path: Path) -> None:
    video.save(tmp_path / "s", extras=("depth", "poses", "boxes", "painted"))
    depth = read_instance_map(tmp_path / "s" / "depth" / "000000.png") / 256
    assert video.depth is not None and video.depth.shape == (1, 13, HEIGHT, WIDTH)
    near = video.depth[0, 0].numpy() < 255
    assert np.abs(depth - video.depth[0, 0].numpy())[near].max() <= 1 / 256
    assert (depth[street_map()[0].numpy() == 10] == 0).all(), "the sky"
    poses = np.loadtxt(tmp_path / "s" / "poses.txt").reshape(13, 3, 4)
    assert video.poses is not None and np.allclose(video.poses[0, :, :3], poses, atol=1e-5)
    about = json.loads((tmp_path / "s" / "video.json").read_text("utf-8"))
    assert tuple(about["reference_frames"]) == video.reference_frames == (0,) * 10 + (9,) * 3
    assert video.boxes is not None
    assert json.loads((tmp_path / "s" / "boxes.json").read_text("utf-8")) == video.boxes[0]
    assert [(one["instance"], one["box"]) for one in video.boxes[0][0]] == [
        (26_001, [16, 32, 20, 16]),
        (26_002, [60, 34, 12, 10]),
    ]
    painted = read_video(tmp_path / "s" / "painted")[1:, :, :, 0] > 127
    assert video.painted is not None and np.array_equal(painted, video.painted[0, :, 0] > 0.5)


def test_what_is_painted_stays_marked(video: GeneratedVideo) -> None:
    """Also where a later key shows it: what comes of the first frame is the rest."""
    assert video.painted is not None
    hidden = video.motion.backward_visible < 0.5
    assert torch.equal(video.painted[:, :9] > 0.5, hidden[:, :9])
    key = video.painted[:, 8, 0].long()
    carried = warp_labels(key, video.motion.backward_flow[:, 9]) > 0
    # With a hole, what was stained beside it is painted.
    painted = hidden[:, 9, 0] | (video.motion.source[:, 9] < 0)
    assert carried.any() and torch.equal(video.painted[:, 9, 0] > 0.5, carried | painted)


def test_kitti_flow_is_that_of_the_video(video: GeneratedVideo, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    video.save(tmp_path / "s", extras=("kitti_flow",))
    for way in ("backward", "forward"):
        path = tmp_path / "s" / "kitti_flow" / f"000004_{way}.png"
        valid, v, u = np.moveaxis(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), -1, 0)
        flow = getattr(video.motion, f"{way}_flow")[0, 3].numpy()
        seen = getattr(video.motion, f"{way}_visible")[0, 3, 0].numpy() > 0.5
        assert np.array_equal(valid == 1, seen)
        error = np.abs((np.stack((u, v)).astype(float) - 32768) / 64 - flow)[:, seen]
        assert error.max() <= 1 / 128 + 1e-6


def test_control_videos_are_in_the_colours_of_others(video: GeneratedVideo, tmp_path: Path) -> None:
    video.save(tmp_path / "s", extras=CONTROLS)
    seg, depth, flow = (read_video(tmp_path / "s" / f"{name}.mp4") for name in CONTROLS)
    assert len(seg) == len(depth) == len(flow) == 13, "as long as the video"
    # The first entries of ADE20K's palette that are met here: sky, and the road.
    assert np.abs(seg[0, 4, 64].astype(int) - (6, 230, 230)).max() < 12
    assert np.abs(seg[0, 58, 20].astype(int) - (140, 140, 140)).max() < 12
    assert (depth[0, :12] < 12).all() and depth.max() > 220, "far is black, the nearest white"
    assert depth[:, 50:].max() > 190, "where the street is near"
    assert np.abs(depth[..., 0].astype(int) - depth[..., 2]).max() < 12, "grey"
    assert np.abs(flow[0].astype(int) - flow[1]).mean() < 4, "the first is that of the second"
    assert flow.min(axis=(1, 2, 3)).max() < 128, "each is scaled by its own largest motion"


def test_flow_between_frames_is_what_is_left_of_both() -> None:
    """All goes two pixels right with each frame, seen or not."""
    flow = torch.zeros(1, 1, 2, 8, 32)
    flow[:, :, 0] = 1.0
    seen = torch.ones(1, 1, 1, 8, 32)
    seen[..., 10:20] = 0
    before, after = (Motion(n * flow, -n * flow, seen, seen) for n in (2.0, 4.0))
    torch.testing.assert_close(flow_between(before, after), 2 * flow[:, 0])


def test_each_frame_follows_from_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read where the control video's flow says, it is that one: over two keys, and back again."""
    torch.manual_seed(0)
    control = Control.read(camera="forward=5,turn=15")
    pipe = Seg2VidPipeline.from_config(CONFIG)
    video = pipe(street_map(), num_frames=40, seed=1, control=control, loop=True)
    assert video.pass_starts == (0, 12)
    flows = []

    def keep(flow: torch.Tensor) -> torch.Tensor:
        flows.append(flow[None])
        return torch.zeros(3, HEIGHT, WIDTH)

    monkeypatch.setattr("seg2vid.media.generated.flow_to_colours", keep)
    video.save(tmp_path / "s.mp4", extras=("control-flow",))
    frames = torch.cat((video.first_frame[:, None], video.frames), 1)[0]
    assert len(flows) == 40 and torch.equal(flows[0], flows[1])
    for number in range(1, 40):
        before, after = frames[number - 1 : number], frames[number : number + 1]
        left = (backward_warp(after, flows[number]) - before).abs().mean()
        assert left < 0.6 * (after - before).abs().mean() + 1e-3, number
