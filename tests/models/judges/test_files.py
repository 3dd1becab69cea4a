"""Files of the judges: official files become ours bit for bit, and what is there is told."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from seg2vid.models.judges.files import INCEPTION_CLASSES, JUDGES, convert_official, is_pinned
from seg2vid.tools.errors import ModelError

INCEPTION, I3D = "inception_fid_fp16.safetensors", "i3d_kinetics400_fp16.safetensors"


class Holder(nn.Module):
    """A module that does nothing but hold tensors under dotted names."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            place: nn.Module = self
            *path, last = name.split(".")
            for step in path:
                if not hasattr(place, step):
                    place.add_module(step, Holder({}))
                place = getattr(place, step)
            place.register_buffer(last, tensor)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the picture (batch, 3, height, width) as it came."""
        return picture


def official(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the names that the official file of this judge gives them, and some more."""
    full = {key: tensor.float() for key, tensor in tensors.items()}
    if name == INCEPTION:
        return {key.removeprefix("net."): tensor for key, tensor in full.items()} | {
            "output.weight": torch.randn(1008, 2048),
            "output.bias": torch.randn(1008),
        }
    if name == I3D:
        return full | {"Conv3d_1a_7x7.bn.num_batches_tracked": torch.tensor(1)}
    if name.startswith("raft"):
        return {f"module.{key}": tensor for key, tensor in full.items()}
    return full | {"classifier.1.weight": torch.zeros(2, 2), "features.28.bias": torch.zeros(3)}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", JUDGES)
def test_an_official_file_becomes_ours_bit_for_bit(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    tensors = official(name, load_file(shared_data / "judges" / name))
    source = tmp_path / "official"
    if name in (INCEPTION, I3D):
        torch.jit.save(torch.jit.script(Holder(tensors)), source)
    else:
        torch.save(tensors, source)
    made = convert_official(source, tmp_path / "judges")
    assert made == tmp_path / "judges" / name and is_pinned(made)
    assert [key for key in JUDGES if is_pinned(tmp_path / "judges" / key)] == [name]
    others = {INCEPTION_CLASSES} if name == INCEPTION else set()
    assert {path.name for path in made.parent.iterdir()} == {name} | others
    if name == INCEPTION:
        classes = load_file(made.parent / INCEPTION_CLASSES)["net.output.weight"]
        assert torch.equal(classes, tensors["output.weight"].half())


def test_changed_weights_are_made_but_not_taken_for_the_known_ones(
    shared_data: Path, tmp_path: Path
) -> None:
    name = "lpips_v01_alex_lin.safetensors"
    tensors = {key: tensor + 1 for key, tensor in load_file(shared_data / "judges" / name).items()}
    torch.save(tensors, tmp_path / "alex.pth")
    made = convert_official(tmp_path / "alex.pth", tmp_path)
    assert made == tmp_path / name and made.is_file() and not is_pinned(made)


def test_the_heads_of_lpips_come_from_the_wheel_of_torchmetrics(tmp_path: Path) -> None:
    found = find_spec("torchmetrics")
    if found is None or found.origin is None:
        pytest.skip("needs torchmetrics")
    inside = JUDGES["lpips_v01_alex_lin.safetensors"].source.split(" in ")[0]
    assert is_pinned(convert_official(Path(found.origin).parents[1] / inside, tmp_path))


def test_only_the_known_files_are_pinned(shared_data: Path, tmp_path: Path) -> None:
    assert all(is_pinned(shared_data / "judges" / name) for name in JUDGES)
    assert not any(is_pinned(tmp_path / name) for name in JUDGES)
    assert not is_pinned(shared_data / "judges" / "i3d_check.json")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2), "epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"one of the judges .*; got 1 tensors, weight .*official"):
        convert_official(tmp_path / "other.pth", tmp_path)


class Trap:
    """What a pickle may hide."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Would write a file if it were unpickled."""
        return Path.touch, ("sprung",)


@pytest.mark.parametrize("kind", ["missing", "damaged", "dangerous"])
def test_files_that_cannot_be_read_safely_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "official.pth"
    if kind == "damaged":
        path.write_bytes(b"no weights")
    if kind == "dangerous":
        torch.save({"weight": Trap()}, path)
    message = r"an official weight file at .*; download it again"
    if kind == "missing":
        message = r"an official weight file; got no file .*official\.pth; check the path"
    with pytest.raises(ModelError, match=message):
        convert_official(path, tmp_path)
    assert not any(tmp_path.glob("*.safetensors")) and not Path("sprung").exists()
