"""Exactness of the toy city's flow, visibility, depth and labels."""

import numpy as np
import pytest

from seg2vid.data.toycity.camera import ToyCamera
from seg2vid.data.toycity.clip import ToyCityClip, ToyCityConfig
from seg2vid.data.toycity.render import render_city
from seg2vid.data.toycity.scene import Look, Mesh, SceneBuilder
from seg2vid.data.toycity.shading import City, sample_atmosphere
from seg2vid.data.toycity.street import Trajectory, sample_layout

CONFIG = ToyCityConfig(height=64, width=128, num_frames=1)
FOCAL, CENTRE_X, CENTRE_Y, ELEVATION = 130.0, 63.5, 28.0, 1.4
CAR = 13


def make_camera(positions: list[list[float]], headings: list[float]) -> ToyCamera:
    """Return a small camera without bonnet at the given places."""
    return ToyCamera(
        FOCAL,
        CENTRE_X,
        CENTRE_Y,
        ELEVATION,
        np.array(positions, float),
        np.array(headings, float),
        np.zeros((64, 128), bool),
    )


def make_clip(scene: SceneBuilder, camera: ToyCamera) -> ToyCityClip:
    """Render a hand-made scene on the street of some seed."""
    random = np.random.Generator(np.random.PCG64(5))
    city = City(
        scene=scene.build(),
        layout=sample_layout(random),
        atmosphere=sample_atmosphere(random),
        camera=camera,
        bonnet_colour=(0.2, 0.2, 0.2),
        description={},
    )
    return render_city(city, 0, CONFIG)


def add_plate(scene: SceneBuilder, place: list[list[float]], half: float, label: int) -> None:
    """Add a square plate facing the camera whose part follows `place` (x, y, z per frame)."""
    mesh = Mesh()
    corners = [[-half, -half, 0], [half, -half, 0], [half, half, 0], [-half, half, 0]]
    mesh.quad(np.array(corners), Look((0.5, 0.1, 0.1)))
    still = np.zeros(len(place))
    part = scene.part(Trajectory(np.array(place, float), still, still))
    scene.add(mesh, label, part, 26001)


