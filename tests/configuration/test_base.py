"""Configurations: the documented defaults, everything kept on the way through `config.json`, and no torch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg.configuration.base import Configuration, read_json
from clipseg.configuration.clip import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clipseg.configuration.clipseg import CLIPSegConfig, CLIPSegTextConfig, CLIPSegVisionConfig
from clipseg.errors import CheckpointNotFoundError, ConfigurationError, OutputError

WHOLES = [CLIPConfig, CLIPSegConfig]
CLASSES = [*WHOLES, CLIPTextConfig, CLIPVisionConfig, CLIPSegTextConfig, CLIPSegVisionConfig]
every = pytest.mark.parametrize("cls", CLASSES)

LEFTOVERS: dict[str, Any] = {
    "_name_or_path": "", "add_cross_attention": False, "bad_words_ids": None, "diversity_penalty": 0.0,
    "dropout": 0.0, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "is_decoder": False,
    "label2id": {"LABEL_0": 0, "LABEL_1": 1}, "max_length": 20, "num_beams": 1, "output_attentions": False,
    "output_hidden_states": False, "prefix": None, "problem_type": None, "pruned_heads": {}, "return_dict": True,
    "task_specific_params": None, "tie_word_embeddings": True, "tokenizer_class": None, "top_k": 50,
    "torch_dtype": None, "torchscript": False, "transformers_version": "4.25.0.dev0", "use_bfloat16": False,
}  # fmt: skip
"""What a generation-era library left in every part of the released files."""

RELEASED: dict[str, Any] = {
    "_commit_hash": None, "architectures": ["CLIPSegForImageSegmentation"], "conditional_layer": 0,
    "decoder_attention_dropout": 0.0, "decoder_hidden_act": "quick_gelu", "decoder_intermediate_size": 2048,
    "decoder_num_attention_heads": 4, "extract_layers": [3, 6, 9], "initializer_factor": 1.0,
    "logit_scale_init_value": 2.6592, "model_type": "clipseg", "projection_dim": 512, "reduce_dim": 64,
    "text_config": {
        **LEFTOVERS, "model_type": "clipseg_text_model", "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 2,
        "pad_token_id": 1, "hidden_act": "quick_gelu", "hidden_size": 512, "intermediate_size": 2048,
        "num_hidden_layers": 12, "num_attention_heads": 8, "vocab_size": 49408, "max_position_embeddings": 77,
        "initializer_factor": 1.0, "initializer_range": 0.02, "layer_norm_eps": 1e-05,
    },
    "text_config_dict": None, "torch_dtype": "float32", "transformers_version": None,
    "use_complex_transposed_convolution": True,
    "vision_config": {
        **LEFTOVERS, "model_type": "clipseg_vision_model", "hidden_size": 768, "intermediate_size": 3072,
        "num_hidden_layers": 12, "num_attention_heads": 12, "patch_size": 16, "image_size": 224, "num_channels": 3,
    },
    "vision_config_dict": None,
}  # fmt: skip

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
unknown = st.dictionaries(st.from_regex(r"my_[a-z]{1,8}", fullmatch=True), values, max_size=4)


# Defaults


def test_documented_defaults() -> None:
    config = CLIPSegConfig()
    assert (config.projection_dim, config.logit_scale_init_value, config.reduce_dim) == (512, 2.6592, 64)
    assert (config.extract_layers, config.conditional_layer) == ([3, 6, 9], 0)
    assert (config.decoder_num_attention_heads, config.decoder_intermediate_size) == (4, 2048)
    assert (config.decoder_hidden_act, config.decoder_attention_dropout) == ("quick_gelu", 0.0)
    assert (config.use_complex_transposed_convolution, config.initializer_factor) == (False, 1.0)
    text, vision = config.text_config, config.vision_config
    assert (text.vocab_size, text.hidden_size, text.intermediate_size) == (49408, 512, 2048)
    assert (text.num_hidden_layers, text.num_attention_heads, text.max_position_embeddings) == (12, 8, 77)
    assert (text.pad_token_id, text.bos_token_id, text.eos_token_id) == (1, 49406, 49407)
    assert (vision.hidden_size, vision.intermediate_size, vision.num_hidden_layers) == (768, 3072, 12)
    assert (vision.num_attention_heads, vision.num_channels) == (12, 3)
    assert (vision.image_size, vision.patch_size) == (224, 32)
    for part in (text, vision):
        assert (part.hidden_act, part.layer_norm_eps, part.attention_dropout) == ("quick_gelu", 1e-5, 0.0)
        assert (part.initializer_range, part.initializer_factor) == (0.02, 1.0)


@every
def test_common_defaults(cls: type[Configuration]) -> None:
    config = cls()
    assert config.return_dict is config.use_return_dict is True
    assert config.output_attentions is config.output_hidden_states is False
    assert config.dtype is config.torch_dtype is config.attn_implementation is None
    assert (config.num_labels, config.id2label, config.label2id) == (
        2, {0: "LABEL_0", 1: "LABEL_1"}, {"LABEL_0": 0, "LABEL_1": 1}
    )  # fmt: skip
    assert cls.has_no_defaults_at_init is False


def test_positional_order() -> None:
    assert CLIPSegTextConfig(10, 20, 30, 4, 5, 6).max_position_embeddings == 6
    assert CLIPSegVisionConfig(20, 30, 4, 5, 3, 64, 8).patch_size == 8
    config = CLIPSegConfig(None, None, 7, 1.0, [1], 8)
    assert (config.projection_dim, config.extract_layers, config.reduce_dim) == (7, [1], 8)


def test_parts_and_whole_know_each_other() -> None:
    assert CLIPSegConfig.sub_configs == {"text_config": CLIPSegTextConfig, "vision_config": CLIPSegVisionConfig}
    config = CLIPSegConfig()
    assert config.get_text_config() is config.text_config
    assert config.text_config.get_text_config() is config.text_config
    assert [cls.model_type for cls in CLASSES] == [
        "clip", "clipseg", "clip_text_model", "clip_vision_model", "clipseg_text_model", "clipseg_vision_model"
    ]  # fmt: skip


# Parts of a whole


def test_parts_may_be_dictionaries_or_objects() -> None:
    text, vision = CLIPSegTextConfig(hidden_size=64, eos_token_id=2), CLIPSegVisionConfig(patch_size=16)
    by_object = CLIPSegConfig(text_config=text, vision_config=vision)
    by_dictionary = CLIPSegConfig(text_config=text.to_dict(), vision_config=vision.to_dict())
    composed = CLIPSegConfig.from_text_vision_configs(text, vision, projection_dim=512)
    assert by_object == by_dictionary == composed
    assert by_object.text_config is text
    assert isinstance(composed.vision_config, CLIPSegVisionConfig)
    assert composed.vision_config.patch_size == 16


def test_values_of_the_older_keys_win() -> None:
    config = CLIPSegConfig(
        text_config={"hidden_size": 64, "eos_token_id": 2},
        text_config_dict={"hidden_size": 128},
        vision_config=CLIPSegVisionConfig(patch_size=16, image_size=352),
        vision_config_dict={"patch_size": 8},
    )
    assert (config.text_config.hidden_size, config.text_config.eos_token_id) == (128, 2)
    assert (config.vision_config.patch_size, config.vision_config.image_size) == (8, 352)
    assert not hasattr(config, "text_config_dict")
    assert CLIPSegConfig(text_config_dict={"hidden_size": 128}).text_config.hidden_size == 128


def test_a_part_is_picked_out_of_its_whole(tmp_path: Path) -> None:
    whole = CLIPSegConfig({"hidden_size": 64}, {"patch_size": 16}, reduce_dim=16)
    whole.save_pretrained(tmp_path)
    assert CLIPSegTextConfig.from_pretrained(tmp_path) == whole.text_config
    assert CLIPSegVisionConfig.from_pretrained(tmp_path) == whole.vision_config
    assert CLIPSegVisionConfig.from_pretrained(tmp_path, patch_size=8).patch_size == 8
    old = {"text_config": {"hidden_size": 64}, "text_config_dict": {"hidden_size": 128}, "vision_config": None}
    assert CLIPSegTextConfig.from_dict(old) == CLIPSegConfig.from_dict(old).text_config
    assert CLIPSegVisionConfig.from_dict(old) == CLIPSegVisionConfig()


@pytest.mark.parametrize("whole", WHOLES)
def test_overrides_of_a_part_leave_the_rest_of_it(whole: type[Configuration], tmp_path: Path) -> None:
    whole(text_config={"hidden_size": 64, "eos_token_id": 2}).save_pretrained(tmp_path)
    config: Any = whole.from_pretrained(tmp_path, text_config={"vocab_size": 20}, projection_dim=7)
    assert (config.text_config.vocab_size, config.text_config.hidden_size) == (20, 64)
    assert (config.text_config.eos_token_id, config.projection_dim) == (2, 7)


def test_parts_of_the_other_family() -> None:
    seg = CLIPSegConfig({"hidden_size": 64}, {"patch_size": 16}, projection_dim=99)
    assert CLIPConfig.from_dict(seg.to_dict()).vision_config.patch_size == 16
    assert CLIPSegConfig.from_dict(CLIPConfig().to_dict()) is not None
    text = CLIPTextConfig.from_dict(seg.to_dict())
    assert (text.hidden_size, text.projection_dim) == (64, 99)  # a CLIPSeg part knows no width, so the whole's is taken
    own = CLIPConfig({"projection_dim": 32}, projection_dim=64)
    assert CLIPTextConfig.from_dict(own.to_dict()) == own.text_config
    assert CLIPConfig(text_config=seg.text_config).text_config.hidden_size == 64


@pytest.mark.parametrize("whole", WHOLES)
@pytest.mark.parametrize("given", [CLIPVisionConfig(), CLIPConfig(), [("hidden_size", 8)], 3])
def test_a_part_of_the_wrong_kind(whole: type[Configuration], given: Any) -> None:
    with pytest.raises(TypeError, match=r"text_config is expected to be of type CLIP.*TextConfig or dict but is"):
        whole(text_config=given)


@pytest.mark.parametrize(
    ("cls", "found"), [(CLIPConfig, "bert"), (CLIPTextConfig, "clip_vision_model"), (CLIPSegConfig, "siglip")]
)
def test_another_model_s_file_is_read_with_a_warning(cls: type[Configuration], found: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": found}))
    with pytest.warns(UserWarning, match=f"type '{found}' is read as one of type '{cls.model_type}'") as caught:
        assert cls.from_pretrained(tmp_path) == cls()
    assert caught[0].filename == __file__


# Through config.json


@every
@given(extra=unknown)
def test_unknown_keys_come_through(cls: type[Configuration], extra: dict[str, Any]) -> None:
    config = cls(**extra)
    assert {name: getattr(config, name) for name in extra} == extra
    assert cls.from_dict(json.loads(config.to_json_string())) == config
    assert extra.items() <= config.to_dict().items()


@every
def test_files(cls: type[Configuration], tmp_path: Path) -> None:
    config = cls(dropout=0.1, num_labels=3, dtype="float16")
    config.save_pretrained(tmp_path / "a" / "b")
    config.to_json_file(tmp_path / "other.json")
    assert cls.from_pretrained(tmp_path / "a" / "b") == config
    assert cls.from_pretrained(tmp_path / "a", subfolder="b") == config
    assert cls.from_json_file(tmp_path / "other.json") == config
    assert cls.from_pretrained(tmp_path / "a" / "b", dropout=0.2).dropout == 0.2
    assert json.loads((tmp_path / "other.json").read_text())["model_type"] == cls.model_type
    assert config.to_json_string() == (tmp_path / "other.json").read_text()


def test_dictionaries_are_copied() -> None:
    given = {"extract_layers": [1, 2], "text_config": {"mine": [1]}}
    config = CLIPSegConfig.from_dict(given)
    config.extract_layers.append(3)
    config.text_config.mine.append(2)
    config.to_dict()["extract_layers"].append(4)
    assert given == {"extract_layers": [1, 2], "text_config": {"mine": [1]}}
    assert config.extract_layers == [1, 2, 3]


def test_the_released_file() -> None:
    config = CLIPSegConfig.from_dict(RELEASED)
    assert config.use_complex_transposed_convolution is True
    assert config.to_dict()["dtype"] == "float32"
    assert config.architectures == ["CLIPSegForImageSegmentation"]
    assert (config.text_config.bos_token_id, config.text_config.eos_token_id) == (0, 2)
    assert (config.vision_config.patch_size, config.vision_config.top_k) == (16, 50)
    assert config.num_labels == 2
    again = CLIPSegConfig.from_dict(json.loads(config.to_json_string()))
    assert again == config
    written = config.to_dict()
    for key in RELEASED.keys() - {"_commit_hash", "text_config", "vision_config", "torch_dtype"}:
        assert key.endswith("_dict") or written[key] == RELEASED[key]
    assert written["dtype"] == "float32"


def test_types_and_functions_are_written_by_name() -> None:
    import torch

    written = CLIPSegConfig(dtype=torch.float16, text_config={"hidden_act": torch.relu}).to_dict()
    assert (written["dtype"], written["text_config"]["hidden_act"]) == ("float16", "relu")


def test_how_to_run_is_not_written() -> None:
    config = CLIPSegConfig(attn_implementation="eager")
    assert config.attn_implementation == "eager"
    assert "attn_implementation" not in config.to_dict()


# Labels and types


def test_labels_stay_in_step() -> None:
    config = CLIPSegConfig(num_labels=3)
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    assert config.label2id == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}
    config.num_labels = 1
    assert config.label2id == {"LABEL_0": 0}
    named = CLIPSegConfig(id2label={"0": "cat", "1": "dog", "2": "jar"})
    assert (named.num_labels, named.label2id) == (3, {"cat": 0, "dog": 1, "jar": 2})
    named.num_labels = 3  # nothing new: the names stay
    assert named.id2label[1] == "dog"
    assert CLIPSegConfig.from_dict(named.to_dict()).id2label == {0: "cat", 1: "dog", 2: "jar"}
    assert CLIPSegConfig(num_labels=0).id2label == {}
    named.id2label = {"0": "cup", "1": "jar"}  # type: ignore[dict-item]  # as a file has them
    assert (named.num_labels, named.id2label[0], named.label2id) == (2, "cup", {"cup": 0, "jar": 1})
    named.label2id = {"cup": 1}
    assert named.id2label[0] == "cup"


def test_a_number_of_labels_wins_over_the_file_s_names(tmp_path: Path) -> None:
    CLIPConfig(id2label={0: "cat", 1: "dog", 2: "jar"}).save_pretrained(tmp_path)
    assert CLIPConfig.from_pretrained(tmp_path, num_labels=3).id2label[1] == "dog"
    assert CLIPConfig.from_pretrained(tmp_path, num_labels=5).id2label[1] == "LABEL_1"
    assert CLIPConfig.from_pretrained(tmp_path, id2label={0: "cup"}).num_labels == 1


def test_both_names_of_the_type() -> None:
    import torch

    assert CLIPSegConfig(torch_dtype="float16").dtype == torch.float16
    assert CLIPSegConfig(dtype="bfloat16").torch_dtype == torch.bfloat16
    assert CLIPSegConfig(dtype="auto").dtype == "auto"
    config = CLIPSegConfig()
    config.torch_dtype = torch.float16
    assert config.dtype == torch.float16
    assert config.to_dict()["dtype"] == "float16"


def test_equality_and_appearance() -> None:
    assert CLIPSegConfig() == CLIPSegConfig()
    assert CLIPSegConfig() != CLIPSegConfig(reduce_dim=16)
    assert CLIPSegTextConfig() != CLIPSegVisionConfig()
    assert CLIPSegConfig() != "clipseg"
    assert repr(CLIPSegTextConfig()).startswith('CLIPSegTextConfig {\n  "architectures"')


# What is refused


@pytest.mark.parametrize("cls", [CLIPTextConfig, CLIPVisionConfig, CLIPSegTextConfig, CLIPSegVisionConfig])
@pytest.mark.parametrize("heads", [7, 0, -1])
def test_heads_divide_the_width(cls: type[Configuration], heads: int) -> None:
    with pytest.raises(ValueError, match=f"hidden_size 64 is not divisible by num_attention_heads {heads}"):
        cls(hidden_size=64, num_attention_heads=heads)


def test_any_width_under_the_usual_heads_is_left_to_the_model() -> None:
    assert CLIPTextConfig(hidden_size=37).hidden_size == CLIPSegVisionConfig(hidden_size=37).hidden_size == 37


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"config\.json") as caught:
        CLIPSegConfig.from_pretrained(tmp_path)
    assert isinstance(caught.value, OSError)


@pytest.mark.parametrize(("text", "message"), [("{", "not valid JSON"), ("[]", "holds a list"), ("\xff", "not valid")])
def test_a_file_of_another_kind(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigurationError, match=message):
        read_json(tmp_path / "config.json")
    with pytest.raises(ConfigurationError, match=message):
        CLIPSegConfig.from_pretrained(tmp_path)


def test_a_file_is_no_folder_to_save_into(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(OutputError, match="is a file; save_pretrained needs a folder"):
        CLIPSegConfig().save_pretrained(tmp_path / "taken")


def test_no_torch_is_loaded() -> None:
    code = (
        "import sys, clipseg; from clipseg import CLIPSegConfig; CLIPSegConfig.from_dict(CLIPSegConfig().to_dict());"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
