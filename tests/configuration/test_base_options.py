"""What callers pass along with a configuration: overrides, options of downloading, ways to run a model."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest

from clipseg.auto import AutoConfig, AutoModel
from clipseg.configuration.base import MOOT, Configuration
from clipseg.configuration.clip import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clipseg.configuration.clipseg import CLIPSegConfig, CLIPSegTextConfig, CLIPSegVisionConfig
from clipseg.errors import UsageError
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from tiny import config as tiny_config
from tiny import segmenter

every = pytest.mark.parametrize(
    "cls", [CLIPConfig, CLIPSegConfig, CLIPTextConfig, CLIPVisionConfig, CLIPSegTextConfig, CLIPSegVisionConfig]
)


@every
def test_overrides_that_are_not_known_may_be_asked_back(cls: type[Configuration], tmp_path: Path) -> None:
    cls(dropout=0.1).save_pretrained(tmp_path)
    given = {"dropout": 0.2, "output_attentions": True, "num_labels": 4, "stranger": 1, "trust_remote_code": True}
    config, unused = cls.from_pretrained(tmp_path, return_unused_kwargs=True, **given)  # type: ignore[misc]
    assert unused == {"stranger": 1}
    assert (config.dropout, config.output_attentions, config.num_labels) == (0.2, True, 4)
    assert not hasattr(config, "stranger")
    plain: Any = cls.from_pretrained(tmp_path, **given)
    assert plain.stranger == 1


@every
def test_options_of_downloading_stay_out(cls: type[Configuration], tmp_path: Path) -> None:
    cls().save_pretrained(tmp_path, token="secret")
    options = dict.fromkeys([*MOOT, "proxies", "use_auth_token"])
    assert cls.from_pretrained(tmp_path, **{**options, "force_download": True}) == cls()
    with pytest.raises(UsageError, match="proxies is not offered; set the environment variable"):
        cls.from_pretrained(tmp_path, proxies={"https": "there"})
    with pytest.raises(UsageError, match="push_to_hub is not offered"):
        cls().save_pretrained(tmp_path, push_to_hub=True)


def test_attention_is_chosen_for_the_parts_as_well() -> None:
    config = CLIPConfig(attn_implementation="eager")
    assert config.text_config.attn_implementation == config._attn_implementation == "eager"
    assert config.vision_config._attn_implementation == "eager"
    config._attn_implementation = {"": "sdpa", "vision_config": "sdpa"}
    assert (config.attn_implementation, config.vision_config.attn_implementation) == ("sdpa", "sdpa")
    assert config.text_config.attn_implementation == "eager"
    left = CLIPConfig(text_config=CLIPTextConfig(attn_implementation="eager"))
    assert (left.attn_implementation, left._attn_implementation) == (None, "sdpa")
    assert left.text_config.attn_implementation == "eager"


def test_names_and_updates() -> None:
    config = CLIPTextConfig(mine=1)
    assert {"mine", "hidden_size", "id2label", "dtype"} <= set(config)
    config.update({"mine": 2, "num_labels": 3})
    assert (config.mine, config.num_labels) == (2, 3)


def test_a_configuration_for_tracing_asks_for_tuples() -> None:
    assert CLIPConfig(torchscript=True).use_return_dict is False
    assert CLIPConfig(return_dict=False).use_return_dict is False


@every
def test_copies_are_equal(cls: type[Configuration]) -> None:
    config = cls(num_labels=3, dtype="float16", mine={"a": 1})
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config


@every
def test_where_a_configuration_came_from(cls: type[Configuration], tmp_path: Path) -> None:
    cls().save_pretrained(tmp_path)
    assert cls().name_or_path == ""
    assert cls(name_or_path="here").name_or_path == cls.from_dict({"_name_or_path": "here"}).name_or_path == "here"
    config = cls.from_pretrained(tmp_path)
    assert config.name_or_path == config._name_or_path == str(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).name_or_path == str(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path, return_unused_kwargs=True)[0].name_or_path == str(tmp_path)
    assert copy.deepcopy(config).name_or_path == str(tmp_path)
    assert config == cls()  # it is no setting
    assert str(tmp_path) not in config.to_json_string()


def test_where_a_model_s_configuration_came_from(tmp_path: Path) -> None:
    segmenter().save_pretrained(tmp_path)
    for model in (
        CLIPSegForImageSegmentation.from_pretrained(tmp_path),
        AutoModel.from_pretrained(tmp_path),
        CLIPSegForImageSegmentation.from_pretrained(tmp_path, config=tiny_config(name_or_path="elsewhere")),
    ):
        assert model.config.name_or_path == str(tmp_path)


@every
def test_the_content_of_a_file_and_what_overrides_it(cls: type[Configuration], tmp_path: Path) -> None:
    cls(dropout=0.1).save_pretrained(tmp_path / "part")
    content, overrides = cls.get_config_dict(tmp_path, subfolder="part", token=None, dropout=0.2, force_download=True)
    assert content == cls(dropout=0.1).to_dict()
    assert overrides == {"dropout": 0.2}
    with pytest.raises(OSError, match=r"config\.json"):
        cls.get_config_dict(tmp_path)


@every
def test_what_is_not_as_usual(cls: type[Configuration]) -> None:
    assert cls.attribute_map == {}
    assert cls().to_diff_dict().keys() == {"model_type", "clipseg_version"}
    changed = cls(num_labels=3, dropout=0.1)
    told = changed.to_diff_dict()
    assert told.keys() == {"model_type", "clipseg_version", "id2label", "label2id", "dropout"}
    assert cls(**told) == changed
