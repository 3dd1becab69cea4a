"""Small damages of real files. What is known of a form is kept around the damage: a chunk of a PNG
gets its right checksum, JSON stays JSON, so that it reaches what lies behind the first check.
"""

import io
import json
import math
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from random import Random
from typing import Any, NamedTuple

import numpy as np
import yaml
from PIL import Image


class Mutant(NamedTuple):
    """A damaged file."""

    content: bytes
    what: str
    """What was done, in words."""
    must_fail: bool = False
    """No program that reads all of it may take it for whole."""


Mutator = Callable[[Random, bytes], Mutant]

LENGTHS = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
HUGE = (2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, -(2**63) - 1, 10**400)
NUMBERS = (0, -1, 1, 1.5, -0.0, 1e-320, 1e308, math.nan, math.inf, -math.inf, *LENGTHS, *HUGE)
TEXTS = (
    *("", " ", "nan", "-1", "true", "null", "0x10", "1e999", "..", "/", "~", "a/b", "%s%n", "{0}"),
    *(
        "\x00",
        "\x1b[31mred\x07",
        "two\nlines",
        "\r",
        "\u202egnp",
        "\ud800",
        "é" * 300,
        "x" * 70_000,
    ),
    *("../../escaped", "/tmp/escaped", "pipe:touch escaped", "http://127.0.0.1:9/a", "file:///x"),
)
VALUES = (None, True, False, [], {}, [[]], {"": {}}, [None], [1] * 1000, *NUMBERS, *TEXTS)
MARKS = (
    *(b"stts", b"stsz", b"stco", b"stsc", b"tkhd", b"mdhd", b"mvhd", b"avc1", b"avcC", b"moov"),
    *(b"trak", b"elst", b"VP8 ", b"VP8L", b"VP8X", b"ANMF", b"RIFF", b"strh", b"strf", b"avih"),
    *(b"GIF89a", b"\x21\xf9\x04", b"\x2c\x00", b"\xff\xc0", b"\xff\xda", b"\xff\xe1", b"II*\x00"),
    *(b"\x1a\x45\xdf\xa3", b"\x16\x54\xae\x6b", b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"BM"),
)
"""Where formats hold sizes, counts and offsets: many damages go there."""


def damage(dice: Random, content: bytes, suffix: str) -> Mutant:
    """Damage a file by what its ending says it is, or as mere bytes."""
    knowing = BY_ENDING.get(suffix.lower())
    if knowing is None or dice.random() < 0.25:
        return damage_bytes(dice, content)
    try:
        return knowing(dice, content)
    except Exception:  # it was damaged before, in any way
        return damage_bytes(dice, content)


# Bytes


def damage_bytes(dice: Random, content: bytes) -> Mutant:
    """Flip, cut, swap, repeat, insert and overwrite."""
    done = []
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        operation = dice.choice((_flip, _cut, _swap, _repeat, _insert, _overwrite, _drop))
        content = operation(dice, content, _place(dice, content))
        done.append(operation.__name__.strip("_"))
    return Mutant(content, "bytes: " + ", ".join(done))


def _place(dice: Random, content: bytes) -> int:
    marks = [at for mark in MARKS if (at := content.find(mark)) >= 0]
    if marks and dice.random() < 0.6:
        return min(len(content), dice.choice(marks) + dice.randrange(40))
    most = len(content) if dice.random() < 0.6 else min(len(content), 200)
    return dice.randrange(most + 1)


def _flip(dice: Random, content: bytes, at: int) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(dice.choice((1, 1, 3, 20))):
        changed[(at + dice.randrange(16)) % len(changed)] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _cut(dice: Random, content: bytes, at: int) -> bytes:
    return content[:at]


def _drop(dice: Random, content: bytes, at: int) -> bytes:
    return content[:at] + content[at + dice.choice((1, 2, 4, 64, 1024)) :]


