"""Cases: a command of each verb with real inputs, of which one kind is damaged or in a bad place.

A case is known by a seed and a number: the same two make the same files and words again.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from random import Random

from seg2vid.cli.main import VERBS
from tests.fuzz.mutations import NUMBERS, TEXTS, damage

NAMES = (
    *(
        "with space",
        "é_日本_😀",
        "-o",
        "--help",
        "a'b\"c",
        "%s%n",
        "$(touch escaped)",
        "a;touch escaped",
    ),
    *(
        "two\nlines",
        "bell\x07",
        "\x1b[31mred\x1b[0m",
        "\u202egnp",
        "tab\t",
        "n" * 200,
        "~",
        "#?&",
        "a:b",
    ),
    os.fsdecode(b"not_utf8_\xff"),
)
AMOUNTS = {
    *(
        "frames",
        "samples",
        "size",
        "clips",
        "workers",
        "threads",
        "batch_size",
        "accumulate",
        "steps",
    ),
    *(
        "max_steps",
        "measured_steps",
        "validation_clips",
        "discriminator_width",
        "motion_step",
        "model",
    ),
    *("devices", "nodes", "compile", "dry_run", "shard_size", "process", "trained_frames"),
}
"""Options that say how much to do: what they allow is done, so only wrong values are tried."""
WRONG = (
    "0",
    "-1",
    "nan",
    "",
    "x",
    "1.5",
    "1e400",
    "9" * 41,
    "9" * 5000,
    "٣",
    "1_0",
    " 1",
    "0x1",
)


@dataclass
class Case:
    """One command and its inputs, being made in a folder of its own."""

    seeds: Path
    """Folder of the real files: ``KIND/VARIANT``, files or folders."""
    folder: Path
    dice: Random
    damaged: tuple[str, ...] = ()
    """Kinds of inputs that get damage."""
    has_bad_places: bool = False
    words: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    """Places that the command may write to."""
    harm: list[str] = field(default_factory=list)
    """What was done to the inputs, in words."""
    must_fail: bool = False

    def make(self, verb: str) -> None:
        """Make the inputs and the words of a verb."""
        for name in ("in", "place", "elsewhere"):
            (self.folder / name).mkdir()
        (self.folder / "elsewhere" / "precious.png").write_bytes(b"a file of the user")
        self.words = [*verb.split(), *map(str, COMMANDS[verb](self))]

    # Inputs

    def given(self, kind: str, *, variant: str = "") -> str:
        """Put an input of this kind into the folder, damaged where it shall be; return its path."""
        return f"./{self._put(kind, variant, self.folder / 'in').relative_to(self.folder)}"

    def _put(self, kind: str, variant: str, place: Path, name: str = "") -> Path:
        variants = sorted(path for path in (self.seeds / kind).iterdir() if variant in path.name)
        source, dice = self.dice.choice(variants), self.dice
        stem = name or f"{kind}{len(self.harm)}{len(list(place.iterdir()))}"
        if not name and self.damaged and dice.random() < 0.08:
            odd = dice.choice(NAMES)
            stem = stem if (place / odd).exists() else odd
        path = place / f"{stem}{'' if source.is_dir() else source.suffix}"
        if source.is_dir():
            shutil.copytree(source, path)
        else:
            shutil.copy(source, path)
        if kind not in self.damaged or dice.random() < 0.1:
            return path
        if source.is_dir() and dice.random() < 0.93:
            files = sorted(one for one in path.rglob("*") if one.is_file())
            for _ in range(dice.choice((1, 1, 2))):
                self._harm(dice.choice(files), is_all=kind == "model" and not name)
        else:
            self._harm(path, is_all=not name)
        return path

    def _harm(self, path: Path, *, is_all: bool) -> None:
        """Damage a file, or put something else there; ``is_all``: the command cannot do without."""
        roll, dice = self.dice.random(), self.dice
        if path.is_file() and not path.is_symlink() and roll < 0.8:
            mutant = damage(dice, path.read_bytes(), path.suffix)
            path.write_bytes(mutant.content)
            self.must_fail |= mutant.must_fail and is_all
            self.harm.append(f"{path.name!r}: {mutant.what}")
            return
        if path.is_symlink() or not path.exists():
            return
        aside = self.folder / "elsewhere" / f"aside{len(self.harm)}"
        path.rename(aside)
        change = dice.choice((*PLACES, "absent", "empty", "other", "other"))
        self.must_fail |= is_all and change in ("absent", "loop", "dangling")
        self.harm.append(f"{path.name!r}: {change}")
        if change == "other":
            self.must_fail = False  # with the file what was done to it before is gone
            kinds = [one for one in self.seeds.rglob("*") if one.is_file()]
            shutil.copy(dice.choice(sorted(kinds)), path)
        elif change == "empty":
            path.touch()
        elif change != "absent":
            PLACES[change](path, aside)

    # Outputs

    def place(self, suffix: str, holds: str = "") -> str:
        """Return a place for an output; a folder of the kind ``holds`` may lie there already."""
        name = f"out{len(self.outputs) or ''}{suffix}"
        path = self.folder / "place" / name
        if holds and (holds in self.damaged or self.dice.random() < 0.02):
            self._put(holds, "", path.parent, name)
            if path.is_dir() and not path.is_symlink():
                (path / "mine.txt").write_text("a file of the user")
        elif self.has_bad_places and self.dice.random() < 0.9:
            name = self._bad_place(path, suffix)
        self.outputs.append(f"place/{name}")
        return f"place/{name}"

    def _bad_place(self, path: Path, suffix: str) -> str:
        precious = self.folder / "elsewhere" / "precious.png"
        change = self.dice.choice(
            ("name", "name", "there", "full", "in a file", "absent", "odd", *PLACES)
        )
        self.harm.append(f"output: {change}")
        if change == "name":
            return (
                self.dice.choice((*NAMES, "..", ".", "", "n" * 300, "\x01", "CON", "a" * 250))
                + suffix
            )
        if change == "there":
            path.write_bytes(b"a file of the user")
        elif change == "full":
            return f"../../../../../../../../../../dev/full{suffix}"
        elif change == "in a file":
            return f"../elsewhere/precious.png/out{suffix}"
        elif change == "absent":
            return f"none/at/all{suffix}"
        elif change == "odd":
            kinds = sorted(one for one in self.seeds.glob("*/*"))
            self._put(self.dice.choice(kinds).parent.name, "", path.parent, path.stem)
        else:
            PLACES[change](path, precious)
        return path.name

    # Words

    def damage_words(self) -> None:
        """Change some words: drop, repeat, swap, or give an option another value."""
        for _ in range(self.dice.choice((1, 1, 2, 3))):
            self._damage_word()
        if any("pipe:" in word for word in self.words):
            self.words = [word for word in self.words if "allow-pipe" not in word]
        # Where the words as they are now say that something shall be written.
        for word, following in pairwise([*self.words, ""]):
            option, equals, value = word.partition("=")
            if option in ("-o", "--output", "--overlay", "--confidence", "--contact-sheet"):
                self.outputs.append(value if equals else following)
        self.must_fail = False
        self.harm.append("words")

    def _damage_word(self) -> None:
        words, dice = self.words, self.dice
        at = dice.randrange(len(words) + 1)
        change = dice.choice(("drop", "repeat", "swap", "add", "add", "option", "option", "option"))
        if change == "drop" and words:
            del words[at - 1]
        elif change == "repeat" and words:
            words.insert(at, words[at - 1])
        elif change == "swap" and len(words) > 1:
            words[at - 1], words[at - 2] = words[at - 2], words[at - 1]
        elif change == "add":
            words.insert(
                at,
                dice.choice((*filter(is_word, TEXTS), *NAMES, "--", "-", "--=", "-h", "-V", "-o")),
            )
        else:
            verb = (
                " ".join(words[:2]) if " ".join(words[:2]) in VERBS else words[0] if words else ""
            )
            if verb in VERBS:
                words += self._option(verb)

    def _option(self, verb: str) -> list[str]:
        names = []
        for one in fields(VERBS[verb][0]):
            names += [one.name] if "fields_of" not in one.metadata else []
            names += [inner.name for inner in fields(one.metadata.get("fields_of", Empty))]
        name = self.dice.choice(names or ["none"])
        option = f"--{name.replace('_', '-')}"
        if name == "model" and verb.startswith("train"):
            option += self.dice.choice(
                (".height", ".label-space", ".x", ".flow-decoder.width", ".a.b.c", ".")
            )
        values = (
            WRONG if name in AMOUNTS else (*filter(is_word, TEXTS), *map(str, NUMBERS[:12]), *WRONG)
        )
        value = self.dice.choice(values)
        return self.dice.choice(([option, value], [option, value], [f"{option}={value}"], [option]))


@dataclass
class Empty:
    """No fields."""


def is_word(text: str) -> bool:
    """Say whether a text can be a word of a command."""
    # No word of a command can hold a NUL.
    return (
        "http" not in text and "\x00" not in text and text != "\ud800"
    )  # bytes that are no text are other surrogates


def _fifo(path: Path, aside: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path, aside: Path) -> None:
    path.mkdir()
    (path / "precious.txt").write_text("a file of the user")


PLACES: dict[str, Callable[[Path, Path], None]] = {
    "folder": _folder,
    "link": lambda path, aside: path.symlink_to(aside),
    "dangling": lambda path, aside: path.symlink_to(aside.parent / "nowhere"),
    "loop": lambda path, aside: path.symlink_to(path.name),
    "fifo": _fifo,
    "null": lambda path, aside: path.symlink_to("/dev/null"),
    "zero": lambda path, aside: path.symlink_to("/dev/zero"),
    "unreadable": lambda path, aside: path.symlink_to("/proc/self/mem"),
}
"""What can stand where a file is looked for. Root may read all but a few files of the system."""


def _video_options(case: Case) -> list[object]:
    dice, words = case.dice, []
    words += [
        "-o",
        case.place(dice.choice((".gif", ".gif", "", "", ".webp", ".mp4")), holds="marked"),
    ]
    words += ["--model", case.given("model"), "--frames", dice.choice((1, 2, 2, 4))]
    if "instances" in case.damaged or dice.random() < 0.05:
        words += ["--instances", case.given("instances")]
    if "space" in case.damaged:
        words += ["--label-space", case.given("space")]
    more: list[list[object]] = [
        *(
            ["--save", "flow,labels"],
            ["--save", "visible,overlay"],
            ["--size", "64x32"],
            ["--aspect", "pad"],
        ),
        *(
            ["--samples", 2],
            ["--overwrite"],
            ["--encoding", "train"],
            ["--fps", 240],
            ["--seed", 2**63 - 2],
        ),
    ]
    if case.has_bad_places and dice.random() < 0.3:
        more.append(["--contact-sheet", case.place(".png")])
    return words + (dice.choice(more) if dice.random() < 0.5 else [])


def generate(case: Case) -> list[object]:
    """A map or photo, and perhaps a photo to begin with."""
    words: list[object] = [
        case.given("photo" if "photo" in case.damaged and case.dice.random() < 0.5 else "map")
    ]
    if "photo" in case.damaged:
        words += ["--first-frame", case.given("photo")]
    return words + _video_options(case)


def animate(case: Case) -> list[object]:
    """A photo and its map; a clip that lends its motion."""
    words: list[object] = [case.given("photo"), "--labels", case.given("map")]
    if "video" in case.damaged or "recordings" in case.damaged:
        kind = "video" if "video" in case.damaged else "recordings"
        words += ["--motion-from", case.given(kind), "--motion-labels", case.given("map")]
    return words + _video_options(case)


def labels_check(case: Case) -> list[object]:
    """A map, perhaps with classes of one's own."""
    words: list[object] = [case.given("map")]
    if "space" in case.damaged:
        words += ["--label-space", case.given("space")]
    if case.dice.random() < 0.4:
        words += ["--encoding", case.dice.choice(("auto", "train", "raw", "colour", "instance"))]
    return words


