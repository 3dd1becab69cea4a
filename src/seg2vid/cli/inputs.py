"""What the verbs that make videos read: places, sizes, label maps, photos, looks and wishes."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from seg2vid.cli.video_options import Animate, Generate
from seg2vid.labels.convert import to_file_ids, translate_ids
from seg2vid.labels.diagnosis import Diagnosis, Picture
from seg2vid.labels.doctor import diagnose
from seg2vid.labels.fit import fit_image, fit_label_map
from seg2vid.labels.space import Ids, LabelSpace, get_label_space
from seg2vid.media.given import check_proportions, size_text, to_planes
from seg2vid.media.label_maps import label_maps_in, read_instance_map, read_label_map, read_picture
from seg2vid.media.pictures import read_image
from seg2vid.models.control import Control
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.structures import Look
from seg2vid.tools.errors import LabelMapError, MediaError

SIZE_STEP = 32
"""Sides of a video are multiples of this: the networks halve the picture five times."""
LARGEST_SIDE = 4096
OWN_WIDTH, OWN_HEIGHT = 2048, 1024
"""Largest size at which a photo moves unless --size says otherwise."""


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return ``size``, (width, height); raise ``MediaError`` unless both are multiples of 32."""
    if any(side % SIZE_STEP or not SIZE_STEP <= side <= LARGEST_SIDE for side in size):
        what = f"a size of multiples of {SIZE_STEP} up to {LARGEST_SIDE}"
        near = [min(max(round(side / SIZE_STEP), 1) * SIZE_STEP, LARGEST_SIDE) for side in size]
        got, fix = f"{size[0]}x{size[1]}", f"use --size {near[0]}x{near[1]}"
        raise MediaError(what, got=got, fix=fix)
    return size


def own_size(width: int, height: int, pipe: Seg2VidPipeline) -> tuple[int, int, int]:
    """Return the width and height at which a photo moves, and how many times the networks' that is.

    At most 2048x1024, and whole cells of the networks; what is cut off is least. A photo smaller
    than the model's size is moved at that.
    """
    shrink = min(1.0, OWN_WIDTH / width, OWN_HEIGHT / height)
    wide, tall = int(width * shrink), int(height * shrink)
    fits, usual = [], pipe.width * pipe.height
    scales = range(2, 17) if pipe.config.architecture == "geometry" else ()
    for scale in scales:
        cell = SIZE_STEP * scale
        columns, rows = wide // cell, tall // cell
        # Far from the size that the networks are used to they see less well.
        if 0.4 * usual <= columns * rows * SIZE_STEP**2 <= 3 * usual:
            fits.append((columns * rows * cell**2, scale, columns * cell, rows * cell))
    if not fits:
        return pipe.width, pipe.height, 1
    _, scale, wide, tall = max(fits)
    return wide, tall, scale


def scale_of(width: int, height: int, pipe: Seg2VidPipeline) -> int:
    """Return how many times as large as what the networks look at a video of a given size is.

    Whichever brings that nearest to the size that they are used to.
    """
    usual = pipe.width * pipe.height
    cells = [
        scale
        for scale in range(1, 17 if pipe.config.architecture == "geometry" else 2)
        if width % (SIZE_STEP * scale) == height % (SIZE_STEP * scale) == 0
    ]
    return min(cells, key=lambda scale: abs(math.log(width * height / scale**2 / usual)), default=1)


def warn_of_size(width: int, height: int, pipe: Seg2VidPipeline) -> list[str]:
    """Return a warning where no ``scale_of`` a size brings it near what the networks are used to.

    They would look at several times as much as that, slowly, and see houses bend.
    """
    usual, scale = pipe.width * pipe.height, scale_of(width, height, pipe)
    times = round(math.sqrt(width * height / usual))
    if pipe.config.architecture != "geometry" or times <= 2 * scale - 1:
        return []
    cell = SIZE_STEP * times
    near = [max(1, round(side / cell)) * cell for side in (width, height)]
    seen = f"{width // scale}x{height // scale}, used to {pipe.width}x{pipe.height}"
    return [f"the networks look at {seen}: --size {near[0]}x{near[1]} is faster and moves better"]


def list_inputs(options: Generate | Animate) -> list[Path]:
    """Return the label maps, or photos, in the order given; a folder stands for its pictures."""
    if isinstance(options, Animate):
        return [options.photo]
    places: list[Path] = []
    for place in options.labels:
        places += label_maps_in(place) if place.is_dir() else [place]
    for name in ("first_frame", "instances"):
        if len(places) > 1 and (one := getattr(options, name)) is not None:
            option = name.replace("_", "-")
            what, fix = f"one label map with --{option}", "run seg2vid for each of them"
            raise MediaError(what, got=f"{len(places)} with {one}", fix=fix)
    return places


def read_control(options: Generate | Animate) -> Control | None:
    """Return what a user wishes for the motion, if anything."""
    camera, move, freeze, path = options.camera, options.move, options.freeze, options.control
    careful = options.careful
    has_wishes = camera is not None or move or freeze or path is not None or not careful
    has_clip = isinstance(options, Animate) and options.motion_from is not None
    if has_clip and (has_wishes or options.loop or options.diverse is not None):
        what, fix = "wishes for the motion, or --motion-from", "leave one of them out"
        raise MediaError(what, got="both", fix=fix)
    if not has_wishes:
        return None
    if path is None:
        return Control.read(
            camera=camera,
            move=move or (),
            freeze=freeze,
            strength=options.strength,
            careful=careful,
        )
    if camera is not None or move or freeze or not careful:
        what = "--control, or --camera, --move, --freeze and --careful"
        raise MediaError(what, got="both", fix="write all of them into the file")
    return Control.read_file(path)


