"""The checkpoints that the examples run on have the layout of the released ones: counts at the released sizes."""

import json
import math
from typing import Any

import pytest
import torch

import released_layout
from released_layout import CLIP, CLIPSEG

SIZES: dict[str, dict[str, Any]] = {
    "text_config": {"vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048},
    "vision_config": {"hidden_size": 768, "intermediate_size": 3072},
}


@pytest.mark.parametrize(
    ("config", "tensors", "numbers"),
    [
        ({**released_layout.clipseg_config(), "decoder_intermediate_size": 2048}, 462, 150_747_746),
        (released_layout.clip_config(), 398, 151_277_313),
    ],
    ids=["clipseg", "clip"],
)
def test_counts_at_the_released_sizes(config: dict[str, Any], tensors: int, numbers: int) -> None:
    large = {**config, "projection_dim": 512, **{part: {**config[part], **sizes} for part, sizes in SIZES.items()}}
    shapes = released_layout.shapes(large)
    assert len(shapes) == tensors
    assert sum(map(math.prod, shapes.values())) == numbers


@pytest.mark.parametrize("name", [CLIPSEG, CLIP])
def test_files_are_those_of_their_time(name: str) -> None:
    files = released_layout.files(name)
    config = json.loads(files["config.json"])
    assert config["transformers_version"] is None
    assert config["text_config"]["eos_token_id"] == 2  # not what the tokenizer ends a text with
    assert len(config["text_config"]) > 60
    assert "image_processor_type" not in json.loads(files["preprocessor_config.json"])
    assert files["merges.txt"].startswith(b"#version: 0.2\n")
    tensors = released_layout.weights(config)
    assert sum("position_ids" in key for key in tensors) == 2
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
