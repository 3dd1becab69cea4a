"""A preference study: pairs of videos on one page, answers as JSON, and what they say.

The first of several folders is compared with each of the others, clip by clip, as in the paper's
Tables 3 and 4. Which video came from where stands in the page as a key in base64, which goes with
the answers: an answers file is all that the analysis needs.
"""

import base64
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Literal

from seg2vid.tools.errors import MediaError, Seg2VidError
from seg2vid.tools.files import check_regular, replacing
from seg2vid.tools.plain import build, parse_plain

FORMAT = "seg2vid-study-1"
MOST_BYTES = 200_000_000
"""Videos in a page, as base64: browsers read that much."""
MOST_ANSWER_BYTES = 4 << 20
Z = 1.959964
"""Quantile of the normal law for 95 %."""
SHOWN = 40
"""Letters of a title that are printed: a file may hold anything."""
WHAT, FIX = "the answers to a preference study", "save them anew from its page"


@dataclass(frozen=True)
class Item:
    """One pair of videos."""

    other: int = field(metadata={"range": (1, 1000)})
    """Number of the folder that the first one is compared with."""
    clip: str
    first_is_left: bool


@dataclass(frozen=True)
class Key:
    """Which videos were shown: the names of the folders, and the pairs in their order."""

    titles: tuple[str, ...]
    items: tuple[Item, ...]

    def encode(self) -> str:
        """Return the key as it stands in the page."""
        return base64.b64encode(json.dumps(asdict(self)).encode()).decode()


@dataclass(frozen=True)
class Answer:
    """Which side of a pair was preferred."""

    item: int = field(metadata={"range": (0, 1_000_000)})
    choice: Literal["left", "right"]


@dataclass(frozen=True)
class Answers:
    """What one person answered."""

    format: Literal["seg2vid-study-1"]
    session: str
    """Random letters that tell two sittings apart."""
    key: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Preference:
    """How often the first of two was preferred; the clip is the unit."""

    first: str
    second: str
    answers: int
    clips: int
    share: float
    """Mean over clips of the share of answers that prefer the first."""
    low: float
    """Wilson's interval of 95 % for as many answers as clips, as those on one clip are alike."""
    high: float
    wins: int
    """Clips on which most prefer the first."""
    losses: int
    p: float
    """Of the sign test, two-sided, over the clips that are not even."""


def make_page(
    folders: Sequence[Path], path: Path, *, pairs: int, seed: int, frames_per_second: float
) -> Iterator[str]:
    """Write the page of a study of the first folder against the others; yield what is in it.

    Raises ``MediaError`` for folders without videos of the same name, and for pairs of two sizes.
    """
    from seg2vid.evaluation.report.media import encode_video
    from seg2vid.evaluation.report.page import environment
    from seg2vid.evaluation.video_pairs import list_futures, list_videos
    from seg2vid.media.video import read_video

    titles = tuple(os.path.basename(os.path.abspath(folder)) for folder in folders)
    if len(set(titles)) < max(2, len(titles)):
        fix = "name the first, and those it is compared with"
        raise MediaError("two folders or more, of different names", got=", ".join(titles), fix=fix)
    dice = Random(seed)
    found = [list_futures(list_videos(folder)) for folder in folders]
    chosen: list[Item] = []
    for other in range(1, len(folders)):
        names = sorted(set(found[0]) & set(found[other]))
        if not names:
            what = f"videos of the same names in {folders[0]} and {folders[other]}"
            raise MediaError(what, got="none", fix="name them alike")
        picked = dice.sample(names, min(pairs, len(names)))
        chosen += [Item(other, name, bool(dice.getrandbits(1))) for name in picked]
        yield f"{titles[0]} against {titles[other]}: {len(picked)} of {len(names)} pairs"
    dice.shuffle(chosen)
    videos: list[str] = []
    shown: list[list[int]] = []
    for item in chosen:
        both = [read_video(found[which][item.clip][0]) for which in (0, item.other)]
        if both[0].shape[1:] != both[1].shape[1:]:
            what = f"videos of one size of {item.clip}, or the eye sees which is which"
            got = " and ".join(f"{one.shape[2]}x{one.shape[1]}" for one in both)
            raise MediaError(what, got=got, fix="scale them")
        length = min(map(len, both))
        for one in both if item.first_is_left else both[::-1]:
            content = encode_video(one[:length], frames_per_second=frames_per_second)
            videos.append(base64.b64encode(content).decode())
        shown.append([len(videos) - 2, len(videos) - 1])
        if sum(map(len, videos)) > MOST_BYTES:
            what = f"a page of at most {MOST_BYTES // 10**6} MB"
            got = f"more, in {len(shown)} pairs"
            raise MediaError(what, got=got, fix="take fewer --pairs")
    key = Key(titles, tuple(chosen)).encode()
    study = {"format": FORMAT, "key": key, "videos": videos, "items": shown}
    page = environment().get_template("study.html").render(study=study, count=len(shown))
    with replacing(path) as temporary:
        temporary.write_text(page, "utf-8")
    yield f"wrote {path}: {len(shown)} pairs; open it in a browser, offline too"