def check_look(options: Generate) -> None:
    """Raise ``MediaError`` for a look that cannot be taken: without photo, or not to be read."""
    if options.look_labels is not None and options.look is None:
        raise MediaError("--look with --look-labels", got="none", fix="name the photo with --look")
    if options.look is None:
        return
    if options.first_frame is not None or options.photo:
        what, fix = "a label map whose first frame is painted with --look", "leave --look out"
        raise MediaError(what, got="a photo that is the first frame", fix=fix)
    read_image(options.look)
    if options.look_labels is not None:
        read_picture(options.look_labels)


def read_look(options: Generate, photo: Path, pipe: Seg2VidPipeline) -> tuple[Look, list[str]]:
    """Return the look of a photo, and what was found."""
    space, pixels, labels = pipe.label_space, read_image(photo), options.look_labels
    if labels is None:
        from seg2vid.data.teachers.photos import segment_photo

        ids = segment_photo(pixels, space, options)
        notes = [f"{photo}: segmented; its look is taken"]
    else:
        read = read_label_map(labels, space=space)
        ids, notes = read.ids, [f"{photo}: its look is taken, {labels}: {read.diagnosis.summary}"]
        notes += [f"warning: {warning}" for warning in read.diagnosis.warnings]
        check_proportions(pixels.shape[:2], ids.shape, str(photo))
    fitted = fit_label_map(ids, height=pipe.height, width=pipe.width, fill=space.void_id).ids
    picture = to_planes(fit_image(pixels, height=pipe.height, width=pipe.width))
    return pipe.read_look(picture, torch.from_numpy(fitted)), notes


def read_inputs(
    options: Generate | Animate, place: Path, pipe: Seg2VidPipeline
) -> tuple[dict[str, Any], list[str]]:
    """Return the inputs of the pipeline, at the size of the video, and what was found and done."""
    space = pipe.label_space
    own = space if options.label_space is None else get_label_space(options.label_space)
    photo = options.photo if isinstance(options, Animate) else options.first_frame
    picture, found = look_at(options, place, own)
    if found.ids is None:
        is_given = photo is not None and photo != place
        found = _segment(options, picture, own, "" if is_given else "; it becomes the first frame")
        photo = photo or place
    ids, lost = translate_ids(cast(Ids, found.ids), own, space)
    pixels = None if photo is None else read_image(photo)
    if options.size is not None:
        width, height, scale = *options.size, scale_of(*options.size, pipe)
    elif pixels is not None:
        width, height, scale = own_size(pixels.shape[1], pixels.shape[0], pipe)
    else:
        width, height, scale = pipe.width, pipe.height, 1
    fit = partial(fit_label_map, height=height, width=width, aspect=options.aspect)
    fitted = fit(ids, fill=space.void_id)
    inputs: dict[str, Any] = {"label_map": torch.from_numpy(fitted.ids)[None]}
    inputs |= {"instance_map": None, "first_frame": None, "scale": scale}
    instances = found.instance_map
    if options.instances is not None:
        instances = read_instance_map(options.instances)
        if instances.shape != ids.shape:
            what = f"an instance map of {size_text(ids.shape)}, like the labels"
            got = f"{options.instances} with {size_text(instances.shape)}"
            raise MediaError(what, got=got, fix="give both at one size")
    if instances is not None:
        inputs["instance_map"] = torch.from_numpy(fit(instances, fill=0).ids)[None]
    if pixels is not None:
        check_proportions(pixels.shape[:2], ids.shape, str(photo))
        frame = fit_image(pixels, height=height, width=width, aspect=options.aspect)
        inputs |= {"first_frame": to_planes(frame)[None]}
    if isinstance(options, Generate):
        inputs |= {"resample": options.resample, "resample_seed": options.resample_seed}
    told = [] if options.size is None else warn_of_size(width, height, pipe)
    warnings = [f"warning: {warning}" for warning in (*found.warnings, *told)]
    if lost:
        warnings.append(f"warning: {', '.join(lost)}: no such class in {space.name}, read as void")
    return inputs, [f"{picture.name}: {found.summary}", *warnings, fitted.sentence]


def look_at(
    options: Generate | Animate, place: Path, space: LabelSpace
) -> tuple[Picture, Diagnosis]:
    """Return the picture of the labels and what it is: without ids a photo, to be segmented."""
    labels = options.labels if isinstance(options, Animate) else None
    is_photo = labels is None if isinstance(options, Animate) else options.photo
    picture = read_picture(labels or place)
    if is_photo:
        return picture, Diagnosis("photo", "as asked")
    found = diagnose(picture, space=space, encoding=options.encoding, palette=options.palette)
    if found.ids is None and (labels is not None or found.kind != "photo"):
        raise LabelMapError(f"{picture.name}: {found.problems[0]}")
    if found.ids is None and isinstance(options, Generate):
        check_look(replace(options, photo=True))
    return picture, found


def _segment(
    options: Generate | Animate, picture: Picture, space: LabelSpace, use: str
) -> Diagnosis:
    """Return the label map of a photo, as the bundled segmenter sees it."""
    from seg2vid.data.teachers.photos import segment_photo

    ids = segment_photo(read_image(Path(picture.name)), space, options)
    plain = replace(picture, pixels=to_file_ids(ids, space), mode="P", palette=None)
    found = diagnose(plain, space=space, encoding="train")
    return replace(found, ids=ids, kind="train ids", detail=f"a photo, segmented first{use}")
