"""Still files: photos, label maps as palette PNG, flow (.flo, KITTI); written whole or not."""

import math
import warnings
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from seg2vid.labels.convert import to_file_ids
from seg2vid.labels.space import LabelSpace
from seg2vid.tools.errors import MediaError
from seg2vid.tools.files import check_regular, replacing

FLOW_MAGIC = b"PIEH"
"""The first four bytes of a Middlebury .flo file: the float 202021.25."""
FLOW_UNITS, FLOW_ZERO = 64, 1 << 15
"""Of KITTI's flow files: steps in a pixel, and the value that no motion has."""

MOST_PIXELS = 1 << 25
"""Pixels of a picture, 8192x4096; beyond it, memory would be at stake. A file may claim any."""
READ_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
"""What is tried, whatever a file is called: Pillow would start Ghostscript for an EPS."""

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
EIGHT_BIT_MODES = {"1", "L", "P", "LA", "RGB", "RGBA", "CMYK"}


def image_name(given: Path | Image.Image) -> str:
    """Return what messages call a picture: its path where it has one."""
    is_image = isinstance(given, Image.Image)
    return str(getattr(given, "filename", "") or "a picture") if is_image else str(given)


def open_picture(given: Path | Image.Image, what: str) -> Image.Image:
    """Open and decode a picture; raise ``MediaError`` naming ``what`` was expected."""
    name, image = image_name(given), given if isinstance(given, Image.Image) else None
    if isinstance(given, Path):
        check_regular(given, what)
    fix = "export it again as PNG"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what decoders remark of damaged files
            image = image or Image.open(name, formats=READ_FORMATS)
            if image.width * image.height <= MOST_PIXELS:
                image.load()
                if image is not given and _lacks_rows(image):
                    raise ValueError("rows are missing")
                return image
        side = math.isqrt(MOST_PIXELS)
        problem = f"{name} with {image.width}x{image.height} pixels"
        fix = f"scale it down: to at most {side}x{side}, in any proportions"
    except UnidentifiedImageError:
        size = Path(name).stat().st_size
        problem = f"{name}, which is {'no picture' if size else 'empty (0 bytes)'}"
    except PermissionError:
        problem, fix = f"{name}, which may not be read", "change its permission"
    except Exception as error:  # decoders of damaged files raise anything
        problem = f"{name}, which is damaged or cut off ({error})"
    if image is not None and image is not given:
        image.close()
    raise MediaError(what, got=problem, fix=fix)


def _lacks_rows(image: Image.Image) -> bool:
    """Say whether a PNG ended before its last row: Pillow leaves at 0 what it does not read."""
    last = (0, image.height - 1, image.width, image.height)
    if image.format != "PNG" or any(image.crop(last).tobytes()):
        return False
    with Image.open(image.filename, formats=["PNG"]) as again:  # type: ignore[attr-defined]
        again.im = Image.new(again.mode, again.size, 1).im
        again.load()
        return any(again.crop(last).tobytes())


def read_image(given: Path | Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    """Read a photo as RGB, turned as its EXIF data say; transparent parts become white. Raises
    ``MediaError`` for what is no 8-bit picture.
    """
    image = open_picture(given, "a photo")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of EXIF data that are damaged
        image = ImageOps.exif_transpose(image)
    if image.mode not in EIGHT_BIT_MODES:
        got = f"{image_name(given)} with pixels of mode {image.mode} (more than 8 bits each)"
        raise MediaError("an 8-bit photo", got=got, fix="export it with 8 bits a channel")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.array(image.convert("RGB"))


def write_image(path: Path, image: UInt8[np.ndarray, "height width 3"]) -> None:
    """Write RGB as png, jpg or webp by the ending; raise ``MediaError`` for any other."""
    if path.suffix.lower() not in FORMATS:
        what, got = f"a picture ending in {', '.join(FORMATS)}", repr(path.name)
        raise MediaError(what, got=got, fix="change the ending")
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, FORMATS[path.suffix.lower()], quality=92)


