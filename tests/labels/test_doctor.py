"""The label-map doctor tells every kind of file apart, says what is wrong and how to repair it."""

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg2vid.labels.convert import colourise, to_file_ids
from seg2vid.labels.diagnosis import Diagnosis, Picture
from seg2vid.labels.doctor import diagnose
from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.media.label_maps import read_instance_map, read_label_map, read_picture
from seg2vid.media.pictures import write_label_map
from seg2vid.tools.errors import LabelMapError

CITYSCAPES = get_label_space("cityscapes")
RAW = {label.id: label.raw_ids[0] for label in CITYSCAPES.classes}


def street() -> np.ndarray:
    """Sky over buildings over road, with pavement and a car."""
    ids = np.full((48, 96), 10)
    ids[12:28, :60] = 2
    ids[28:] = 0
    ids[28:34, :20] = 1
    ids[26:36, 40:56] = 13
    return ids


def as_raw(ids: np.ndarray) -> np.ndarray:
    return np.vectorize({**RAW, 19: 0}.get)(ids).astype(np.uint8)


def look(pixels: np.ndarray, mode: str = "L", **more) -> Diagnosis:
    """Diagnose, and check what holds for every diagnosis."""
    encoding, colours = more.pop("encoding", "auto"), more.pop("colours", "known")
    space = more.pop("space", CITYSCAPES)
    before = pixels.copy()
    picture = Picture(pixels, mode, **more)
    found = diagnose(picture, space=space, encoding=encoding, palette=colours)
    assert np.array_equal(pixels, before), "the picture stays as it is"
    assert "\n" not in found.summary and not any("\n" in text for text in found.warnings)
    if found.ids is None:
        problem(found)
        return found
    assert found.problems == () and found.kind not in {"unknown", "photo"}
    assert found.ids.shape == pixels.shape[:2]
    assert found.ids.min() >= 0 and found.ids.max() <= space.void_id
    shares = [share for _, share in found.class_shares]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1)
    for name, share in found.class_shares:
        assert share == pytest.approx((found.ids == space.names.index(name)).mean())
    if np.array_equal(to_file_ids(found.ids, space), pixels) or not found.warnings:
        assert found.repair is None, "what every command reads without doubt needs no repair"
    if found.repair is not None:
        verb, forced = found.repair.split(" -o "), f"--encoding {encoding}"
        assert verb[0].startswith("seg2vid labels convert ") and "_train_ids.png" in verb[1]
        assert (forced in found.repair) == (encoding != "auto")
    return found


def problem(diagnosis: Diagnosis) -> str:
    """Return why it is no label map; nothing else may be said of it, and in one line."""
    assert diagnosis.ids is None and diagnosis.kind in {"unknown", "photo", "drawing"}
    assert bool(diagnosis.colours) == (diagnosis.kind == "drawing")
    assert diagnosis.instance_map is None and diagnosis.repair is None
    assert diagnosis.class_shares == () and len(diagnosis.problems) == 1
    text = diagnosis.problems[0]
    assert re.fullmatch(r"Expected .+; got .+; .+", text), "what, what came and what to do"
    assert diagnosis.summary == text
    return text


def test_train_ids_with_void_need_no_guess() -> None:
    ids = street()
    ids[0] = 19
    found = look(to_file_ids(ids, CITYSCAPES))
    assert found.kind == "train ids" and np.array_equal(found.ids, ids)
    assert found.warnings == () and found.repair is None
    assert found.class_shares[0][0] in {"sky", "road"}
    assert sum(share for _, share in found.class_shares) == pytest.approx(1)


def test_raw_ids_are_recognised_and_converted() -> None:
    found = look(as_raw(street()))
    assert found.kind == "raw ids" and np.array_equal(found.ids, street())
    assert "23, 26 exist only among raw ids" in found.detail and found.repair is None
    assert found.summary.startswith("raw ids (values ")
    assert "96x48: sky 38%, road 36%" in found.summary


def test_ambiguous_raw_map_is_told_by_where_things_lie() -> None:
    ids = street()
    ids[ids > 3] = 2
    found = look(as_raw(ids), name="my maps/a.png")
    assert found.repair == "seg2vid labels convert 'my maps/a.png' -o a_train_ids.png"
    assert set(np.unique(as_raw(ids))) == {7, 8, 11}
    assert found.kind == "raw ids" and np.array_equal(found.ids, ids)
    assert "--encoding train" in found.warnings[0]


