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
    "labels.space": "LabelSpace get_label_space",
    "media.generated": "GeneratedVideo",
    "models.weights": "list_models",
    "pipeline": "Seg2VidPipeline",
    "structures": "Clip Latent Motion",
    "transfer": "MotionCode encode_motion interpolate_codes place_motion play_motion resample_code",
}


def __getattr__(name: str) -> object:
    """Load the public name ``name`` from its home on first use."""
    home = next((home for home, names in _HOMES.items() if name in names.split()), None)
    if home is None:
        raise AttributeError(
            f"module 'seg2vid' has no attribute {name!r}; public names: {', '.join(__all__)}"
        )
    value = getattr(import_module(f"seg2vid.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(set(globals()) | set(__all__))
