"""Box ``key_frame``: a frame that later ones are read from, and all that was painted since.

Everything between two keys is read from the first of them, once. What that cannot show is painted
at the end of a pass, then midway: it gets a place in the scene, behind what hid it, and the frames
between show it from there. So nothing is painted twice, and what is painted moves as the street
does. (Paper Sec. 3.3 paints every frame by itself.)
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seg2vid.geometry import (
    MovedScene,
    Points,
    Scene,
    dilate,
    lift_points,
    move_scene,
    owners_of,
    rates_of,
    rays_of,
    stands_before,
)
from seg2vid.models.amodal import complete_objects
from seg2vid.models.depth import ratio_of
from seg2vid.models.drive import FINENESS, Drive, Times, append_ways, go_on, motion_of
from seg2vid.models.holes import (
    fill_specks,
    grow_into_objects,
    match_colours,
    soften_outlines,
    spread_colours,
)
from seg2vid.models.layers import coarse_labels, surface_ids
from seg2vid.models.objects import add_shadows
from seg2vid.models.painted import Painted, recall
from seg2vid.structures import Animation, InverseDepth, Labels, Mask, Pictures
from seg2vid.warp import gate_flow, warp_clip, warp_labels

Pixels = Int[Tensor, " pixel"]
Refine = Callable[[Pictures, Mask, Labels, Pictures], tuple[Pictures, Tensor | None]]
"""What a refiner does: warped frames, visibility, labels, first frame → frames and logits."""

FRINGE = 2
"""Pixels beside an edge that have taken on some of the colour of what stands before them, at the
networks' size."""
CLEAR = 8
"""Pixels beside a hole in which the painter is shown no object, at the networks' size."""
BARE = 0.006
"""Share of a picture that may be filled from around; more is painted."""


