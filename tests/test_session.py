"""Frame by frame under changing control: what was asked is done, and nothing jumps or grows."""

import gc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from seg2vid.media.generated import GeneratedVideo
from seg2vid.media.passes import join_passes
from seg2vid.models.control import Control
from seg2vid.models.key_frame import KeyFrame
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.session import MOST_FRAMES, Session
from seg2vid.tools.errors import LabelMapError, ModelError
from tests.models.test_paper import SMALL as PAPER
from tests.tiny import CONFIG, NUM_FRAMES, street_map

pytestmark = pytest.mark.usefixtures("arithmetic")
DRIVE, STAND = Control.read(camera="forward=6,right=0"), Control.read(camera="still")
TURN = Control.read(camera="forward=6,right=0,turn=-9", move=["car=still"])
FPS = CONFIG.frames_per_second


@pytest.fixture(scope="module")
def pipe() -> Seg2VidPipeline:
    torch.manual_seed(0)
    return Seg2VidPipeline.from_config(CONFIG)


@pytest.fixture(scope="module")
def toycity() -> Seg2VidPipeline:
    return Seg2VidPipeline.from_pretrained("toycity")


def steps(session: Session, *controls: Control | None) -> list[GeneratedVideo]:
    return [session.step(control) for control in controls]


def frames_of(videos: list[GeneratedVideo]) -> Tensor:
    return torch.cat([video.frames for video in videos], 1)


def test_a_step_is_a_frame_with_all_that_is_known_of_it(pipe: Seg2VidPipeline) -> None:
    instances = torch.where(street_map() == 13, 26001, 0)
    session = pipe.start(street_map(), instance_map=instances, seed=[3, 4])
    assert session.first.frames.shape[1] == 0 and session.first.seeds == (3, 4)
    whole = pipe(street_map(), instance_map=instances, num_frames=2, seed=[3, 4])
    assert torch.equal(session.first.first_frame, whole.first_frame)
    step = session.step()
    assert (session.count, session.seconds) == (1, pytest.approx(1 / FPS))
    assert step.frames.shape == whole.frames.shape and step.label_maps.shape[1] == 1
    assert step.instance_maps is not None and step.painted is not None
    assert step.motion.camera_path is not None and step.motion.camera_path.shape[1] == 1
    assert step.depth is not None and step.poses is not None


def test_the_same_seed_and_control_give_the_same_frames(pipe: Seg2VidPipeline) -> None:
    ways = [[None, DRIVE, TURN] * 4, [None, DRIVE, TURN] * 4, [None, DRIVE, DRIVE] * 4]
    one, again, other = (frames_of(steps(pipe.start(street_map(), seed=2), *way)) for way in ways)
    assert torch.equal(one, again)
    assert torch.equal(one[:, :2], other[:, :2]) and not torch.equal(one, other)


@pytest.mark.parametrize("control", [None, TURN], ids=["free", "steered"])
def test_steps_show_what_the_stream_shows(pipe: Seg2VidPipeline, control: Control | None) -> None:
    """Of one key frame; what is painted may differ, for it is painted in another order."""
    count = NUM_FRAMES * pipe.animator.passes_per_key
    whole = pipe(street_map(), num_frames=count + 2, seed=1, control=control)
    made = join_passes(steps(pipe.start(street_map(), seed=1), *[control] * (count + 1)))
    assert made.pass_starts == whole.pass_starts == (0, count)
    for name in ("backward_flow", "forward_flow", "camera_path", "inverse_depth"):
        one, other = getattr(made.motion, name), getattr(whole.motion, name)
        torch.testing.assert_close(one[:, :count], other[:, :count], atol=1e-4, rtol=1e-4)
    seen = (whole.motion.backward_visible[:, :count] > 0.5).expand(-1, -1, 3, -1, -1)
    gap = (made.frames - whole.frames)[:, :count].abs()
    assert float(gap[seen].max()) < 1e-4 and float(gap.mean()) < 0.01
    assert torch.equal(made.painted[:, :count], whole.painted[:, :count])


def rates(videos: list[GeneratedVideo]) -> Tensor:
    """Metres ahead and aside and radians from frame to frame, in the camera's own axes."""
    found, before = [], torch.zeros(4)
    for video in videos:
        before = torch.zeros(4) if video.pass_starts else before
        here = video.motion.camera_path[0, 0]
        (ahead, aside, turn, _), yaw = here - before, (here + before)[2] / 2
        sine, cosine = yaw.sin(), yaw.cos()
        found.append(
            torch.stack((cosine * ahead + sine * aside, cosine * aside - sine * ahead, turn))
        )
        before = here
    return torch.stack(found)


