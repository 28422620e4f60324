"""From the files of the original project to a model folder in the released layout, and back.

The original distributes the decoder alone, to be laid over OpenAI's CLIP ViT-B/16; the released layout keeps both in
one folder. Nothing here needs a model: it is all names and shapes, and a tensor that has no place is an error.
"""

import hashlib
import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from clipseg.checkpoints import files, keymaps
from clipseg.checkpoints.hub import find_file
from clipseg.errors import CheckpointMismatchError, CheckpointNotFoundError, OutputError, UsageError

DECODER_FILE = "decoder.pth"
CLIP_FILE = "clip.pth"
TOKENIZER_FILES = (
    "vocab.json", "merges.txt", "added_tokens.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
)  # fmt: skip

# Of the released models; the decoder's file records neither. Source: the published config.json files.
EXTRACT_LAYERS = (3, 6, 9)
ATTENTION_HEADS = 4

# Files known by name -> the digests they have been published with. The first rd16 upload was a wrong file.
_SHA256 = {
    "rd64-uni.pth": "13845f6cee4d54ca46f62ee19dd354822094a26e0efccc64e606be93d6a7e26f",
    "rd16-uni.pth": "61545cdb3a28f99d33d457c64a9721ade835a9dfbda604c459de6831c504167a",
    "ViT-B-32.pt": "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    "ViT-B-16.pt": "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
    "ViT-L-14.pt": "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
    "ViT-L-14-336px.pt": "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
}
_SHA1 = {"rd64-uni-refined.pth": "8a3824a4f447096af25a00f9ac80b50e13cace63"}

# 352 pixels and the ImageNet statistics the decoder was trained with. Source: the published preprocessor_config.json.
_PREPROCESSOR: dict[str, Any] = {
    "image_processor_type": "ViTImageProcessor",
    "feature_extractor_type": "ViTImageProcessor",
    "processor_class": "CLIPSegProcessor",
    "do_resize": True,
    "size": {"height": 352, "width": 352},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}

Location = str | os.PathLike[str]


@dataclass(frozen=True)
class Conversion:
    """What a conversion wrote, and the tokeniser files that it could not: text prompts need them in the same folder."""

    folder: Path
    written: tuple[Path, ...]
    missing_tokenizer_files: tuple[str, ...] = ()


