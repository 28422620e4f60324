"""The documented checkpoints as their authors publish them, with tiny random weights: every file as bytes.

Nothing here is written by the library, so that reading a published folder is really tested: keys and shapes, the old
token ids, the old preprocessor options, the leftovers of other models in the configuration, weights with the index
buffers of their time, one checkpoint in safetensors and the other one pickled.

    hub_server.repositories[CLIPSEG] = files(CLIPSEG)
    write(CLIP, tmp_path)
"""

import io
import json
import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from clipseg.processing.statistics import IMAGENET_MEAN, IMAGENET_STD, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from clipseg.processing.vocabulary import END_OF_TEXT, START_OF_TEXT, merges_text, train_vocabulary

CLIPSEG = "CIDAS/clipseg-rd64-refined"
CLIP = "openai/clip-vit-base-patch32"

Json = dict[str, Any]
Shapes = dict[str, tuple[int, ...]]

LAYERS = 12
PROJECTION = 24
WORDS = ("a photo of a cat", "a photo of a dog", "a photo of a car", "a remote", "a blanket", "this is a photo")
TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
    "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-05, "attention_dropout": 0.0,
    "initializer_range": 0.02, "initializer_factor": 1.0, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
}  # fmt: skip
VISION = {
    "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
    "num_channels": 3, "image_size": 224, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-05,
    "attention_dropout": 0.0, "initializer_range": 0.02, "initializer_factor": 1.0, "bos_token_id": None,
    "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
# What every configuration of those years carries, whatever the model.
LEFTOVERS: Json = {
    "_name_or_path": "", "add_cross_attention": False, "architectures": None, "bad_words_ids": None,
    "begin_suppress_tokens": None, "chunk_size_feed_forward": 0, "cross_attention_hidden_size": None,
    "decoder_start_token_id": None, "diversity_penalty": 0.0, "do_sample": False, "dropout": 0.0,
    "early_stopping": False, "encoder_no_repeat_ngram_size": 0, "exponential_decay_length_penalty": None,
    "finetuning_task": None, "forced_bos_token_id": None, "forced_eos_token_id": None,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "is_decoder": False, "is_encoder_decoder": False,
    "label2id": {"LABEL_0": 0, "LABEL_1": 1}, "length_penalty": 1.0, "max_length": 20, "min_length": 0,
    "no_repeat_ngram_size": 0, "num_beam_groups": 1, "num_beams": 1, "num_return_sequences": 1,
    "output_attentions": False, "output_hidden_states": False, "output_scores": False, "prefix": None,
    "problem_type": None, "pruned_heads": {}, "remove_invalid_values": False, "repetition_penalty": 1.0,
    "return_dict": True, "return_dict_in_generate": False, "sep_token_id": None, "suppress_tokens": None,
    "task_specific_params": None, "temperature": 1.0, "tf_legacy_loss": False, "tie_encoder_decoder": False,
    "tie_word_embeddings": True, "tokenizer_class": None, "top_k": 50, "top_p": 1.0, "torch_dtype": None,
    "torchscript": False, "transformers_version": "4.25.0.dev0", "typical_p": 1.0, "use_bfloat16": False,
}  # fmt: skip


def write(name: str, folder: Path) -> Path:
    """A documented model id, a folder -> the same folder, with the checkpoint's files in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files(name).items():
        (folder / file).write_bytes(content)
    return folder


@cache
def files(name: str) -> dict[str, bytes]:
    """A documented model id -> file name to content."""
    config = {CLIPSEG: clipseg_config, CLIP: clip_config}[name]()
    preprocessor = {CLIPSEG: CLIPSEG_PREPROCESSOR, CLIP: CLIP_PREPROCESSOR}[name]
    tensors = weights(config)
    texts = {"config.json": config, "preprocessor_config.json": preprocessor, **_tokenizer(name)}
    served = {file: (json.dumps(content, indent=2) + "\n").encode() for file, content in texts.items()}
    served["merges.txt"] = merges_text(_vocabulary()[1]).encode()
    if name == CLIPSEG:
        return {**served, "model.safetensors": safetensors.torch.save(tensors, {"format": "pt"})}
    pickled = io.BytesIO()
    torch.save(tensors, pickled)
    return {**served, "pytorch_model.bin": pickled.getvalue()}


# -- config.json -------------------------------------------------------------------------------------------------------


def clipseg_config() -> Json:
    """-> config.json of the CLIPSeg checkpoint: the released values but for widths and vocabulary."""
    towers = _towers("clipseg", patch=16)
    return {
        "_commit_hash": None, "architectures": ["CLIPSegForImageSegmentation"], "conditional_layer": 0,
        "decoder_attention_dropout": 0.0, "decoder_hidden_act": "quick_gelu", "decoder_intermediate_size": 128,
        "decoder_num_attention_heads": 4, "extract_layers": [3, 6, 9], "initializer_factor": 1.0,
        "logit_scale_init_value": 2.6592, "model_type": "clipseg", "projection_dim": PROJECTION, "reduce_dim": 64,
        **towers, "torch_dtype": "float32", "transformers_version": None,
        "use_complex_transposed_convolution": True,
    }  # fmt: skip


def clip_config() -> Json:
    """-> config.json of the CLIP checkpoint: `projection_dim` in the parts too, and each part there twice."""
    towers = _towers("clip", patch=32)
    for part in towers.values():
        part["projection_dim"] = PROJECTION
    parts = {f"{name}_dict": {**part} for name, part in towers.items()}
    return {
        "_name_or_path": CLIP, "architectures": ["CLIPModel"], "initializer_factor": 1.0,
        "logit_scale_init_value": 2.6592, "model_type": "clip", "projection_dim": PROJECTION,
        **towers, **parts, "torch_dtype": "float32", "transformers_version": None,
    }  # fmt: skip


def _towers(kind: str, patch: int) -> dict[str, Json]:
    text = {**LEFTOVERS, **TEXT, "model_type": f"{kind}_text_model", "vocab_size": len(_vocabulary()[0])}
    vision = {**LEFTOVERS, **VISION, "model_type": f"{kind}_vision_model", "patch_size": patch}
    return {"text_config": text, "vision_config": vision}


# -- preprocessor_config.json, tokenizer files -------------------------------------------------------------------------

CLIPSEG_PREPROCESSOR: Json = {
    "do_normalize": True, "do_rescale": True, "do_resize": True, "feature_extractor_type": "ViTImageProcessor",
    "image_mean": list(IMAGENET_MEAN), "image_std": list(IMAGENET_STD), "processor_class": "CLIPSegProcessor",
    "resample": 2, "rescale_factor": 0.00392156862745098, "size": {"height": 352, "width": 352},
}  # fmt: skip
CLIP_PREPROCESSOR: Json = {
    "crop_size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": list(OPENAI_CLIP_MEAN),
    "image_std": list(OPENAI_CLIP_STD), "resample": 3, "size": 224,
}  # fmt: skip


@cache
def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's order at a small size: the end of a text has the last id."""
    return train_vocabulary(WORDS, 560)


def _tokenizer(name: str) -> dict[str, Json]:
    flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    start, end = ({"content": token, **flags} for token in (START_OF_TEXT, END_OF_TEXT))
    tokens = {"bos_token": start, "eos_token": end, "unk_token": end}
    typed = {key: {"__type": "AddedToken", **token} for key, token in tokens.items()}
    config = {
        "add_prefix_space": False, **typed, "do_lower_case": True, "errors": "replace", "model_max_length": 77,
        "name_or_path": CLIP, "pad_token": END_OF_TEXT, "special_tokens_map_file": "./special_tokens_map.json",
        "tokenizer_class": "CLIPTokenizer",
    }  # fmt: skip
    if name == CLIPSEG:
        config["processor_class"] = "CLIPSegProcessor"
    return {
        "vocab.json": _vocabulary()[0],
        "tokenizer_config.json": config,
        "special_tokens_map.json": {**tokens, "pad_token": END_OF_TEXT},
    }


# -- weights -----------------------------------------------------------------------------------------------------------


def weights(config: Json, seed: int = 0) -> dict[str, torch.Tensor]:
    """config.json -> every tensor by its published name, drawn so that signals keep their scale on the way through.

    A freshly initialised model answers nearly the same to everything, and a wrong step would hardly show.
    """
    draw = torch.Generator().manual_seed(seed)
    prefix = "clip." if config["model_type"] == "clipseg" else ""
    tensors = {key: _drawn(key, shape, draw) for key, shape in shapes(config).items()}
    text, vision = config["text_config"], config["vision_config"]
    positions = {"text": text["max_position_embeddings"], "vision": _positions(vision)}
    for part, count in positions.items():  # index buffers, which files of those years hold
        tensors[f"{prefix}{part}_model.embeddings.position_ids"] = torch.arange(count)[None]
    return tensors


def _drawn(key: str, shape: tuple[int, ...], draw: torch.Generator) -> torch.Tensor:
    if key.endswith("logit_scale"):
        return torch.tensor(2.6592)
    noise = torch.randn(shape, generator=draw)
    if "norm" in key:
        return 0.2 * noise + key.endswith("weight")
    if key.endswith("bias"):
        return 0.2 * noise
    if "embeddings" in key and "patch" not in key:
        return noise
    kernels = ("transposed_convolution.weight", "transposed_convolution.2.weight", "transposed_convolution.4.weight")
    # A transposed convolution whose kernels do not overlap sums over its input channels, which come first.
    inputs = shape[0] if key.endswith(kernels) else math.prod(shape[1:])
    return noise / math.sqrt(inputs)


def shapes(config: Json) -> Shapes:
    """config.json -> published name to shape, in the tables of the released files (position indices aside)."""
    text, vision, width = config["text_config"], config["vision_config"], config["projection_dim"]
    patch = vision["patch_size"]
    clip: Shapes = {
        "logit_scale": (),
        "text_model.embeddings.token_embedding.weight": (text["vocab_size"], text["hidden_size"]),
        "text_model.embeddings.position_embedding.weight": (text["max_position_embeddings"], text["hidden_size"]),
        **_tower("text_model", text),
        **_both("text_model.final_layer_norm", text["hidden_size"]),
        "vision_model.embeddings.class_embedding": (vision["hidden_size"],),
        "vision_model.embeddings.patch_embedding.weight": (vision["hidden_size"], 3, patch, patch),
        "vision_model.embeddings.position_embedding.weight": (_positions(vision), vision["hidden_size"]),
        **_both("vision_model.pre_layrnorm", vision["hidden_size"]),
        **_tower("vision_model", vision),
        **_both("vision_model.post_layernorm", vision["hidden_size"]),
        "visual_projection.weight": (width, vision["hidden_size"]),
        "text_projection.weight": (width, text["hidden_size"]),
    }
    if config["model_type"] == "clip":
        return clip
    inner, depth = config["reduce_dim"], len(config["extract_layers"])
    decoder = {
        **_both("film_mul", inner, width),
        **_both("film_add", inner, width),
        **_merged(_both(f"reduces.{step}", inner, vision["hidden_size"]) for step in range(depth)),
        **_layers("layers", depth, inner, config["decoder_intermediate_size"]),
        **_both("transposed_convolution.0", inner, inner, 3, 3),
        "transposed_convolution.2.weight": (inner, inner // 2, 4, 4),
        "transposed_convolution.2.bias": (inner // 2,),
        "transposed_convolution.4.weight": (inner // 2, 1, 4, 4),
        "transposed_convolution.4.bias": (1,),
    }
    named = {"clip": clip, "decoder": decoder}
    return {f"{part}.{key}": shape for part, keys in named.items() for key, shape in keys.items()}


def _positions(vision: Json) -> int:
    return int(1 + (vision["image_size"] // vision["patch_size"]) ** 2)


def _both(path: str, *shape: int) -> Shapes:
    return {f"{path}.weight": shape, f"{path}.bias": shape[:1]}


def _merged(parts: Iterable[Shapes]) -> Shapes:
    return {key: shape for part in parts for key, shape in part.items()}


def _tower(path: str, part: Json) -> Shapes:
    count = part["num_hidden_layers"]
    return _layers(f"{path}.encoder.layers", count, part["hidden_size"], part["intermediate_size"])


def _layers(path: str, count: int, width: int, inner: int) -> Shapes:
    heads = ("q_proj", "k_proj", "v_proj", "out_proj")
    one = {
        **_merged(_both(f"self_attn.{name}", width, width) for name in heads),
        **_both("layer_norm1", width),
        **_both("layer_norm2", width),
        **_both("mlp.fc1", inner, width),
        **_both("mlp.fc2", width, inner),
    }
    return {f"{path}.{number}.{key}": shape for number in range(count) for key, shape in one.items()}