def _swap(dice: Random, content: bytes, at: int) -> bytes:
    size = dice.choice((1, 4, 16, 256))
    other = dice.randrange(len(content) + 1)
    one, two = sorted((at, other))
    two = max(two, one + size)
    blocks = content[two : two + size], content[one + size : two], content[one : one + size]
    return content[:one] + b"".join(blocks) + content[two + size :]


def _repeat(dice: Random, content: bytes, at: int) -> bytes:
    block = content[at : at + dice.choice((1, 8, 512))]
    return content[:at] + block * dice.choice((2, 3, 50)) + content[at:]


def _insert(dice: Random, content: bytes, at: int) -> bytes:
    return content[:at] + _integer(dice) + content[at:]


def _overwrite(dice: Random, content: bytes, at: int) -> bytes:
    new = dice.choice((_integer(dice), b"\0" * 16, b"\xff" * 16, dice.randbytes(8)))
    return content[:at] + new + content[at + len(new) :]


def _integer(dice: Random) -> bytes:
    return struct.pack(dice.choice("<>") + "Q", dice.choice(LENGTHS))[dice.choice((0, 4)) :]


# Values: JSON and YAML


def damage_value(dice: Random, value: Any) -> Any:
    """Return a plain value in which one place, at any depth, is another, gone, or new."""
    places = list(_places(value))
    path = dice.choice(places) if dice.random() < 0.95 else ()
    return _changed(value, path, lambda old: _another(dice, old, value, places))


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    pairs: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        pairs = enumerate(value[:6])  # the first of a long list stand for the rest
    for key, inner in pairs:
        yield from _places(inner, (*path, key))


