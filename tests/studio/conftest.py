"""What the tests of the studio share. Without the extra they are skipped."""

from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the extra `studio`: starlette")
pytest.importorskip("uvicorn", reason="needs the extra `studio`: uvicorn")
pytest.importorskip("python_multipart", reason="needs the extra `studio`: python-multipart")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny networks."""
    from tests.studio.studios import tiny_model

    return tiny_model(tmp_path_factory.mktemp("studio") / "tiny")


@pytest.fixture(scope="session")
def pipe(model: Path):
    """The tiny networks."""
    from seg2vid.pipeline import Seg2VidPipeline

    return Seg2VidPipeline.from_pretrained(model)
