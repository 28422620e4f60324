"""Loading and saving: everything is there, is used and fits, or there is one error."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from clipseg.checkpoints.files import write_weights
from clipseg.configuration.base import Configuration
from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.errors import (
    CheckpointError,
    CheckpointMismatchError,
    CheckpointNotFoundError,
    ConfigurationError,
    UsageError,
)
from clipseg.modeling.clip import CLIPSegModel
from clipseg.modeling.layers import Attention
from clipseg.modeling.pretrained import PreTrainedModel, parse_dtype
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.modeling.text import CLIPSegTextModel
from clipseg.modeling.vision import CLIPSegVisionModel
from tiny import config, pixels, randomise, segmenter, texts

INPUTS: dict[str, Any] = {"pixel_values": pixels(2, 80), **texts(2)}
SEGMENTER = CLIPSegForImageSegmentation


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    segmenter().save_pretrained(tmp_path)
    return tmp_path


def same(model: PreTrainedModel, other: PreTrainedModel) -> bool:
    ours, theirs = model.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def rewritten(folder: Path, **changes: torch.Tensor | None) -> Path:
    """A folder with some tensors replaced, or removed where None is given; `__` stands for a dot."""
    tensors: dict[str, Any] = load_file(folder / "model.safetensors")
    tensors |= {name.replace("__", "."): value for name, value in changes.items()}
    write_weights(folder, {name: value for name, value in tensors.items() if value is not None})
    return folder


# There and back


@pytest.mark.parametrize("shard", ["5GB", "10KB", 3000])
@pytest.mark.parametrize("refined", [True, False])
def test_there_and_back(tmp_path: Path, refined: bool, shard: int | str) -> None:
    model = segmenter(use_complex_transposed_convolution=refined, conditional_layer=1, freeze_clip=False)
    model.save_pretrained(tmp_path / "new" / "folder", max_shard_size=shard)
    assert len(list(tmp_path.rglob("*.safetensors"))) > (1 if shard != "5GB" else 0)
    back = SEGMENTER.from_pretrained(tmp_path / "new" / "folder")
    assert same(model, back)
    assert not back.training
    assert back.config == model.config
    assert back.name_or_path == str(tmp_path / "new" / "folder")
    assert all(weight.requires_grad and not weight.is_meta for weight in back.parameters())
    with torch.no_grad():
        assert torch.equal(model(**INPUTS).logits, back(**INPUTS).logits)


def test_parts_of_a_whole(folder: Path) -> None:
    whole = segmenter()
    assert same(whole.clip, CLIPSegModel.from_pretrained(folder))
    text, vision = CLIPSegTextModel.from_pretrained(folder), CLIPSegVisionModel.from_pretrained(folder)
    assert torch.equal(text.text_model.final_layer_norm.weight, whole.clip.text_model.final_layer_norm.weight)
    assert torch.equal(vision(pixels(1))[0], whole.clip.vision_model(pixels(1))[0])


def test_saving_over_what_was_loaded(folder: Path) -> None:
    model = SEGMENTER.from_pretrained(folder)
    with torch.no_grad():
        model.decoder.film_mul.weight.add_(1)
    model.save_pretrained(folder)
    assert same(model, SEGMENTER.from_pretrained(folder))


def test_a_subfolder(tmp_path: Path) -> None:
    segmenter().save_pretrained(tmp_path / "inner")
    assert same(segmenter(), SEGMENTER.from_pretrained(tmp_path, subfolder="inner"))
    with pytest.raises(CheckpointNotFoundError):
        SEGMENTER.from_pretrained(tmp_path)


def test_clip_stays_frozen_after_loading(folder: Path) -> None:
    model = SEGMENTER.from_pretrained(folder)
    assert not any(weight.requires_grad for weight in model.clip.parameters())
    assert all(weight.requires_grad for weight in model.decoder.parameters())
    free = SEGMENTER.from_pretrained(folder, freeze_clip=False)
    assert all(weight.requires_grad for weight in free.parameters())


def test_loaded_weights_can_be_trained(folder: Path) -> None:
    before = (folder / "model.safetensors").read_bytes()
    model = SEGMENTER.from_pretrained(folder).train()
    model(**INPUTS, labels=torch.ones(2, 80, 80)).loss.backward()
    torch.optim.SGD(model.decoder.parameters(), lr=0.1).step()
    assert not same(model, segmenter())
    assert (folder / "model.safetensors").read_bytes() == before


# Types of numbers


def test_half_precision_halves_the_file(folder: Path, tmp_path: Path) -> None:
    segmenter().save_pretrained(tmp_path / "half", dtype="float16")
    whole, half = ((at / "model.safetensors").stat().st_size for at in (folder, tmp_path / "half"))
    tensors = load_file(tmp_path / "half" / "model.safetensors")
    numbers = sum(tensor.numel() for tensor in tensors.values())
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert abs(whole - half - 2 * numbers) < 1000  # the names take as much room as before
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "float16"


@pytest.mark.parametrize("keyword", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("name", ["bfloat16", torch.bfloat16])
def test_either_keyword_gives_the_type(folder: Path, keyword: str, name: str | torch.dtype) -> None:
    model = SEGMENTER.from_pretrained(folder, **{keyword: name})
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        assert model(**INPUTS).logits.dtype == torch.bfloat16


def test_float32_unless_auto(tmp_path: Path) -> None:
    segmenter().save_pretrained(tmp_path, dtype=torch.float16)
    assert SEGMENTER.from_pretrained(tmp_path).dtype == torch.float32
    assert SEGMENTER.from_pretrained(tmp_path, dtype="auto").dtype == torch.float16
    config(torch_dtype="bfloat16", dtype=None).save_pretrained(tmp_path)  # it says so, whatever the file holds
    assert SEGMENTER.from_pretrained(tmp_path, dtype="auto").dtype == torch.bfloat16
    config().save_pretrained(tmp_path)
    assert SEGMENTER.from_pretrained(tmp_path, dtype="auto").dtype == torch.float16


def test_a_half_model_is_saved_as_it_is(tmp_path: Path) -> None:
    segmenter().to(torch.bfloat16).save_pretrained(tmp_path)
    assert SEGMENTER.from_pretrained(tmp_path, dtype="auto").dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["float17", "int64", "nn"])
def test_unknown_types_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"unknown dtype '{name}'"):
        parse_dtype(name, {})


# Options


def test_keywords_override_the_configuration(folder: Path) -> None:
    model = SEGMENTER.from_pretrained(folder, conditional_layer=2, output_hidden_states=True)
    assert model.decoder.conditional_layer == 2
    with torch.no_grad():
        assert len(model(**INPUTS).decoder_output.hidden_states) == 3


def test_a_configuration_of_one_s_own_is_used_and_left_alone(folder: Path) -> None:
    own = config(conditional_layer=1)
    model = SEGMENTER.from_pretrained(folder, config=own, attn_implementation="eager", extract_layers=[0, 1, 3])
    assert (model.decoder.conditional_layer, model.extract_layers) == (1, [0, 1, 3])
    assert own == config(conditional_layer=1)
    assert own.attn_implementation is None


@pytest.mark.parametrize("options", [{"device": "cpu"}, {"device_map": "cpu"}, {"device_map": "auto"}])
def test_the_device(folder: Path, options: dict[str, str]) -> None:
    model = SEGMENTER.from_pretrained(folder, **options)
    expected = "cuda" if options.get("device_map") == "auto" and torch.cuda.is_available() else "cpu"
    assert model.device.type == expected
    assert "device_map" not in model.config.to_dict()


@pytest.mark.parametrize("where", ["cuda:99", 99, {"": 99}])
def test_a_device_that_is_not_there(folder: Path, where: Any) -> None:
    with pytest.raises(UsageError, match="is not available here"):
        SEGMENTER.from_pretrained(folder, device_map=where)


def test_one_attention_setting_for_all_parts(folder: Path) -> None:
    model = SEGMENTER.from_pretrained(folder, attn_implementation="eager")

    def implementations() -> set[str]:
        return {module.implementation for module in model.modules() if isinstance(module, Attention)}

    assert implementations() == {"eager"}
    model.set_attn_implementation("sdpa")
    assert implementations() == {"sdpa"}
    with pytest.raises(ConfigurationError, match="unknown attn_implementation 'flash'; known are sdpa, eager"):
        model.set_attn_implementation("flash")


def test_parts_may_attend_differently(folder: Path) -> None:
    model = SEGMENTER.from_pretrained(folder, attn_implementation={"": "sdpa", "text_config": "eager"})

    def implementations(part: nn.Module) -> set[str]:
        return {module.implementation for module in part.modules() if isinstance(module, Attention)}

    assert implementations(model.clip.text_model) == {"eager"}
    assert implementations(model.clip.vision_model) == implementations(model.decoder) == {"sdpa"}
    model.set_attn_implementation("eager")
    assert implementations(model) == {"eager"}
    assert model.clip.vision_model.config._attn_implementation == "eager"


def test_flash_attention_is_refused_clearly(folder: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"unknown attn_implementation 'flash_attention_2'.*\"sdpa\" runs flash"
    ):
        SEGMENTER.from_pretrained(folder, attn_implementation="flash_attention_2")


def test_options_without_effect_stay_out_of_the_configuration(folder: Path) -> None:
    moot = {"low_cpu_mem_usage": True, "use_safetensors": True, "trust_remote_code": False, "resume_download": None}
    model = SEGMENTER.from_pretrained(folder, **moot, proxies=None, variant=None, force_download=True)
    assert not moot.keys() & vars(model.config).keys()
    assert same(model, segmenter())


@pytest.mark.parametrize("with_config", [True, False])
def test_unknown_options_are_named(folder: Path, with_config: bool) -> None:
    options = {"config": config()} if with_config else {}
    with pytest.raises(UsageError, match="unknown argument 'reduced_dim'; did you mean 'reduce_dim'"):
        SEGMENTER.from_pretrained(folder, reduced_dim=8, **options)
    with pytest.raises(UsageError, match="proxies is not offered"):
        SEGMENTER.from_pretrained(folder, proxies={"http": "somewhere"})


def test_a_configuration_from_another_place(folder: Path, tmp_path: Path) -> None:
    config(conditional_layer=2).save_pretrained(tmp_path / "other")
    assert SEGMENTER.from_pretrained(folder, config=tmp_path / "other").decoder.conditional_layer == 2


def test_tensors_in_the_place_of_files(folder: Path) -> None:
    state = segmenter(seed=1).state_dict()
    assert same(SEGMENTER.from_pretrained(None, config=config(), state_dict=state), segmenter(seed=1))
    own = SEGMENTER.from_pretrained(folder, state_dict=state)
    assert same(own, segmenter(seed=1))
    with torch.no_grad():
        own.decoder.film_mul.weight.zero_()
    assert state["decoder.film_mul.weight"].any()  # copied
    with pytest.raises(UsageError, match="needs a name or a folder, or config and state_dict"):
        SEGMENTER.from_pretrained(None)


def test_the_configuration_knows_the_type_it_was_loaded_in(folder: Path) -> None:
    assert SEGMENTER.from_pretrained(folder, dtype="float16").config.dtype == torch.float16
    assert SEGMENTER.from_pretrained(folder).config.torch_dtype == torch.float32


# Saving


def test_a_pickle_of_tensors_on_request(folder: Path) -> None:
    segmenter(seed=1).save_pretrained(folder, safe_serialization=False)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "pytorch_model.bin"]
    assert same(SEGMENTER.from_pretrained(folder), segmenter(seed=1))


def test_other_tensors_than_the_model_s_own(tmp_path: Path) -> None:
    segmenter().save_pretrained(tmp_path, state_dict=segmenter(seed=1).state_dict())
    assert same(SEGMENTER.from_pretrained(tmp_path), segmenter(seed=1))


def test_one_process_writes(tmp_path: Path) -> None:
    segmenter().save_pretrained(tmp_path, is_main_process=False)
    assert not list(tmp_path.iterdir())


def test_options_of_saving(tmp_path: Path) -> None:
    segmenter().save_pretrained(tmp_path, push_to_hub=False, token="secret", variant=None)
    with pytest.raises(UsageError, match="push_to_hub is not offered"):
        segmenter().save_pretrained(tmp_path, push_to_hub=True)
    with pytest.raises(
        UsageError, match="save_pretrained got an unknown argument 'max_shard_sise'; did you mean 'max_"
    ):
        segmenter().save_pretrained(tmp_path, max_shard_sise="1GB")


# What does not fit


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"config\.json"):
        SEGMENTER.from_pretrained(tmp_path)
    config().save_pretrained(tmp_path)
    with pytest.raises(OSError, match=r"model\.safetensors"):
        SEGMENTER.from_pretrained(tmp_path)


def test_all_that_is_wrong_is_said_at_once(folder: Path) -> None:
    rewritten(
        folder,
        clip__logit_scale=None,
        decoder__film_mul__bias=None,
        decoder__film_add__bias=torch.zeros(9),
        stranger=torch.zeros(1),
    )
    with pytest.raises(CheckpointMismatchError) as caught:
        SEGMENTER.from_pretrained(folder)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("clip.logit_scale", "decoder.film_mul.bias", "found 9, expected 8", "stranger", str(folder)):
        assert part in message


def test_damaged_numbers_are_refused(folder: Path) -> None:
    rewritten(folder, decoder__film_add__bias=torch.full((8,), torch.nan))
    with pytest.raises(CheckpointError, match=r"NaN or infinite values in decoder\.film_add\.bias"):
        SEGMENTER.from_pretrained(folder)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"use_complex_transposed_convolution": True}, "set use_complex_transposed_convolution=False"),
        ({"reduce_dim": 16}, "set reduce_dim=8"),
        ({"extract_layers": [0, 1]}, "name 3 layers in extract_layers, not 2"),
    ],
)
def test_a_configuration_that_does_not_fit_the_file(folder: Path, options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(CheckpointMismatchError, match=remedy):
        SEGMENTER.from_pretrained(folder, **options)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_decoder_that_is_not_there_starts_untrained(tmp_path: Path, kind: torch.dtype) -> None:
    clip = randomise(CLIPSegModel(config()))
    clip.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"holds no decoder\.\* weights") as caught:
        model = SEGMENTER.from_pretrained(tmp_path, dtype=kind)
    assert caught[0].filename == __file__
    assert same(model.clip, clip.to(kind))
    assert {weight.dtype for weight in model.parameters()} == {kind}
    assert all(weight.isfinite().all() for weight in model.parameters())
    assert (model.decoder.layers[0].layer_norm1.weight == 1).all()
    assert (model.decoder.film_mul.bias == 0).all()
    assert model(**INPUTS).logits.isfinite().all()


def test_a_decoder_that_is_partly_there_is_refused(folder: Path) -> None:
    rewritten(folder, decoder__film_mul__weight=None)
    with pytest.raises(CheckpointMismatchError, match=r"1 missing: decoder\.film_mul\.weight"):
        SEGMENTER.from_pretrained(folder)


def test_tower_weights_are_never_drawn_anew(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    write_weights(folder, {name: value for name, value in tensors.items() if "vision_model" not in name})
    for cls in (SEGMENTER, CLIPSegModel, CLIPSegVisionModel):
        with pytest.raises(CheckpointMismatchError, match="missing"):
            cls.from_pretrained(folder)


@pytest.mark.parametrize(
    ("cls", "given"),
    [(CLIPSegModel, config().text_config), (CLIPSegTextModel, config()), (CLIPSegVisionModel, config().text_config)],
)
def test_the_wrong_kind_of_configuration(cls: type[PreTrainedModel], given: Configuration) -> None:
    with pytest.raises(TypeError, match=f"{cls.__name__} takes a {cls.config_class.__name__}"):
        cls(given)


def test_loading_draws_no_random_numbers(folder: Path) -> None:
    state = torch.get_rng_state()
    SEGMENTER.from_pretrained(folder)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_old_released_configuration_beside_the_weights(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    values |= {"torch_dtype": "float32", "transformers_version": None, "_commit_hash": None}
    values["text_config"] |= {
        "eos_token_id": 2,
        "bos_token_id": 0,
        "top_k": 50,
        "pruned_heads": {},
        "torchscript": False,
    }
    (folder / "config.json").write_text(json.dumps(values))
    model = SEGMENTER.from_pretrained(folder)
    assert isinstance(model.config, CLIPSegConfig)
    with torch.no_grad():  # with ids whose end is the highest, the old way of pooling finds the same place
        assert torch.equal(model(**INPUTS).logits, segmenter()(**INPUTS).logits)