def labels_convert(case: Case) -> list[object]:
    """The same, and a place."""
    words = [*labels_check(case), "-o", case.place(".png")]
    more = (["--to", "colour"], ["--size", "32x64", "--aspect", "pad"], ["--overwrite"], [])
    return words + list(case.dice.choice(more))


def segment(case: Case) -> list[object]:
    """A photo and three places."""
    words: list[object] = [case.given("photo"), "-o", case.place(".png")]
    if case.dice.random() < 0.4:
        words += ["--overlay", case.place(".jpg"), "--confidence", case.place(".png")]
    return words + case.dice.choice(([], ["--overwrite"], ["--min-confidence", "0.9"]))


def prepare(case: Case) -> list[object]:
    """A tree of videos and frames, or of toy-city clips."""
    source = next((kind for kind in ("clips", "video") if kind in case.damaged), "recordings")
    words: list[object] = [
        case.given(source),
        "-o",
        case.place("", holds="dataset"),
        "--size",
        "32x32",
    ]
    words += [
        "--frames",
        3,
        "--labels",
        "none",
        "--flow",
        case.dice.choice(("none", "dis")),
        "--fps",
        25,
    ]
    return words + case.dice.choice(
        ([], ["--dry-run"], ["--keep-flow"], ["--lossless"], ["--labels", "segmenter"])
    )


