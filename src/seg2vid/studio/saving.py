"""A video that was made → one file to take along."""

import zipfile
from pathlib import Path

from seg2vid.labels.space import LabelSpace
from seg2vid.media.generated import GeneratedVideo, VideoSink
from seg2vid.studio.wishes import Recipe

ENDINGS = {
    "mp4": "video/mp4",
    "webm": "video/webm",
    "gif": "image/gif",
    "webp": "image/webp",
    "zip": "application/zip",
}
"""What a video is saved as."""
BASIC = ("flow", "visible", "forward_visible", "labels", "overlay", "painted")
OF_SCENES = ("depth", "source", "kitti_flow", "poses")
OF_OBJECTS = ("instances", "boxes")


def save_scene(
    passes: list[GeneratedVideo], folder: Path, ending: str, space: LabelSpace, recipe: Recipe
) -> Path:
    """Write a video into ``folder`` and return the file; a zip holds all extras and the recipe."""
    first = passes[0]
    extras: tuple[str, ...] = BASIC if ending == "zip" else ()
    if ending == "zip" and first.motion.inverse_depth is not None:
        extras += OF_SCENES
    if ending == "zip" and first.instance_map is not None:
        extras += OF_OBJECTS
    place = folder / ("scene" if ending == "zip" else f"scene.{ending}")
    with VideoSink(
        place,
        extras=extras,
        frames_per_second=first.frames_per_second,
        label_space=space,
        command=recipe.command,
    ) as sink:
        for chunk in passes:
            sink.write(chunk)
    if ending != "zip":
        return place
    target = folder / "scene.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for path in sorted(place.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(folder).as_posix())
        for name, content in recipe.files.items():
            file.writestr(name, content)
        file.writestr("command.txt", f"{recipe.line}\n")
        file.writestr("scene.py", recipe.python)
    return target
