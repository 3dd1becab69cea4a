"""Files: written whole or not at all (beside their place, then moved there), and their digests."""

import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from seg2vid import __version__
from seg2vid.tools.errors import MediaError, Seg2VidError

MARKER = "video.json"
"""The file in a folder of frames that tells what it is and that seg2vid wrote it."""
_FORMAT = "seg2vid-frames-1"
CONTROLS = ("control-seg", "control-depth", "control-flow")
"""Videos that control models of others."""
ONE_FILE = {"poses": ".txt", "boxes": ".json", **dict.fromkeys(CONTROLS, ".mp4")}
"""Ending of the extras that are one file for all frames, whatever the frames are written as."""
EXTRAS: tuple[str, ...] = ("flow", "visible", "forward_visible", "labels", "overlay", "instances")
EXTRAS += ("painted", "depth", "source", "kitti_flow", *ONE_FILE)
"""What can be written beside the frames of a video."""
UNCERTAINTY = "uncertainty"
"""What can be written of several videos together, and the end of its folder's name."""
SPREADS = ("colour", "labels")
"""What it tells of each frame."""
_OWN_NAME = re.compile(
    r"video\.json|(?P<extra>[a-z_-]+)(\.txt|\.json|\.mp4|\.webm|\.gif|\.webp)?|"
    r"((?P<folder>[a-z_]+)/)?(?P<number>\d{6,})(_backward|_forward)?\.(png|flo|npy|npz)"
)
"""Paths in a folder of frames that seg2vid wrote; with any other in it, it is never replaced."""
_PARTIAL_NAME = re.compile(r"\..+\.\d+\.partial(\.\w+)?")


def check_regular(path: Path, what: str, error: type[Seg2VidError] = MediaError) -> None:
    """Raise ``error`` unless a file is there to be read: no folder, and no pipe or device."""
    if path.is_file():
        return
    if not path.exists():
        raise error(what, got=f"no file {path}", fix="check the path")
    if path.is_dir():
        raise error(what, got=f"{path}, which is a folder", fix="name one file in it")
    raise error(what, got=f"{path}, which is a pipe or device", fix="copy it to a file first")


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Turn the system's errors in writing ``path`` into a ``MediaError``."""
    try:
        yield
    except OSError as error:
        got = f"{path}: {error.strerror or error}"
        what, fix = "a place that can be written", "choose another place"
        raise MediaError(what, got=got, fix=fix) from None


@contextmanager
def working_alone(place: Path, *, among_others: bool = False) -> Iterator[None]:
    """Hold a folder or file while working in it; raise ``Seg2VidError`` where another does.

    ``among_others`` keeps away only those who want it alone. The system lets go of it when the
    process ends, however it does; where a disk knows no locks, nothing is held.
    """
    file = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if among_others else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        what, fix = f"{place} to be free", "wait until it is done, or stop it"
        raise Seg2VidError(what, got="another seg2vid at work in it", fix=fix) from None
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(file)


@contextmanager
def sharing(folder: Path, share: tuple[int, int]) -> Iterator[None]:
    """Hold a folder while doing one share of the work in it, number and count.

    Jobs with a share each work side by side, but only one at the same share: see
    ``working_alone``.
    """
    number, count = share
    with ExitStack() as held:
        held.enter_context(working_alone(folder, among_others=count > 1))
        if count > 1:
            own = folder / f".{number}-of-{count}"
            own.touch()
            held.enter_context(working_alone(own))
            held.callback(own.unlink, missing_ok=True)
        yield


def remove_strays(path: Path) -> None:
    """Delete what killed processes left half written of an output; what is held stays."""
    for stray in path.parent.glob(f".{glob.escape(path.stem)}.*.partial{glob.escape(path.suffix)}"):
        if _PARTIAL_NAME.fullmatch(stray.name):
            with suppress(OSError, Seg2VidError), working_alone(stray):
                shutil.rmtree(stray) if stray.is_dir() else stray.unlink()


class Replacement:
    """A file or folder to be written under ``temporary`` and moved to ``path`` by ``commit``."""

    def __init__(self, path: Path, *, is_folder: bool = False) -> None:
        """Make the empty temporary file or folder; raise ``MediaError`` where that cannot be."""
        check_place(path, is_folder=is_folder)
        self.path, self.is_folder = path, is_folder
        self._held = ExitStack()
        self.temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
        with _told_of(path):
            self.discard()
            if is_folder:
                self.temporary.mkdir()
            else:
                self.temporary.touch()
            self._held.enter_context(working_alone(self.temporary))

    def commit(self) -> None:
        """Move it to its place, over an older output there; raise ``MediaError`` if that fails."""
        self._held.close()
        with _told_of(self.path):
            if self.is_folder and self.path.exists():
                _check_own_folder(self.path)  # once more: it may have been filled meanwhile
                older = self.temporary.with_name(self.temporary.name + ".older")
                self.path.rename(older)
                self.temporary.rename(self.path)
                if older.is_symlink():
                    older.unlink()
                else:
                    shutil.rmtree(older, ignore_errors=True)
            else:
                os.replace(self.temporary, self.path)

    def discard(self) -> None:
        """Delete what was written so far; nothing happens when there is nothing."""
        self._held.close()
        if self.temporary.is_dir():
            shutil.rmtree(self.temporary)
        else:
            self.temporary.unlink(missing_ok=True)