def dataset(case: Case) -> list[object]:
    """What a clip of the label map would cost."""
    labels = str(Path(case.given("map")).parent)
    layout = case.dice.choice(("cityscapes", "kitti-flow", "davis", "coco"))
    words = [labels, "-o", case.place(""), "--layout", layout, "--count", 2, "--dry-run"]
    return [*words, "--model", case.given("model")]


def toycity(case: Case) -> list[object]:
    """One small clip, perhaps where some are."""
    return ["-o", case.place("", holds="clips"), "--clips", 1, "--size", "32x32", "--frames", 3]


def _train(stage: str) -> Callable[[Case], list[object]]:
    def words(case: Case) -> list[object]:
        sources = {"clips", "dataset"} if stage == "motion" else {"clips", "dataset", "stills"}
        source = case.dice.choice(sorted(sources & set(case.damaged)) or ["clips"])
        found: list[object] = ["--data", case.given(source), "-o", case.place("", holds="run")]
        found += ["--recipe", case.given("recipe", variant=stage), "--batch-size", 3]
        found += [
            "--measured-steps",
            0,
            "--save-every",
            1,
            "--validate-every",
            0,
            "--sheet-every",
            0,
        ]
        found += [] if stage == "segmenter" else ["--without-features"]
        if "model" in case.damaged or stage == "refiner":
            found += ["--start-from", case.given("model")]
        is_short = stage == "motion" and "run" in case.damaged and case.dice.random() < 0.3
        return [*found, "--max-steps", 2, *([] if is_short else ["--dry-run"])]

    return words


