"""One semantic label map in, a moving scene out.

The public names are below; each is loaded when it is first used, so that ``import seg2vid`` and
``seg2vid --help`` start without PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seg2vid.labels.space import LabelSpace, get_label_space
    from seg2vid.media.generated import GeneratedVideo
    from seg2vid.models.weights import list_models
    from seg2vid.pipeline import Seg2VidPipeline
    from seg2vid.structures import Clip, Latent, Motion
    from seg2vid.transfer import (
        MotionCode,
        encode_motion,
        interpolate_codes,
        place_motion,
        play_motion,
        resample_code,
    )

__version__ = "0.1.0"

__all__ = [
    "Seg2VidPipeline",
    "list_models",
    "GeneratedVideo",
    "Clip",
    "Latent",
    "Motion",
    "MotionCode",
    "encode_motion",
    "place_motion",
    "play_motion",
    "interpolate_codes",
    "resample_code",
    "LabelSpace",
    "get_label_space",
    "__version__",
]

_HOMES = {
    "Seg2VidPipeline": "seg2vid.pipeline",
    "list_models": "seg2vid.models.weights",
    "GeneratedVideo": "seg2vid.media.generated",
    "Clip": "seg2vid.structures",
    "Latent": "seg2vid.structures",
    "Motion": "seg2vid.structures",
    "MotionCode": "seg2vid.transfer",
    "encode_motion": "seg2vid.transfer",
    "place_motion": "seg2vid.transfer",
    "play_motion": "seg2vid.transfer",
    "interpolate_codes": "seg2vid.transfer",
    "resample_code": "seg2vid.transfer",
    "LabelSpace": "seg2vid.labels.space",
    "get_label_space": "seg2vid.labels.space",
}


def __getattr__(name: str) -> object:
    """Load the public name ``name`` from its home on first use."""
    if name not in _HOMES:
        raise AttributeError(
            f"module 'seg2vid' has no attribute {name!r}; public names: {', '.join(__all__)}"
        )
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(set(globals()) | set(__all__))