def _changed(value: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _changed(copy[path[0]], path[1:], change)
    return copy


def _another(dice: Random, old: Any, root: Any, places: list[tuple[Any, ...]]) -> Any:
    """Return what stands in the place of ``old``, a value somewhere in ``root``."""
    roll = dice.random()
    if roll < 0.35:
        return dice.choice(VALUES)
    if roll < 0.45:
        return dice.choice((str(old)[:1000], [old], {"value": old}, [old, old]))
    if roll < 0.55:  # what stands elsewhere
        other = root
        for key in dice.choice(places):
            other = other[key]
        return other
    if isinstance(old, bool) or old is None:
        return dice.choice((1, "yes", [old], math.nan))
    if isinstance(old, int | float):
        return dice.choice(
            (-old, old * 1000, old + 1, old - 1, float(old), old * 10.0**60, str(old))
        )
    if isinstance(old, str):
        at = dice.randrange(len(old) + 1)
        return old[:at] + dice.choice(TEXTS) + old[at + dice.randrange(3) :]
    keys = list(old) if isinstance(old, dict) else list(range(len(old)))
    if not keys:
        return dice.choice(VALUES)
    copy, key = (dict(old) if isinstance(old, dict) else list(old)), dice.choice(keys)
    if isinstance(copy, list):
        change = dice.choice(("drop", "repeat", "shuffle", "keyed"))
        if change == "drop":
            del copy[key]
        elif change == "repeat":
            copy += [copy[key]] * dice.choice((1, 2, 300))
        elif change == "shuffle":
            dice.shuffle(copy)
        else:
            return {str(at): one for at, one in enumerate(copy)}
        return copy
    kept = copy.pop(key)
    change = dice.choice(("drop", "rename", "add", "listed"))
    if change == "rename":
        copy[dice.choice((f"{key} ", str(key).upper(), *filter(None, TEXTS)))] = kept
    elif change == "add":
        copy |= {key: kept, dice.choice(("more", "", "__class__", "self")): dice.choice(VALUES)}
    elif change == "listed":
        return [[key, kept], *map(list, copy.items())]
    return copy


def deep(dice: Random, opening: str = "[") -> str:
    """Return brackets in brackets, more than a parser that calls itself can take."""
    depth = dice.choice((900, 5_000, 100_000))
    closing = {"[": "]", '{"a":': "}"}[opening]
    inner = "0" if opening != "[" else ""
    return opening * depth + inner + closing * depth * dice.choice((0, 1))


def damage_json(dice: Random, content: bytes) -> Mutant:
    """Damage JSON as a value, or as text."""
    roll = dice.random()
    if roll < 0.8:
        return Mutant(dump(_several(dice, json.loads(content))), "a value of the JSON")
    text = content.decode("utf-8", "replace")
    if roll < 0.85:
        return Mutant(deep(dice, dice.choice(("[", '{"a":'))).encode(), "deep JSON", True)
    if roll < 0.9:
        encoding = dice.choice(("utf-16", "utf-8-sig", "latin-1", "utf-32"))
        return Mutant(text.encode(encoding, "replace"), f"JSON in {encoding}")
    number = dice.choice(("1e999", "-1e999", "NaN", "9" * 5000, "1" + "0" * 400, "-", "01"))
    digits = [at for at, one in enumerate(text) if one.isdigit()]
    at = dice.choice(digits or [0])
    return Mutant(
        (text[:at] + number + text[at + 1 :]).encode(), f"the number {number[:9]} in JSON"
    )


def _several(dice: Random, value: Any) -> Any:
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        value = damage_value(dice, value)
    return value


def dump(value: Any) -> bytes:
    """Return JSON, with NaN and Infinity as Python writes them."""
    return json.dumps(value, default=str).encode()


YAML_TEXTS = (
    "!!python/object/apply:os.system ['touch escaped']",
    "!!python/name:os.system",
    *(
        "&a [*a]",
        "&a {b: *a}",
        "2001-99-99",
        "!!int x",
        "!!float x",
        "!!timestamp x",
        "!!binary '#'",
    ),
    *("!!bool x", "!!set {a, b}", "!!omap [a: 1]", "!!null x", "1:99:99", "0o9", "9" * 5000, "*b"),
    *(
        "{? [a] : b}",
        "{<<: 1}",
        "{<<: [1]}",
        "=",
        "!unknown x",
        "0b2",
        ".nan",
        "-.inf",
        "'",
        "\t- a",
    ),
    *(
        "|\n  a\n b",
        "? ",
        "{a, a: 1, a: 2}",
        "%YAML 9.9",
        "---\na\n---\nb",
        "\x00",
        "\ufffe",
        "[" * 3000,
    ),
)
BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
)
"""A billion laughs: nine to the power of nine, each time the list is written out."""


def damage_yaml(dice: Random, content: bytes) -> Mutant:
    """Damage YAML as a value, or as text: tags, anchors, documents, deep nesting."""
    roll = dice.random()
    if roll < 0.6 and BOMB.encode() not in content:  # which this would write out
        value = _several(dice, yaml.safe_load(content))
        text = yaml.safe_dump(
            json.loads(dump(value)), sort_keys=False, allow_unicode=dice.random() < 0.5
        )
        return Mutant(text.encode("utf-8", "surrogatepass"), "a value of the YAML")
    text = content.decode("utf-8", "replace")
    lines = text.splitlines()
    at = dice.randrange(len(lines) + 1)
    if roll < 0.85:
        odd, line = dice.choice(YAML_TEXTS), lines[at - 1] if lines else ""
        key, colon, _ = line.partition(":")
        lines[at - 1 : at] = [f"{key}{colon} {odd}" if colon else odd]
        return Mutant("\n".join(lines).encode("utf-8", "replace"), f"{odd[:60]!r} in the YAML")
    if roll < 0.9:
        key = dice.choice([line.partition(":")[0] for line in lines if ":" in line] or ["a"])
        end = (
            f"\n{key.strip(' -')}: *a8"
            if dice.random() < 0.5
            else f"\n{key.strip(' -')}: {{x: *a8}}"
        )
        return Mutant((BOMB + "\n" + text + end).encode(), "a billion laughs in YAML")
    if roll < 0.95:
        return Mutant(text.encode(dice.choice(("utf-16", "utf-32", "utf-8-sig"))), "YAML in UTF")
    lines.insert(at, lines[at - 1] if lines else "a: 1")
    return Mutant("\n".join(lines).encode(), "a line of YAML twice")


