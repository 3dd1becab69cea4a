"""A diffusion model in front: label map → picture by a ControlNet for segmentation maps.

Such ControlNets read maps in the colours of ADE20K. What is made here is a ``first_frame`` for
``Seg2VidPipeline``: motion, labels and flow are this package's own. The diffusion pipeline is the
user's; nothing of its library is imported here.
"""

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from seg2vid.labels.convert import colourise, translate_ids
from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.tools.errors import ModelError
from seg2vid.tools.seeds import seeded

MULTIPLE = 8
"""Sides of a picture are multiples of this: the autoencoders halve it three times."""


class ControlNetPainter:
    """Paint first frames with a ControlNet pipeline of diffusers: ``first_frame=painter``.

    ``pipeline`` is loaded already, on any device; ``prompt`` says in words what it shall paint. The
    shorter side has ``size`` pixels at least, as the model is used to. ``label_space`` is that of
    the maps, by default Cityscapes; ``seed`` another picture. ``settings`` are passed on with every
    call: ``num_inference_steps``, ``negative_prompt`` and so on.
    """

    def __init__(
        self,
        pipeline: Any,
        prompt: str,
        *,
        size: int = 512,
        seed: int = 0,
        label_space: LabelSpace | None = None,
        **settings: Any,
    ) -> None:
        takes = inspect.signature(type(pipeline).__call__).parameters
        # Later families of pipelines keep `image` for a picture to begin with.
        self.control = "control_image" if "control_image" in takes else "image"
        if "prompt" not in takes or self.control not in takes:
            what = "a text-to-image ControlNet pipeline of diffusers"
            fix = "load one, as in docs/first_frames.md"
            raise ModelError(what, got=type(pipeline).__name__, fix=fix)
        self.pipeline, self.prompt, self.size, self.settings = pipeline, prompt, size, settings
        self.seed = seeded(seed).initial_seed()
        self.space = label_space or get_label_space("cityscapes")

    def draw_control(self, label_map: Int[Tensor, "height width"]) -> Image.Image:
        """Return the label map as the ControlNet reads it, in ADE20K's colours."""
        scale = max(1.0, self.size / min(label_map.shape))
        sides = [max(1, round(side * scale / MULTIPLE)) * MULTIPLE for side in label_map.shape]
        large = F.interpolate(label_map[None, None].double(), sides, mode="nearest-exact")[0, 0]
        target = get_label_space("ade20k")
        ids = translate_ids(large.long().cpu().numpy(), self.space, target).ids
        return Image.fromarray(colourise(ids, target))

    def __call__(self, label_map: Int[Tensor, "height width"]) -> Image.Image:
        """Return the picture; raise ``ModelError`` where the pipeline withholds it."""
        control = self.draw_control(label_map)
        made = self.pipeline(
            prompt=self.prompt,
            width=control.width,
            height=control.height,
            generator=torch.Generator().manual_seed(self.seed),
            **{self.control: control},
            **self.settings,
        )
        if any(getattr(made, "nsfw_content_detected", None) or ()):
            got, fix = "a black one from its safety checker", "choose another seed or prompt"
            raise ModelError("a picture from the diffusion pipeline", got=got, fix=fix)
        picture: Image.Image = made.images[0]
        return picture