def test_the_camera_does_at_each_step_what_is_asked(pipe: Seg2VidPipeline) -> None:
    wishes = torch.tensor([(6, 0, 0), (2, 0, 20), (0, 0, 0), (8, 1, -15), (4, -1, 0)] * 5).float()
    controls = [
        Control.read(camera=f"forward={f},right={r},turn={t}") for f, r, t in wishes.tolist()
    ]
    made = steps(pipe.start(street_map(), seed=1), *controls)
    assert sum(bool(video.pass_starts) for video in made) == 3
    wishes[:, 2].deg2rad_()
    torch.testing.assert_close(rates(made) * FPS, wishes, atol=2e-3, rtol=2e-3)


def test_a_rate_of_frames_between_the_steps_of_integration_is_kept(pipe: Seg2VidPipeline) -> None:
    """What is asked holds from the next quarter of a model's frame on."""
    session = pipe.start(street_map(), seed=1, frames_per_second=30, speed=0.5)
    made = steps(session, *[STAND] * 5, *[DRIVE] * 10)
    driven = rates(made)[:, 0].cumsum(0) * 30 * 2
    assert float(driven[4]) == pytest.approx(0, abs=1e-4)
    assert 6 * 9 < float(driven[-1]) + 1e-3 <= 6 * 10 + 1e-3 + 6


def test_an_object_stands_and_goes_on_from_where_it_stands(pipe: Seg2VidPipeline) -> None:
    go, stop = (Control.read(camera="still", move=[f"car={how}"]) for how in ("right:3", "still"))
    session = pipe.start(street_map(), seed=1)
    flows = [step.motion.forward_flow[0, 0] for step in steps(session, go, go, stop, stop, go)]
    car = (street_map()[0] == 13) & (session._objects[0] > 0).repeat_interleave(
        8, 0
    ).repeat_interleave(8, 1)
    moved = torch.stack([flow[0][car].mean() for flow in flows])
    assert moved[0] > 0.1 and moved[1] > 1.5 * moved[0]
    torch.testing.assert_close(moved[2:4], moved[1].expand(2), atol=1e-3, rtol=1e-3)
    assert moved[4] > moved[3] + 0.1


def test_what_is_frozen_anew_does_not_jump(pipe: Seg2VidPipeline) -> None:
    still = Control.read(camera="still", move=["all=still"], freeze=["car"])
    made = steps(pipe.start(street_map(), seed=1), DRIVE, DRIVE, still, DRIVE)
    assert [bool(video.pass_starts) for video in made] == [True, False, True, True]
    torch.testing.assert_close(made[2].frames, made[1].frames, atol=1e-3, rtol=0)


def test_without_a_ground_nothing_jumps_either() -> None:
    space = dict(CONFIG.label_space, classes=[
        one | {"name": "lane" if one["name"] == "road" else one["name"]}
        for one in CONFIG.label_space["classes"]
    ])  # fmt: skip
    torch.manual_seed(0)
    pipe = Seg2VidPipeline.from_config(replace(CONFIG, label_space=space))
    session = pipe.start(street_map(), seed=1)
    go, stop = (Control.read(move=[f"car={how}"]) for how in ("right:40", "still"))
    made = steps(session, go, stop, stop)
    car = street_map()[0] == 13
    assert made[0].motion.forward_flow[0, 0, 0][car].mean() > 1
    assert bool(made[1].pass_starts)
    assert made[1].motion.forward_flow[0, 0, 0].abs().mean() < 0.5


def test_enlarged_scenes_are_steered_alike(pipe: Seg2VidPipeline) -> None:
    """A photo at twice the networks' size turns like the small one."""
    ids, photo = street_map(), torch.rand(1, 3, *street_map().shape[1:])
    fine = [x.repeat_interleave(2, -1).repeat_interleave(2, -2) for x in (ids, photo)]
    ways = []
    for maps, frame, scale in ((ids, photo, 1), (*fine, 2)):
        session = pipe.start(maps, first_frame=frame, seed=1, scale=scale)
        ways.append(rates(steps(session, DRIVE, STAND, TURN, TURN)))
    torch.testing.assert_close(ways[0], ways[1], atol=1e-3, rtol=1e-3)


def test_memory_does_not_grow(pipe: Seg2VidPipeline) -> None:
    session, per_key = pipe.start(street_map(), seed=1), NUM_FRAMES * pipe.animator.passes_per_key

    def held() -> int:
        gc.collect()
        found = [one for one in gc.get_objects() if type(one) is Tensor]
        return sum(one.untyped_storage().nbytes() for one in found)

    sizes = []
    for _ in range(3):
        for number in range(per_key):
            session.step(TURN if number % 2 else DRIVE)
        sizes.append(held())
    # What was painted for a key is kept until the next, more or less of it.
    assert max(sizes) < 1.5 * min(sizes) and sizes[-1] < 1.2 * sizes[0]
    keys = [key for key in session._keys if isinstance(key, KeyFrame)]
    assert keys and all(len(key.painted) <= 2 * per_key for key in keys)