# Safetensors: eight bytes of length, a JSON header, the numbers


def damage_safetensors(dice: Random, content: bytes) -> Mutant:
    """Damage the header, the JSON in its metadata, or the numbers."""
    end = 8 + int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8:end]), content[end:]
    kind = dice.choice(("header", "metadata", "metadata", "nan", "nan", "number", "cut", "length"))
    if kind == "cut":
        at = dice.randrange(len(content))
        return Mutant(content[:at], f"safetensors cut at {at}", True)
    if kind == "length":
        odd = dice.choice((0, 1, end - 9, end - 7, len(content), *LENGTHS, 2**63, 2**64 - 1))
        return Mutant(
            odd.to_bytes(8, "little") + content[8:], f"a header of length {odd}", odd != end - 8
        )
    if kind in ("nan", "number"):
        return _damage_numbers(dice, header, data, is_nan=kind == "nan")
    if kind == "metadata" and header.get("__metadata__"):
        metadata = dict(header["__metadata__"])
        key = dice.choice(list(metadata))
        metadata[key], what = _damage_text(dice, metadata[key])
        header["__metadata__"] = metadata
        return Mutant(_join(header, data), f"metadata {key} of the safetensors: {what}")
    return Mutant(_join(_several(dice, header), data), "the header of the safetensors")


def _damage_text(dice: Random, text: str) -> tuple[str, str]:
    """Damage what may be JSON within a text."""
    try:
        inner = json.loads(text)
    except ValueError:
        return dice.choice(TEXTS), "another text"
    if dice.random() < 0.85 and isinstance(inner, dict | list):
        return dump(_several(dice, inner)).decode(), "a value in it"
    mutant = damage_json(dice, text.encode())
    return mutant.content.decode("utf-8", "replace"), mutant.what


def _join(header: Any, data: bytes) -> bytes:
    text = json.dumps(header, default=str).encode("utf-8", "replace")
    return len(text).to_bytes(8, "little") + text + data


SIZES = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "I64": 8, "U16": 2, "I16": 2, "I32": 4}
NANS = {
    "F16": b"\x00\x7e",
    "BF16": b"\xc0\x7f",
    "F32": b"\x00\x00\xc0\x7f",
    "F64": b"\0\0\0\0\0\0\xf8\x7f",
}
INFS = {
    "F16": b"\x00\x7c",
    "BF16": b"\x80\x7f",
    "F32": b"\x00\x00\x80\x7f",
    "F64": b"\0\0\0\0\0\0\xf0\x7f",
}