def test_ambiguous_train_map_is_told_by_where_things_lie() -> None:
    found = look(street().astype(np.uint8))
    assert found.kind == "train ids" and np.array_equal(found.ids, street())
    assert "read as train ids" in found.warnings[0] and "--encoding raw" in found.warnings[0]


def test_void_as_19_is_train_ids_where_it_looks_like_a_street() -> None:
    ids = street()
    ids[40:, :9] = 19
    found = look(ids.astype(np.uint8))
    assert found.kind == "train ids" and np.array_equal(found.ids, ids)
    assert found.repair is not None, "files hold 255 for void"
    lights = np.full((20, 20), 19, dtype=np.uint8)
    assert look(lights).kind == "raw ids", "a value above 18 is raw where nothing else tells"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("x_gtFine_labelTrainIds.png", "train ids"), ("x_gtFine_labelIds.png", "raw ids")],
)
def test_the_name_settles_what_values_cannot(name: str, kind: str) -> None:
    found = look(np.full((20, 20), 8, np.uint8), name=f"folder/{name}")
    assert found.kind == kind and "the name says" in found.warnings[0]


def test_a_guess_is_called_a_guess() -> None:
    found = look(np.full((20, 20), 12, np.uint8))
    assert "a guess: nothing in the map tells" in found.warnings[0]


@pytest.mark.parametrize(("encoding", "first"), [("train", 7), ("raw", 0)])
def test_encoding_forces_the_reading(encoding: str, first: int) -> None:
    found = look(np.full((20, 20), 7, np.uint8), encoding=encoding)
    assert (found.ids == first).all() and found.detail == "as asked"
    assert found.repair is None, "every command takes --encoding"


def test_forced_reading_is_repeated_in_the_repair() -> None:
    rgb = colourise(street(), CITYSCAPES)
    rgb[0, 0] += 1
    found = look(rgb, "RGB", encoding="colour")
    assert np.array_equal(found.ids, street())
    assert found.repair is not None and found.repair.endswith("--encoding colour")


def test_forced_reading_of_impossible_values() -> None:
    assert "got also 33" in problem(look(as_raw(street()) * 0 + 33, encoding="train"))
    assert "got also 99" in problem(look(as_raw(street()) * 0 + 99, encoding="raw"))
    one_channel = look(as_raw(street()), encoding="colour")
    assert "colour-coded picture" in problem(one_channel)
    rgb = colourise(street(), CITYSCAPES)
    assert "--encoding colour" in problem(look(rgb, "RGB", encoding="raw"))


def test_instance_ids_give_labels_and_objects() -> None:
    ids = as_raw(street()).astype(np.int32)
    ids[26:36, 40:56] = 26003
    found = look(ids.astype(np.uint16), "I;16")
    assert found.kind == "instance ids" and np.array_equal(found.ids, street())
    assert set(np.unique(found.instance_map)) == {0, 26003}


def test_other_16_bit_maps_are_refused() -> None:
    assert "16-bit values 3, 900" in problem(look(np.repeat([[3, 900]], 8, 0).repeat(8, 1), "I;16"))
    strange = np.full((8, 8), 60000, np.uint16)
    assert "--encoding train, raw or instance" in problem(look(strange, "I;16"))
    forced = look(np.full((8, 8), 7, np.uint16), "I;16", encoding="raw")
    assert forced.ids is not None and (forced.ids == 0).all()


def test_object_numbers_without_classes_are_refused() -> None:
    numbers = np.full((20, 20), 12, np.uint8)
    text = problem(look(numbers, name="a_gtFine_instanceIds.png"))
    assert "--instances" in text


def test_colours_are_exact_or_counted() -> None:
    rgb = colourise(street(), CITYSCAPES)
    found = look(rgb, "RGB")
    assert found.kind == "colours" and np.array_equal(found.ids, street())
    assert found.warnings == () and found.repair is None
    rgb[0, :3] += 5
    noisy = look(rgb, "RGB")
    assert np.array_equal(noisy.ids, street())
    assert noisy.warnings[0].startswith("3 of 4608 pixels (0.1%) are not exactly of a class colour")


