"""CONTRIBUTING.md says where a new thing goes: one of each is added to a copy by its lines."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ADAPTER = '''"""A dataset of one clip: ``ROOT/mini/*.png``."""

from pathlib import Path

from seg2vid.data.recordings.recording import Recording, list_pictures

SIGNS = ("mini",)


def list_recordings(root: Path) -> list[Recording]:
    """List the one recording."""
    return [Recording("mini", pictures=tuple(list_pictures(root / "mini")))]
'''

METRIC = '''

def brightness_error(
    generated: Float[Tensor, "batch 3 height width"], real: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, " batch"]:
    """Difference of the mean brightness, in [0, 1]."""
    return (generated.mean((1, 2, 3)) - real.mean((1, 2, 3))).abs()
'''

LOSS = '''

def brightness_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Distance of the mean brightness of (batch, 3, height, width)."""
    return (predicted.mean() - target.mean()).abs()
'''

VERB = '''

@dataclass(frozen=True, kw_only=True)
class Greet:
    """Say hello."""

    name: str = "nobody"
    """Whom to greet."""
'''

USE = """
import sys
from pathlib import Path

import torch

from seg2vid.cli.main import main
from seg2vid.data.recordings import find_layout, list_recordings
from seg2vid.evaluation.figures import OVER_TIME
from seg2vid.evaluation.measure import ARRAYS, Judges, Measurement
from seg2vid.evaluation.metric_table import METRICS
from seg2vid.evaluation.output import Output
from seg2vid.evaluation.protocol import get_protocol
from seg2vid.structures import Clip
from seg2vid.training.config import FirstFrameTrainingConfig
from seg2vid.training.first_frame import FirstFrameStage
from tests.tiny import CONFIG

root = Path(sys.argv[1])
assert find_layout(root) == "mini"
(recording,) = list_recordings(root)
assert recording.name == "mini" and len(recording.pictures) == 1

assert "brightness" in METRICS and "brightness" in ARRAYS and "brightness" in OVER_TIME


class Segmenter:
    def probabilities(self, pictures):
        return torch.zeros(len(pictures), 20, *pictures.shape[2:])


frame, labels = torch.zeros(1, 3, 64, 128), torch.zeros(1, 64, 128, dtype=torch.long)
clip = Clip(frame, frame[:, None][:, :0], labels)
output = Output(torch.full((1, 1, 3, 64, 128), 0.25))
measurement = Measurement(get_protocol("cityscapes-stills"), Judges(Segmenter()))
assert float(measurement.measure(output, clip, is_real=False)["brightness"]) == 0.25

stage = FirstFrameStage(CONFIG, FirstFrameTrainingConfig(brightness=2.0))
assert float(stage.compute_losses(clip)["brightness"]) > 0
assert "brightness" not in FirstFrameStage(CONFIG, FirstFrameTrainingConfig()).compute_losses(clip)

assert main(["greet", "--name", "Ada"]) == 0
"""


def insert(path: Path, before: str, text: str) -> None:
    """Insert ``text`` before the first place where ``before`` stands."""
    whole = path.read_text("utf-8")
    assert before in whole, f"{path.name} has no {before!r}: CONTRIBUTING.md points nowhere"
    path.write_text(whole.replace(before, text + before, 1), "utf-8")


def append(path: Path, text: str) -> None:
    """Append ``text`` to a file."""
    path.write_text(path.read_text("utf-8").rstrip() + "\n" + text, "utf-8")


@pytest.fixture
def package(repository: Path, tmp_path: Path) -> Path:
    """A copy of the package, without weights."""
    skipped = shutil.ignore_patterns("__pycache__", "*.safetensors")
    return Path(
        shutil.copytree(
            repository / "src" / "seg2vid", tmp_path / "src" / "seg2vid", ignore=skipped
        )
    )


def test_one_of_each_is_added_by_the_lines(package: Path, repository: Path, tmp_path: Path) -> None:
    recordings = package / "data" / "recordings"
    (recordings / "mini.py").write_text(ADAPTER, "utf-8")
    insert(recordings / "__init__.py", '    "folder": folder,\n', '    "mini": mini,\n')
    insert(
        recordings / "__init__.py",
        "from seg2vid.data.recordings import toycity",
        "from seg2vid.data.recordings import mini\n",
    )
    insert(package / "data" / "prepare" / "settings.py", '"folder"]', '"mini", ')

    append(package / "evaluation" / "metrics" / "image.py", METRIC)
    measure = package / "evaluation" / "measure.py"
    line = '    "brightness": image.brightness_error,\n'
    insert(measure, '    "ssim": image.structural_similarity,\n', line)
    row = '    ("brightness", "Brightness", "", "lower", "pictures"): "Mean brightness.",\n'
    insert(package / "evaluation" / "metric_table.py", '    ("lpips", ', row)

    append(package / "training" / "losses.py", LOSS)
    field = '    brightness: float = 0.0\n    """Weight of it."""\n'
    insert(package / "training" / "config.py", "    label_mixing: float", field)
    first_frame = package / "training" / "first_frame.py"
    use = '            "brightness": lambda: brightness_loss(copied, target),\n'
    insert(first_frame, '            "reconstruction": lambda', use)
    insert(
        first_frame,
        "from seg2vid.training.config",
        "from seg2vid.training.losses import brightness_loss\n",
    )

    append(package / "cli" / "options.py", VERB)
    (package / "cli" / "greet.py").write_text(
        'def greet(options):\n    yield f"hello {options.name}"\n', "utf-8"
    )
    insert(
        package / "cli" / "main.py",
        '    "models": (',
        '    "greet": (options.Greet, "seg2vid.cli.greet.greet"),\n',
    )

    (tmp_path / "dataset" / "mini").mkdir(parents=True)
    shutil.copy(repository / "examples" / "street.png", tmp_path / "dataset" / "mini" / "0.png")
    result = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path / "dataset")],
        env={
            **os.environ,
            "PYTHONPATH": f"{tmp_path / 'src'}:{repository}",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "hello Ada\n"


def test_every_place_that_is_named_exists(repository: Path) -> None:
    text = (repository / "CONTRIBUTING.md").read_text("utf-8")
    section = text.partition("## Where a new thing goes")[2].partition("\n## ")[0]
    places = re.findall(r"`((?:\w+/)+(?:\w+\.(?:py|md))?)`", section)
    assert len(places) >= 12
    roots = (repository, repository / "src" / "seg2vid")
    assert [p for p in places if not any((root / p).exists() for root in roots)] == []
    steps = re.findall(r"^(\d)\. ", section, re.MULTILINE)
    assert steps == list("12345") * 4