def test_a_new_key_frame_does_not_pop(toycity: Seg2VidPipeline) -> None:
    """From frame to frame as much changes where a key begins as elsewhere."""
    session = toycity.start("examples/street.png", seed=1)
    made = steps(session, *[Control.read(camera="forward=6,turn=3")] * 27)
    frames = torch.cat((session.first.first_frame.unsqueeze(1), frames_of(made)), 1)[0]
    changes = (frames[1:] - frames[:-1]).abs().flatten(1).mean(1)
    begins = [number for number, video in enumerate(made) if video.pass_starts and number]
    assert begins == [24]
    usual = changes[16:24].mean()
    assert float(changes[24]) < 1.5 * float(usual)


def test_the_next_key_knows_where_the_horizon_was(
    pipe: Seg2VidPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, begin = [], pipe.animator.begin

    def listen(*given: Any, **about: Any) -> Any:
        keys = begin(*given, **about)
        told.append((about["horizon"], keys[0].horizon))
        return keys

    monkeypatch.setattr(pipe.animator, "begin", listen)
    pipe(street_map(), num_frames=2 + NUM_FRAMES * pipe.animator.passes_per_key, seed=0)
    (first, found), (second, _) = told
    assert first is None and torch.equal(second, found)
    assert 0.2 < float(found) < 0.7


def test_a_camera_that_stands_needs_few_key_frames(pipe: Seg2VidPipeline) -> None:
    span = pipe.animator.passes_per_key * NUM_FRAMES
    for control, count in ((DRIVE, 4), (STAND, 1)):
        passes = pipe.stream(street_map(), num_frames=4 * span + 1, seed=0, control=control)
        assert sum(len(one.pass_starts) for one in passes) == count
    # It drives off: then keys are as long as usual, and at once where one has served longer.
    session, starts = pipe.start(street_map(), seed=0), []
    for number in range(3 * span):
        starts += session.step(STAND if number < 2 else DRIVE).pass_starts
    assert starts == [0, span, 2 * span]
    session = pipe.start(street_map(), seed=0)
    made = [session.step(STAND if number < span + 2 else DRIVE) for number in range(span + 4)]
    assert [number for number, one in enumerate(made) if one.pass_starts] == [0, span + 2]


def test_care_begins_and_ends_with_a_key_frame(pipe: Seg2VidPipeline) -> None:
    """The car stands in the way: a careful drive and one as z says are not the same drive."""
    reckless = Control(careful=False)
    session = pipe.start(street_map(), seed=0)
    made = steps(session, None, None, reckless, reckless, None)
    assert [bool(video.pass_starts) for video in made] == [True, False, True, False, True]
    as_z_says, careful = (
        frames_of(steps(pipe.start(street_map(), seed=0), *[control] * 3))
        for control in (reckless, None)
    )
    assert not torch.equal(as_z_says, careful)


def test_a_new_code_takes_over_at_the_last_frame(pipe: Seg2VidPipeline) -> None:
    """Until then nothing changes; then it is read from the same key, or is the next one's."""
    span = NUM_FRAMES * pipe.animator.passes_per_key
    other = pipe.start(street_map(), seed=9).first.z
    for count in (NUM_FRAMES, span):
        plain, turned = pipe.start(street_map(), seed=1), pipe.start(street_map(), seed=1)
        before = [session.make_pass(99) for session in [plain, turned] * (count // NUM_FRAMES)]
        turned.move_as(other)
        goes_on, after = plain.make_pass(99), turned.make_pass(99)
        assert torch.equal(before[-1].frames, before[-2].frames)
        assert after.pass_starts == goes_on.pass_starts == ((span,) if count == span else ())
        assert torch.equal(after.z.background, other.background)
        place, gone = (
            torch.cat([chunk.motion.camera_path[0] for chunk in (before[-1], one)])
            for one in (goes_on, after)
        )
        assert not torch.allclose(place, gone)
        if count < span:
            # No jump: a step is at most what 30 m/s cover.
            assert float(gone[:, :2].diff(dim=0).norm(dim=-1).max()) < 30 / FPS


def test_wishes_hold_for_a_new_code_and_once(pipe: Seg2VidPipeline) -> None:
    half = Control.read(camera="x0.5", move=["car=still"])
    session, plain = pipe.start(street_map(), seed=1), pipe.start(street_map(), seed=1)
    other = pipe.start(street_map(), seed=9).first.z
    paths = []
    for control in (half, None):
        one = session if control else plain
        one.make_pass(99, control)
        one.move_as(other)
        one.make_pass(NUM_FRAMES + 1, control)
        kept = one.make_pass(99, None).motion.camera_path
        assert kept is not None
        paths.append(kept[0, :, 0].diff())
    # What z says by itself, of a drive that had been slowed down until then.
    torch.testing.assert_close(paths[0], paths[1], atol=0.02, rtol=0.05)


def test_a_code_may_be_given_before_the_first_step(pipe: Seg2VidPipeline) -> None:
    z = pipe.start(street_map(), seed=9).first.z
    late, early = pipe.start(street_map(), seed=1), pipe.start(street_map(), seed=1, z=z)
    late.move_as(z)
    assert torch.equal(late.make_pass(9).frames, early.make_pass(9).frames)


def test_a_code_that_does_not_fit_is_refused_and_nothing_changes(pipe: Seg2VidPipeline) -> None:
    session, plain = pipe.start(street_map(), seed=[1, 2]), pipe.start(street_map(), seed=[1, 2])
    session.make_pass(99)
    plain.make_pass(99)
    z = session.first.z
    for bad, what in (
        (replace(z, background=z.background[:, 1:]), "z.background of shape"),
        (replace(z, foreground=z.foreground[..., 1:]), "z.foreground of shape"),
        (z.map(lambda part: torch.cat((part, part))), "z.background of shape"),
        (z.map(lambda part: part * torch.nan), "finite numbers in z.background; got nan or inf"),
    ):
        with pytest.raises(ModelError, match=what):
            session.move_as(bad)
    assert torch.equal(session.make_pass(99).frames, plain.make_pass(99).frames)
    # One for all samples fits.
    session.move_as(z.map(lambda part: part[:1]))
    assert session.make_pass(99).z.background.shape == z.background.shape


def test_networks_of_the_paper_take_a_new_code_too() -> None:
    torch.manual_seed(0)
    paper = Seg2VidPipeline.from_config(PAPER)
    session = paper.start(street_map(), seed=1)
    first = session.make_pass(99)
    session.move_as(paper.start(street_map(), seed=2).first.z)
    second = session.make_pass(99)
    again = paper.start(
        first.label_maps[:, -1], first_frame=first.frames[:, -1], z=second.z, seed=1
    )
    assert torch.equal(second.first_frame, first.frames[:, -1])
    assert torch.equal(second.frames, again.make_pass(99).frames)


def test_wishes_that_cannot_be_had_are_refused(pipe: Seg2VidPipeline) -> None:
    session = pipe.start(street_map(), seed=1)
    with pytest.raises(LabelMapError, match=r"a class of the label map that can move: car; got "):
        session.step(Control.read(move=["person=still"]))
    assert session.count == 0
    torch.manual_seed(0)
    paper = Seg2VidPipeline.from_config(replace(PAPER, num_frames=NUM_FRAMES))
    session = paper.start(street_map(), seed=1)
    with pytest.raises(ModelError, match=r"a model whose motion is a scene's, for wishes about it"):
        session.step(DRIVE)
    whole = paper(street_map(), num_frames=NUM_FRAMES + 2, seed=1)
    made = steps(session, *[None] * (NUM_FRAMES + 1))
    torch.testing.assert_close(frames_of(made), whole.frames, atol=1e-5, rtol=0)


def test_slow_motion_is_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass of many frames is no single batch; what its end brings into view is painted first."""
    made: list[list[int]] = []
    show = Session._show

    def watch(self: Session, numbers: Sequence[int], *, shown: int) -> GeneratedVideo:
        made.append(list(numbers))
        return show(self, numbers, shown=shown)

    monkeypatch.setattr(Session, "_show", watch)
    pipe = Seg2VidPipeline.from_config(CONFIG)
    pass_length = 40 * CONFIG.num_frames
    video = pipe(street_map(), num_frames=pass_length + 2, seed=0, speed=1 / 40)
    assert video.frames.shape[1] == pass_length + 1
    assert all(len(numbers) <= MOST_FRAMES + 1 for numbers in made)
    assert made[0] == [*range(1, MOST_FRAMES + 1), pass_length]
    assert made[1][0] == MOST_FRAMES + 1 and pass_length not in made[1]
    part = pipe(street_map(), num_frames=9, seed=0, speed=1 / 40)
    assert torch.equal(part.frames, video.frames[:, :8])