@pytest.mark.parametrize("quality", [90, 60])
def test_jpeg_colours_are_tolerated_with_a_count(quality: int) -> None:
    large = street().repeat(4, 0).repeat(4, 1)
    buffer = io.BytesIO()
    Image.fromarray(colourise(large, CITYSCAPES)).save(buffer, "JPEG", quality=quality)
    found = look(np.asarray(Image.open(buffer)), "RGB", is_jpeg=True)
    assert found.kind == "colours" and (found.ids == large).mean() > 0.98
    assert "are not exactly of a class colour" in found.warnings[0]


def test_transparent_pixels_are_void() -> None:
    alpha = np.full((48, 96, 1), 255, np.uint8)
    alpha[0] = 0
    found = look(np.concatenate([colourise(street(), CITYSCAPES), alpha], 2), "RGBA")
    assert found.ids is not None and (found.ids[0] == 19).all() and (found.ids[1] == 10).all()
    assert "96 transparent pixels" in found.warnings[-1]


def test_ids_in_three_equal_channels() -> None:
    found = look(np.stack([as_raw(street())] * 3, axis=-1), "RGB")
    assert found.kind == "raw ids" and np.array_equal(found.ids, street())
    assert "three equal channels" in found.detail and found.repair is not None


def test_grey_class_colours_are_colours_not_ids() -> None:
    ids = np.full((20, 20), 2)
    ids[:5] = 5
    found = look(colourise(ids, CITYSCAPES), "RGB")
    assert found.kind == "colours" and np.array_equal(found.ids, ids)


PLAIN = {10: (135, 206, 235), 2: (165, 42, 42), 0: (128, 128, 128), 1: (192, 192, 192)}
PLAIN |= {13: (255, 0, 0), 19: (0, 0, 0)}
"""What a person paints the classes of ``street`` with."""


def painted(ids: np.ndarray, colours: dict[int, tuple[int, ...]] = PLAIN) -> np.ndarray:
    return np.array([colours.get(i, (0, 0, 0)) for i in range(20)], np.uint8)[ids]


def as_jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def test_drawings_are_no_photos() -> None:
    """Plain colours went through the segmenter, and the drawing itself was animated."""
    found = look(painted(street()), "RGB")
    assert found.kind == "drawing"
    text = problem(found)
    assert "3 flat colours of no class: (135, 206, 235) 38% (nearest: sky)" in text
    assert "(128, 128, 128) 36% (nearest: road)" in text
    for way in ("--palette nearest", "--label-space", "seg2vid labels check", "--photo"):
        assert way in text
    nearest = {one.colour: one.nearest for one in found.colours}
    assert nearest == {PLAIN[i]: CITYSCAPES.names[i] for i in (10, 2, 0, 1, 13)}
    assert sum(one.share for one in found.colours) == pytest.approx(1)


@pytest.mark.parametrize("quality", [95, 75, 40])
def test_drawings_as_jpeg_are_drawings(quality: int) -> None:
    large = street().repeat(6, 0).repeat(6, 1)
    rgb = as_jpeg(painted(large), quality)
    assert look(rgb, "RGB", is_jpeg=True).kind == "drawing"
    found = look(rgb, "RGB", is_jpeg=True, colours="nearest")
    assert found.kind == "drawing" and (found.ids == large).mean() > 0.99


def test_nearest_classes_are_taken_when_asked_for() -> None:
    found = look(painted(street()), "RGB", colours="nearest")
    assert np.array_equal(found.ids, street())
    assert "(255, 0, 0) 3% (nearest: car)" in found.summary
    smooth = Image.fromarray(painted(street())).resize((192, 96), Image.Resampling.BILINEAR)
    found = look(np.asarray(smooth), "RGB", colours="nearest")
    assert (found.ids == street().repeat(2, 0).repeat(2, 1)).mean() > 0.95
    assert set(np.unique(found.ids)) == set(np.unique(street())), "edges are of no third class"


def test_class_colours_stay_what_they_are_beside_others() -> None:
    ids = street()
    ids[26:36, 40:56] = 12
    rgb = colourise(ids, CITYSCAPES)
    rgb[:4, :30] = (135, 206, 235)
    found = look(rgb, "RGB")
    assert "1 flat colour of no class: (135, 206, 235) 3%" in problem(found)
    found = look(rgb, "RGB", colours="nearest")
    assert (found.ids[26:36, 40:56] == 12).all(), "red is the rider's colour"