def draw_label_map(ids: Int[np.ndarray, "height width"], space: LabelSpace) -> Image.Image:
    """Return a palette picture that holds train ids (void = ``file_value``) and shows the class
    colours. Raises ``LabelMapError`` for ids outside the space.
    """
    image = Image.fromarray(to_file_ids(ids, space))
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[: space.void_id] = space.colours[:-1]
    palette[space.file_value] = space.colours[-1]
    image.putpalette(palette.tobytes())
    return image


def write_label_map(path: Path, ids: Int[np.ndarray, "height width"], space: LabelSpace) -> None:
    """Write what ``draw_label_map`` returns as PNG.

    Raises ``MediaError`` for another ending or place, ``LabelMapError`` for ids outside the space.
    """
    if path.suffix.lower() != ".png":
        what, got = "a label map file ending in .png", repr(path.name)
        raise MediaError(what, got=got, fix="change the ending: other formats lose ids")
    image = draw_label_map(ids, space)
    with replacing(path) as temporary:
        image.save(temporary, "PNG")


def write_sixteen_bits(path: Path, values: Int[np.ndarray, "height width"]) -> None:
    """Write a 16-bit grey PNG; raise ``MediaError`` for numbers that it cannot hold."""
    if values.min() < 0 or values.max() > 65535:
        what, got = f"numbers from 0 to 65535 in {path}", f"{values.min()} ... {values.max()}"
        raise MediaError(what, got=got, fix="number the objects anew")
    with replacing(path) as temporary:
        Image.fromarray(values.astype(np.uint16)).save(temporary, "PNG")


def read_flow(path: Path) -> Float[Tensor, "2 height width"]:
    """Read a Middlebury .flo file, in pixels, order (dx, dy); else raise ``MediaError``."""
    check_regular(path, "a .flo file")
    try:
        content = path.read_bytes()
    except OSError as error:
        got = f"{path}: {error.strerror or error}"
        raise MediaError("a .flo file", got=got, fix="check the path") from None
    if len(content) < 12 or content[:4] != FLOW_MAGIC:
        got = f"{path}, which does not begin with {FLOW_MAGIC.decode()}"
        raise MediaError("a .flo file", got=got, fix="write it with write_flow")
    width, height = (int(side) for side in np.frombuffer(content, "<i4", 2, offset=4))
    if min(width, height) < 1 or len(content) != 12 + 8 * width * height:
        what = f"{12 + 8 * width * height} bytes for {width}x{height} vectors in {path}"
        raise MediaError(what, got=f"{len(content)}", fix="the file is cut off: write it again")
    values = np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2)
    return torch.from_numpy(values.astype(np.float32).transpose(2, 0, 1).copy())


def write_flow(path: Path, flow: Float[Tensor, "2 height width"]) -> None:
    """Write a Middlebury .flo file; raise ``MediaError`` for a place that cannot be written."""
    values = flow.detach().cpu().permute(1, 2, 0).numpy().astype("<f4")
    height, width = values.shape[:2]
    with replacing(path) as temporary:
        sides = np.array([width, height], dtype="<i4").tobytes()
        temporary.write_bytes(FLOW_MAGIC + sides + values.tobytes())


def write_kitti_flow(
    path: Path,
    flow: Float[np.ndarray, "2 height width"],
    is_valid: Bool[np.ndarray, "height width"],
) -> None:
    """Write flow (dx, dy) as KITTI's PNG of three times 16 bits: dx, dy and whether it is valid.

    What it cannot hold, 512 pixels or more, is not valid.
    """
    units = np.rint(flow.astype(np.float64) * FLOW_UNITS + FLOW_ZERO)
    is_valid = is_valid & ((units >= 0) & (units < 1 << 16)).all(0)
    values = np.where(is_valid, np.stack((*units, np.ones_like(units[0]))), 0).astype(">u2")
    _, height, width = values.shape
    # Pillow writes no colours of 16 bits. Each row begins with its filter, 0 is none.
    rows = np.moveaxis(values, 0, -1).reshape(height, -1).view(np.uint8)
    content = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
    header = np.array((width, height), ">u4").tobytes() + bytes((16, 2, 0, 0, 0))
    with replacing(path) as temporary:
        parts = ((b"IHDR", header), (b"IDAT", content), (b"IEND", b""))
        temporary.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts))


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content).to_bytes(4, "big")
    return len(content).to_bytes(4, "big") + kind + content + check
