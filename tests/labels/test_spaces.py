"""Label spaces, the ways between ids and everything else, and the geometry that fits maps."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from seg2vid.labels.convert import (
    colourise,
    from_colours,
    from_file_ids,
    from_instance_ids,
    from_raw_ids,
    listed,
    one_hot,
    to_file_ids,
    translate_ids,
)
from seg2vid.labels.fit import fit_image, fit_label_map, plan_fit
from seg2vid.labels.space import LabelSpace, get_label_space, list_label_spaces, load_label_space
from seg2vid.tools.errors import LabelMapError, MediaError, ModelError, Seg2VidError, expected

CITYSCAPES = get_label_space("cityscapes")
id_maps = arrays(
    np.int64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 19)
)

TWO = {
    "name": "pets",
    "classes": [
        {"name": "grass", "colour": [0, 200, 0]},
        {"name": "cat", "colour": [200, 0, 0], "foreground": True},
    ],
}


def two_classes(**changes: object) -> LabelSpace:
    return LabelSpace.from_dict({**TWO, **changes})


def test_errors_are_one_line_value_errors() -> None:
    text = expected("a\n  map", got=3, fix="do this.")
    assert text == "Expected a map; got 3; do this."
    for kind in (LabelMapError, MediaError, ModelError):
        assert issubclass(kind, Seg2VidError) and issubclass(kind, ValueError)


def test_cityscapes_has_19_classes_and_void() -> None:
    assert CITYSCAPES.void_id == 19 and CITYSCAPES.num_channels == 20
    assert CITYSCAPES.names[0] == "road" and CITYSCAPES.names[13] == "car"
    assert CITYSCAPES.names[19] == "void" and CITYSCAPES.file_value == 255
    assert CITYSCAPES.foreground_ids == tuple(range(11, 19))
    assert CITYSCAPES.colours.shape == (20, 3) and CITYSCAPES.colours.dtype == np.uint8
    assert tuple(CITYSCAPES.colours[0]) == (128, 64, 128)


def test_every_raw_id_of_cityscapes_is_known() -> None:
    table = CITYSCAPES.raw_to_id
    assert set(table) == set(range(-1, 34))
    assert (table[7], table[8], table[26], table[33]) == (0, 1, 13, 18)
    assert {raw for raw, i in table.items() if i == 19} == {
        *(-1, 0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30)
    }


def test_spaces_travel_as_plain_values() -> None:
    for space in (CITYSCAPES, two_classes()):
        values = yaml.safe_load(yaml.safe_dump(space.to_dict()))
        assert LabelSpace.from_dict(values) == space


def test_own_space_gets_defaults() -> None:
    space = two_classes()
    assert space.foreground_ids == (1,) and space.void_id == 2
    assert space.raw_to_id == {} and space.void.colour == (0, 0, 0)


def test_space_is_found_by_name_and_path(tmp_path: Path) -> None:
    path = tmp_path / "pets.yaml"
    path.write_text(yaml.safe_dump(TWO))
    assert get_label_space(path) == get_label_space(str(path)) == two_classes()
    assert "cityscapes" in list_label_spaces()


def test_unnamed_space_is_named_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "garden.yml"
    path.write_text(yaml.safe_dump({"classes": TWO["classes"]}))
    assert get_label_space(path).name == "garden"


def test_unknown_space_names_the_known_ones() -> None:
    with pytest.raises(LabelMapError, match=r"cityscapes.*\.yaml.*got 'kitty'"):
        get_label_space("kitty")


BOMB = "".join(
    f"{name}: &{name} [{', '.join([f'*{before}' if before else 'x'] * 9)}]\n"
    for before, name in pairwise(["", *"abcdefghij"])
)
"""A few lines of YAML that stand for 10^10 values."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", r"a label space file in .*space.yaml; got no YAML: .*\(line 1\); repair"),
        ("just words", "Expected a name, a list `classes` and a mapping `void` in .*; got none"),
        ("name: x", "a name, a list `classes`.*got none; write it like"),
        ("classes: []", "a name, a list `classes`.*got none"),
        ("classes: [3]", r"Expected a mapping as classes\[0\] in .*; got a whole number; write"),
        ("classes: [{name: a}]", r"Expected the field colour as classes\[0\] in .*; got none"),
        ("classes: [{name: a, colour: red}]", r"a list as classes\[0\]\.colour in .*; got text"),
        ("classes: [{name: a, colour: [1, 2]}]", "a list of length 3 as .*colour in .*; got 2"),
        ("classes: [{name: a, colour: [1, 2, 300]}]", "colour in .* from 0 to 255; got 300"),
        ("classes: [{name: a, colour: [true, 2, 3]}]", r"whole number as .*; got true or false"),
        (
            "classes: [{name: a, colour: [1, 2, 3], foreground: maybe}]",
            "foreground in .*; got text",
        ),
        (
            "classes: [{name: [1], colour: [1, 2, 3]}]",
            r"text as classes\[0\].name in .*; got a list",
        ),
        ("classes: [{name: a, colour: [1, 2, 3]}]\nvoid: 3", "a mapping `void` in .*; got none"),
        ("name: 2020-13-45", "a label space file in .*; got no YAML: month must be in 1..12"),
        ("name: !!int x", "got no YAML: invalid literal for int"),
        ("[" * 3000, "got no YAML: nested too deeply"),
        (BOMB, "got no YAML: more than 100000 values, aliases written out"),
        ("classes: &a [*a]", "got no YAML: more than 100000 values"),
        ("classes: [{name: a, colour: [1, 2, 3], id: 1}]", "got id 1 for class 'a'"),
        (
            "classes: [{name: a, colour: [1, 2, 3], raw_ids: 7}]",
            r"a list as classes\[0\]\.raw_ids in .*; got a",
        ),
        ("classes: [{name: a, colour: [1, 2, 3], shade: 7}]", "only id, name, .*; got shade;"),
        ("classes: [{name: a, colour: [0, 0, 0]}]", "got colour .* of both 'a' and 'void'"),
        (
            "classes: [{name: a, colour: [1, 2, 3]}, {name: a, colour: [1, 2, 4]}]",
            "every name once.*got name a of both 'a' and 'a'",
        ),
        (
            "classes: [{id: 0, name: a, colour: [1, 2, 3]}, {id: 0, name: b, colour: [1, 2, 4]}]",
            "ids 0, 1, 2 ... in order.*got id 0 for class 'b'",
        ),
        (
            "classes: [{name: a, colour: [1, 2, 3], raw_ids: [4]},"
            " {name: b, colour: [1, 2, 4], raw_ids: [4]}]",
            "every raw id once.*got raw id 4",
        ),
        (
            "classes: [{name: a, colour: [1, 2, 3]}]\nvoid: {file_value: 300}",
            "file_value in .* to 255; got 300",
        ),
        ("classes: [{name: a, colour: [1, 2, 3]}]\nvoid: {file_value: 0}", "got file_value 0"),
    ],
)
def test_wrong_space_file_says_what_is_wrong(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(content)
    with pytest.raises(LabelMapError, match=message) as caught:
        load_label_space(path)
    assert "\n" not in str(caught.value)


def test_too_many_classes_are_refused() -> None:
    classes = [{"name": str(i), "colour": [1, i // 200, i % 200]} for i in range(255)]
    with pytest.raises(LabelMapError, match=r"at most 254 classes.*got 255"):
        two_classes(classes=classes)


def test_unreadable_space_files(tmp_path: Path) -> None:
    with pytest.raises(LabelMapError, match=r"Expected a label space file; got no file"):
        load_label_space(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(LabelMapError, match=r"a label space file in .*; got no YAML: "):
        load_label_space(tmp_path / "bytes.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(LabelMapError, match=r"got .*pipe\.yaml, which is a pipe or device; copy"):
        load_label_space(tmp_path / "pipe.yaml")
    (tmp_path / "long.yaml").write_text("x" * (1 << 20) + "x")
    with pytest.raises(LabelMapError, match=r"got .*long\.yaml of more than 1 MiB"):
        load_label_space(tmp_path / "long.yaml")


@given(id_maps)
def test_one_hot_round_trip(ids: np.ndarray) -> None:
    planes = one_hot(torch.from_numpy(ids)[None], 20)
    assert planes.shape == (1, 20, *ids.shape)
    assert torch.equal(planes.sum(1), torch.ones(1, *ids.shape))
    assert np.array_equal(planes.argmax(1)[0].numpy(), ids)


@pytest.mark.parametrize("bad", [-1, 20, 255])
def test_one_hot_refuses_other_ids(bad: int) -> None:
    with pytest.raises(LabelMapError, match=rf"ids 0 ... 19; got ids from .*{bad}.*convert"):
        one_hot(torch.tensor([[[3, bad]]]), 20)


@given(arrays(np.uint8, (4, 5), elements=st.integers(0, 33)))
def test_raw_ids_to_colours_and_back(raw: np.ndarray) -> None:
    ids = from_raw_ids(raw, CITYSCAPES)
    assert np.array_equal(ids, np.vectorize(CITYSCAPES.raw_to_id.get)(raw))
    match = from_colours(colourise(ids, CITYSCAPES), CITYSCAPES)
    assert np.array_equal(match.ids, ids) and match.inexact == match.beyond_tolerance == 0
    assert np.array_equal(from_file_ids(to_file_ids(ids, CITYSCAPES), CITYSCAPES), ids)


def test_void_is_255_in_files_and_in_raw_maps() -> None:
    assert to_file_ids(np.array([[19, 3]]), CITYSCAPES).tolist() == [[255, 3]]
    assert from_file_ids(np.array([[255, 19]]), CITYSCAPES).tolist() == [[19, 19]]
    assert from_raw_ids(np.array([[255, -1]]), CITYSCAPES).tolist() == [[19, 19]]


def test_unknown_values_are_named() -> None:
    with pytest.raises(LabelMapError, match=r"only raw ids of cityscapes; got also 34, 40"):
        from_raw_ids(np.array([[7, 40, 34]]), CITYSCAPES)
    with pytest.raises(
        LabelMapError, match=r"only ids 0 ... 18 of cityscapes and 255.*got also 33"
    ):
        from_file_ids(np.array([[0, 33]]), CITYSCAPES)
    with pytest.raises(LabelMapError, match=r"ids 0 ... 19 of label space cityscapes; got ids 20"):
        colourise(np.array([[20]]), CITYSCAPES)
    with pytest.raises(LabelMapError, match="got ids -1"):
        to_file_ids(np.array([[-1]]), CITYSCAPES)
    assert listed(list(range(12))) == "0, 1, 2, 3, 4, 5, 6, 7 and 4 more"


def test_instance_ids_hold_class_and_object() -> None:
    ids, instance_map = from_instance_ids(
        np.array([[26001, 7], [24000, 23]], dtype=np.uint16), CITYSCAPES
    )
    assert ids.tolist() == [[13, 0], [11, 10]]
    assert instance_map.tolist() == [[26001, 0], [24000, 0]]
    with pytest.raises(LabelMapError, match="got also 99"):
        from_instance_ids(np.array([[99001]]), CITYSCAPES)


def test_noisy_colours_take_the_nearest_class() -> None:
    ids = np.full((8, 8), 13)
    rgb = colourise(ids, CITYSCAPES)
    rgb[0, 0] = (9, 4, 135)
    match = from_colours(rgb, CITYSCAPES)
    assert (match.ids == 13).all() and match.inexact == 1 and match.beyond_tolerance == 0


def test_strange_colours_take_a_neighbour() -> None:
    rgb = colourise(np.full((6, 30), 8), CITYSCAPES)
    rgb[2, 3] = (255, 255, 255)
    match = from_colours(rgb, CITYSCAPES)
    assert (match.ids == 8).all() and match.beyond_tolerance == 1


def test_colours_far_from_everything_become_void() -> None:
    rgb = np.full((4, 40, 3), 255, np.uint8)
    rgb[:, 0] = CITYSCAPES.colours[8]
    match = from_colours(rgb, CITYSCAPES)
    assert (match.ids[:, :9] == 8).all() and (match.ids[:, 9:] == 19).all()


def test_colours_of_unevaluated_classes_are_void() -> None:
    rgb = np.array([[(0, 0, 90), (111, 74, 0), (0, 0, 70)]], np.uint8)
    assert from_colours(rgb, CITYSCAPES).ids.tolist() == [[19, 19, 14]]


def test_maps_translate_by_class_name() -> None:
    own = two_classes(
        classes=[{"name": "car", "colour": [1, 0, 0]}, {"name": "sky", "colour": [2, 0, 0]}]
    )
    found = translate_ids(np.array([[0, 1, 2]]), own, CITYSCAPES)
    assert found.ids.tolist() == [[13, 10, 19]] and found.lost == ()
    with pytest.raises(
        LabelMapError, match="cityscapes has too; got 'cat' of pets; give each a same_as"
    ):
        translate_ids(np.array([[1]]), two_classes(), CITYSCAPES)


def test_maps_translate_by_what_a_class_is_the_same_as() -> None:
    classes = [
        {"name": "Lorry", "colour": [1, 0, 0], "same_as": "truck"},
        {"name": "Car", "colour": [2, 0, 0], "same_as": "bus"},
        {"name": "cloud", "colour": [3, 0, 0], "same_as": "void"},
    ]
    own = two_classes(classes=classes)
    found = translate_ids(np.array([[0, 1, 2, 3]]), own, CITYSCAPES)
    assert found.ids.tolist() == [[14, 13, 19, 19]], "the name counts first, in any case"
    assert found.lost == ("cloud",)
    back = translate_ids(np.array([[14, 13, 19]]), CITYSCAPES, own)
    assert back.ids.tolist() == [[0, 1, 3]] and back.lost == ()


@pytest.mark.parametrize("name", list_label_spaces())
def test_bundled_spaces_can_be_used_with_the_bundled_models(name: str) -> None:
    space = get_label_space(name)
    every = np.arange(space.num_channels)[None]
    found = translate_ids(every, space, CITYSCAPES)
    assert found.ids[0, -1] == 19 and len(set(found.ids[0].tolist()) - {19}) >= 1
    for label in space.classes:
        other = int(found.ids[0, label.id])
        assert (other == 19) == (label.name in found.lost)
        assert other == 19 or label.foreground == CITYSCAPES.classes[other].foreground


def test_what_is_the_same_travels_too() -> None:
    space = get_label_space("camvid")
    assert LabelSpace.from_dict(space.to_dict()) == space
    assert "same_as" not in str(CITYSCAPES.to_dict()), "as models have it that were saved before"


sides = st.integers(8, 300)


@given(sides, sides, st.integers(1, 6), st.integers(1, 6), st.sampled_from(["crop", "pad"]))
def test_fit_keeps_proportions(height: int, width: int, rows: int, columns: int, aspect) -> None:
    target = {"height": 32 * rows, "width": 32 * columns}
    fit = plan_fit(height, width, **target, aspect=aspect)
    top, left, kept_height, kept_width = fit.window
    assert 0 <= top <= top + kept_height <= height and 0 <= left <= left + kept_width <= width
    place_top, place_left, inner_height, inner_width = fit.place
    assert place_top + inner_height <= fit.height and place_left + inner_width <= fit.width
    if aspect == "crop":
        assert fit.place == (0, 0, fit.height, fit.width)
        assert kept_height == height or kept_width == width
        error = abs(kept_width * fit.height - kept_height * fit.width)
        assert error <= max(fit.height, fit.width)
    else:
        assert fit.window == (0, 0, height, width)
        assert inner_height == fit.height or inner_width == fit.width
        error = abs(inner_width * height - inner_height * width)
        assert error <= max(height, width)


large_id_maps = arrays(
    np.int64, st.tuples(st.integers(8, 40), st.integers(8, 40)), elements=st.integers(0, 19)
)


@given(large_id_maps, st.sampled_from(["crop", "pad"]))
def test_fit_invents_no_ids(ids: np.ndarray, aspect) -> None:
    fitted = fit_label_map(ids, height=32, width=64, aspect=aspect, fill=19)
    assert fitted.ids.shape == (32, 64)
    assert set(np.unique(fitted.ids)) <= set(np.unique(ids)) | {19}


def test_shrinking_takes_the_majority_of_each_block() -> None:
    ids = np.zeros((16, 32), dtype=np.int64)
    ids[:4, :3] = 7
    ids[4:8, 4:6] = 5
    fitted = fit_label_map(ids, height=4, width=8, aspect="crop", fill=19).ids
    assert fitted[0, 0] == 7, "12 of 16 pixels"
    assert fitted[1, 1] == 5, "8 of 16: of equally frequent ids the highest"
    assert (fitted == 0).sum() == 30


def test_a_pole_of_half_a_block_stays_whole() -> None:
    ids = np.zeros((128, 256), dtype=np.int64)
    ids[:, 100:104] = 5
    fitted = fit_label_map(ids, height=16, width=32, aspect="crop", fill=19).ids
    assert (fitted == 5).any(axis=1).all()


def test_fit_says_what_it_did() -> None:
    def sentence(height: int, width: int, aspect) -> str:
        ids = np.zeros((height, width), dtype=np.int64)
        return fit_label_map(ids, height=128, width=256, aspect=aspect, fill=19).sentence

    assert sentence(1024, 2048, "crop") == "2048x1024 -> 256x128: scaled, nothing cropped"
    assert sentence(128, 256, "pad") == "256x128 -> 256x128: kept as it is"
    assert sentence(480, 640, "crop") == (
        "640x480 -> 256x128: cropped to 640x320 "
        "(80 rows above and 80 below left out, 33% of the picture)"
    )
    assert "60 columns on the left and 60 on the right" in sentence(100, 320, "crop")
    assert sentence(480, 640, "pad") == (
        "640x480 -> 256x128: scaled to 171x128 and padded "
        "(42 columns on the left and 43 on the right)"
    )
    assert "rows above" in sentence(32, 256, "pad")


def test_padding_is_void_and_black() -> None:
    ids = np.ones((64, 64), dtype=np.int64)
    fitted = fit_label_map(ids, height=64, width=128, aspect="pad", fill=19).ids
    assert (fitted[:, 32:96] == 1).all() and (fitted[:, :32] == 19).all()
    photo = fit_image(np.full((64, 64, 3), 200, np.uint8), height=64, width=128, aspect="pad")
    assert (photo[:, 32:96] == 200).all() and (photo[:, 96:] == 0).all()


@pytest.mark.parametrize("aspect", ["crop", "pad"])
@pytest.mark.parametrize(("height", "width"), [(300, 200), (90, 400), (64, 128)])
def test_photo_and_labels_stay_aligned(height: int, width: int, aspect) -> None:
    ids = np.zeros((height, width), dtype=np.int64)
    ids[height // 4 : height // 2, width // 4 : width // 2] = 10
    photo = colourise(ids, CITYSCAPES)
    fitted = fit_label_map(ids, height=64, width=128, aspect=aspect, fill=19).ids
    image = fit_image(photo, height=64, width=128, aspect=aspect)
    agree = from_colours(image, CITYSCAPES).ids == fitted
    assert agree.mean() > 0.96


def test_too_small_and_too_narrow_sources_are_refused() -> None:
    with pytest.raises(LabelMapError, match=r"at least 8x8 pixels; got 1x1; give one"):
        plan_fit(1, 1, height=128, width=256, aspect="crop")
    with pytest.raises(LabelMapError, match=r"nearer to 256x128; got 8x9000.*aspect"):
        plan_fit(9000, 8, height=128, width=256, aspect="pad")


def test_real_map_keeps_its_shares(shared_data: Path) -> None:
    name = "frankfurt_000000_000576_gtFine_labelIds.png"
    raw = np.asarray(Image.open(shared_data / "label_maps" / name))
    ids = from_raw_ids(raw, CITYSCAPES)
    fitted = fit_label_map(ids, height=128, width=256, aspect="crop", fill=19)
    before = np.bincount(ids.ravel(), minlength=20) / ids.size
    after = np.bincount(fitted.ids.ravel(), minlength=20) / fitted.ids.size
    assert np.abs(before - after).max() < 0.005
    assert after[5] > 0, "poles are still there"
