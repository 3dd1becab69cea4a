"""The real files that cases begin with, made by what makes the files of the other tests."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import av
import numpy as np
import torch
import yaml
from PIL import Image

from seg2vid.cli import arguments
from seg2vid.cli import main as cli
from seg2vid.data.clips import ClipFolder, render_toycity
from seg2vid.data.toycity import dataset as toycity_dataset
from seg2vid.data.toycity.clip import ToyCityConfig, save_clip
from seg2vid.data.toycity.render import render_clip
from seg2vid.evaluation import results
from seg2vid.evaluation import work as evaluation_work
from seg2vid.evaluation.measure import Judges
from seg2vid.evaluation.report import page
from seg2vid.evaluation.study import FORMAT, Item, Key
from seg2vid.labels.convert import colourise
from seg2vid.labels.space import get_label_space
from seg2vid.media.pictures import write_label_map
from seg2vid.models.config import to_dict
from seg2vid.models.judges.files import JUDGES
from seg2vid.tools.engines import Processes
from seg2vid.tools.errors import DivergenceError
from seg2vid.training.failures import keep_evidence
from seg2vid.training.recipes import make_stage, read_recipe
from tests.evaluation_runs import Guesser, write_model
from tests.evaluation_samples import make_report
from tests.models.judges.test_files import Holder
from tests.shards import write_dataset
from tests.tiny import CONFIG, NUM_FRAMES

HEIGHT, WIDTH = 32, 64
SMALL = replace(CONFIG, height=HEIGHT, width=WIDTH)
SPACE = get_label_space("cityscapes")
REPOSITORY = Path(__file__).parents[2]
LPIPS = "lpips_v01_alex_lin.safetensors"
NETWORKS = {name: one for name, one in to_dict(SMALL).items() if name != "label_space"}
"""As a recipe names them."""
TRAINING: dict[str, dict[str, Any]] = {
    "first-frame": {"batch_size": 2, "discriminator_width": 4},
    "motion": {"batch_size": 2, "trained_frames": 2, "refined_frames": 1, "warm_up": 3},
    "refiner": {"batch_size": 2, "patch": 0.0},
    "segmenter": {"batch_size": 2, "blur": 1.5},
}
PROTOCOL = {
    "name": "own-v1", "about": "A street.", "task": "prediction", "source": "toycity", "clips": 1,
    "first_seed": 3, "height": HEIGHT, "width": WIDTH, "num_frames": NUM_FRAMES, "samples": 1,
    "horizons": [NUM_FRAMES], "picture_times": [1], "warping_times": [1], "replicates": 4,
    "baselines": ["truth"], "judges": {LPIPS: "ab" * 32}, "enough": {"fvd": 2},
}  # fmt: skip


field_helps, environment = cache(arguments.field_helps), cache(page.environment)


@contextmanager
def light() -> Iterator[None]:
    """Work in this process alone, with judges that cost nothing, and draw one chart of four."""

    def serially(function: Any, items: Any, *, done: Any, begin: Any = None, **more: Any) -> None:
        if begin is not None:
            begin(*more.get("begin_with", ()))
        for item in items:
            done(item, function(item))

    def sometimes(*given: Any, **named: Any) -> str:
        is_drawn = crc32(repr((given, named)).encode("utf-8", "replace")) % 4 == 0
        return real[2](*given, **named) if is_drawn else ""

    real = evaluation_work.load_judges, results.interval_of, page.line_chart
    places = (evaluation_work, toycity_dataset)
    pool, engine = evaluation_work.work_in_processes, Processes.work
    evaluation_work.load_judges = lambda _: Judges(Guesser())
    results.interval_of = lambda *given, **named: real[1](*given, **(named | {"replicates": 4}))
    page.line_chart = sometimes
    # What is read from the source alone is read once.
    arguments.field_helps, page.environment = field_helps, environment
    try:
        for place in places:
            place.work_in_processes = serially
        Processes.work = staticmethod(serially)
        yield
    finally:
        evaluation_work.load_judges, results.interval_of, page.line_chart = real
        for place in places:
            place.work_in_processes = pool
        Processes.work = staticmethod(engine)


def make_seeds(root: Path) -> None:
    """Make every kind of input below ``root``, as ``KIND/VARIANT``."""
    with light():
        for make in (_maps, _photos, _videos, _texts, _models, _clips, _runs, _evaluation, _judges):
            make(root)


def _folder(root: Path, kind: str) -> Path:
    (root / kind).mkdir(exist_ok=True, parents=True)
    return root / kind


def street() -> np.ndarray:
    """A street of 64x32 in train ids: sky, buildings, road, a car and a little void."""
    ids = np.full((HEIGHT, WIDTH), 2)
    ids[:8], ids[18:], ids[14:20, 8:20], ids[:, :2] = 10, 0, 13, 19
    return ids


def photo(seed: int = 0) -> np.ndarray:
    """A smooth picture of 64x32."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def _maps(root: Path) -> None:
    folder, ids = _folder(root, "map"), street()
    write_label_map(folder / "palette.png", ids, SPACE)
    plain = np.where(ids == SPACE.void_id, 255, ids).astype(np.uint8)
    raw = np.array([*(label.raw_ids[0] for label in SPACE.classes), 0], np.uint8)[ids]
    instances = raw.astype(np.uint16)
    instances[14:20, 8:20] = 26_001
    Image.fromarray(plain).save(folder / "train.png")
    Image.fromarray(plain).save(folder / "train.tiff")
    Image.fromarray(raw).save(folder / "raw.png")
    Image.fromarray(raw).save(folder / "raw.bmp")
    Image.fromarray(instances).save(folder / "instance.png")
    colours = Image.fromarray(colourise(ids, SPACE))
    colours.save(folder / "colour.png")
    colours.save(folder / "colour.jpg", quality=95)
    colours.save(folder / "colour.webp", lossless=True)
    colours.save(folder / "colour.gif")
    Image.fromarray(instances).save(_folder(root, "instances") / "objects.png")