def replay(case: Case) -> list[object]:
    """A run that diverged."""
    return [case.given("diverged")]


def assemble(case: Case) -> list[object]:
    """Two models."""
    return [case.given("model"), case.given("model"), "-o", case.place("")]


def evaluate(case: Case) -> list[object]:
    """A model under a small protocol, or two folders of videos."""
    words: list[object] = [
        "-o",
        case.place("", holds="evaluation"),
        "--clips",
        1,
        "--workers",
        1,
        "--threads",
        1,
    ]
    if "videos" in case.damaged:
        return [*words, "--videos", case.given("videos"), "--reference", case.given("videos")]
    return [*words, "--model", case.given("model"), "--protocol", case.given("protocol")]


def compare(case: Case) -> list[object]:
    """Two reports."""
    words: list[object] = [case.given("report"), case.given("report")]
    return words + case.dice.choice(
        ([], [], ["--candidates", "model,repeat"], ["--candidates", "x"])
    )


def study_make(case: Case) -> list[object]:
    """Two folders of videos."""
    return [case.given("videos"), case.given("videos"), "-o", case.place(".html"), "--pairs", 1]


def judges_convert(case: Case) -> list[object]:
    """An official file."""
    return [case.given("judge"), "-o", case.place("")]


COMMANDS: dict[str, Callable[[Case], list[object]]] = {
    "generate": generate,
    "animate": animate,
    "models": lambda case: [],
    "labels spaces": lambda case: [],
    "labels check": labels_check,
    "labels convert": labels_convert,
    "segment": segment,
    "prepare": prepare,
    "dataset": dataset,
    "toycity": toycity,
    "train first-frame": _train("first-frame"),
    "train motion": _train("motion"),
    "train refiner": _train("refiner"),
    "train segmenter": _train("segmenter"),
    "train replay": replay,
    "assemble": assemble,
    "evaluate": evaluate,
    "compare": compare,
    "study make": study_make,
    "study analyse": lambda case: [case.given("answers")],
    "judges": lambda case: [],
    "judges convert": judges_convert,
    "convert": judges_convert,
}
RESUMES = ("prepare", "toycity", "train", "evaluate")
"""First words of verbs that keep what they did when they are stopped."""


