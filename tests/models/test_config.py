"""Configuration: to JSON and back, frozen, and errors that name what there is."""

import dataclasses
import json

import pytest

from seg2vid.labels.space import LabelSpace, get_label_space
from seg2vid.models.config import (
    PRESETS,
    DepthConfig,
    FirstFrameConfig,
    ModelConfig,
    MotionDecoderConfig,
    MotionEncoderConfig,
    PaperConfig,
    RefinerConfig,
    SegmenterConfig,
    from_dict,
    preset,
    to_dict,
)
from seg2vid.tools.errors import ModelError
from seg2vid.training.config import FirstFrameTrainingConfig, MotionTrainingConfig

KINDS = [
    DepthConfig,
    FirstFrameConfig,
    FirstFrameTrainingConfig,
    ModelConfig,
    MotionDecoderConfig,
    MotionEncoderConfig,
    MotionTrainingConfig,
    PaperConfig,
    RefinerConfig,
    SegmenterConfig,
]
each_kind = pytest.mark.parametrize("kind", KINDS)


def unusual() -> ModelConfig:
    """A configuration in which every part differs from its default."""
    return ModelConfig(
        label_space=get_label_space("cityscapes").to_dict(),
        height=64,
        width=96,
        num_frames=3,
        frames_per_second=7.5,
        first_frame=FirstFrameConfig(widths=(4, 6, 8), context=8),
        motion_encoder=MotionEncoderConfig(width=5),
        flow_decoder=MotionDecoderConfig(width=6, flow_scale=9.5),
        refiner=RefinerConfig(width=7),
    )


def through_json(values: dict[str, object]) -> dict[str, object]:
    """What a file gives back: JSON knows no tuples."""
    return json.loads(json.dumps(values))


@each_kind
def test_defaults_survive_json(kind: type) -> None:
    assert from_dict(kind, through_json(to_dict(kind()))) == kind()


def test_a_nested_configuration_survives_json() -> None:
    config = unusual()
    again = from_dict(ModelConfig, through_json(to_dict(config)))
    assert again == config and again != ModelConfig()
    assert isinstance(again.first_frame, FirstFrameConfig) and again.first_frame.widths == (4, 6, 8)
    assert LabelSpace.from_dict(again.label_space) == get_label_space("cityscapes")


def test_missing_fields_take_their_defaults() -> None:
    assert from_dict(ModelConfig, {"height": 64}) == ModelConfig(height=64)
    assert from_dict(ModelConfig, {"refiner": {"width": 7}}).refiner == RefinerConfig(width=7)


def test_an_unknown_field_is_named_with_the_known_ones() -> None:
    with pytest.raises(ModelError) as caught:
        from_dict(RefinerConfig, {"width": 3, "depth": 4})
    text = str(caught.value)
    assert text.startswith("Expected only the fields of RefinerConfig (width)")
    assert "; got depth; " in text and "update seg2vid" in text


def test_an_unknown_field_is_found_inside_a_part() -> None:
    with pytest.raises(ModelError, match=r"fields of MotionDecoderConfig .*; got depth;"):
        from_dict(ModelConfig, {"flow_decoder": {"depth": 4}})


def test_fields_of_older_files_that_nothing_reads_are_left_out() -> None:
    older = {"width": 6, "frame_width": 32, "focal_length": 1.08}
    assert from_dict(ModelConfig, {"flow_decoder": older}).flow_decoder.width == 6


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fit_the_networks(name: str) -> None:
    config = preset(name)
    assert config is PRESETS[name] and config.height % 32 == 0 == config.width % 32


def test_an_unknown_preset_lists_the_available_ones() -> None:
    with pytest.raises(ModelError) as caught:
        preset("huge")
    text = str(caught.value)
    assert all(name in text for name in PRESETS)
    assert "got 'huge'" in text and text.endswith("choose one of them.")


@each_kind
def test_configurations_are_frozen(kind: type) -> None:
    config = kind()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, dataclasses.fields(config)[0].name, 1)


@each_kind
def test_every_field_has_a_default_that_repeats(kind: type) -> None:
    # A shared mutable default would let one model change another's classes.
    assert kind() == kind()
    for field in dataclasses.fields(kind):
        value = getattr(kind(), field.name)
        assert not isinstance(value, dict | list) or value is not getattr(kind(), field.name)
