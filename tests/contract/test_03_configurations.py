"""Section 3: every parameter's default, its way through files, and what it does to a model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import tiny
from clipseg import (
    CLIPConfig,
    CLIPModel,
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    CLIPSegTextConfig,
    CLIPSegTextModel,
    CLIPSegVisionConfig,
    CLIPSegVisionModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
)
from rows import row

WHOLES = [CLIPConfig, CLIPSegConfig]
TEXTS, VISIONS = [CLIPTextConfig, CLIPSegTextConfig], [CLIPVisionConfig, CLIPSegVisionConfig]
every = pytest.mark.parametrize("cls", WHOLES + TEXTS + VISIONS)

# Parameter -> its default and another value, in the order of the constructor. `projection_dim` is CLIP's alone.
TEXT: dict[str, tuple[Any, Any]] = {
    "vocab_size": (49408, 70), "hidden_size": (512, 32), "intermediate_size": (2048, 40), "projection_dim": (512, 6),
    "num_hidden_layers": (12, 3), "num_attention_heads": (8, 4), "max_position_embeddings": (77, 9),
    "hidden_act": ("quick_gelu", "relu"), "layer_norm_eps": (1e-5, 0.5), "attention_dropout": (0.0, 0.5),
    "initializer_range": (0.02, 0.1), "initializer_factor": (1.0, 3.0), "pad_token_id": (1, 5),
    "bos_token_id": (49406, 7), "eos_token_id": (49407, tiny.START),
}  # fmt: skip
VISION: dict[str, tuple[Any, Any]] = {
    "hidden_size": (768, 36), "intermediate_size": (3072, 40), "projection_dim": (512, 6),
    "num_hidden_layers": (12, 3), "num_attention_heads": (12, 4), "num_channels": (3, 1), "image_size": (224, 96),
    "patch_size": (32, 8), "hidden_act": ("quick_gelu", "relu"), "layer_norm_eps": (1e-5, 0.5),
    "attention_dropout": (0.0, 0.5), "initializer_range": (0.02, 0.1), "initializer_factor": (1.0, 3.0),
}  # fmt: skip
CLIP: dict[str, tuple[Any, Any]] = {"projection_dim": (512, 6), "logit_scale_init_value": (2.6592, 1.5)}
CLIPSEG: dict[str, tuple[Any, Any]] = CLIP | {
    "extract_layers": ([3, 6, 9], [1, 3]), "reduce_dim": (64, 16), "decoder_num_attention_heads": (4, 2),
    "decoder_attention_dropout": (0.0, 0.5), "decoder_hidden_act": ("quick_gelu", "selu"),
    "decoder_intermediate_size": (2048, 24), "conditional_layer": (0, 1),
    "use_complex_transposed_convolution": (False, True),
}  # fmt: skip
PARAMETERS = {
    CLIPConfig: CLIP, CLIPTextConfig: TEXT, CLIPVisionConfig: VISION, CLIPSegConfig: CLIPSEG,
    CLIPSegTextConfig: {name: values for name, values in TEXT.items() if name != "projection_dim"},
    CLIPSegVisionConfig: {name: values for name, values in VISION.items() if name != "projection_dim"},
}  # fmt: skip


def title(cls: type[Any], name: str) -> str:
    """-> the row of a class's parameter."""
    if cls in WHOLES:
        return f"{cls.__name__}.{name}"
    kind = "text" if cls in TEXTS else "vision"
    return f"{kind} configurations: {name}" + " (CLIP only)" * (name == "projection_dim")


@pytest.mark.parametrize(
    ("cls", "name", "default", "other"),
    [
        pytest.param(cls, name, *values, marks=row("3", title(cls, name)))
        for cls, named in PARAMETERS.items()
        for name, values in named.items()
    ],
)
def test_default_and_way_through_files(cls: type[Any], name: str, default: Any, other: Any, tmp_path: Path) -> None:
    assert getattr(cls(), name) == default
    config = cls(**{name: other})
    assert getattr(config, name) == config.to_dict()[name] == other
    config.save_pretrained(tmp_path)
    assert getattr(cls.from_pretrained(tmp_path), name) == other
    changed = cls()
    setattr(changed, name, other)
    assert changed.to_dict() == config.to_dict() != cls().to_dict()


