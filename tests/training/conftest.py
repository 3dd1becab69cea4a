"""What all tests of training share: their short runs leave no picture of the curves."""

from collections.abc import Iterator

import pytest

from seg2vid.training import keeper


@pytest.fixture(autouse=True, scope="session")
def no_curves() -> Iterator[None]:
    """Spare a run the picture, which takes longer than its steps; ``test_keeper.py`` wants it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeper, "write_curves", lambda *_, **__: None)
        yield
