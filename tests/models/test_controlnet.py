"""Diffusion models in front: what the ControlNet is shown, and a tiny pipeline of the library."""

import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from seg2vid.labels.convert import translate_ids
from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.models.controlnet import ControlNetPainter
from seg2vid.pipeline import Seg2VidPipeline
from seg2vid.tools.errors import LabelMapError, ModelError
from tests.tiny import CONFIG, HEIGHT, WIDTH, street_map

CITYSCAPES, ADE20K = get_label_space("cityscapes"), get_label_space("ade20k")


class Recorder:
    """Stands where a pipeline stands, and keeps what it was called with."""

    def __init__(self, withholds: bool = False) -> None:
        self.calls: list[dict[str, Any]] = []
        self.withholds = withholds

    def __call__(self, prompt: str, image: Image.Image, **others: Any) -> Any:
        self.calls.append({"prompt": prompt, "image": image, **others})
        picture = Image.new("RGB", (others["width"], others["height"]), (10, 20, 30))
        return SimpleNamespace(images=[picture], nsfw_content_detected=[self.withholds])


class Later(Recorder):
    """As the pipelines for SD3 and Flux name it."""

    def __call__(self, prompt: str, control_image: Image.Image, **others: Any) -> Any:
        return super().__call__(prompt, control_image, **others)


def test_every_cityscapes_class_has_a_colour_of_ade20k() -> None:
    ids = np.arange(CITYSCAPES.void_id)[None]
    translated = translate_ids(ids, CITYSCAPES, ADE20K)
    assert translated.lost == ()
    names = dict(zip(CITYSCAPES.names, (ADE20K.names[i] for i in translated.ids[0]), strict=False))
    assert names["vegetation"] == "tree" and names["rider"] == names["person"] == "person"
    assert names["train"] == names["bus"] == "bus" and names["terrain"] == "grass"


@pytest.mark.parametrize("kind", [Recorder, Later])
def test_the_controlnet_is_shown_ade20ks_colours_at_its_size(kind: type[Recorder]) -> None:
    pipeline = kind()
    painter = ControlNetPainter(pipeline, "a street", seed=7, num_inference_steps=3)
    assert painter(street_map()[0]).size == (1024, 512)
    (call,) = pipeline.calls
    assert (call["prompt"], call["num_inference_steps"]) == ("a street", 3)
    assert call["generator"].initial_seed() == 7
    shown = np.asarray(call["image"])
    assert shown.shape == (512, 1024, 3)
    for (y, x), name in {(10, 10): "sky", (500, 10): "road", (300, 200): "car"}.items():
        assert tuple(shown[y, x]) == ADE20K.classes[ADE20K.names.index(name)].colour, name


def test_sides_are_multiples_of_eight_and_large_maps_stay_large() -> None:
    painter = ControlNetPainter(Recorder(), "a street", size=50)
    assert painter.draw_control(torch.zeros(60, 100, dtype=torch.long)).size == (96, 64)


def test_classes_of_other_spaces_are_translated_or_named() -> None:
    object_space = get_label_space("object")
    painter = ControlNetPainter(Recorder(), "a car", label_space=object_space)
    shown = np.asarray(painter.draw_control(torch.ones(8, 8, dtype=torch.long)))
    assert tuple(shown[0, 0]) == ADE20K.classes[ADE20K.names.index("car")].colour
    classes = [{"name": "dragon", "colour": [1, 0, 0]}]
    own = LabelSpace.from_dict({"name": "own", "classes": classes, "void": {"name": "none"}})
    painter = ControlNetPainter(Recorder(), "a dragon", label_space=own)
    with pytest.raises(LabelMapError, match="ade20k has too; got 'dragon' of own"):
        painter.draw_control(torch.zeros(8, 8, dtype=torch.long))


def test_what_is_no_controlnet_pipeline_is_one_line() -> None:
    with pytest.raises(ModelError, match=r"text-to-image ControlNet pipeline.*got str"):
        ControlNetPainter("stable-diffusion", "a street")


def test_a_picture_that_was_withheld_is_an_error_not_a_black_frame() -> None:
    painter = ControlNetPainter(Recorder(withholds=True), "a street")
    with pytest.raises(ModelError, match="black one from its safety checker; choose another seed"):
        painter(street_map()[0])


def diffusion_pipeline(folder: Path) -> Any:
    """A pipeline of the library as users load it, with a few random channels."""
    reason = "needs seg2vid[diffusers]"
    diffusers = pytest.importorskip("diffusers", reason=reason)
    transformers = pytest.importorskip("transformers", reason=reason)
    torch.manual_seed(0)
    words = [*"abcdefghijklmnopqrstuvwxyz", "<|startoftext|>", "<|endoftext|>"]
    words[:26] = [f"{letter}</w>" for letter in words[:26]]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, model_max_length=16)
    text = transformers.CLIPTextConfig(
        hidden_size=8,
        intermediate_size=8,
        num_attention_heads=2,
        num_hidden_layers=1,
        vocab_size=len(words),
        max_position_embeddings=16,
    )
    blocks: dict[str, Any] = {"block_out_channels": (4, 8), "norm_num_groups": 2}
    attention = {"cross_attention_dim": 8, "attention_head_dim": 2, "layers_per_block": 1}
    down = ("DownBlock2D", "CrossAttnDownBlock2D")
    return diffusers.StableDiffusionControlNetPipeline(
        vae=diffusers.AutoencoderKL(
            **blocks,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        ),
        text_encoder=transformers.CLIPTextModel(text).eval(),
        tokenizer=tokenizer,
        unet=diffusers.UNet2DConditionModel(
            **blocks,
            **attention,
            down_block_types=down,
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        ),
        controlnet=diffusers.ControlNetModel(
            **blocks,
            **attention,
            down_block_types=down,
            conditioning_embedding_out_channels=(4, 8),
        ),
        scheduler=diffusers.DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def test_a_pipeline_of_diffusers_paints_and_ours_moves(tmp_path_factory: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, of each other
        diffusion = diffusion_pipeline(tmp_path_factory.mktemp("tokenizer"))
        diffusion.set_progress_bar_config(disable=True)
        painter = ControlNetPainter(diffusion, "a street", size=HEIGHT, num_inference_steps=2)
        painted = painter(street_map()[0])
        assert painted.size == (WIDTH, HEIGHT)
        again = painter(street_map()[0])
        video = Seg2VidPipeline.from_config(CONFIG)(
            street_map(), first_frame=painter, num_frames=2, seed=0
        )
    assert np.array_equal(painted, again), "a seed is a seed"
    pixels = torch.from_numpy(np.array(painted)).permute(2, 0, 1)[None] / 255
    assert torch.equal(video.first_frame, pixels)
    assert video.frames.shape == (1, 1, 3, HEIGHT, WIDTH) and video.look is None
