"""Names and shapes of the original layouts against the released one, by value."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from clipseg.checkpoints.keymaps import (
    abbreviate,
    clip_of_hf,
    clip_to_hf,
    clip_to_openai,
    decoder_to_hf,
    decoder_to_original,
    infer_clip_config,
    infer_decoder_config,
    split_original,
)
from clipseg.errors import CheckpointMismatchError
from originals import decoder_file, openai_file

Tensors = dict[str, Tensor]


def same(left: Tensors, right: Tensors) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


@pytest.fixture(scope="module")
def reference() -> Tensors:
    """The state dict of a tiny model of the reference implementation: an outside word on names and shapes."""
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    text = {
        "hidden_size": 32,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "vocab_size": 50,
    }
    vision = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 1}
    config = CLIPSegConfig(
        text_config=text,
        vision_config={**vision, "image_size": 32, "patch_size": 16},
        projection_dim=32,
        reduce_dim=8,
        extract_layers=[0, 1, 1],
        decoder_intermediate_size=24,
        use_complex_transposed_convolution=True,
    )
    tensors: Tensors = CLIPSegForImageSegmentation(config).state_dict()
    return {key: value for key, value in tensors.items() if not key.endswith("position_ids")}


def test_names_and_shapes_are_those_of_the_reference(reference: Tensors) -> None:
    ours = {f"clip.{key}": value for key, value in clip_to_hf(openai_file()).items()} | decoder_to_hf(
        decoder_file(True)
    )
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in reference.items()}


@pytest.mark.parametrize("refined", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
def test_decoder_round_trip(refined: bool, layers: int) -> None:
    original = decoder_file(refined, layers=layers)
    assert same(decoder_to_original(decoder_to_hf(original)), original)
    assert len(decoder_to_hf(original)) == 4 + 18 * layers + (6 if refined else 2)


def test_the_unused_layer_is_dropped() -> None:
    with_reduce = decoder_file(reduce=True)
    without = {key: value for key, value in with_reduce.items() if not key.startswith("reduce.")}
    assert len(without) == len(with_reduce) - 2
    assert same(decoder_to_hf(with_reduce), decoder_to_hf(without))


def test_query_key_value_are_thirds_of_the_rows() -> None:
    original = decoder_file()
    hf = decoder_to_hf(original)
    for kind in ("weight", "bias"):
        whole = original[f"blocks.1.self_attn.in_proj_{kind}"]
        for i, which in enumerate("qkv"):
            assert torch.equal(hf[f"decoder.layers.1.self_attn.{which}_proj.{kind}"], whole[8 * i : 8 * i + 8])


def test_clip_round_trip() -> None:
    original = openai_file()
    assert same(clip_to_openai(clip_to_hf(original)), original)


def test_projections_are_transposed_by_value() -> None:
    original = openai_file()
    hf = clip_to_hf(original)
    text = original["text_projection"]
    assert text.shape[0] == text.shape[1]  # square: only values tell
    assert not torch.equal(text, text.T)
    assert torch.equal(hf["text_projection.weight"], text.T)
    assert torch.equal(hf["visual_projection.weight"], original["visual.proj"].T)


def test_clip_prefix_and_metadata() -> None:
    original = openai_file()
    prefixed = {f"clip_model.{key}": value for key, value in original.items()}
    metadata = {key: torch.tensor(224) for key in ("input_resolution", "context_length", "vocab_size")}
    assert same(clip_to_hf(prefixed), clip_to_hf(original))
    assert same(clip_to_hf(original | metadata), clip_to_hf(original))


def test_full_original_file_is_split() -> None:
    decoder, clip = decoder_file(), openai_file()
    twice = {key.replace("visual.", "model.", 1): value for key, value in clip.items() if key.startswith("visual.")}
    full = decoder | {f"clip_model.{key}": value for key, value in clip.items()} | twice
    found_decoder, found_clip = split_original(full)
    assert same(found_decoder, decoder)
    assert same(found_clip, clip)
    assert split_original(decoder) == (decoder, {})
    with pytest.raises(CheckpointMismatchError, match=r"unknown model\."):  # a copy of nothing is not known
        decoder_to_hf(split_original(decoder | twice)[0])


def test_clip_part_of_a_released_file() -> None:
    clip = clip_to_hf(openai_file())
    positions = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    whole = {f"clip.{key}": value for key, value in (clip | positions).items()} | decoder_to_hf(decoder_file())
    assert same(clip_of_hf(whole), clip)
    assert same(clip_of_hf(clip | positions), clip)
    del clip["logit_scale"]
    with pytest.raises(CheckpointMismatchError, match="missing logit_scale"):
        clip_of_hf(clip)


@pytest.mark.parametrize(
    ("convert", "tensors"),
    [
        (decoder_to_hf, decoder_file()),
        (clip_to_hf, openai_file()),
        (decoder_to_original, decoder_to_hf(decoder_file())),
        (clip_to_openai, clip_to_hf(openai_file())),
    ],
)
def test_every_missing_and_every_unknown_key_counts(convert: Callable[[Tensors], Tensors], tensors: Tensors) -> None:
    for key in tensors:
        fewer = {name: value for name, value in tensors.items() if name != key}
        with pytest.raises(CheckpointMismatchError, match=r"missing|unknown"):
            convert(fewer)
    with pytest.raises(CheckpointMismatchError, match=r"unknown upsample_proj\.weight"):
        convert(tensors | {"upsample_proj.weight": torch.zeros(1)})
    with pytest.raises(CheckpointMismatchError, match="missing"):
        convert({})


def test_uneven_attention_and_resnet_are_refused() -> None:
    original = decoder_file()
    original["blocks.0.self_attn.in_proj_bias"] = torch.zeros(25)
    with pytest.raises(CheckpointMismatchError, match=r"blocks\.0\.self_attn\.in_proj_bias cannot be split"):
        decoder_to_hf(original)
    resnet = {key: value for key, value in openai_file().items() if not key.startswith("visual.")}
    with pytest.raises(CheckpointMismatchError, match="ResNet"):
        clip_to_hf(resnet | {"visual.layer1.0.conv1.weight": torch.zeros(1)})


def test_configuration_from_shapes() -> None:
    config = infer_clip_config(clip_to_hf(openai_file()))
    assert config["projection_dim"] == 32
    text, vision = config["text_config"], config["vision_config"]
    assert isinstance(text, dict)
    assert isinstance(vision, dict)
    assert (
        text.items() >= {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 50}.items()
    )
    assert text.items() >= {"max_position_embeddings": 77, "eos_token_id": 2, "num_attention_heads": 1}.items()
    assert vision.items() >= {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2}.items()
    assert vision.items() >= {"image_size": 32, "patch_size": 16, "num_channels": 3, "num_attention_heads": 1}.items()
    with pytest.raises(CheckpointMismatchError, match="missing"):
        infer_clip_config({})


@pytest.mark.parametrize("refined", [False, True])
def test_decoder_configuration_from_shapes(refined: bool) -> None:
    shape = infer_decoder_config(decoder_to_hf(decoder_file(refined)))
    assert (shape.reduce_dim, shape.layers, shape.decoder_intermediate_size) == (8, 3, 24)
    assert (shape.patch_size, shape.projection_dim, shape.vision_width) == (16, 32, 64)
    assert shape.use_complex_transposed_convolution is refined
    with pytest.raises(CheckpointMismatchError, match="missing"):
        infer_decoder_config({})


def test_abbreviate() -> None:
    assert abbreviate(["a", "b"]) == "a, b"
    assert abbreviate(list("abcdefghij")) == "a, b, c, d, e, f, g, h, … (2 more)"