def test_line_drawings_and_dithered_pictures_are_told_apart() -> None:
    lines = np.full((64, 64, 3), (255, 255, 200), np.uint8)
    lines[::5] = lines[:, ::7] = 0
    assert look(lines, "RGB").kind == "drawing"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    grey = np.repeat(noise[..., None], 3, axis=2) + np.array([0, 1, 2], np.uint8)
    framed = np.pad(grey, ((99, 99), (0, 0), (0, 0)))
    assert look(framed, "RGB").kind == "photo", "black bars are no drawing"


def test_ade20k_colours_are_recognised_and_mapped() -> None:
    ade = get_label_space("ade20k")
    place = {10: "sky", 2: "house", 0: "road", 1: "sidewalk", 13: "van"}
    rgb = painted(street(), {i: ade.classes[ade.names.index(n)].colour for i, n in place.items()})
    found = look(rgb, "RGB")
    assert found.kind == "colours" and "ade20k colours" in found.detail
    assert np.array_equal(found.ids, street()) and found.warnings == ()
    rgb[:12, :10] = ade.classes[ade.names.index("sofa")].colour
    found = look(rgb, "RGB")
    assert (found.ids[:12, :10] == 19).all()
    assert found.warnings == ("sofa: no such class in cityscapes, read as void",)
    large = as_jpeg(rgb.repeat(6, 0).repeat(6, 1), 80)
    found = look(large, "RGB", is_jpeg=True)
    assert (found.ids == look(rgb, "RGB").ids.repeat(6, 0).repeat(6, 1)).mean() > 0.99
    assert found.warnings == ("sofa: no such class in cityscapes, read as void",), "no mixtures"


def test_camvid_colours_are_recognised_in_a_palette_too() -> None:
    camvid = get_label_space("camvid")
    place = {10: "Sky", 2: "Building", 0: "Road", 1: "Sidewalk", 13: "SUVPickupTruck"}
    colours = {i: camvid.classes[camvid.names.index(name)].colour for i, name in place.items()}
    found = look(street().astype(np.uint8), "P", palette=palette_of(colours))
    assert found.kind == "palette" and "camvid colours" in found.detail
    assert np.array_equal(found.ids, street())


def test_pure_colours_are_of_no_other_label_space() -> None:
    """Red, blue and yellow are flower, case and lake of ade20k: nobody means those."""
    pure = {10: (0, 0, 255), 2: (255, 255, 0), 0: (255, 0, 0), 1: (255, 0, 255), 13: (10, 0, 255)}
    assert look(painted(street(), pure), "RGB").kind == "drawing"