def convert(
    source: Location,
    output_folder: Location,
    clip_weights: Location | None = None,
    *,
    to: Literal["hf", "original"] = "hf",
    dtype: torch.dtype = torch.float32,
    extract_layers: Sequence[int] | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Original files -> a model folder (`to="hf"`), or a model folder or hub id -> original files (`to="original"`).

    To a model folder: `source` is a decoder file or a full original file; a decoder file needs `clip_weights` beside
    it: OpenAI's CLIP as archive or state dict, or a CLIP model's folder or hub id, whose tokeniser files are copied.
    `extract_layers` is recorded nowhere: (3, 6, 9), as released, unless given.

    To original files: a decoder (`decoder.pth`) and OpenAI's CLIP as a state dict (`clip.pth`).

    Floating-point tensors are stored as `dtype`. A folder that is not empty is written into only with `overwrite`.
    Warns if a file of a known name has another digest than the published one. Raises CheckpointError, OutputError and
    UsageError.
    """
    if to not in ("hf", "original"):
        raise UsageError(f"to={to!r} is not known; expected 'hf' or 'original'")
    folder = Path(output_folder)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not overwrite)):
        raise OutputError(f"{folder} exists and is not an empty folder: name another, or overwrite it (overwrite=True)")
    if to == "original":
        if clip_weights is not None or extract_layers is not None:
            raise UsageError("clip_weights and extract_layers say how to build a model folder; leave them out here")
        return _to_original(source, folder, dtype)
    return _to_hf(Path(source), folder, clip_weights, dtype, extract_layers)


def _to_hf(
    source: Path, folder: Path, clip_weights: Location | None, dtype: torch.dtype, extract_layers: Sequence[int] | None
) -> Conversion:
    original, inside = keymaps.split_original(_read_known(source))
    decoder = keymaps.decoder_to_hf(original)
    if inside and clip_weights is None:
        clip = keymaps.clip_to_hf(inside)
    elif clip_weights is not None:
        clip = _read_clip(clip_weights)
    else:
        raise CheckpointNotFoundError(
            f"{source} holds the decoder alone: name the CLIP weights as well (ViT-B-16.pt of OpenAI, or "
            "openai/clip-vit-base-patch16)"
        )
    config = _configuration(clip, decoder, source, dtype, extract_layers)
    tensors = {**{f"clip.{key}": value for key, value in clip.items()}, **decoder}
    tokenizer = _tokenizer_files(clip_weights)

    written = files.write_weights(folder, _cast(tensors, dtype))
    files.write_json(folder / "config.json", config)
    files.write_json(folder / "preprocessor_config.json", _PREPROCESSOR)
    for path in tokenizer:
        with files.replacing(folder / path.name) as temporary:
            shutil.copyfile(path, temporary)
    copied = {path.name for path in tokenizer}
    complete = "tokenizer.json" in copied or {"vocab.json", "merges.txt"} <= copied
    written += [folder / name for name in ("config.json", "preprocessor_config.json", *sorted(copied))]
    return Conversion(folder, tuple(written), () if complete else ("vocab.json", "merges.txt"))


def _to_original(source: Location, folder: Path, dtype: torch.dtype) -> Conversion:
    tensors = _cast(files.read_weights(source), dtype)
    clip = keymaps.clip_of_hf(tensors)
    decoder = {key: value for key, value in tensors.items() if not key.startswith("clip.")}
    results = {DECODER_FILE: keymaps.decoder_to_original(decoder), CLIP_FILE: keymaps.clip_to_openai(clip)}
    for name, result in results.items():
        files.write_tensors(folder / name, result)
    return Conversion(folder, tuple(folder / name for name in results))


def _configuration(
    clip: dict[str, Tensor],
    decoder: dict[str, Tensor],
    source: Path,
    dtype: torch.dtype,
    extract_layers: Sequence[int] | None,
) -> dict[str, Any]:
    """The config.json of a CLIP and a decoder that belong together. Raises CheckpointMismatchError, UsageError."""
    config: dict[str, Any] = keymaps.infer_clip_config(clip)
    shape = keymaps.infer_decoder_config(decoder)
    vision = config["vision_config"]
    for what, of_decoder, of_clip in (
        ("patch size", shape.patch_size, vision["patch_size"]),
        ("vision width", shape.vision_width, vision["hidden_size"]),
        ("embedding size", shape.projection_dim, config["projection_dim"]),
    ):
        if of_decoder != of_clip:
            raise CheckpointMismatchError(
                f"{source} was trained over a CLIP of {what} {of_decoder}, but this one has {of_clip}: name the right "
                "one (ViT-B/16 for the released decoders)"
            )
    layers = tuple(EXTRACT_LAYERS if extract_layers is None else extract_layers)
    if len(layers) != shape.layers or not all(0 <= layer < vision["num_hidden_layers"] for layer in layers):
        raise UsageError(
            f"extract_layers {layers} do not fit: {source} needs {shape.layers} layers, each from 0 to "
            f"{vision['num_hidden_layers'] - 1}"
        )
    return {
        "architectures": ["CLIPSegForImageSegmentation"],
        "model_type": "clipseg",
        **config,
        "extract_layers": list(layers),
        "reduce_dim": shape.reduce_dim,
        "conditional_layer": 0,
        "use_complex_transposed_convolution": shape.use_complex_transposed_convolution,
        "decoder_num_attention_heads": ATTENTION_HEADS,
        "decoder_intermediate_size": shape.decoder_intermediate_size,
        "decoder_attention_dropout": 0.0,
        "initializer_factor": 1.0,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }


def _read_clip(location: Location) -> dict[str, Tensor]:
    """OpenAI's file, or a CLIP model's file, folder or hub id -> the keys of `CLIPModel`."""
    tensors = _read_known(Path(location)) if Path(location).is_file() else files.read_weights(location)
    openai = any(key.removeprefix("clip_model.").startswith("visual.") for key in tensors)
    return keymaps.clip_to_hf(tensors) if openai else keymaps.clip_of_hf(tensors)


def _tokenizer_files(clip_weights: Location | None) -> list[Path]:
    """The tokeniser files of a CLIP model's folder or hub id; none for a file, which cannot hold them."""
    if clip_weights is None or Path(clip_weights).is_file():
        return []
    found = (find_file(clip_weights, name, required=False) for name in TOKENIZER_FILES)
    return [path for path in found if path is not None]


def _cast(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in tensors.items()}


def _read_known(path: Path) -> dict[str, Tensor]:
    """`read_tensors`, with a warning if a file of a published name is not the published one."""
    for digests, algorithm in ((_SHA256, "sha256"), (_SHA1, "sha1")):
        if path.name in digests and path.is_file():
            digest = _digest(path, algorithm)
            if digest != digests[path.name]:
                warnings.warn(
                    f"{path} has the {algorithm} {digest}, but the published {path.name} has {digests[path.name]}: it "
                    "may be another upload, or damaged",
                    stacklevel=4,
                )
    return files.read_tensors(path)


def _digest(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
