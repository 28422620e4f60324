"""Published numbers of the released weights, for whoever has them."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.processing.processors import CLIPSegProcessor
from rows import row

pytestmark = pytest.mark.released


@pytest.fixture(scope="module")
def models() -> Path:
    folder = os.environ.get("CLIPSEG_RELEASED_MODELS")
    if not folder:
        pytest.skip("CLIPSEG_RELEASED_MODELS names no folder of released models")
    return Path(folder)


@row("12", "logits of a cat, a remote, a blanket", "conditional_embeddings", "pooled_output after PIL preprocessing")
def test_refined(models: Path) -> None:
    """The values printed in the documentation of CIDAS/clipseg-rd64-refined.

    Set CLIPSEG_RELEASED_MODELS to a folder that holds `clipseg-rd64-refined/`, all files of that model (config.json,
    model.safetensors or pytorch_model.bin, preprocessor_config.json, vocab.json and merges.txt or tokenizer.json), and
    `000000039769.jpg`, the picture of that number from COCO val2017. Then run `pytest -m released tests/parity`.
    """
    name = models / "clipseg-rd64-refined"
    model, processor = CLIPSegForImageSegmentation.from_pretrained(name), CLIPSegProcessor.from_pretrained(name)
    phrases = ["a cat", "a remote", "a blanket"]
    with Image.open(models / "000000039769.jpg") as picture, torch.inference_mode():
        inputs = processor(text=phrases, images=[picture] * 3, padding=True, return_tensors="pt")
        output = model(**inputs)
    assert model.num_parameters() == 150_747_746
    assert output.logits.shape == (3, 352, 352)
    logits = [[-7.4613, -7.4785, -7.3628], [-7.3268, -7.0899, -7.1333], [-6.9838, -6.7900, -6.8913]]
    for ours, published in (
        (output.conditional_embeddings[0, :3], [0.5601, -0.0314, 0.1980]),
        (output.pooled_output[0, :3], [0.5036, -0.2681, -0.2644]),  # pins the preprocessing, which logits hardly do
        (output.logits[0, :3, :3], logits),
    ):
        torch.testing.assert_close(ours, torch.tensor(published), rtol=0, atol=1e-3)
