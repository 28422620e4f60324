"""Section 3, what all configurations have in common: flags, types, parts, and what is refused."""

from typing import Any

import pytest
import torch

import tiny
from clipseg import (
    CLIPConfig,
    CLIPModel,
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    CLIPSegTextConfig,
    CLIPSegVisionConfig,
    CLIPTextConfig,
    CLIPVisionConfig,
)
from rows import row

TOWERS = [CLIPTextConfig, CLIPSegTextConfig, CLIPVisionConfig, CLIPSegVisionConfig]
every = pytest.mark.parametrize("cls", [CLIPConfig, CLIPSegConfig, *TOWERS])
FLAGS = "return_dict, output_attentions, output_hidden_states, dtype, torch_dtype, attn_implementation"


@row("3", FLAGS)
@every
def test_flags_are_settable(cls: type[Any]) -> None:
    config = cls()
    assert (config.return_dict, config.output_attentions, config.output_hidden_states) == (True, False, False)
    values: dict[str, Any] = {
        "return_dict": False, "output_attentions": True, "output_hidden_states": True, "dtype": torch.float16,
        "attn_implementation": "eager",
    }  # fmt: skip
    made = cls(**values)
    for name, value in values.items():
        setattr(config, name, value)
        assert getattr(config, name) == getattr(made, name) == value
    assert cls(torch_dtype="float16").dtype == config.torch_dtype == torch.float16


@row("3", FLAGS)
@pytest.mark.parametrize("cls", [CLIPModel, CLIPSegForImageSegmentation])
def test_flags_decide_what_a_model_answers(cls: type[Any]) -> None:
    whole = tiny.clip_config if cls is CLIPModel else tiny.config
    model = tiny.model(cls, whole(output_attentions=True, output_hidden_states=True, attn_implementation="eager"))
    inputs = {**tiny.texts(2), "pixel_values": tiny.pixels(2)}
    output = model(**inputs)
    assert len(output.vision_model_output.hidden_states) == 5
    assert len(output.vision_model_output.attentions) == 4
    model.config.return_dict = False
    assert type(model(**inputs)) is tuple
    assert model.config.text_config.attn_implementation == "eager"


@row("3", "sub_configs, has_no_defaults_at_init, get_text_config")
@every
def test_class_attributes(cls: type[Any]) -> None:
    assert cls.has_no_defaults_at_init is False
    if cls in TOWERS:
        assert cls.sub_configs == {}
        assert (config := cls()).get_text_config() is config
    else:
        assert list(cls.sub_configs) == ["text_config", "vision_config"]
        config = cls()
        assert config.get_text_config() is config.text_config
        assert {name: type(getattr(config, name)) for name in cls.sub_configs} == cls.sub_configs


@row("3", "hidden_size not divisible by the heads is a ValueError")
@pytest.mark.parametrize("cls", TOWERS)
def test_heads_that_do_not_divide(cls: type[Any]) -> None:
    with pytest.raises(ValueError, match="divisible"):
        cls(hidden_size=20, num_attention_heads=3)