def _damage_numbers(dice: Random, header: Any, data: bytes, *, is_nan: bool) -> Mutant:
    kinds = NANS if is_nan else SIZES
    fitting = [n for n, one in header.items() if one.get("dtype") in kinds and n[0] != "_"]
    if not fitting:
        return damage_bytes(dice, _join(header, data))
    name = dice.choice(fitting)
    kind, (start, stop) = header[name]["dtype"], header[name]["data_offsets"]
    if stop == start:
        return Mutant(_join(header, data), "nothing")
    width = SIZES[kind]
    at = start + width * dice.randrange((stop - start) // width)
    new = dice.choice((NANS[kind], INFS[kind])) if is_nan else dice.randbytes(width)
    changed = data[:at] + new + data[at + width :]
    return Mutant(_join(header, changed), f"{new.hex()} ({kind}) in {name}", is_nan)


# PNG: a signature and chunks

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def damage_png(dice: Random, content: bytes) -> Mutant:
    """Change, drop, repeat and swap chunks, each with its right checksum; or encode anew."""
    if dice.random() < 0.25:
        return damage_picture(dice, content)
    chunks = list(_chunks(content))
    at = dice.randrange(len(chunks))
    kind, body = chunks[at]
    change = dice.choice(("body", "body", "drop", "repeat", "swap", "header", "data", "add", "crc"))
    must_fail = False
    if change == "drop":
        del chunks[at]
        must_fail = kind in (b"IHDR", b"IDAT")
    elif change == "repeat":
        chunks.insert(at, chunks[at])
    elif change == "swap":
        other = dice.randrange(len(chunks))
        chunks[at], chunks[other] = chunks[other], chunks[at]
    elif change == "header":
        chunks[0] = (b"IHDR", _damage_header(dice, chunks[0][1]))
    elif change == "data":
        chunks, must_fail = _damage_pixels(dice, chunks)
    elif change == "add":
        chunks.insert(1 + dice.randrange(len(chunks)), _odd_chunk(dice))
    else:
        chunks[at] = (kind, damage_bytes(dice, body).content)
    made = _write_chunks(chunks)
    if change == "crc":
        made = _write_chunks(list(_chunks(content)), bad=at)
        must_fail = kind == b"IHDR"
    return Mutant(made, f"PNG: {change} {kind.decode('latin-1')}", must_fail)


def _chunks(content: bytes) -> Any:
    at = len(SIGNATURE)
    while at + 12 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        yield content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        at += 12 + size


def _write_chunks(chunks: list[tuple[bytes, bytes]], bad: int = -1) -> bytes:
    written = SIGNATURE
    for number, (kind, body) in enumerate(chunks):
        crc = zlib.crc32(kind + body) ^ (number == bad)
        written += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)
    return written


def _damage_header(dice: Random, body: bytes) -> bytes:
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", body)
    sides = (0, 1, 7, 8, 9, 33, 16_383, 16_384, 16_385, 100_000, 2**31 - 1, 2**31, 2**32 - 1)
    roll = dice.random()
    if roll < 0.4:
        width, height = dice.choice((width, *sides)), dice.choice((height, *sides))
    elif roll < 0.8:
        depth, colour = dice.choice((0, 1, 2, 4, 8, 16, 32)), dice.choice((0, 2, 3, 4, 6, 7))
    else:
        rest = [dice.randrange(256) for _ in rest]
    return struct.pack(">IIBBBBB", width, height, depth, colour, *rest)