@dataclass(frozen=True)
class Border:
    """Where something comes in from outside."""

    kinds: tuple[str, ...]
    verbs: tuple[str, ...]
    weight: int
    has_bad_places: bool = False


LABELS = ("labels check", "labels convert", "labels check", "generate")
STAGES = ("train motion", "train first-frame", "train refiner", "train segmenter")
WRITERS = (
    *("generate", "labels convert", "segment", "assemble", "toycity", "judges convert", "convert"),
    *("prepare", "evaluate", "train motion"),
)
BORDERS = {
    "label maps": Border(("map", "instances"), LABELS, 24),
    "photos": Border(("photo",), ("segment", "animate", "generate"), 8),
    "videos": Border(
        ("video", "videos", "recordings"), ("animate", "evaluate", "prepare", "study make"), 8
    ),
    "label spaces": Border(("space",), LABELS, 10),
    "recipes": Border(("recipe", "protocol"), (*STAGES, "evaluate"), 8),
    "checkpoints": Border(("model",), ("generate", "assemble", "animate", *STAGES[:2]), 8),
    "judges": Border(("judge",), ("judges convert", "convert"), 3),
    "datasets": Border(("dataset", "stills"), STAGES, 7),
    "clips": Border(("clips",), (*STAGES[:2], "toycity", "prepare"), 7),
    "reports": Border(("report", "evaluation"), ("compare", "compare", "compare", "evaluate"), 16),
    "answers": Border(("answers",), ("study analyse",), 4),
    "runs": Border(("run", "diverged"), ("train motion", "train replay"), 3),
    "arguments": Border((), tuple(COMMANDS), 14),
    "places": Border(("marked",), WRITERS, 8, has_bad_places=True),
}


def make_case(
    seeds: Path, folder: Path, seed: int, number: int, border: str = ""
) -> tuple[str, Case]:
    """Make case ``number`` of ``seed`` in an empty folder; return its border and the case."""
    dice = Random(f"{seed}:{number}")
    weights = [one.weight for one in BORDERS.values()]
    name = border or dice.choices(list(BORDERS), weights)[0]
    chosen = BORDERS[name]
    damaged = tuple(kind for kind in chosen.kinds if dice.random() < 0.7) or chosen.kinds
    case = Case(seeds, folder, dice, damaged, chosen.has_bad_places and dice.random() < 0.9)
    verb = dice.choice(chosen.verbs)
    case.make(verb)
    if not chosen.kinds or dice.random() < 0.05:
        case.damage_words()
    return name, case


def describe(case: Case) -> str:
    """Return the words of a case, quoted, and what was done to its inputs."""
    return f"seg2vid {' '.join(map(json.dumps, case.words))}   [{'; '.join(case.harm) or 'whole'}]"