@pytest.mark.parametrize("cls", PARAMETERS)
def test_order_of_the_constructor(cls: type[Any]) -> None:
    values = {name: other for name, (_, other) in PARAMETERS[cls].items()}
    assert hasattr(cls(), "projection_dim") == ("projection_dim" in values)
    parts = (None, None) if cls in WHOLES else ()
    assert cls(*parts, *values.values()) == cls(**values)


# Effects on models

OF_TEXT, OF_VISION = [CLIPSegTextModel, CLIPTextModel], [CLIPSegVisionModel, CLIPVisionModel]
Seen = Callable[[Any], Any]


def hidden(model: Any) -> int:
    """-> the width of a tower's perceptrons."""
    (width,) = {weight.shape[0] for name, weight in model.named_parameters() if name.endswith("mlp.fc1.weight")}
    return width


def taken(model: Any, **inputs: Any) -> bool:
    try:
        model(**inputs)
    except ValueError:
        return False
    return True


def longest(model: Any) -> int:
    """-> how many tokens a text may have."""
    ids = torch.full((1, 30), tiny.END)
    return max(length for length in range(1, 30) if taken(model, input_ids=ids[:, :length]))


def side(model: Any) -> int:
    """-> the only side of 64 and 96 that a picture may have without interpolation."""
    (only,) = (
        each for each in (64, 96) if taken(model, pixel_values=tiny.pixels(1, each), interpolate_pos_encoding=False)
    )
    return only


# What shows the value of a parameter that is a size.
SIZES: dict[str, dict[str, Seen]] = {
    "text": {
        "vocab_size": lambda m: m.get_input_embeddings().num_embeddings,
        "hidden_size": lambda m: m(**tiny.texts(1)).pooler_output.shape[1],
        "intermediate_size": hidden,
        "num_hidden_layers": lambda m: len(m(**tiny.texts(1), output_hidden_states=True).hidden_states) - 1,
        "num_attention_heads": lambda m: m(**tiny.texts(1), output_attentions=True).attentions[0].shape[1],
        "max_position_embeddings": longest,
    },
    "vision": {
        "hidden_size": lambda m: m(tiny.pixels(1)).pooler_output.shape[1],
        "intermediate_size": hidden,
        "num_hidden_layers": lambda m: len(m(tiny.pixels(1), output_hidden_states=True).hidden_states) - 1,
        "num_attention_heads": lambda m: m(tiny.pixels(1), output_attentions=True).attentions[0].shape[1],
        "num_channels": lambda m: next(n for n in (3, 1) if taken(m, pixel_values=torch.ones(1, n, 64, 64))),
        "image_size": side,
        "patch_size": lambda m: 64 / (m(tiny.pixels(1)).last_hidden_state.shape[1] - 1) ** 0.5,
    },
}


def tower(kind: str, cls: type[Any], **changes: Any) -> Any:
    """A tower of the small configuration with changes, and weights that matter."""
    whole = tiny.config if cls.__name__.startswith("CLIPSeg") else tiny.clip_config
    return tiny.model(cls, whole(**{kind: changes}))


def towers(*names: str) -> pytest.MarkDecorator:
    """-> each tower with each of these parameters it has, and that one's other value."""
    cases = [
        pytest.param(kind, cls, name, named[name][1], marks=row("3", f"{kind} configurations: {name}"))
        for kind, classes, named in (("text", OF_TEXT, TEXT), ("vision", OF_VISION, VISION))
        for cls in classes
        for name in names
        if name in named
    ]
    return pytest.mark.parametrize(("kind", "cls", "name", "value"), cases)


def pooled(model: Any) -> torch.Tensor:
    inputs = tiny.texts(2) if hasattr(model, "text_model") else {"pixel_values": tiny.pixels(2)}
    torch.manual_seed(0)
    return model(**inputs).pooler_output


