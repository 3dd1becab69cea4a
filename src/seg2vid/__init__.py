"""One semantic label map in, a moving scene out.

The public names are below; each is loaded when it is first used, so that ``import seg2vid`` and
``seg2vid --help`` start without PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seg2vid.diversity import pick_diverse as pick_diverse
    from seg2vid.labels.space import LabelSpace as LabelSpace
    from seg2vid.labels.space import get_label_space as get_label_space
    from seg2vid.media.generated import GeneratedVideo as GeneratedVideo
    from seg2vid.models.control import Control as Control
    from seg2vid.models.looks import interpolate_looks as interpolate_looks
    from seg2vid.models.weights import list_models as list_models
    from seg2vid.pipeline import Seg2VidPipeline as Seg2VidPipeline
    from seg2vid.session import Session as Session
    from seg2vid.structures import Clip as Clip
    from seg2vid.structures import Latent as Latent
    from seg2vid.structures import Look as Look
    from seg2vid.structures import Motion as Motion
    from seg2vid.transfer import MotionCode as MotionCode
    from seg2vid.transfer import encode_motion as encode_motion
    from seg2vid.transfer import interpolate_codes as interpolate_codes
    from seg2vid.transfer import place_motion as place_motion
    from seg2vid.transfer import play_motion as play_motion
    from seg2vid.transfer import resample_code as resample_code

__version__ = "0.2.0"

_NAMES = {
    "pipeline": "Seg2VidPipeline",
    "labels.space": "LabelSpace get_label_space",
    "media.generated": "GeneratedVideo",
    "models.control": "Control",
    "models.looks": "interpolate_looks",
    "models.weights": "list_models",
    "session": "Session",
    "diversity": "pick_diverse",
    "structures": "Clip Latent Look Motion",
    "transfer": "MotionCode encode_motion interpolate_codes place_motion play_motion resample_code",
}
_HOMES = {name: f"seg2vid.{home}" for home, names in _NAMES.items() for name in names.split()}
__all__ = [*_HOMES, "__version__"]


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
