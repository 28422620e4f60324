"""Run an exported model with ONNX Runtime, numpy, Pillow and tokenizers alone: a picture and phrases to masks.

    clipseg export nano --to onnx --out nano-onnx
    python examples/onnx_without_torch.py nano-onnx examples/scenes/one.png "a cat" --out masks

Nothing of clipseg or torch is imported, so this is also the recipe for another language. Three of the four graphs are
used; the fourth, picture_embedder, makes conditions of example pictures, from the `state` of the picture encoder.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from tokenizers import Tokenizer


def pixels_of(picture: Image.Image, folder: Path) -> np.ndarray:
    """A picture -> what the picture encoder takes, (1, 3, H, W) float32: resized, and normalised by channel."""
    options = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    size = options["size"]
    resized = picture.convert("RGB").resize((size["width"], size["height"]), Image.Resampling(options["resample"]))
    values = np.asarray(resized, dtype=np.float32) * options["rescale_factor"]
    values = (values - np.float32(options["image_mean"])) / np.float32(options["image_std"])
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=np.float32)


def tokens_of(phrases: list[str], folder: Path) -> dict[str, np.ndarray]:
    """P phrases -> ids and mask of the text encoder, (P, S) int64; shorter phrases are padded, long ones cut off."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    longest = json.loads((folder / "config.json").read_text(encoding="utf-8"))["text_config"]["max_position_embeddings"]
    tokenizer.enable_truncation(longest)
    tokenizer.enable_padding()  # what is written there is not looked at, since the mask says so
    encoded = tokenizer.encode_batch(phrases)
    return {
        "ids": np.array([row.ids for row in encoded], dtype=np.int64),
        "mask": np.array([row.attention_mask for row in encoded], dtype=np.int64),
    }


def logits_of(folder: Path, picture: Image.Image, phrases: list[str]) -> np.ndarray:
    """A picture and P phrases -> logits (P, h, w) at the size of the model's input; their sigmoid is a probability."""
    run = {
        name: onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"]).run
        for name in ("picture_encoder", "text_encoder", "decoder")
    }
    pixels = pixels_of(picture, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    patch, taps = config["vision_config"]["patch_size"], [f"tap_{i}" for i in range(len(config["extract_layers"]))]
    encoded = run["picture_encoder"](taps, {"pixels": pixels})  # once a picture, however many phrases
    (conditions,) = run["text_encoder"](["conditions"], tokens_of(phrases, folder))  # once a phrase, for all pictures
    grid = {"rows": np.array(pixels.shape[2] // patch), "columns": np.array(pixels.shape[3] // patch)}
    inputs = {"conditions": conditions[None], **grid, **dict(zip(taps, encoded, strict=True))}
    (logits,) = run["decoder"](["logits"], inputs)  # (1, P, h, w)
    return logits[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a folder of `clipseg export --to onnx`")
    parser.add_argument("picture", type=Path)
    parser.add_argument("phrases", nargs="+")
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the masks")
    arguments = parser.parse_args()
    with Image.open(arguments.picture) as opened:
        picture = opened.convert("RGB")
    arguments.out.mkdir(parents=True, exist_ok=True)
    decided = np.log(arguments.threshold / (1 - arguments.threshold))  # the threshold, as a logit
    for phrase, found in zip(arguments.phrases, logits_of(arguments.model, picture, arguments.phrases), strict=True):
        mask = np.asarray(Image.fromarray(found).resize(picture.size, Image.Resampling.BILINEAR)) > decided
        path = arguments.out / f"{arguments.picture.stem}.{'-'.join(phrase.split())}.png"
        Image.fromarray((mask * 255).astype(np.uint8)).save(path)
        print(f"{path}: {mask.mean():.1%} of the picture")


if __name__ == "__main__":
    main()