@towers(*dict.fromkeys(name for sizes in SIZES.values() for name in sizes))
def test_sizes_of_towers(kind: str, cls: type[Any], name: str, value: Any) -> None:
    assert SIZES[kind][name](tower(kind, cls, **{name: value})) == value


@towers("hidden_act", "layer_norm_eps", "eos_token_id")
def test_settings_of_towers(kind: str, cls: type[Any], name: str, value: Any) -> None:
    assert (pooled(tower(kind, cls)) - pooled(tower(kind, cls, **{name: value}))).abs().max() > 1e-2


@towers("attention_dropout")
def test_settings_of_towers_in_training(kind: str, cls: type[Any], name: str, value: Any) -> None:
    model = tower(kind, cls, **{name: value})
    assert torch.equal(pooled(model), pooled(tower(kind, cls)))
    assert (pooled(model.train()) - pooled(tower(kind, cls).train())).abs().max() > 1e-2


@towers("pad_token_id", "bos_token_id")
def test_settings_that_towers_only_store(kind: str, cls: type[Any], name: str, value: Any) -> None:
    assert torch.equal(pooled(tower(kind, cls)), pooled(tower(kind, cls, **{name: value})))


@row("3", "text configurations: initializer_factor", "text configurations: initializer_range")
@pytest.mark.parametrize("cls", OF_TEXT)
def test_initial_weights_of_texts(cls: type[Any]) -> None:
    """The factor scales everything; the range is stored, and the tables start at 0.02 whatever it says."""
    sizes = tiny.TEXT | {"vocab_size": 4000}
    for options, expected in (({}, 0.02), ({"initializer_factor": 3.0}, 0.06), ({"initializer_range": 0.1}, 0.02)):
        model = cls(cls.config_class(**sizes | options))
        assert model.get_input_embeddings().weight.std().item() == pytest.approx(expected, rel=0.05)


@row("3", "vision configurations: initializer_factor", "vision configurations: initializer_range")
@pytest.mark.parametrize("cls", OF_VISION)
def test_initial_weights_of_pictures(cls: type[Any]) -> None:
    for options, expected in (({}, 0.02), ({"initializer_factor": 3.0}, 0.06), ({"initializer_range": 0.1}, 0.1)):
        model = cls(cls.config_class(**tiny.VISION | options))
        assert model.get_input_embeddings().weight.std().item() == pytest.approx(expected, rel=0.05)


@row("3", "text configurations: initializer_factor", "vision configurations: initializer_factor")
@pytest.mark.parametrize("cls", OF_TEXT + OF_VISION)
def test_the_factor_scales_all_but_the_norms(cls: type[Any]) -> None:
    options = tiny.TEXT if cls in OF_TEXT else tiny.VISION
    models = []
    for factor in (1.0, 3.0):
        torch.manual_seed(0)
        models.append(cls(cls.config_class(**options, initializer_factor=factor)))
    scaled = dict(models[1].named_parameters())
    for name, weight in models[0].named_parameters():
        torch.testing.assert_close(scaled[name], weight * (1 if "norm" in name else 3))


@row("3", "text configurations: projection_dim (CLIP only)", "vision configurations: projection_dim (CLIP only)")
def test_width_of_projected_towers() -> None:
    config = tiny.clip_config({"projection_dim": 6}, {"projection_dim": 7})
    assert tiny.model(CLIPTextModelWithProjection, config)(**tiny.texts(2)).text_embeds.shape == (2, 6)
    assert tiny.model(CLIPVisionModelWithProjection, config)(tiny.pixels(2)).image_embeds.shape == (2, 7)


