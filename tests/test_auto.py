"""Which class the `Auto…` classes take for which files, and that all keywords reach it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import ready
import tiny
from clipseg import auto
from clipseg.auto import (
    CONFIGS,
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
    AutoTokenizer,
)
from clipseg.configuration.clip import CLIPConfig, CLIPTextConfig
from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.errors import CheckpointNotFoundError, ConfigurationError, UsageError
from clipseg.modeling.classification import CLIPForImageClassification
from clipseg.modeling.clip import CLIPModel, CLIPSegModel
from clipseg.modeling.text import CLIPSegTextModel, CLIPTextModel
from clipseg.modeling.vision import CLIPSegVisionModel, CLIPVisionModel
from clipseg.processing.fast_image_processors import CLIPImageProcessorFast
from clipseg.processing.image_processors import CLIPImageProcessor, ViTImageProcessor
from clipseg.processing.processors import CLIPProcessor, CLIPSegProcessor
from clipseg.processing.tokenization import CLIPTokenizer, CLIPTokenizerFast
from hub_server import HubServer

AUTOS = [
    AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification,
    AutoModelForZeroShotImageClassification, AutoProcessor, AutoTokenizer,
]  # fmt: skip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ready.clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clipseg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ready.folder(tmp_path_factory.mktemp("clipseg"))


def write(folder: Path, **files: dict[str, Any]) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_a_clip_folder(clip: Path) -> None:
    assert type(AutoConfig.from_pretrained(clip)) is CLIPConfig
    assert type(AutoModel.from_pretrained(clip)) is CLIPModel
    assert type(AutoModelForZeroShotImageClassification.from_pretrained(str(clip))) is CLIPModel
    assert type(AutoProcessor.from_pretrained(clip)) is CLIPProcessor
    assert type(AutoTokenizer.from_pretrained(clip)) is CLIPTokenizerFast
    assert isinstance(AutoTokenizer.from_pretrained(clip), CLIPTokenizer)
    assert type(AutoImageProcessor.from_pretrained(clip)) is CLIPImageProcessor
    with pytest.warns(UserWarning, match="classifier"):
        assert type(AutoModelForImageClassification.from_pretrained(clip)) is CLIPForImageClassification


def test_a_clipseg_folder(clipseg: Path) -> None:
    assert type(AutoConfig.from_pretrained(clipseg)) is CLIPSegConfig
    model = AutoModel.from_pretrained(clipseg)
    assert type(model) is CLIPSegModel
    assert torch.equal(model.state_dict()["logit_scale"], ready.model().state_dict()["clip.logit_scale"])
    assert type(AutoModelForZeroShotImageClassification.from_pretrained(clipseg)) is CLIPSegModel
    assert type(AutoProcessor.from_pretrained(clipseg)) is CLIPSegProcessor
    assert isinstance(AutoTokenizer.from_pretrained(clipseg), CLIPTokenizer)
    assert type(AutoImageProcessor.from_pretrained(clipseg)) is ViTImageProcessor
    with pytest.raises(ConfigurationError, match="AutoModelForImageClassification knows clip; without training use"):
        AutoModelForImageClassification.from_pretrained(clipseg)


@pytest.mark.parametrize(
    ("cls", "whole"),
    [
        (CLIPTextModel, tiny.clip_config()),
        (CLIPVisionModel, tiny.clip_config()),
        (CLIPSegTextModel, tiny.config()),
        (CLIPSegVisionModel, tiny.config()),
    ],
)
def test_towers(tmp_path: Path, cls: type[Any], whole: Any) -> None:
    model = tiny.model(cls, whole)
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is cls
    assert all(torch.equal(loaded.state_dict()[key], value) for key, value in model.state_dict().items())
    assert type(AutoConfig.from_pretrained(tmp_path)) is cls.config_class
    with pytest.raises(ConfigurationError, match=r"use AutoModel$"):
        AutoModelForZeroShotImageClassification.from_pretrained(tmp_path)


def test_the_bundled_model() -> None:
    assert type(AutoConfig.from_pretrained("nano")) is CLIPSegConfig
    assert type(AutoProcessor.from_pretrained("nano")) is CLIPSegProcessor


def test_every_model_type_has_its_classes() -> None:
    assert list(CONFIGS) == [config.model_type for config in CONFIGS.values()]
    assert set(AutoModel.by_model_type) == set(CONFIGS)
    for model_type, config in CONFIGS.items():
        assert AutoModel.by_model_type[model_type].config_class is config
        assert type(AutoConfig.for_model(model_type, initializer_factor=0.5)) is config
    for kind in AUTOS:
        assert set(kind.by_model_type) <= set(CONFIGS)
    assert AutoConfig.for_model("clip", projection_dim=7).projection_dim == 7


def test_from_config() -> None:
    config = tiny.config()
    model = AutoModel.from_config(config, attn_implementation="eager", dtype=torch.bfloat16)
    assert type(model) is CLIPSegModel
    assert (model.dtype, model.config._attn_implementation) == (torch.bfloat16, "eager")
    assert config.attn_implementation is None
    assert type(AutoModelForImageClassification.from_config(tiny.clip_config())) is CLIPForImageClassification
    with pytest.raises(ConfigurationError, match="config has model_type 'clip_text_model'"):
        AutoModelForZeroShotImageClassification.from_config(CLIPTextConfig())


def test_keywords_reach_the_class(clip: Path, clipseg: Path) -> None:
    model, info = AutoModel.from_pretrained(
        clipseg, torch_dtype="bfloat16", attn_implementation="eager", device_map="cpu", output_loading_info=True
    )
    assert (model.dtype, model.config._attn_implementation) == (torch.bfloat16, "eager")
    assert info["missing_keys"] == []
    assert any(key.startswith("decoder.") for key in info["unexpected_keys"])
    assert model.name_or_path == str(clipseg)
    with pytest.warns(UserWarning, match="classifier"):
        classifier = AutoModelForImageClassification.from_pretrained(clip, id2label={0: "cat", 1: "dog", 2: "wood"})
    assert classifier(tiny.pixels(1)).logits.shape == (1, 3)
    assert classifier.config.id2label[2] == "wood"
    config, unused = AutoConfig.from_pretrained(clip, projection_dim=3, foo=1, return_unused_kwargs=True)
    assert (config.projection_dim, unused) == (3, {"foo": 1})
    assert AutoTokenizer.from_pretrained(clip, pad_token="<|startoftext|>").pad_token == "<|startoftext|>"
    assert AutoImageProcessor.from_pretrained(clip, size=9).size == {"shortest_edge": 9}
    assert AutoProcessor.from_pretrained(clip, image_mean=[0, 0, 0]).image_processor.image_mean == [0, 0, 0]
    with pytest.raises(UsageError, match="foo"):
        AutoModel.from_pretrained(clip, foo=1)


def test_a_configuration_given(clip: Path, clipseg: Path) -> None:
    config = AutoConfig.from_pretrained(clip)
    assert AutoModel.from_pretrained(clip, config=config).config.to_dict() == config.to_dict()
    assert type(AutoModel.from_pretrained(clip, config=str(clip))) is CLIPModel
    assert type(AutoTokenizer.from_pretrained(clip, config=config)) is CLIPTokenizerFast


def test_use_fast(clip: Path, clipseg: Path, tmp_path: Path) -> None:
    assert type(AutoTokenizer.from_pretrained(clip, use_fast=False)) is CLIPTokenizer
    assert type(AutoTokenizer.from_pretrained(clip, use_fast=True)) is CLIPTokenizerFast
    fast = AutoImageProcessor.from_pretrained(clip, use_fast=True)
    assert type(fast) is CLIPImageProcessorFast
    assert type(AutoImageProcessor.from_pretrained(clipseg, use_fast=True)) is ViTImageProcessor  # there is but one
    fast.save_pretrained(tmp_path)
    assert type(AutoImageProcessor.from_pretrained(tmp_path)) is CLIPImageProcessorFast
    assert type(AutoImageProcessor.from_pretrained(tmp_path, use_fast=False)) is CLIPImageProcessor


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"image_processor_type": "CLIPImageProcessor", "feature_extractor_type": "ViTImageProcessor"}, "CLIP"),
        ({"feature_extractor_type": "CLIPFeatureExtractor"}, "CLIP"),
        ({"feature_extractor_type": "ViTFeatureExtractor"}, "ViT"),
        ({"image_processor_type": "ViTImageProcessor", "processor_class": "CLIPSegProcessor"}, "ViT"),
        ({"image_processor_type": "CLIPImageProcessorPil"}, "CLIP"),
        ({"image_processor_type": "ViTImageProcessorFast"}, "ViT"),
    ],
)
def test_an_image_processor_by_its_own_file(tmp_path: Path, content: dict[str, str], expected: str) -> None:
    folder = write(tmp_path, preprocessor_config={**content, "size": 8})
    found = AutoImageProcessor.from_pretrained(folder)
    assert type(found).__name__ == f"{expected}ImageProcessor"
    assert set(found.size.values()) == {8}
    assert type(AutoImageProcessor.from_pretrained(folder / "preprocessor_config.json")) is type(found)


def test_nested_as_newer_releases_write_it(tmp_path: Path) -> None:
    inner = {"image_processor_type": "CLIPImageProcessor", "size": 8}
    folder = write(tmp_path, processor_config={"image_processor": inner, "processor_class": "CLIPProcessor"})
    assert type(AutoImageProcessor.from_pretrained(folder)) is CLIPImageProcessor
    ready.tokenizer().save_pretrained(folder)
    assert type(AutoProcessor.from_pretrained(folder)) is CLIPProcessor


def test_config_json_decides_where_the_own_file_does_not(tmp_path: Path) -> None:
    write(tmp_path, preprocessor_config={"size": 8, "image_processor_type": "HomeMade"})
    with pytest.raises(CheckpointNotFoundError, match=r"no config.json, and none of preprocessor_config.json"):
        AutoImageProcessor.from_pretrained(tmp_path)
    write(tmp_path, config={"model_type": "clipseg"})
    assert type(AutoImageProcessor.from_pretrained(tmp_path)) is ViTImageProcessor
    ready.tokenizer().save_pretrained(tmp_path)
    assert type(AutoProcessor.from_pretrained(tmp_path)) is CLIPSegProcessor
    tokenizer_config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    write(tmp_path, tokenizer_config={**tokenizer_config, "processor_class": "CLIPProcessor"})
    assert type(AutoProcessor.from_pretrained(tmp_path)) is CLIPProcessor
    write(tmp_path, preprocessor_config={"processor_class": "CLIPSegProcessor"})
    assert type(AutoProcessor.from_pretrained(tmp_path)) is CLIPSegProcessor
    del tokenizer_config["tokenizer_class"]
    write(tmp_path, tokenizer_config=tokenizer_config)
    assert type(AutoTokenizer.from_pretrained(tmp_path)) is CLIPTokenizerFast


@pytest.mark.parametrize("kind", AUTOS)
def test_files_of_something_else(tmp_path: Path, kind: type[Any]) -> None:
    write(tmp_path, config={"model_type": "bert"})
    with pytest.raises(ConfigurationError, match=f"'bert'; {kind.__name__} knows clip") as caught:
        kind.from_pretrained(tmp_path)
    assert isinstance(caught.value, ValueError)
    assert str(tmp_path) in str(caught.value)
    write(tmp_path, config={"projection_dim": 3})
    with pytest.raises(ConfigurationError, match="no model_type"):
        kind.from_pretrained(tmp_path)
    with pytest.raises(CheckpointNotFoundError, match=r"config.json") as missing:
        kind.from_pretrained(tmp_path.parent)
    assert isinstance(missing.value, OSError)
    with pytest.raises(OSError, match=rf"use {kind.__name__}\.from_pretrained"):
        kind()


def test_for_model_unknown() -> None:
    with pytest.raises(ConfigurationError, match="AutoConfig knows clip, clip_text_model"):
        AutoConfig.for_model("bert")


def test_one_download_of_each_file(hub_server: HubServer, clipseg: Path) -> None:
    hub_server.repositories["org/model"] = {
        f"inner/{path.name}": path.read_bytes() for path in clipseg.iterdir() if path.is_file()
    }
    where = {"subfolder": "inner", "token": "hf_secret", "revision": "main"}
    assert type(AutoModel.from_pretrained("org/model", **where)) is CLIPSegModel
    assert hub_server.count("GET", "config.json") == hub_server.count("HEAD", "config.json") == 1
    assert type(AutoProcessor.from_pretrained("org/model", **where)) is CLIPSegProcessor
    assert type(AutoConfig.from_pretrained("org/model", **where)) is CLIPSegConfig
    fetched = [path for method, path in hub_server.requests if method == "GET"]
    assert len(fetched) == len(set(fetched))
    asked = zip(hub_server.requests, hub_server.tokens, strict=True)
    assert {token for (_, path), token in asked if "/resolve/" in path} == {"Bearer hf_secret"}
    with pytest.raises(CheckpointNotFoundError, match="absent"):
        AutoProcessor.from_pretrained("org/absent")


def test_the_tables_name_each_class_once() -> None:
    for kind in (AutoImageProcessor, AutoTokenizer, AutoProcessor):
        made = {name.__name__ for name in kind.by_name.values()}
        assert made <= set(vars(auto))
        assert set(kind.by_name) >= made
