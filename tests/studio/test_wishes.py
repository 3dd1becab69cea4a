"""Wishes and recipes, and the pictures of layers, without a server."""

import io
import shlex
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from seg2vid.media.label_maps import read_label_map
from seg2vid.studio import layers
from seg2vid.studio.ground import find_ground
from seg2vid.studio.uploads import Uploads, number_anew
from seg2vid.studio.wishes import Recipe, Scene, Wishes
from seg2vid.tools.errors import ModelError
from tests.studio.studios import SPACE, instances_png, labels_png, png
from tests.tiny import HEIGHT, WIDTH, street_map


def test_every_map_that_the_page_may_send_is_read_as_it_is(tmp_path) -> None:
    """The doctor guesses what a file holds; a map of one class, or void, is no riddle."""
    rng = np.random.default_rng(0)
    maps = [np.full((HEIGHT, WIDTH), one) for one in range(20)]
    maps += [rng.integers(0, 20, (HEIGHT, WIDTH)) for _ in range(3)]
    maps += [np.where(np.arange(WIDTH) < 64, a, b) + 0 * maps[0] for a, b in ((0, 7), (11, 19))]
    for ids in maps:
        path = tmp_path / "labels.png"
        path.write_bytes(labels_png(ids))
        assert (read_label_map(path, space=SPACE).ids == ids).all()


def test_objects_are_numbered_without_the_number_of_none() -> None:
    numbers = np.arange(0, 600, 2).reshape(20, 15)
    anew = number_anew(numbers)
    assert anew.flat[0] == 0 and len(np.unique(anew)) == 300 and 255 not in anew
    assert (number_anew(np.zeros((2, 2), np.int64)) == 0).all()
    assert (number_anew(np.full((2, 2), 26001)) == 1).all()


def test_only_what_was_wished_for_stands_in_the_command(pipe, tmp_path) -> None:
    uploads = Uploads(pipe, 1 << 20, tmp_path)
    scene, _ = uploads.scene({"labels": labels_png()}, Wishes.read('{"seed": 4}'))
    recipe = Recipe.of(scene, pipe)
    model = pipe.source["model"]
    words = f"seg2vid generate labels.png -o scene.mp4 --model {model} --frames 25 --seed 4"
    assert recipe.line == words and list(recipe.files) == ["labels.png"]
    assert recipe.python.splitlines()[-2] == 'video = pipe("labels.png", num_frames=25, seed=4)'
    assert list(tmp_path.iterdir()) == []


def test_a_name_cannot_leave_its_quotes(pipe, tmp_path, monkeypatch) -> None:
    uploads = Uploads(pipe, 1 << 20, tmp_path)
    scene, _ = uploads.scene({"labels": labels_png()}, Wishes())
    monkeypatch.setitem(pipe.source, "model", 'a\'; rm -rf "b"\\')
    recipe = Recipe.of(scene, pipe)
    assert shlex.split(recipe.line)[6] == 'a\'; rm -rf "b"\\'
    line = next(one for one in recipe.python.splitlines() if one.startswith("pipe"))
    assert eval(line.partition("(")[2].removesuffix(")")) == 'a\'; rm -rf "b"\\'


def test_paths_of_objects_are_obeyed(pipe, tmp_path) -> None:
    uploads = Uploads(pipe, 1 << 20, tmp_path)
    files = {"labels": labels_png(), "instances": instances_png()}
    path = '[{"time": 0}, {"time": 1, "right": 6}]'
    wishes = f'{{"frames": 4, "camera": "still", "paths": {{"car#1": {path}}}}}'
    scene, _ = uploads.scene(files, Wishes.read(wishes))
    (passes,) = list(scene.passes(pipe))
    flow = passes.motion.forward_flow[0, -1, 0]
    cars = scene.instance_map
    assert flow[cars == 1].mean() > 1 > flow[cars == 2].abs().mean()


def drawn(passes, layer: str, number: int) -> np.ndarray:
    content = layers.draw(passes, layer, number, number + 1, SPACE)
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.int64)


def test_layers_show_what_is_known(pipe) -> None:
    passes = [*Scene(street_map()[0].numpy(), None, None, None, Wishes(frames=7)).passes(pipe)]
    assert len(passes) == 2
    assert (drawn(passes, "instances", 3) == 0).all(), "none were given"
    assert (drawn(passes, "flow", 0) > 250).all() and (drawn(passes, "visible", 0) > 250).all()
    seen = passes[1].motion.backward_visible[0, 2, 0].numpy() > 0.5
    shown = drawn(passes, "visible", 6).mean(-1)
    assert shown[seen].mean() > 225 and (seen.all() or shown[~seen].mean() < 60)
    source = drawn(passes, "source", 0)
    assert source[5, 0, 0] < 10 < 240 < source[5, -1, 0] and source[-1, 5, 1] > 240
    number = passes[0].motion.source[0, 0, 40, 60].item()
    if number >= 0:
        expected = [number % WIDTH * 255 // (WIDTH - 1), number // WIDTH * 255 // (HEIGHT - 1)]
        assert np.abs(drawn(passes, "source", 1)[40, 60, :2] - expected).max() < 12
    near, far = passes[0].first_inverse_depth[0, -1, 64], passes[0].first_inverse_depth[0, 2, 64]
    depth = drawn(passes, "depth", 0)
    assert (depth[-1, 64, 0] >= depth[2, 64, 0]) == bool(near >= far)


def test_a_model_of_free_flow_has_no_ground(pipe) -> None:
    video = pipe(street_map(), num_frames=2, seed=0)
    with pytest.raises(ModelError, match="one of free flow; move objects in pixels"):
        find_ground(pipe, replace(video, first_inverse_depth=None))


def test_a_sixteen_bit_map_of_too_many_objects_is_refused(pipe, tmp_path) -> None:
    uploads = Uploads(pipe, 1 << 20, tmp_path)
    numbers = png(Image.fromarray(np.full((HEIGHT, WIDTH), 70_000, np.int32)), "TIFF")
    with pytest.raises(ValueError, match="numbered from 0 to 65535; got 70000; number them anew"):
        uploads.scene({"labels": labels_png(), "instances": numbers}, Wishes())