@row("3", *(f"CLIPSegConfig.{name}" for name in ("projection_dim", "reduce_dim", "extract_layers")))
@row("3", *(f"CLIPSegConfig.{name}" for name in ("decoder_num_attention_heads", "decoder_intermediate_size")))
@row("3", *(f"CLIPSegConfig.{name}" for name in ("logit_scale_init_value", "use_complex_transposed_convolution")))
def test_sizes_of_the_decoder() -> None:
    model = CLIPSegForImageSegmentation(
        tiny.config(
            projection_dim=6, reduce_dim=16, extract_layers=[1, 3], decoder_num_attention_heads=2,
            decoder_intermediate_size=24, logit_scale_init_value=1.5, use_complex_transposed_convolution=True,
        )
    )  # fmt: skip
    output = model(**tiny.texts(1), pixel_values=tiny.pixels(1), output_hidden_states=True, output_attentions=True)
    assert output.conditional_embeddings.shape == (1, 6)
    assert [state.shape for state in output.decoder_output.hidden_states] == [(1, 17, 16)] * 2
    assert [weights.shape for weights in output.decoder_output.attentions] == [(1, 2, 17, 17)] * 2
    assert model.decoder.layers[0].mlp.fc1.out_features == 24
    assert model.clip.logit_scale.item() == 1.5
    kernels = {name: tuple(weight.shape) for name, weight in model.decoder.transposed_convolution.named_parameters()}
    assert {name: shape for name, shape in kernels.items() if name.endswith("weight")} == {
        "0.weight": (16, 16, 3, 3), "2.weight": (16, 8, 4, 4), "4.weight": (8, 1, 4, 4),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "acts"),
    [
        pytest.param(name, value, acts, marks=row("3", f"CLIPSegConfig.{name}"))
        for name, value, acts in (
            ("extract_layers", [0, 1, 3], True), ("conditional_layer", 1, True),
            ("decoder_hidden_act", "selu", False), ("decoder_hidden_act", F.selu, False),
            ("decoder_attention_dropout", 0.5, False),
        )
    ],
)  # fmt: skip
def test_settings_of_the_decoder(name: str, value: Any, acts: bool) -> None:
    inputs = {**tiny.texts(2), "pixel_values": tiny.pixels(2)}
    usual, changed = (tiny.segmenter(**options).train()(**inputs).logits for options in ({}, {name: value}))
    assert torch.equal(usual, changed) is not acts


@row("3", "CLIPConfig.projection_dim", "CLIPConfig.logit_scale_init_value")
def test_sizes_of_clip() -> None:
    model = CLIPModel(tiny.clip_config(projection_dim=6, logit_scale_init_value=1.5))
    assert model.get_text_features(tiny.texts(2)["input_ids"]).shape == (2, 6)
    assert model.get_image_features(tiny.pixels(2)).shape == (2, 6)
    assert model.logit_scale.item() == 1.5


# The parts of a whole

PARTS = {CLIPConfig: (CLIPTextConfig, CLIPVisionConfig), CLIPSegConfig: (CLIPSegTextConfig, CLIPSegVisionConfig)}


@row("3", *(f"{cls.__name__}.{part}" for cls in WHOLES for part in ("text_config", "vision_config")))
@pytest.mark.parametrize("cls", WHOLES)
def test_parts(cls: type[Any]) -> None:
    texts, vision = PARTS[cls]
    assert cls().text_config == texts()
    assert cls().vision_config == vision()
    for given in ({"hidden_size": 24, "num_attention_heads": 3}, None):
        config = cls(text_config=given, vision_config=given)
        assert config.text_config == texts(**given or {})
        assert config.vision_config == vision(**given or {})
    own = texts(vocab_size=5), vision(patch_size=7)
    config = cls(*own)
    assert (config.text_config, config.vision_config) == own
    with pytest.raises(TypeError):
        cls(text_config=vision())


@row("3", *(f"{cls.__name__}.**kwargs" for cls in WHOLES))
@pytest.mark.parametrize("cls", WHOLES)
def test_further_keywords_of_a_whole(cls: type[Any]) -> None:
    config = cls(
        text_config={"vocab_size": 5, "hidden_size": 64}, text_config_dict={"vocab_size": 6},
        vision_config={"patch_size": 5, "hidden_size": 96}, vision_config_dict={"patch_size": 6}, more=1,
    )  # fmt: skip
    assert (config.text_config.vocab_size, config.text_config.hidden_size) == (6, 64)
    assert (config.vision_config.patch_size, config.vision_config.hidden_size) == (6, 96)
    assert config.more == 1