class KeyFrame:
    """One sample of a batch, which is animated as long as this frame serves."""

    def __init__(
        self,
        drive: Drive,
        picture: Pictures,
        label_map: Labels,
        refine: Refine | None,
        *,
        is_gated: bool = False,
        unsteered: Drive | None = None,
        shadows: bool = True,
        is_blind: bool = False,
    ) -> None:
        """``picture`` and ``label_map`` may be larger than the drive's grid by a whole factor.

        ``refine`` is a refiner, or stands for one; without it nothing is painted. ``is_gated``: see
        ``gate_flow``. ``unsteered`` is the drive before it was changed as wished. Without
        ``shadows`` the ground stays where it is, with all that objects cast on it. A refiner that
        ``is_blind`` sees no labels, nor what follows from them.
        """
        self.picture, self.label_map, self.refine = picture, label_map, refine
        self.is_gated, self.is_blind = is_gated, is_blind
        self.factor = label_map.shape[2] // drive.scene.rows.shape[2]
        self.unsteered = unsteered or drive
        drive = drive if self.factor == 1 else drive.enlarged(label_map)
        scene = drive.scene
        if drive.has_ground and shadows:
            rows, depth = add_shadows(scene, label_map, drive.ground)
            is_shadow = rows != scene.rows
            surfaces = torch.where(is_shadow, surface_ids(label_map, rows), scene.surfaces)
            scene = replace(scene, inverse_depth=depth, rows=rows, surfaces=surfaces)
        self.drive = replace(drive, scene=replace(scene, owners=owners_of(scene)))
        is_seen = refine is not None and drive.has_ground and not is_blind
        self.painted = self._hidden_objects(drive) if is_seen else []
        is_before = stands_before(self.drive.scene)
        self.is_before = is_before.flatten()
        self.fringe = (self._grown(is_before) & ~is_before).flatten()

    def _hidden_objects(self, drive: Drive) -> list[Painted]:
        """Return what would be seen of objects behind others, as if it had been painted."""
        whole = complete_objects(drive.scene, self.picture, self.label_map, drive.cars, self.factor)
        pixels = whole.rows.flatten().nonzero().squeeze(1)
        rays = rays_of(drive.scene.camera, *whole.rows.shape[1:])[0, :, pixels]
        place = torch.cat((rays, whole.inverse_depth.flatten()[None, pixels]))
        points = Points(place, whole.rows.flatten()[pixels])
        found = Painted(whole.picture, whole.label_map, points, pixels)
        return [found] if len(pixels) else []

    @property
    def inverse_depth(self) -> InverseDepth:
        """Its own depth, in 1/m."""
        return self.drive.scene.inverse_depth

    @property
    def horizon(self) -> Float[Tensor, " batch"]:
        """Where it is, as a share of the picture's height."""
        scene = self.drive.scene
        return scene.camera.centre[:, 1] / scene.rows.shape[1]

    def steer(self, steer: Callable[[Drive], Drive], since: float) -> None:
        """Move on, from ``since`` frames after the key, as ``steer`` changes the drive.

        What moved until then stays, so that nothing jumps. Motion has to be a scene's.
        """
        wished = steer(self.unsteered).scene.paths
        paths = go_on(self.drive.scene.paths, wished, math.ceil(since * FINENESS - 1e-6))
        self.drive = replace(self.drive, scene=replace(self.drive.scene, paths=paths))

    def follow(
        self,
        key: "KeyFrame",
        source: Int[Tensor, "height width"],
        depth: InverseDepth,
        since: float,
    ) -> None:
        """Move on, from ``since`` frames after the key, as a ``key`` of what is then shown does.

        ``source`` is the pixel of this one that each pixel then shows, -1 where none. An object
        goes the way of the one that most of its pixels belong to there. ``depth`` is what has been
        shown, by which the metres of the two are compared.
        """
        scene, steps = self.drive.scene, self.drive.scene.paths.camera.shape[1] - 1
        step, seen = math.ceil(since * FINENESS - 1e-6), source >= 0
        mine, theirs = scene.rows.flatten()[source[seen]], key.drive.scene.rows[0][seen]
        count = scene.paths.objects.shape[1] + 1
        votes = (mine * count + theirs).bincount(minlength=count**2).view(count, count)
        # Where nothing of an object is left, or it is the background's there, it stands.
        best = torch.where(votes.amax(1) > 0, votes.argmax(1), 0)[1:]
        heading = scene.paths.camera[:, step, 2].view(-1, 1, 1)
        cosine, sine = heading.cos(), heading.sin()
        metre = heading.new_ones(1, 1, 4)
        metre[..., :2] /= ratio_of(key.inverse_depth, depth)

        def joined(before: Drive, after: Drive) -> Drive:
            rates = metre * rates_of(after.scene.paths.camera, 1.0)[:, : steps - step]
            ways = metre[..., :3] * after.scene.paths.objects.diff(dim=-2)
            ahead, aside, turn = F.pad(ways, (0, 0, 0, 0, 1, 0)).unbind(-1)
            turned = (cosine * ahead - sine * aside, sine * ahead + cosine * aside, turn)
            moves = torch.stack(turned, -1)[:, best, : steps - step]
            paths = append_ways(before.scene.paths, rates, moves, step)
            return replace(before, scene=replace(before.scene, paths=paths))

        self.drive = joined(self.drive, key.drive)
        self.unsteered = joined(self.unsteered, key.unsteered)

    def show(self, times: Times) -> Animation:
        """Return the frames at some times, in frames after the key; see ``Drive.at``.

        What is painted depends on what was painted before: later times with each call.
        """
        scene = self.drive.at(times)
        moved = move_scene(scene)
        motion = motion_of(scene, moved)
        if self.is_gated:
            motion = gate_flow(motion)
        # Colour is read once, so it may be read well; overshoot is cut off.
        warped = warp_clip(self.picture, motion.backward_flow, mode="bicubic").clamp(0, 1)
        maps = self.label_map.expand(len(times), -1, -1)
        label_maps = warp_labels(maps, motion.backward_flow[0])
        hidden = moved.source[0] < 0
        # Beside a hole, pixels that were stained by what has left it are painted with it.
        stained = self.fringe[moved.source[0].clamp(min=0)] & self._grown(hidden) & ~hidden
        motion = replace(motion, source=torch.where(stained, -1, moved.source))
        hidden = hidden | stained
        frames, rows = warped[0].clone(), torch.zeros_like(label_maps)
        if (refine := self.refine) is not None:
            for time in _halving(len(times)):
                shown = (frames[time], label_maps[time], hidden[time])
                made = self._finish(refine, scene, moved, time, *shown)
                frames[time], classes, rows[time] = made
                # Whatever its colour, what a stained pixel shows is known.
                label_maps[time] = torch.where(stained[time], label_maps[time], classes)
            frames = soften_outlines(frames, moved.source[0], self.factor)
        frames, label_maps, owners = (
            part.unsqueeze(0) for part in (frames, label_maps, self._owner_of_row()[rows])
        )
        return Animation(motion, warped, frames, label_maps=label_maps, owners=owners)

    def _owner_of_row(self) -> Pixels:
        """Return a pixel of each object, -1 where it has none."""
        scene = self.drive.scene
        things = self.label_map.new_tensor(self.drive.foreground, dtype=torch.long)
        pixels = (torch.isin(self.label_map, things) & (scene.rows > 0)).flatten().nonzero()[:, 0]
        none = pixels.new_full((scene.paths.objects.shape[1] + 1,), -1)
        return none.scatter_reduce(0, scene.rows.flatten()[pixels], pixels, "amax")

    def _grown(self, mask: Bool[Tensor, "time height width"]) -> Bool[Tensor, "time height width"]:
        """Return a mask with all that is within reach of a fringe of it."""
        reach = FRINGE * self.factor
        return dilate(mask, reach, reach)

    def _finish(
        self,
        refine: Refine,
        scene: Scene,
        moved: MovedScene,
        time: int,
        frame: Float[Tensor, "3 height width"],
        label_map: Int[Tensor, "height width"],
        hidden: Bool[Tensor, "height width"],
    ) -> tuple[
        Float[Tensor, "3 height width"], Int[Tensor, "height width"], Int[Tensor, "height width"]
    ]:
        """Show what was painted before, and paint what is still bare.

        Returns frame, labels and, of what is painted, the row of the object that it shows.
        """
        frame, label_map, bare, rows = recall(self.painted, scene, time, frame, label_map, hidden)
        if not bare.any():
            return frame, label_map, rows
        if bare.float().mean() <= BARE:
            return *fill_specks(frame, label_map, bare), rows
        # What lies behind, not what the key frame shows where its plane goes on: the thing itself.
        behind = self.label_map[0].flatten()[moved.behind[0, time]]
        label_map = torch.where(bare, behind, label_map)
        source = moved.source[0, time]
        is_object = (scene.rows.flatten()[source.clamp(min=0)] > 0) & (source >= 0) & ~bare
        is_sky = scene.inverse_depth.flatten()[moved.behind[0, time]] == 0
        hole = (label_map, bare, behind, is_sky & self.drive.has_ground, is_object)
        painted, label_map = self._paint(refine, frame[None], *hole)
        frame = torch.where(bare, painted[0].to(frame.dtype), frame)
        pixels = bare.flatten().nonzero().squeeze(1)
        points = lift_points(scene, moved, time, pixels)
        # Between pixels, what was painted must not mix with what hid it.
        shown = self.is_before[moved.source[0, time].clamp(min=0)]
        own, around = bare.float()[None], F.avg_pool2d((frame.float() * bare)[None], 3, 1, 1)[0]
        share = F.avg_pool2d(own, 3, 1, 1)
        clean = torch.where(shown & ~bare & (share > 0), around / share.clamp(min=1e-6), frame)
        self.painted.append(Painted(clean[None].to(frame.dtype), label_map[None], points, pixels))
        rows = rows.flatten().index_put((pixels,), points.rows).view_as(rows)
        return frame, label_map, rows

    def _paint(
        self,
        refine: Refine,
        frame: Pictures,
        label_map: Int[Tensor, "height width"],
        bare: Bool[Tensor, "height width"],
        behind: Int[Tensor, "height width"],
        is_sky: Bool[Tensor, "height width"],
        is_object: Bool[Tensor, "height width"],
    ) -> tuple[Pictures, Int[Tensor, "height width"]]:
        """Return the refiner's picture, which it paints on its own grid, and the labels.

        Where no object or pole lies ``behind`` none is painted: it would be more of what left the
        hole. Nothing is void. The sky is as it is around: a refiner would see walls in it.
        """
        factor, start, seen = self.factor, self.picture, frame.float()
        hole, things, ids = bare, is_object, label_map
        if factor > 1:
            shown = (~bare).float()[None, None]
            share = F.avg_pool2d(shown, factor)
            seen = F.avg_pool2d(seen * shown, factor) / share.clamp(min=1e-6)
            hole, start = share[0, 0] <= 0.5, F.avg_pool2d(start, factor)
            things, ids = (
                coarse_labels(one[None], factor)[0] for one in (is_object.long(), label_map)
            )
        grown, hidden = grow_into_objects(things > 0, ids, hole, CLEAR)
        maps, shown = grown[None], (~hidden).float()[None, None]
        # Where a refiner trusts what it is told to be hidden, there is the colour of its class.
        classes = torch.zeros_like(maps) if self.is_blind else maps
        guess = spread_colours(seen, classes, shown, self.drive.ground, self.drive.skies)
        painted, logits = refine(guess.to(frame.dtype), shown, maps, start)
        painted = match_colours(painted.float(), guess, 1 - shown)
        if factor > 1:
            painted, guess = (
                F.interpolate(one, scale_factor=factor, mode="bilinear") for one in (painted, guess)
            )
        painted = torch.where(is_sky, guess, painted)
        if logits is None:
            return painted, label_map
        # Read between the logits, one for each 2 x 2 pixels: outlines without stairs.
        row, column = bare.nonzero().unbind(1)
        height, width = bare.shape
        place = torch.stack(((2 * column + 1) / width, (2 * row + 1) / height), -1) - 1
        place = place.to(logits.dtype)[None, None]
        scores = F.grid_sample(logits, place, padding_mode="border", align_corners=False)[0, :, 0]
        scores = scores.index_fill(0, behind.new_tensor([len(scores) - 1]), -torch.inf)
        upright = behind.new_tensor((*self.drive.foreground, *self.drive.thin))
        stuff = scores.index_fill(0, upright, -torch.inf)
        may_be_thing = torch.isin(behind[row, column], upright)
        classes = torch.where(may_be_thing, scores.argmax(0), stuff.argmax(0))
        classes = torch.where(is_sky[row, column], behind[row, column], classes)
        return painted, label_map.index_put((row, column), classes)


def _halving(count: int) -> Iterator[int]:
    """Yield the last of ``count`` times, then the one midway, then those between."""
    yield count - 1
    spans = [(-1, count - 1)]
    while spans:
        begin, end = spans.pop(0)
        if (middle := (begin + end) // 2) > begin:
            yield middle
            spans += [(begin, middle), (middle, end)]