def _damage_pixels(
    dice: Random, chunks: list[tuple[bytes, bytes]]
) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Compress other pixels: fewer than the header says, more, odd filters, or none at all."""
    raw = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    change = dice.choice(("less", "more", "filter", "bomb", "none", "stream"))
    packed = {
        "less": lambda: zlib.compress(raw[: len(raw) // 2]),
        "more": lambda: zlib.compress(raw + raw),
        "filter": lambda: zlib.compress(bytes([dice.randrange(5, 256)]) + raw[1:]),
        "bomb": lambda: bomb(),
        "none": lambda: b"",
        "stream": lambda: damage_bytes(dice, zlib.compress(raw)).content,
    }[change]()
    others = [chunk for chunk in chunks if chunk[0] not in (b"IDAT", b"IEND")]
    return [*others, (b"IDAT", packed), (b"IEND", b"")], change == "none"


@cache
def bomb() -> bytes:
    """Return few bytes that unpack to thirty million."""
    return zlib.compress(b"\0" * 30_000_000, 9)


def _odd_chunk(dice: Random) -> tuple[bytes, bytes]:
    """Return a chunk that readers do more with than skip it."""
    orientation = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"
    return dice.choice(
        (
            (b"zTXt", b"a\0\0" + bomb()),
            (b"iCCP", b"a\0\0" + bomb()),
            (b"iTXt", b"a\0\x01\0\0\0" + bomb()),
            (b"eXIf", orientation + bytes([dice.randrange(256)]) + b"\0\0\0\0\0\0"),
            (b"eXIf", dice.randbytes(40)),
            (b"tRNS", bytes([dice.randrange(256)]) * dice.choice((1, 2, 6, 256, 300))),
            (b"PLTE", bytes([dice.randrange(256)]) * dice.choice((0, 1, 3, 30, 768, 771))),
            (b"acTL", struct.pack(">II", dice.choice(LENGTHS), 0)),
            (
                b"fcTL",
                struct.pack(">IIIIIHHBB", 0, *(dice.choice(LENGTHS) for _ in range(4)), 1, 1, 0, 0),
            ),
            (b"IDAT", dice.randbytes(20)),
            (b"IEND", b""),
            (dice.randbytes(4), dice.randbytes(20)),
        )
    )


MODES = ("1", "L", "P", "LA", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16")
SIDES = (1, 2, 7, 8, 9, 31, 64, 100, 700)


def damage_picture(dice: Random, content: bytes) -> Mutant:
    """Encode a picture anew: another size, mode or format, all of them whole."""
    image: Any = Image.open(io.BytesIO(content))
    image.load()
    size, mode = image.size, image.mode
    if dice.random() < 0.6:
        size = (dice.choice((*SIDES, 5000)), dice.choice(SIDES))
        image = image.resize(size, Image.Resampling.NEAREST)
    if dice.random() < 0.6:
        mode = dice.choice(MODES)
    form = dice.choice(
        ("PNG", "PNG", "PNG", "TIFF", "BMP", "GIF", "JPEG", "WEBP", "PPM", "ICO", "DDS")
    )
    buffer = io.BytesIO()
    try:
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 99)
        elif mode == "PA":
            image = image.convert("P").convert("PA")
        else:
            image = image.convert(mode)
        image.save(buffer, form)
    except (OSError, ValueError, KeyError, SystemError):
        return damage_bytes(dice, content)
    return Mutant(buffer.getvalue(), f"encoded anew: {size}, {mode}, {form}")


# Tar


def damage_tar(dice: Random, content: bytes) -> Mutant:
    """Change a member: its content by its own form, its name, its kind, its place, or drop it."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = [(info, archive.extractfile(info).read()) for info in archive]  # type: ignore[union-attr]
    if not members:
        return damage_bytes(dice, content)
    at = dice.randrange(len(members))
    info, body = members[at]
    change = dice.choice(
        ("content", "content", "content", "name", "kind", "drop", "repeat", "order")
    )
    must_fail = False
    if change == "content":
        mutant = damage(dice, body, "." + info.name.rpartition(".")[2])
        members[at] = (info, mutant.content)
        change, must_fail = f"{info.name}: {mutant.what}", mutant.must_fail
    elif change == "name":
        info.name = dice.choice(
            (
                *("../escaped", "/tmp/escaped", "a", "", ".", "a.99.png", "x" * 300, "é\n.00.png"),
                *(info.name + ".x", info.name.replace(".00.", ".0.")),
            )
        )
    elif change == "kind":
        info.type = dice.choice(
            (
                tarfile.SYMTYPE,
                tarfile.LNKTYPE,
                tarfile.FIFOTYPE,
                tarfile.DIRTYPE,
                tarfile.CHRTYPE,
                b"Z",
            )
        )
        info.linkname = dice.choice(("../escaped", "/etc/passwd", info.name, members[0][0].name))
        members[at] = (info, b"")
    elif change == "drop":
        del members[at]
    elif change == "repeat":
        members.append(members[at])
    else:
        dice.shuffle(members)
    return Mutant(_write_tar(members), f"tar: {change}", must_fail)


def _write_tar(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, body in members:
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


BY_ENDING: dict[str, Mutator] = {
    ".json": damage_json,
    ".yaml": damage_yaml,
    ".safetensors": damage_safetensors,
    ".png": damage_png,
    ".tar": damage_tar,
    **dict.fromkeys((".jpg", ".webp", ".gif", ".tiff", ".bmp"), damage_bytes),
}