@row("3", "CLIPSegConfig.initializer_factor", "CLIPSegConfig.from_text_vision_configs")
def test_of_two_parts() -> None:
    config = CLIPSegConfig.from_text_vision_configs(CLIPSegTextConfig(vocab_size=5), CLIPSegVisionConfig(), more=1)
    assert type(config) is CLIPSegConfig
    assert (config.text_config.vocab_size, config.initializer_factor, config.more) == (5, 1.0, 1)
    assert config.to_dict()["initializer_factor"] == 1.0


@row("3", "model_type of each class")
def test_model_types() -> None:
    assert [cls.model_type for cls in WHOLES] == ["clip", "clipseg"]
    assert [cls.model_type for cls in TEXTS] == ["clip_text_model", "clipseg_text_model"]
    assert [cls.model_type for cls in VISIONS] == ["clip_vision_model", "clipseg_vision_model"]


# What all have in common


@row("3", "activations by name or callable")
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("gelu", F.gelu), ("relu", F.relu), ("selu", F.selu), ("gelu_new", lambda x: F.gelu(x, approximate="tanh")),
        ("quick_gelu", lambda x: x * torch.sigmoid(1.702 * x)),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("kind", "cls"), [("text", CLIPSegTextModel), ("vision", CLIPVisionModel)])
def test_activations(kind: str, cls: type[Any], name: str, function: Any) -> None:
    by_name, by_function = (pooled(tower(kind, cls, hidden_act=act)) for act in (name, function))
    torch.testing.assert_close(by_name, by_function)


@row("3", "unknown keywords are kept", "text configurations: **kwargs", "vision configurations: **kwargs")
@every
def test_unknown_keywords(cls: type[Any], tmp_path: Path) -> None:
    config = cls(dropout=0.1, prefix=None, pruned_heads={})
    assert (config.dropout, config.prefix, config.pruned_heads) == (0.1, None, {})
    config.save_pretrained(tmp_path)
    assert cls.from_pretrained(tmp_path).dropout == 0.1


@row("3", "to_dict, to_json_string, to_json_file, from_dict, from_json_file")
@every
def test_dictionaries_and_json(cls: type[Any], tmp_path: Path) -> None:
    config = cls(more=[1, 2])
    assert json.loads(config.to_json_string()) == config.to_dict()
    config.to_json_file(tmp_path / "some.json")
    assert config == cls.from_dict(config.to_dict()) == cls.from_json_file(tmp_path / "some.json") != cls()


@row("3", "save_pretrained, from_pretrained, subfolder, a missing file is an OSError")
@every
def test_folders(cls: type[Any], tmp_path: Path) -> None:
    cls(more=1).save_pretrained(tmp_path / "inner")
    assert (tmp_path / "inner" / "config.json").is_file()
    assert cls.from_pretrained(tmp_path / "inner") == cls.from_pretrained(tmp_path, subfolder="inner") == cls(more=1)
    assert cls.from_pretrained(tmp_path / "inner", more=2).more == 2
    with pytest.raises(OSError, match=r"config\.json"):
        cls.from_pretrained(tmp_path)


@row("3", "a part is loaded from a whole file")
@pytest.mark.parametrize("cls", WHOLES)
def test_a_part_of_a_whole_file(cls: type[Any], tmp_path: Path) -> None:
    texts, vision = PARTS[cls]
    cls(text_config={"vocab_size": 5}, vision_config={"patch_size": 7}).save_pretrained(tmp_path)
    assert texts.from_pretrained(tmp_path).vocab_size == 5
    assert vision.from_pretrained(tmp_path).patch_size == 7


@row("3", "num_labels, id2label and label2id stay in step")
@every
def test_labels(cls: type[Any]) -> None:
    config = cls()
    assert (config.num_labels, config.id2label) == (2, {0: "LABEL_0", 1: "LABEL_1"})
    assert config.label2id == {"LABEL_0": 0, "LABEL_1": 1}
    config.num_labels = 3
    assert config.label2id == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}
    named = cls(id2label={0: "cat", 1: "dog", 2: "car"}, label2id={"cat": 0, "dog": 1, "car": 2})
    assert named.num_labels == len(named.label2id) == len(cls(num_labels=3).id2label) == 3
