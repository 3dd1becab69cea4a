"""TorchScript archives are read as data: what torch saved, and nothing that a file would do."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from seg2vid.models.judges.files import convert_official
from seg2vid.models.judges.torchscript import is_torchscript, read_torchscript
from seg2vid.tools.errors import ModelError
from tests.models.judges.test_files import Trap

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


class Inner(nn.Module):
    """Tensors of every kind that weights come in."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3).t())
        self.register_buffer("halves", torch.randn(5).half())
        self.register_buffer("count", torch.tensor(7))
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("part", torch.arange(10.0)[3:6])
        self.register_buffer("none", torch.empty(0, 2))

    def forward(self, picture: Tensor) -> Tensor:
        """Return the picture (any shape) as it came."""
        return picture


class Outer(Inner):
    """The same with modules inside, one of them under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.numbers = "x", [1, 2]
        self.layers = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
        self.inner = Inner()
        self.again = self.inner


class Hostile(nn.Module):
    """A module that writes a file when torch loads it."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place
        self.register_buffer("weight", torch.zeros(2))

    def forward(self, picture: Tensor) -> Tensor:
        """Return the picture (any shape) as it came."""
        return picture

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, str, bool]:
        """Return what is saved."""
        return self.weight, self.place, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, str, bool]) -> None:
        """Write the file."""
        self.weight, self.place, self.training = state
        torch.save(self.weight, self.place)


def test_the_tensors_are_those_that_torch_would_load(tmp_path: Path) -> None:
    path = tmp_path / "official.pt"
    torch.jit.save(torch.jit.script(Outer()), path)
    wanted = torch.jit.load(path).state_dict()
    found = read_torchscript(path)
    assert is_torchscript(path) and found.keys() == wanted.keys() and len(wanted) > 20
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    place, path = tmp_path / "sprung", tmp_path / "official.pt"
    torch.jit.save(torch.jit.script(Hostile(str(place))), path)
    with pytest.raises(ModelError, match=r"^Expected the tensors of one of the judges .*\.$"):
        convert_official(path, tmp_path)
    assert not place.exists()
    torch.jit.load(path)
    assert place.exists(), "torch would have run it"


def rewrite(path: Path, change: Callable[[str, bytes], bytes], method: int) -> None:
    """Write the archive again with other contents."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, change(name, content))


CHANGES: dict[str, tuple[Callable[[str, bytes], bytes], int, str]] = {
    "trap": (
        lambda name, c: pickle.dumps(Trap(), 2) if name.endswith("/data.pkl") else c,
        zipfile.ZIP_STORED,
        "which no weights need",
    ),
    "state of a class": (
        lambda name, c: b"ctorch FloatStorage\n}b." if name.endswith("/data.pkl") else c,
        zipfile.ZIP_STORED,
        "",
    ),
    "cut table": (
        lambda name, c: c[:99] if name.endswith("/data.pkl") else c,
        zipfile.ZIP_STORED,
        "",
    ),
    "cut tensor": (
        lambda name, c: c[:-4] if "/data/" in name else c,
        zipfile.ZIP_STORED,
        "a damaged archive",
    ),
    "compressed": (lambda _, c: c, zipfile.ZIP_DEFLATED, "a compressed .*data.pkl"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_no_plain_archive_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    change, method, got = CHANGES[name]
    path = tmp_path / "official.pt"
    torch.jit.save(torch.jit.script(Outer()), path)
    rewrite(path, change, method)
    message = rf"^Expected an official weight file at .*; got .*{got}.*; download it again\.$"
    with pytest.raises(ModelError, match=message):
        convert_official(path, tmp_path)
    assert not Path("sprung").exists()


def test_a_zip_whose_names_are_no_text_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/code/é", "x")
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xfe"))
    assert not is_torchscript(path)
    with pytest.raises(ModelError, match=r"a\.pth"):
        convert_official(path, tmp_path / "b.safetensors")