def _photos(root: Path) -> None:
    folder, image = _folder(root, "photo"), Image.fromarray(photo())
    turned = Image.Exif()
    turned[0x0112] = 3
    image.save(folder / "photo.png")
    image.save(folder / "photo.jpg", exif=turned)
    image.save(folder / "photo.webp", exif=turned)
    image.convert("RGBA").save(folder / "alpha.png")
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.save(folder / "photo.gif", save_all=True, append_images=[image] * 2)
    stills = _folder(root, "stills") / "stills"
    for number in range(3):
        for name in ("photos", "labels"):
            (stills / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(number)).save(stills / "photos" / f"{number}.jpg")
        write_label_map(stills / "labels" / f"{number}.png", street(), SPACE)


def encode(path: Path, codec: str, pixels: str, count: int = 7) -> None:
    """Write a short video with any codec."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, pixels
        for index in range(count):
            moved = np.roll(photo(), 2 * index, axis=1)
            frame = av.VideoFrame.from_ndarray(moved, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pixels)))
        container.mux(stream.encode(None))


def _videos(root: Path) -> None:
    folder = _folder(root, "video")
    codecs = {
        ".mp4": "libx264",
        ".webm": "libvpx-vp9",
        ".avi": "mjpeg",
        ".mkv": "libx264",
        ".mov": "mpeg4",
    }
    for ending, codec in codecs.items():
        encode(folder / f"video{ending}", codec, "yuvj420p" if codec == "mjpeg" else "yuv420p")
    images = [Image.fromarray(np.roll(photo(), 2 * index, axis=1)) for index in range(5)]
    tree = _folder(root, "recordings") / "recordings"
    for name in ("drive/labels", "drive/instances"):
        (tree / name).mkdir(parents=True)
    for index, image in enumerate([*images, *images]):
        image.save(tree / "drive" / f"{index:03d}.png")
        write_label_map(tree / "drive" / "labels" / f"{index:03d}.png", street(), SPACE)
        shutil.copy(
            root / "instances" / "objects.png", tree / "drive" / "instances" / f"{index:03d}.png"
        )
    shutil.copy(folder / "video.mp4", tree / "street.mp4")
    about = [{"name": "drive", "fps": 12, "licence": "CC0", "split": "train", "group": "a"}]
    (tree / "manifest.json").write_text(json.dumps([*about, {"name": "street", "source": "us"}]))
    (tree / "label_space.yaml").write_text(yaml.safe_dump(SPACE.to_dict()))
    videos = _folder(root, "videos") / "videos"
    (videos / "c").mkdir(parents=True)
    shutil.copy(folder / "video.mp4", videos / "a.mp4")
    images[0].save(videos / "b.gif", save_all=True, append_images=images[1:])
    for index, image in enumerate(images):
        image.save(videos / "c" / f"{index:06d}.png")


def _texts(root: Path) -> None:
    space = SPACE.to_dict()
    _folder(root, "space").joinpath("own.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    bundled = REPOSITORY / "src" / "seg2vid" / "labels" / "spaces" / "cityscapes.yaml"
    shutil.copy(bundled, root / "space" / "bundled.yaml")
    for stage, training in TRAINING.items():
        recipe = {"stage": stage, "preset": "geometry", "model": NETWORKS, "training": training}
        recipe |= {"objective": "geometry"} if stage == "motion" else {}
        _folder(root, "recipe").joinpath(f"{stage}.yaml").write_text(yaml.safe_dump(recipe))
    _folder(root, "protocol").joinpath("own.yaml").write_text(
        yaml.safe_dump(PROTOCOL, sort_keys=False)
    )
    for name, clips in (("a", 5), ("b", 6)):
        report = make_report(clips)
        report["figures"][0]["value"] += clips / 1000
        _folder(root, "report").joinpath(f"{name}.json").write_text(json.dumps(report))
    key = Key(("ours", "theirs"), (Item(1, "a", True), Item(1, "b", False))).encode()
    answers = [{"item": number, "choice": "left"} for number in (0, 1)]
    given = {"format": FORMAT, "session": "one", "key": key, "answers": answers}
    _folder(root, "answers").joinpath("answers.json").write_text(json.dumps(given))


def _models(root: Path) -> None:
    for seed in (0, 1):
        write_model(_folder(root, "model") / f"model{seed}", SMALL, seed=seed)
    shutil.copy(
        root / "model" / "model0" / "model.safetensors", root / "model" / "weights.safetensors"
    )
    words = [root / "map" / "palette.png", "-o", _folder(root, "marked") / "marked"]
    words += ["--model", root / "model" / "model0", "--frames", 2, "--save", "labels"]
    _run("generate", *words)


def _clips(root: Path) -> None:
    folder = _folder(root, "clips") / "clips"
    _run(
        "toycity",
        "-o",
        folder,
        "--clips",
        2,
        "--size",
        f"{WIDTH}x{HEIGHT}",
        "--frames",
        NUM_FRAMES + 1,
    )
    city = ToyCityConfig(height=HEIGHT, width=WIDTH, num_frames=NUM_FRAMES)
    clips = [render_toycity(seed, city) for seed in range(3)]
    recordings = {"a": clips[:2], "b": clips[2:]}
    write_dataset(_folder(root, "dataset") / "dataset", recordings, {"a": "train", "b": "val"})
    shutil.rmtree(root / "dataset" / "dataset" / "parts", ignore_errors=True)
    save_clip(render_clip(5, city), folder / "clip_000005.safetensors")


def _runs(root: Path) -> None:
    run = _folder(root, "run") / "run"
    words = [
        "--data",
        root / "clips" / "clips",
        "-o",
        run,
        "--recipe",
        root / "recipe" / "motion.yaml",
    ]
    words += [
        "--batch-size",
        3,
        "--measured-steps",
        0,
        "--save-every",
        1,
        "--sheet-every",
        0,
        "--without-features",
    ]
    _run("train", "motion", *words, "--validate-every", 0, "--max-steps", 1)
    recipe = read_recipe(run / "config.yaml")
    stage = make_stage(recipe.training, recipe.model)
    clips = ClipFolder(root / "clips" / "clips")
    stage.batch = clips.read(0)
    diverged = _folder(root, "diverged") / "diverged"
    diverged.mkdir()
    shutil.copy(run / "config.yaml", diverged)
    error = DivergenceError("finite losses", got="nan", terms={"flow": 1.0}, norm=1.0)
    keep_evidence(diverged, stage, error)


def _evaluation(root: Path) -> None:
    words = [
        "-o",
        _folder(root, "evaluation") / "evaluation",
        "--clips",
        1,
        "--workers",
        1,
        "--keep-work",
    ]
    words += ["--model", root / "model" / "model0", "--protocol", root / "protocol" / "own.yaml"]
    _run("evaluate", *words)


def _judges(root: Path) -> None:
    folder = _folder(root, "judge")
    tensors = {
        f"lin{number}.model.1.weight": torch.rand(1, 4, 1, 1)
        for number in range(JUDGES[LPIPS].tensors)
    }
    torch.save(tensors, folder / "official.pth")
    torch.jit.save(torch.jit.script(Holder(tensors)), folder / "script.pt")


def _run(*words: object) -> None:
    status = cli.main([str(word) for word in words])
    if status:
        raise RuntimeError(f"a seed could not be made: {words}")