def test_grey_ids_of_no_numbering_are_no_photo() -> None:
    rows, columns = np.mgrid[:64, :640]
    steps = (columns * 80 // 640).astype(np.uint8)
    fields = ((columns // 10 + rows // 10 * 13) % 80).astype(np.uint8)
    for grey in (steps, fields):
        found = look(grey)
        assert found.kind == "unknown" and "got values 34, 35, 36" in problem(found)
        assert "--label-space" in problem(found) and "--photo" in problem(found)


def test_ids_resized_like_a_photo_are_noticed() -> None:
    large = Image.fromarray(as_raw(street())).resize((300, 150), Image.Resampling.BILINEAR)
    found = look(np.asarray(large))
    assert any("resized like a photo" in text for text in found.warnings)
    assert look(as_raw(street()).repeat(3, 0).repeat(3, 1)).warnings == ()


def test_photos_are_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    text = problem(look(noise, "RGB"))
    assert "as in a photo" in text and "--first-frame" in text
    for is_jpeg in (False, True):
        grey = look(noise[..., 0], is_jpeg=is_jpeg)
        assert grey.kind == "photo" and "grey values" in problem(grey)
    blocks = np.repeat(noise[:5, :5, 0], 8, 0).repeat(8, 1)
    assert "a one-channel JPEG, whose compression" in problem(look(blocks, is_jpeg=True))


def test_unknown_ids_are_named() -> None:
    pixels = to_file_ids(street(), CITYSCAPES)
    pixels[0] = 77
    text = problem(look(pixels))
    assert "got values 77" in text and "--label-space" in text


@pytest.mark.parametrize("shape", [(1, 1), (7, 40), (40, 7, 3)])
def test_too_small_maps_are_refused(shape: tuple[int, ...]) -> None:
    mode = "L" if len(shape) == 2 else "RGB"
    assert "at least 8x8 pixels" in problem(look(np.zeros(shape, np.uint8), mode))


def palette_of(colours: dict[int, tuple[int, ...]]) -> np.ndarray:
    palette = np.zeros((256, 3), np.uint8)
    for index, colour in colours.items():
        palette[index] = colour
    return palette


def test_palette_with_train_ids() -> None:
    palette = palette_of({label.id: label.colour for label in CITYSCAPES.classes})
    found = look(street().astype(np.uint8), "P", palette=palette)
    assert found.kind == "palette" and "indices are train ids" in found.detail
    assert found.warnings == () and found.repair is None


def test_palette_with_raw_ids() -> None:
    palette = palette_of({label.raw_ids[0]: label.colour for label in CITYSCAPES.classes})
    found = look(as_raw(street()), "P", palette=palette)
    assert found.kind == "palette" and "indices are raw ids" in found.detail
    assert np.array_equal(found.ids, street()) and found.repair is None


def test_palette_with_indices_of_its_own() -> None:
    order = {10: 0, 2: 1, 0: 2, 1: 3, 13: 4}
    palette = palette_of({i: CITYSCAPES.classes[c].colour for c, i in order.items()})
    found = look(np.vectorize(order.get)(street()).astype(np.uint8), "P", palette=palette)
    assert found.kind == "palette" and np.array_equal(found.ids, street())
    assert "its indices do not" in found.detail and found.repair is None


def test_foreign_palette_leaves_the_indices_to_speak() -> None:
    palette = palette_of({i: (255 - 9 * i, 255, 9 * i) for i in range(24)})
    found = look(as_raw(street()), "P", palette=palette)
    assert found.kind == "raw ids" and np.array_equal(found.ids, street())
    assert "its palette has colours of no class" in found.warnings[-1]
    assert "--palette nearest" in problem(
        look(as_raw(street()), "P", palette=palette, encoding="colour")
    )


def test_palette_of_the_colours_in_use_tells_no_ids() -> None:
    """What makes files small numbers the colours in any order."""
    palette = palette_of({0: (9, 250, 90), 1: (90, 250, 9), 2: (250, 9, 90)})[:3]
    indices = np.minimum(street(), 2).astype(np.uint8)
    assert look(indices, "P", palette=palette).kind == "drawing"
    assert look(indices, "P", palette=palette, encoding="train").kind == "train ids"


def test_palette_shorter_than_its_indices() -> None:
    found = look(as_raw(street()), "P", palette=np.zeros((2, 3), np.uint8))
    assert found.kind == "raw ids"


def test_own_label_space_has_no_raw_ids() -> None:
    space = LabelSpace.from_dict(
        {
            "classes": [
                {"name": "ground", "colour": [9, 9, 9]},
                {"name": "animal", "colour": [200, 0, 0], "foreground": True},
            ]
        }
    )
    pixels = np.zeros((20, 20), np.uint8)
    pixels[5:9, 5:9] = 1
    found = look(pixels, space=space)
    assert found.kind == "train ids" and found.warnings == ()
    assert "got values 26" in problem(look(pixels + 26, space=space))
    assert "16-bit values" in problem(look(pixels.astype(np.uint16) + 26000, "I;16", space=space))


def test_a_mask_of_0_and_255_is_one_of_an_object() -> None:
    space = get_label_space("object")
    mask = np.zeros((20, 20), np.uint8)
    mask[5:9, 5:9] = 255
    found = look(mask, space=space)
    assert found.kind == "raw ids" and np.array_equal(found.ids, mask // 255)
    mask[mask == 255] = 1
    mask[0] = 255
    found = look(mask, space=space)
    assert found.kind == "train ids" and (found.ids[0] == 2).all() and found.ids[6, 6] == 1


def test_what_is_probably_not_meant_is_said() -> None:
    noise = np.random.default_rng(0).integers(0, 19, (40, 40)).astype(np.uint8)
    noise[0, 0] = 255
    assert any("differ from all neighbours" in text for text in look(noise).warnings)
    void = np.full((20, 20), 255, np.uint8)
    void[0] = 0
    warnings = look(void).warnings
    assert "95% of the map is void" in warnings[0]
    assert "only void and road in it" in warnings[1]


def test_files_keep_what_the_doctor_needs(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    ids = street()
    ids[0] = 19
    write_label_map(path, ids, CITYSCAPES)
    read = read_label_map(path, space=CITYSCAPES)
    assert np.array_equal(read.ids, ids) and read.diagnosis.kind == "palette"
    assert np.array_equal(np.asarray(Image.open(path).convert("RGB")), colourise(ids, CITYSCAPES))
    Image.fromarray(street().astype(np.uint8) == 0).save(tmp_path / "bits.png")
    assert set(np.unique(read_picture(tmp_path / "bits.png").pixels)) == {0, 1}
    Image.fromarray(np.full((9, 9, 2), 255, np.uint8), "LA").save(tmp_path / "la.png")
    assert read_picture(tmp_path / "la.png").pixels.shape == (9, 9)


def test_short_palettes_are_read_whole(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((9, 9), np.uint8), "P")
    image.putpalette([128, 64, 128, 244, 35, 232])
    image.save(tmp_path / "short.png")
    picture = read_picture(tmp_path / "short.png")
    assert picture.palette is not None and tuple(picture.palette[0]) == (128, 64, 128)
    assert diagnose(picture, space=CITYSCAPES).kind == "palette"


def test_problem_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.fromarray(np.full((9, 9), 99, np.uint8)).save(path)
    with pytest.raises(LabelMapError, match=r"grey\.png: Expected .*; got values 99; "):
        read_label_map(path, space=CITYSCAPES)


def test_a_palette_may_end_within_a_colour() -> None:
    image = Image.fromarray(street().astype(np.uint8)).convert("P")
    image.putpalette(bytes(range(250)))
    palette = read_picture(image).palette
    assert (
        palette is not None
        and palette.shape == (83, 3)
        and palette[-1].tolist()
        == [
            *(246, 247, 248),
        ]
    )


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.array([[26001, 7]], np.uint16), [[26001, 0]]),
        (np.array([[3, 0, 255]], np.uint8), [[3, 0, 0]]),
    ],
)
def test_instance_maps_of_both_kinds(tmp_path: Path, pixels: np.ndarray, expected: list) -> None:
    Image.fromarray(pixels).save(tmp_path / "instances.png")
    assert read_instance_map(tmp_path / "instances.png").tolist() == expected


def test_real_cityscapes_files(shared_data: Path) -> None:
    folder = shared_data / "label_maps"
    for path in sorted(folder.glob("*labelIds.png"))[:2]:
        found = diagnose(read_picture(path), space=CITYSCAPES)
        assert found.kind == "raw ids" and found.warnings == ()
    instances = folder / "frankfurt_000001_032711_gtFine_instanceIds.png"
    labels = folder / "frankfurt_000001_032711_gtFine_labelIds.png"
    found = diagnose(read_picture(instances), space=CITYSCAPES)
    assert found.kind == "instance ids"
    assert np.array_equal(found.ids, read_label_map(labels, space=CITYSCAPES).ids)
    renamed = replace(read_picture(folder / "stuttgart_00_000001_gtFine_instanceIds.png"), name="x")
    assert "got values" in problem(diagnose(renamed, space=CITYSCAPES))


def test_real_train_ids_photos_and_other_label_spaces(shared_data: Path) -> None:
    stills = shared_data / "cityscapes_stills" / "val"
    for path in sorted((stills / "labels").iterdir())[:20]:
        picture = read_picture(path)
        assert "train ids" in diagnose(picture, space=CITYSCAPES).detail
        bare = np.where(picture.pixels == 255, np.uint8(0), picture.pixels)
        assert look(bare).kind == "train ids"
    for path in sorted((stills / "photos").iterdir())[:20]:
        assert "as in a photo" in problem(diagnose(read_picture(path), space=CITYSCAPES))
    for path in sorted((shared_data / "davis").glob("*/00000.jpg")):
        assert "as in a photo" in problem(diagnose(read_picture(path), space=CITYSCAPES))