def grid(height: int = 64, width: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Return the column and row of every pixel."""
    return np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float))


def away_from_edges(labels: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Return the pixels whose 3x3 neighbourhood has one label and smooth depth."""
    inverse = 1.0 / depth.astype(float)
    calm = np.ones(labels.shape, bool)
    for rows in (-1, 0, 1):
        for columns in (-1, 0, 1):
            moved = np.roll(labels, (rows, columns), (0, 1)) == labels
            shifted = np.roll(inverse, (rows, columns), (0, 1))
            calm &= moved & (np.abs(shifted - inverse) < 0.02 * inverse + 1e-3)
    calm[[0, -1]] = False
    calm[:, [0, -1]] = False
    return calm


def test_flow_of_a_moving_plate_is_as_computed_by_hand() -> None:
    """A plate 10 m away moves 1 m right and 2 m nearer while the camera drives 1 m."""
    scene = SceneBuilder(2)
    add_plate(scene, [[0.5, 1.4, 10.0], [1.5, 1.4, 8.0]], 1.0, CAR)
    clip = make_clip(scene, make_camera([[0, 0], [0, 1]], [0, 0]))
    x, y = grid()
    plate = clip.instance_maps[0] == 26001
    assert plate.sum() > 400
    np.testing.assert_allclose(clip.depth[0][plate], 10.0, rtol=1e-6)
    world_x, world_y = (x - CENTRE_X) / FOCAL * 10.0, (y - CENTRE_Y) / FOCAL * 10.0
    there_x = (world_x + 1.0) / 7.0 * FOCAL + CENTRE_X
    there_y = world_y / 7.0 * FOCAL + CENTRE_Y
    np.testing.assert_allclose(clip.forward_flow[0, 0][plate], (there_x - x)[plate], atol=0.01)
    np.testing.assert_allclose(clip.forward_flow[0, 1][plate], (there_y - y)[plate], atol=0.01)
    plate = clip.instance_maps[1] == 26001
    back_x = ((x - CENTRE_X) / FOCAL * 7.0 - 1.0) / 10.0 * FOCAL + CENTRE_X
    np.testing.assert_allclose(clip.backward_flow[0, 0][plate], (back_x - x)[plate], atol=0.01)


def test_forward_driving_gives_the_closed_form_expansion() -> None:
    """With pure forward motion f, flow is (p - centre) * f / (depth - f)."""
    scene = SceneBuilder(2)
    add_plate(scene, [[3.0, 1.4, 12.0]] * 2, 1.2, CAR)
    clip = make_clip(scene, make_camera([[0, 0], [0, 0.8]], [0, 0]))
    x, y = grid()
    factor = 0.8 / (clip.depth[0] - 0.8)
    flow = clip.forward_flow[0]
    tame = np.abs(flow).max(0) < 250
    np.testing.assert_allclose(flow[0][tame], ((x - CENTRE_X) * factor)[tame], atol=0.01)
    np.testing.assert_allclose(flow[1][tame], ((y - CENTRE_Y) * factor)[tame], atol=0.01)
    sky = np.isinf(clip.depth[0])
    assert sky.any() and (flow[:, sky] == 0).all()


def test_turning_moves_the_sky_as_points_at_infinity() -> None:
    """A yaw to the right moves the sky left, by the tangent of the angles."""
    clip = make_clip(SceneBuilder(2), make_camera([[0, 0], [0.3, 0.5]], [0.0, 0.1]))
    x, _ = grid()
    sky = np.isinf(clip.depth[0])
    expected = np.tan(np.arctan((x - CENTRE_X) / FOCAL) - 0.1) * FOCAL + CENTRE_X - x
    np.testing.assert_allclose(clip.forward_flow[0, 0][sky], expected[sky], atol=0.01)
    np.testing.assert_allclose(clip.ego_motion[0], [0.5, 0.3, 0.1], atol=1e-6)


def test_nothing_moves_when_nothing_moves() -> None:
    """A standing camera and standing plates give zero flow and full visibility."""
    scene = SceneBuilder(2)
    add_plate(scene, [[0.5, 1.4, 10.0]] * 2, 1.0, CAR)
    clip = make_clip(scene, make_camera([[0, 0]] * 2, [0.2, 0.2]))
    for name in ("forward", "backward"):
        assert not getattr(clip, f"{name}_flow").any()
        assert getattr(clip, f"{name}_visible").all()
    assert not clip.ego_motion.any()
    np.testing.assert_array_equal(clip.frames[0], clip.frames[1])


def test_a_plate_that_moves_aside_uncovers_what_was_hidden() -> None:
    """The far plate is hidden exactly where the near plate stood before."""
    scene = SceneBuilder(2)
    add_plate(scene, [[0.0, 1.4, 20.0]] * 2, 4.0, 2)
    add_plate(scene, [[0.0, 1.4, 10.0], [1.0, 1.4, 10.0]], 0.5, CAR)
    clip = make_clip(scene, make_camera([[0, 0]] * 2, [0, 0]))
    x, y = grid()
    was = (np.abs(x - CENTRE_X) <= 6.5) & (np.abs(y - CENTRE_Y) <= 6.5)
    now = (np.abs(x - CENTRE_X - 13) <= 6.5) & (np.abs(y - CENTRE_Y) <= 6.5)
    np.testing.assert_array_equal(clip.label_maps[0] == CAR, was)
    np.testing.assert_array_equal(clip.label_maps[1] == CAR, now)
    np.testing.assert_array_equal(clip.backward_visible[0], ~(was & ~now))
    np.testing.assert_array_equal(clip.forward_visible[0], ~(now & ~was))


def test_points_that_leave_the_picture_are_not_visible() -> None:
    """After a step to the right, pixels at the left border are new in the last frame."""
    scene = SceneBuilder(2)
    add_plate(scene, [[0.0, 1.4, 10.0]] * 2, 8.0, 2)
    clip = make_clip(scene, make_camera([[0, 0], [1.0, 0]], [0, 0]))
    plate = (clip.label_maps[0] == 2) & (clip.label_maps[1] == 2)
    x, _ = grid()
    np.testing.assert_array_equal(clip.forward_visible[0][plate], (x >= 13)[plate])
    np.testing.assert_array_equal(clip.backward_visible[0][plate], (x <= 127 - 13)[plate])


def sample_nearest(values: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Read `values` where the flow points, at the nearest pixel."""
    height, width = values.shape
    x, y = grid(height, width)
    column = np.clip(np.rint(x + flow[0]), 0, width - 1).astype(int)
    row = np.clip(np.rint(y + flow[1]), 0, height - 1).astype(int)
    return values[row, column]


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_flow_carries_labels_over(clips: list[ToyCityClip], direction: str) -> None:
    """Away from edges, visible pixels find their own label and instance elsewhere."""
    same, total = 0, 0
    for clip in clips:
        for time in range(clip.forward_flow.shape[0]):
            here, there = (0, time + 1) if direction == "forward" else (time + 1, 0)
            flow = getattr(clip, f"{direction}_flow")[time]
            visible = getattr(clip, f"{direction}_visible")[time]
            for maps in (clip.label_maps, clip.instance_maps):
                calm = away_from_edges(maps[here], clip.depth[here])
                target = away_from_edges(maps[there], clip.depth[there])
                used = visible & calm & sample_nearest(target, flow)
                found = sample_nearest(maps[there], flow)
                same += (found == maps[here])[used].sum()
                total += used.sum()
    assert total > 100_000
    assert same / total >= 0.999


def test_hidden_pixels_are_covered_by_something_nearer(clips: list[ToyCityClip]) -> None:
    """In-view static pixels that are not visible find a smaller depth at their place."""
    for clip in clips:
        flow, here, there = clip.backward_flow[-1], -1, 0
        height, width = clip.label_maps.shape[1:]
        x, y = grid(height, width)
        column, row = x + flow[0], y + flow[1]
        inside = (column > 1) & (column < width - 2) & (row > 1) & (row < height - 2)
        static = (clip.instance_maps[here] == 0) & (clip.label_maps[here] != 19)
        hidden = inside & static & ~clip.backward_visible[-1] & np.isfinite(clip.depth[here])
        moved = depth_there(clip, here, there)
        nearest = sample_nearest(clip.depth[there], flow)
        assert (nearest < moved * 1.02)[hidden].mean() > 0.93


def depth_there(clip: ToyCityClip, here: int, there: int) -> np.ndarray:
    """Return the depth along its axis that the static pixels of one frame have in another."""
    motion = np.concatenate([np.zeros((1, 3), np.float32), clip.ego_motion]).astype(float)
    source, target, depth = motion[here], motion[there], clip.depth[here].astype(float)
    depth = np.where(np.isfinite(depth), depth, 1e6)
    focal, centre_x = clip.camera[:2].astype(float)
    aside = (np.arange(depth.shape[1]) - centre_x) / focal * depth
    forward = source[0] + depth * np.cos(source[2]) - aside * np.sin(source[2])
    rightward = source[1] + depth * np.sin(source[2]) + aside * np.cos(source[2])
    ahead, sideways = forward - target[0], rightward - target[1]
    return ahead * np.cos(target[2]) + sideways * np.sin(target[2])


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_flow_carries_depth_over(clips: list[ToyCityClip], direction: str) -> None:
    """Away from edges, visible static pixels have the transformed depth at their target."""
    for clip in clips:
        for time in range(clip.forward_flow.shape[0]):
            here, there = (0, time + 1) if direction == "forward" else (time + 1, 0)
            flow = getattr(clip, f"{direction}_flow")[time]
            calm = away_from_edges(clip.label_maps[here], clip.depth[here])
            target = away_from_edges(clip.label_maps[there], clip.depth[there])
            used = getattr(clip, f"{direction}_visible")[time] & calm
            used &= sample_nearest(target, flow) & np.isfinite(clip.depth[here])
            used &= (clip.instance_maps[here] == 0) & (clip.label_maps[here] != 19)
            used &= clip.depth[here] < 60
            expected = depth_there(clip, here, there)
            found = sample_nearest(clip.depth[there], flow)
            error = np.abs(found / expected - 1)[used]
            assert np.median(error) < 0.02 and (error < 0.08).mean() > 0.99


def test_forward_and_backward_flow_undo_each_other(clips: list[ToyCityClip]) -> None:
    """Following forward and then backward flow returns to the pixel, away from edges."""
    for clip in clips:
        for time in range(clip.forward_flow.shape[0]):
            forward, backward = clip.forward_flow[time], clip.backward_flow[time]
            calm = away_from_edges(clip.instance_maps[time + 1], clip.depth[time + 1])
            calm &= flow_is_linear(backward)
            used = clip.forward_visible[time] & sample_nearest(calm, forward)
            used &= away_from_edges(clip.instance_maps[0], clip.depth[0])
            returned = [sample_bilinear(component, forward) for component in backward]
            error = np.hypot(forward[0] + returned[0], forward[1] + returned[1])[used]
            assert np.percentile(error, 99) < 0.05


def flow_is_linear(flow: np.ndarray) -> np.ndarray:
    """Return the pixels around which flow can be interpolated."""
    calm = np.ones(flow.shape[1:], bool)
    for component in flow:
        for axis in (0, 1):
            bend = np.roll(component, 1, axis) + np.roll(component, -1, axis) - 2 * component
            near = np.abs(bend) < 0.02
            calm &= near & np.roll(near, 1, axis) & np.roll(near, -1, axis)
    return calm


def sample_bilinear(values: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Read `values` where the flow points, interpolating between four pixels."""
    height, width = values.shape
    x, y = grid(height, width)
    column = np.clip(x + flow[0], 0, width - 1.001)
    row = np.clip(y + flow[1], 0, height - 1.001)
    left, top = column.astype(int), row.astype(int)
    right, down = column - left, row - top
    upper = values[top, left] * (1 - right) + values[top, left + 1] * right
    lower = values[top + 1, left] * (1 - right) + values[top + 1, left + 1] * right
    return upper * (1 - down) + lower * down


def test_bonnet_is_void_static_and_always_visible(clips: list[ToyCityClip]) -> None:
    """The bonnet keeps its place in every frame of a clip that shows one."""
    clip = next(clip for clip in clips if (clip.label_maps == 19).any() and clip.ego_motion.any())
    bonnet = clip.label_maps[0] == 19
    assert ((clip.label_maps == 19) == bonnet).all()
    assert not clip.forward_flow[:, :, bonnet].any()
    assert clip.forward_visible[:, bonnet].all() and clip.backward_visible[:, bonnet].all()


def test_flow_is_finite_everywhere(clips: list[ToyCityClip]) -> None:
    """Points behind the camera get clipped flow and are not visible."""
    for clip in clips:
        for flow in (clip.forward_flow, clip.backward_flow):
            assert np.isfinite(flow).all()
            assert np.abs(flow).max() <= 2 * flow.shape[-1]
        assert (clip.depth > 0).all()


def test_ego_motion_agrees_with_the_camera_poses() -> None:
    """A camera that turned right by 0.5 rad reports motion in its first frame's axes."""
    camera = make_camera([[1.0, 2.0], [2.0, 3.0]], [np.pi / 2, np.pi / 2 + 0.5])
    moved = camera.motion()
    np.testing.assert_allclose(moved, [[0, 0, 0], [1.0, -1.0, 0.5]], atol=1e-12)
