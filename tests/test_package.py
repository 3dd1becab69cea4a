"""The packages: a wheel built from the sdist is built from the clone, and works without either."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from seg2vid.models.weights import SEGMENTER, is_restricted, list_models, read_licence
from tests.test_readme import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SOURCE = REPOSITORY / "src"
RESTRICTED = "LicenseRef-Cityscapes-NonCommercial"
ALSO = {
    "recipes": "seg2vid/recipes",
    "examples/street.png": "seg2vid/studio/examples/street.png",
    "examples/street_instances.png": "seg2vid/studio/examples/street_instances.png",
}
"""What a wheel brings beside the package, by its place in a clone."""
LEFT_OUT = {".ci"}
"""Folders of a clone that an sdist has no use for."""
LARGEST = {"sdist": 60_000_000, "wheel": 45_000_000, "file": 1_000_000}
"""Bytes; a file that is no weight file stays below the last."""


def call(*words: object, folder: Path, path: Path | None = None) -> str:
    """Run this Python with ``words`` in ``folder``; return what it printed, errors included."""
    places = {} if path is None else {"PYTHONPATH": str(path)}
    result = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env={**os.environ, **places, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and, built from it alone, the wheel; nothing is fetched."""
    for name in ("build", "hatchling"):
        try:
            version(name)
        except PackageNotFoundError:
            pytest.skip(f"needs {name} to build packages: pip install 'seg2vid[dev]'")
    folder = tmp_path_factory.mktemp("packages")
    call("-m", "build", "--no-isolation", "-o", folder, REPOSITORY, folder=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(packages: Path) -> Path:
    """The wheel, unpacked: what an installed package is."""
    (path,) = packages.glob("*.whl")
    folder = packages / "unpacked"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    (path,) = wheel.glob("*.dist-info/METADATA")
    return Parser().parsestr(path.read_text("utf-8"))


def files_below(folder: Path) -> set[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in paths if "__pycache__" not in path.parts}


def test_the_wheel_holds_the_whole_package_and_what_it_needs(wheel: Path) -> None:
    wanted = {name for name in files_below(SOURCE) if name.startswith("seg2vid/")}
    for place, home in ALSO.items():
        source = REPOSITORY / place
        inside = files_below(source) if source.is_dir() else {""}
        wanted |= {f"{home}/{name}".rstrip("/") for name in inside}
    found = {name for name in files_below(wheel) if ".dist-info/" not in name}
    assert found == wanted
    assert {"seg2vid/py.typed", "seg2vid/studio/page/index.html"} <= found


def test_the_sdist_holds_what_git_knows_and_nothing_else(packages: Path) -> None:
    known = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if known.returncode:
        pytest.skip("needs a clone, to know which files belong to it")
    (path,) = packages.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        sizes = {one.name.partition("/")[2]: one.size for one in archive if one.isfile()}
    files = {name for name in known.stdout.split("\0") if (REPOSITORY / name).is_file()}
    assert set(sizes) - {"PKG-INFO"} == {n for n in files if n.split("/")[0] not in LEFT_OUT}
    large = [name for name, size in sizes.items() if size > LARGEST["file"]]
    assert {Path(name).suffix for name in large} == {".safetensors"}


def test_packages_are_small(packages: Path) -> None:
    for kind, pattern in (("sdist", "*.tar.gz"), ("wheel", "*.whl")):
        (path,) = packages.glob(pattern)
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
        assert path.stat().st_size < LARGEST[kind]


def test_the_metadata_tells_the_licence_of_code_and_weights(wheel: Path, metadata: Message) -> None:
    told = set(metadata["License-Expression"].split(" AND "))
    names = [*(model.name for model in list_models()), SEGMENTER]
    weights = {name: wheel / f"seg2vid/models/weights/{name}/model.safetensors" for name in names}
    restricted = {name for name, path in weights.items() if is_restricted(read_licence(path))}
    assert told == {"Apache-2.0", *([RESTRICTED] if restricted else [])}
    files = metadata.get_all("License-File", [])
    (home,) = wheel.glob("*.dist-info/licenses")
    assert set(files) == files_below(home)
    cards = {f"src/seg2vid/models/weights/{name}/README.md" for name in names}
    assert set(files) == {"LICENSE", "NOTICE", *cards}
    notice = " ".join((home / "NOTICE").read_text("utf-8").split())
    assert RESTRICTED in notice
    free = set(names) - restricted
    about = re.search(r"The weights in (.+?) were trained on photographs", notice)
    assert about is not None
    assert {name for name in names if f"weights/{name}" in about[1]} == restricted
    assert all(f"weights/{name} are under the Apache License" in notice for name in free)


def test_the_metadata_says_what_it_needs(metadata: Message) -> None:
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert "moving scene" in metadata["Summary"]
    base = [one for one in metadata.get_all("Requires-Dist", []) if "extra ==" not in one]
    assert any(one.startswith("torch>=") for one in base)
    assert not any("torchvision" in one for one in metadata.get_all("Requires-Dist", []))


@pytest.mark.parametrize("model", [model.name for model in list_models()])
def test_a_wheel_alone_generates(wheel: Path, tmp_path: Path, model: str) -> None:
    """By the command and in Python, from a folder that knows nothing of a clone."""
    (tmp_path / "map.png").write_bytes((REPOSITORY / "examples" / "street.png").read_bytes())
    words = ("generate", "map.png", "--model", model, "--frames", 3, "-o", "out")
    assert "wrote out" in call("-m", "seg2vid", *words, folder=tmp_path, path=wheel)
    assert len(list((tmp_path / "out").glob("0*.png"))) == 3
    lines = (
        "import seg2vid, sys",
        "assert seg2vid.__file__.startswith(sys.argv[1]), seg2vid.__file__",
        f"pipe = seg2vid.Seg2VidPipeline.from_pretrained({model!r})",
        "pipe('map.png', num_frames=2, seed=1).save('scene.mp4')",
    )
    call("-c", "\n".join(lines), wheel, folder=tmp_path, path=wheel)
    assert (tmp_path / "scene.mp4").stat().st_size > 1000


def test_a_wheel_alone_tells_its_models_and_knows_its_recipes(wheel: Path, tmp_path: Path) -> None:
    told = call("-m", "seg2vid", "models", folder=tmp_path, path=wheel)
    assert all(name in told for name in ("street", "toycity", "segmenter", "non-commercial"))
    lines = (
        "from pathlib import Path",
        "from seg2vid.studio.uploads import FOLDERS",
        "from seg2vid.training.recipes import FOLDERS as recipes",
        "assert (FOLDERS[0] / 'street.png').is_file() and (recipes[0] / 'toycity.yaml').is_file()",
    )
    call("-c", "\n".join(lines), folder=tmp_path, path=wheel)