def commit_all(replacements: Sequence[Replacement]) -> None:
    """Commit all or none: when one fails, those already moved are deleted, and it is raised."""
    done: list[Replacement] = []
    try:
        for replacement in replacements:
            replacement.commit()
            done.append(replacement)
    except BaseException:
        for replacement in replacements:
            with suppress(OSError):
                replacement.discard()
                if replacement in done and replacement.is_folder:
                    shutil.rmtree(replacement.path)
                elif replacement in done:
                    replacement.path.unlink()
        raise


@contextmanager
def replacing(path: Path, *, is_folder: bool = False) -> Iterator[Path]:
    """Give a temporary file or folder; it becomes ``path`` unless the block fails."""
    replacement = Replacement(path, is_folder=is_folder)
    try:
        with _told_of(path):
            yield replacement.temporary
            replacement.commit()
    finally:
        with suppress(OSError):
            replacement.discard()


def check_place(path: Path, *, is_folder: bool = False) -> None:
    """Raise ``MediaError`` where ``path`` cannot be written, before any work is done."""
    parent = path.parent
    if path.name in {"", ".."}:
        what, got = "the name of a file or folder to write", repr(str(path))
        raise MediaError(what, got=got, fix="name one inside it")
    if not parent.is_dir():
        what, got = "an existing folder to write to", f"{parent}, which is no folder"
        raise MediaError(what, got=got, fix=f"create it: mkdir -p {parent}")
    if not os.access(parent, os.W_OK | os.X_OK):
        what, got = "a folder with write permission", str(parent)
        raise MediaError(what, got=got, fix="choose another place or change its permission")
    if not is_folder and path.is_dir():
        what, got = "a file name to write to", f"{path}, which is a folder"
        raise MediaError(what, got=got, fix="choose another name")
    if is_folder and path.exists():
        _check_own_folder(path)


def _check_own_folder(path: Path) -> None:
    if not path.is_dir():
        what, got = "a folder for the frames", f"{path}, which is a file"
        raise MediaError(what, got=got, fix="choose another name")
    names = sorted(entry.relative_to(path).as_posix() for entry in path.rglob("*"))
    facts = _marked(path)
    if facts is None and MARKER in names:
        problem = f"a {MARKER} of something else"
    elif facts is None:
        problem = " ".join([*names[:1], "and no", MARKER]) if names else ""
    else:
        problem = next((f"{name} besides" for name in names if not _is_own(name, facts)), "")
    if problem:
        what = "a new or empty folder, or one that seg2vid wrote"
        fix = "choose another name: nothing is overwritten"
        raise MediaError(what, got=f"{path}, which holds {problem}", fix=fix)


def _is_own(name: str, facts: Mapping[str, Any]) -> bool:
    if (match := _OWN_NAME.fullmatch(name)) is None:
        return False
    extra = match["extra"] or match["folder"]
    is_told = extra is None or extra in facts.get("extras", ())
    return is_told and int(match["number"] or 0) < facts["frames"]


def _marked(folder: Path) -> dict[str, Any] | None:
    """Return what the marker tells; None without a valid one."""
    try:
        facts = json.loads((folder / MARKER).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    is_ours = isinstance(facts, dict) and facts.get("format") == _FORMAT
    return facts if is_ours and isinstance(facts.get("frames"), int) else None


def write_marker(folder: Path, facts: Mapping[str, object]) -> None:
    """Mark a folder of frames as written by seg2vid; ``facts`` must tell its number of ``frames``,
    and the ``extras`` beside them.

    Only a marked folder, with nothing else in it, is replaced by a later output.
    """
    about = {"written_by": f"seg2vid {__version__}", "format": _FORMAT, **facts}
    (folder / MARKER).write_text(json.dumps(about, indent=1) + "\n", "utf-8")


def partial_files(folder: Path) -> list[Path]:
    """Return what a killed ``Replacement`` left half written, not looking into subfolders."""
    found = folder.iterdir() if folder.is_dir() else ()
    return [path for path in found if _PARTIAL_NAME.fullmatch(path.name) and path.is_file()]


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, read once as long as it stays."""
    status = path.stat()
    return _digest(path.resolve(), status.st_mtime_ns, status.st_size)


@cache
def _digest(path: Path, modified: int, size: int) -> str:
    # When it was modified and how large it is are parts of the cache's key.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