def read_answers(path: Path) -> tuple[Answers, Key]:
    """Read what one person answered; raise ``Seg2VidError`` for anything else."""
    check_regular(path, WHAT, Seg2VidError)
    if path.stat().st_size > MOST_ANSWER_BYTES:
        raise Seg2VidError(WHAT, got=f"{path} of more than {MOST_ANSWER_BYTES >> 20} MiB", fix=FIX)
    where = f"{WHAT} in {path}"
    values = parse_plain(path.read_bytes(), where, is_json=True, fix=FIX)
    given = build(Answers, values, where, fix=FIX)
    try:
        plain = base64.b64decode(given.key, validate=True)
    except ValueError as error:
        raise Seg2VidError(f"the key of {where}", got=error, fix=FIX) from None
    made = parse_plain(plain, f"the key of {where}", is_json=True, fix=FIX)
    key = build(Key, made, f"the key of {where}", fix=FIX)
    for item in key.items:
        if item.other >= len(key.titles):
            what, got = f"a folder of {len(key.titles)} in the key of {where}", item.other
            raise Seg2VidError(what, got=got, fix=FIX)
    numbers = Counter(answer.item for answer in given.answers)
    wrong = [n for n, count in numbers.items() if count > 1 or n >= len(key.items)]
    if wrong:
        what = f"each of {len(key.items)} pairs at most once in {where}"
        raise Seg2VidError(what, got=f"number {wrong[0]}", fix=FIX)
    return given, key


def analyse(paths: Sequence[Path]) -> tuple[list[Preference], float, int]:
    """Return what the answers of several people say of each pair of folders, the share of answers
    that chose the left side, and the number of answers.

    Raises ``Seg2VidError`` for a file that is none, one that is given twice, and no answer at all.
    """
    sessions: set[str] = set()
    votes: dict[tuple[str, str], dict[str, list[bool]]] = {}
    left = total = 0
    for path in paths:
        given, key = read_answers(path)
        if given.session in sessions:
            what, got = "the answers of every sitting once", f"those of {path} again"
            raise Seg2VidError(what, got=got, fix="name every file once")
        sessions.add(given.session)
        for answer in given.answers:
            item, is_left = key.items[answer.item], answer.choice == "left"
            clips = votes.setdefault((key.titles[0], key.titles[item.other]), {})
            clips.setdefault(item.clip, []).append(is_left == item.first_is_left)
            left, total = left + is_left, total + 1
    if not total:
        raise Seg2VidError("at least one answer", got="none", fix="answer before saving")
    return [_preference(*both, clips) for both, clips in votes.items()], left / total, total


def _preference(first: str, second: str, clips: dict[str, list[bool]]) -> Preference:
    shares = [sum(own) / len(own) for own in clips.values()]
    share = sum(shares) / len(shares)
    wins, losses = sum(one > 0.5 for one in shares), sum(one < 0.5 for one in shares)
    answers = sum(map(len, clips.values()))
    low, high = wilson(share, len(shares))
    p = sign_test(wins, losses)
    return Preference(first, second, answers, len(shares), share, low, high, wins, losses, p)


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return Wilson's interval of 95 % of a share of ``count`` trials (Wilson, 1927)."""
    spread = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    middle, scale = share + Z**2 / (2 * count), 1 + Z**2 / count
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def sign_test(wins: int, losses: int) -> float:
    """Return how likely a fair coin parts so many throws at least as unevenly."""
    count, fewer = wins + losses, min(wins, losses)
    logs = (
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        for k in range(fewer + 1)
    )
    return min(1.0, 2 * sum(math.exp(log - count * math.log(2)) for log in logs))


def preference_lines(paths: Sequence[Path]) -> Iterator[str]:
    """Yield what answers say, in the form of the paper's Tables 3 and 4, a line for each pair."""
    found, left, total = analyse(paths)
    yield f"sittings: {len(paths)}; answers: {total}, {100 * left:.0f} % of them left"
    yield f"{'':<48}{'preferred':>13}{'95 %':>14}{'clips':>7}{'won':>5}{'lost':>6}{'p':>9}"
    for one in found:
        title = f"{one.first[:SHOWN]} / {one.second[:SHOWN]}"
        yield (
            f"{title:<48}{one.share:>6.2f} / {1 - one.share:.2f}{one.low:>8.2f}–{one.high:.2f}"
            f"{one.clips:>7}{one.wins:>5}{one.losses:>6}{one.p:>9.2g}"
        )
