"""Files: written whole or not at all (beside their place, then moved there), and their digests."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from seg2vid.tools.errors import MediaError

_OWN_NAMES = re.compile(r"\d{6}(_backward|_forward)?\.(png|flo)|flow|visible|labels|overlay")
"""What a folder of frames holds; a folder with anything else in it is never replaced."""


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Turn what the system says against writing ``path`` into a ``MediaError``."""
    try:
        yield
    except OSError as error:
        got = f"{path}: {error.strerror or error}"
        what, fix = "a place that can be written", "choose another place"
        raise MediaError(what, got=got, fix=fix) from None


class Replacement:
    """A file or folder to be written under ``temporary`` and moved to ``path`` by ``commit``."""

    def __init__(self, path: Path, *, is_folder: bool = False) -> None:
        """Make the empty temporary file or folder; raise ``MediaError`` where that cannot be."""
        check_place(path, is_folder=is_folder)
        self.path, self.is_folder = path, is_folder
        self.temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
        with _told_of(path):
            self.discard()
            if is_folder:
                self.temporary.mkdir()
            else:
                self.temporary.touch()

    def commit(self) -> None:
        """Move it to its place, over an older output there; raise ``MediaError`` if that fails."""
        with _told_of(self.path):
            if self.is_folder and self.path.exists():
                older = self.temporary.with_name(self.temporary.name + ".older")
                self.path.rename(older)
                self.temporary.rename(self.path)
                shutil.rmtree(older, ignore_errors=True)
            else:
                os.replace(self.temporary, self.path)

    def discard(self) -> None:
        """Delete what was written so far; nothing happens when there is nothing."""
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
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file, which becomes ``path`` if the block succeeds, else is deleted."""
    replacement = Replacement(path)
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
    strange = [entry.name for entry in path.iterdir() if not _OWN_NAMES.fullmatch(entry.name)]
    if strange:
        what, got = "a new, empty or frames-only folder", f"{path}, which holds {strange[0]}"
        raise MediaError(what, got=got, fix="choose another name: nothing is overwritten")


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, read once as long as it stays."""
    status = path.stat()
    return _digest(path.resolve(), status.st_mtime_ns, status.st_size)


@cache
def _digest(path: Path, modified: int, size: int) -> str:
    # When it was modified and how large it is are parts of the cache's key.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
