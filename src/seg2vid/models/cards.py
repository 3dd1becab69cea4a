"""Cards of models on the Hugging Face hub: what is told there of weights that are shared."""

import re

from seg2vid.models.config import ModelConfig
from seg2vid.models.weights import licence_in

LOCAL_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?://)[^)]*\)")
"""A link that leads nowhere once the card lies elsewhere; group 1 is what it shows."""
FREE = "apache-2.0"
"""The only licence of ours that the hub knows by name."""


def describe(config: ModelConfig, licence: str) -> str:
    """Return a card for a model that has none."""
    space = dict(config.label_space)["name"]
    rate = f"{config.num_frames} frames a pass at {config.frames_per_second:g} a second"
    rows = [("size", f"{config.width}x{config.height}, {rate}"), ("label space", f"`{space}`")]
    table = "".join(f"| {key} | {value} |\n" for key, value in [*rows, ("licence", licence)])
    return f"# One semantic label map in, a moving scene out\n\n| | |\n|---|---|\n{table}"


def prepare_card(card: str, name: str, licence: str) -> str:
    """Return a ``card`` as the hub wants it of the model ``name``: with what its filters read.

    A card that begins with such lines keeps them. Links to files beside it become plain text.
    ``licence`` is that of the weights where the card tells none.
    """
    text = LOCAL_LINK.sub(r"\1", card).rstrip("\n")
    if name not in text:
        load = f'pipe = Seg2VidPipeline.from_pretrained("{name}")'
        python = (
            f'from seg2vid import Seg2VidPipeline\n\n{load}\npipe("labels.png").save("scene.mp4")'
        )
        text += f"\n\n## Use\n\n```python\n{python}\n```"
    if not text.startswith("---\n"):
        text = f"---\n{_front_matter(licence_in(card) or licence)}---\n\n{text}"
    return f"{text}\n"


def _front_matter(licence: str) -> str:
    lines = ["library_name: seg2vid", "pipeline_tag: image-to-video", "tags: [seg2vid]"]
    short = re.sub(r"[^a-z0-9.]+", "-", re.split("[,:]", licence.lower())[0]).strip("-")
    if short == FREE:
        lines.append(f"license: {FREE}")
    elif short != "unknown":
        lines += ["license: other", f"license_name: {short}"]
    return "".join(f"{line}\n" for line in lines)
