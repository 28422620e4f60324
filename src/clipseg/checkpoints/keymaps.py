"""How the original CLIPSeg and CLIP files name their tensors, and how the released layout does: pure data, both ways.

A map is a list of rows, written for a given number of layers, complete and strict: every tensor must be named by a row,
every row must be filled. A row says what happens on the way: nothing, a transpose (projections that were stored as
`x @ matrix`) or a split in thirds along the rows (query, key and value, stored as one matrix).

Widths: D tower, d decoder, E shared embedding; p patch size. Sources: the state dicts of github.com/timojl/clipseg and
github.com/openai/CLIP.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from clipseg.errors import CheckpointMismatchError

Tensors = Mapping[str, Tensor]

_ARCHIVE_METADATA = frozenset({"input_resolution", "context_length", "vocab_size"})
_UNUSED_REDUCE = frozenset({"reduce.weight", "reduce.bias"})  # a layer of the original class that nothing calls
_HF_LAYER = r"{}_model\.encoder\.layers\.(\d+)\.layer_norm1\.weight"
_HEAD_WIDTH = 64  # of every OpenAI CLIP tower; the file does not record it


@dataclass(frozen=True)
class Row:
    """One tensor of an original file and the one tensor, or the three, that it becomes in the released layout."""

    original: str
    hf: tuple[str, ...]
    transposed: bool = False

    def forward(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """The original tensor -> its parts in the released layout."""
        if len(self.hf) > 1:
            return tensor.chunk(len(self.hf), dim=0)  # (3D, …) -> 3 x (D, …): query, key, value
        return (tensor.transpose(0, -1).contiguous() if self.transposed else tensor,)

    def backward(self, *parts: Tensor) -> Tensor:
        """The parts in the released layout -> the original tensor."""
        if len(self.hf) > 1:
            return torch.cat(parts, dim=0)
        return parts[0].transpose(0, -1).contiguous() if self.transposed else parts[0]


def decoder_rows(layers: int, *, refined: bool) -> list[Row]:
    """The decoder: `film_mul` -> `decoder.film_mul` and so on, for a number of layers and one of the two heads."""
    rows = [*_module("film_mul", "decoder.film_mul"), *_module("film_add", "decoder.film_add")]
    for j in range(layers):
        block, layer = f"blocks.{j}", f"decoder.layers.{j}"
        rows += _module(f"reduces.{j}", f"decoder.reduces.{j}")
        rows += _attention(f"{block}.self_attn", f"{layer}.self_attn")
        rows += _module(f"{block}.linear1", f"{layer}.mlp.fc1")
        rows += _module(f"{block}.linear2", f"{layer}.mlp.fc2")
        rows += _module(f"{block}.norm1", f"{layer}.layer_norm1")
        rows += _module(f"{block}.norm2", f"{layer}.layer_norm2")
    for step in (".0", ".2", ".4") if refined else ("",):
        rows += _module(f"trans_conv{step}", f"decoder.transposed_convolution{step}")
    return rows


def clip_rows(text_layers: int, vision_layers: int) -> list[Row]:
    """OpenAI's CLIP: `visual.conv1.weight` -> `vision_model.embeddings.patch_embedding.weight` and so on."""
    return [
        Row("logit_scale", ("logit_scale",)),
        Row("text_projection", ("text_projection.weight",), transposed=True),
        Row("visual.proj", ("visual_projection.weight",), transposed=True),
        Row("token_embedding.weight", ("text_model.embeddings.token_embedding.weight",)),
        Row("positional_embedding", ("text_model.embeddings.position_embedding.weight",)),
        *_tower("transformer", "text_model", text_layers),
        *_module("ln_final", "text_model.final_layer_norm"),
        Row("visual.class_embedding", ("vision_model.embeddings.class_embedding",)),
        Row("visual.conv1.weight", ("vision_model.embeddings.patch_embedding.weight",)),
        Row("visual.positional_embedding", ("vision_model.embeddings.position_embedding.weight",)),
        *_module("visual.ln_pre", "vision_model.pre_layrnorm"),  # spelt so in every released file
        *_tower("visual.transformer", "vision_model", vision_layers),
        *_module("visual.ln_post", "vision_model.post_layernorm"),
    ]


def _tower(original: str, hf: str, layers: int) -> Iterator[Row]:
    for n in range(layers):
        block, layer = f"{original}.resblocks.{n}", f"{hf}.encoder.layers.{n}"
        yield from _module(f"{block}.ln_1", f"{layer}.layer_norm1")
        yield from _attention(f"{block}.attn", f"{layer}.self_attn")
        yield from _module(f"{block}.ln_2", f"{layer}.layer_norm2")
        yield from _module(f"{block}.mlp.c_fc", f"{layer}.mlp.fc1")
        yield from _module(f"{block}.mlp.c_proj", f"{layer}.mlp.fc2")


def _attention(original: str, hf: str) -> Iterator[Row]:
    for kind in ("weight", "bias"):
        yield Row(f"{original}.in_proj_{kind}", tuple(f"{hf}.{which}_proj.{kind}" for which in "qkv"))
    yield from _module(f"{original}.out_proj", f"{hf}.out_proj")


def _module(original: str, hf: str) -> Iterator[Row]:
    for kind in ("weight", "bias"):
        yield Row(f"{original}.{kind}", (f"{hf}.{kind}",))


# Original -> released


def split_original(tensors: Tensors) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """An original CLIPSeg file -> (decoder, CLIP) in the original layouts; CLIP is empty if the file holds none.

    A full file names the vision tower a second time under `model.`; that copy is dropped.
    """
    clip = {key.removeprefix("clip_model."): value for key, value in tensors.items() if key.startswith("clip_model.")}
    decoder = {
        key: value
        for key, value in tensors.items()
        if not key.startswith("clip_model.") and not (clip and key.startswith("model."))
    }
    return decoder, clip


def decoder_to_hf(tensors: Tensors) -> dict[str, Tensor]:
    """An original decoder -> `decoder.*` of the released layout. Raises CheckpointMismatchError naming every misfit."""
    rows = decoder_rows(_count(r"reduces\.(\d+)\.weight", tensors), refined="trans_conv.0.weight" in tensors)
    return _forward(tensors, rows, _UNUSED_REDUCE, "original decoder")


def clip_to_hf(tensors: Tensors) -> dict[str, Tensor]:
    """OpenAI's CLIP, with or without `clip_model.` before its keys -> the keys of `CLIPModel`.

    Raises CheckpointMismatchError naming every misfit, or saying that the vision tower is a ResNet.
    """
    if tensors and all(key.startswith("clip_model.") for key in tensors):
        tensors = {key.removeprefix("clip_model."): value for key, value in tensors.items()}
    if "visual.proj" not in tensors and any(key.startswith("visual.layer1.") for key in tensors):
        raise CheckpointMismatchError(
            "OpenAI CLIP: the vision tower is a ResNet (no visual.proj), expected a vision transformer such as ViT-B/16"
        )
    rows = clip_rows(
        _count(r"transformer\.resblocks\.(\d+)\.ln_1\.weight", tensors),
        _count(r"visual\.transformer\.resblocks\.(\d+)\.ln_1\.weight", tensors),
    )
    return _forward(tensors, rows, _ARCHIVE_METADATA, "OpenAI CLIP")


# Released -> original


def clip_of_hf(tensors: Tensors) -> dict[str, Tensor]:
    """A CLIP or CLIPSeg file in the released layout -> its CLIP part, under the keys of `CLIPModel`.

    Raises CheckpointMismatchError if that part is not complete.
    """
    if any(key.startswith("clip.") for key in tensors):
        tensors = {key.removeprefix("clip."): value for key, value in tensors.items() if key.startswith("clip.")}
    clip = {key: value for key, value in tensors.items() if not key.endswith(".embeddings.position_ids")}
    _match(set(clip), {key for row in _rows_of_hf_clip(clip) for key in row.hf}, "CLIP")
    return clip


def decoder_to_original(tensors: Tensors) -> dict[str, Tensor]:
    """`decoder.*` of the released layout -> the original decoder. Raises CheckpointMismatchError."""
    refined = "decoder.transposed_convolution.0.weight" in tensors
    return _backward(
        tensors, decoder_rows(_count(r"decoder\.reduces\.(\d+)\.weight", tensors), refined=refined), "decoder"
    )


def clip_to_openai(tensors: Tensors) -> dict[str, Tensor]:
    """The keys of `CLIPModel` -> OpenAI's layout. Raises CheckpointMismatchError."""
    return _backward(tensors, _rows_of_hf_clip(tensors), "CLIP")


def _rows_of_hf_clip(tensors: Tensors) -> list[Row]:
    return clip_rows(_count(_HF_LAYER.format("text"), tensors), _count(_HF_LAYER.format("vision"), tensors))


def _count(pattern: str, tensors: Tensors) -> int:
    """How many layers a file has; a gap in their numbers then shows as a missing key."""
    return sum(re.fullmatch(pattern, key) is not None for key in tensors)


def _forward(tensors: Tensors, rows: list[Row], ignored: frozenset[str], source: str) -> dict[str, Tensor]:
    _match(tensors.keys() - ignored, {row.original for row in rows}, source)
    uneven = [row.original for row in rows if tensors[row.original].shape[:1].numel() % len(row.hf)]
    if uneven:
        raise CheckpointMismatchError(f"{source}: {abbreviate(uneven)} cannot be split in query, key and value")
    return {hf: part for row in rows for hf, part in zip(row.hf, row.forward(tensors[row.original]), strict=True)}


def _backward(tensors: Tensors, rows: list[Row], source: str) -> dict[str, Tensor]:
    _match(set(tensors), {key for row in rows for key in row.hf}, source)
    return {row.original: row.backward(*(tensors[key] for key in row.hf)) for row in rows}


def _match(found: set[str], expected: set[str], source: str) -> None:
    missing, unknown = sorted(expected - found), sorted(found - expected)
    complaints = [f"missing {abbreviate(missing)}"] * bool(missing) + [f"unknown {abbreviate(unknown)}"] * bool(unknown)
    if complaints:
        raise CheckpointMismatchError(f"{source}: {'; '.join(complaints)}")


def abbreviate(items: list[str], limit: int = 8) -> str:
    """Many names -> the first few and a count of the rest: `a, b, … (90 more)`."""
    rest = len(items) - limit
    return ", ".join(items[:limit]) + (f", … ({rest} more)" if rest > 0 else "")


# What the shapes say about the configuration


def infer_clip_config(tensors: Tensors) -> dict[str, object]:
    """The tensors of `CLIPModel` -> its configuration in the layout of config.json, read from their shapes.

    Not recorded in the tensors and taken from OpenAI's models: heads 64 wide, QuickGELU, and `eos_token_id` 2, which
    means "the largest id ends the text", as OpenAI's code has it. Raises CheckpointMismatchError.
    """
    try:
        words, text_width = tensors["text_model.embeddings.token_embedding.weight"].shape
        positions = tensors["text_model.embeddings.position_embedding.weight"].shape[0]
        text_inner = tensors["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0]
        vision_width, channels, _, patch = tensors["vision_model.embeddings.patch_embedding.weight"].shape
        cells = tensors["vision_model.embeddings.position_embedding.weight"].shape[0] - 1
        vision_inner = tensors["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0]
        embedding = tensors["visual_projection.weight"].shape[0]
    except KeyError as error:
        raise CheckpointMismatchError(f"CLIP: missing {error.args[0]}; expected the keys of CLIPModel") from error
    side = round(cells**0.5)
    if side * side != cells:
        raise CheckpointMismatchError(f"CLIP: the position table has {cells} cells; expected a square number of them")
    shared = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "projection_dim": embedding}
    return {
        "projection_dim": embedding,
        "logit_scale_init_value": 2.6592,
        "text_config": {
            "vocab_size": words,
            "hidden_size": text_width,
            "intermediate_size": text_inner,
            "num_hidden_layers": _count(_HF_LAYER.format("text"), tensors),
            "num_attention_heads": max(1, text_width // _HEAD_WIDTH),
            "max_position_embeddings": positions,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "pad_token_id": 1,
            **shared,
        },
        "vision_config": {
            "hidden_size": vision_width,
            "intermediate_size": vision_inner,
            "num_hidden_layers": _count(_HF_LAYER.format("vision"), tensors),
            "num_attention_heads": max(1, vision_width // _HEAD_WIDTH),
            "num_channels": channels,
            "image_size": side * patch,
            "patch_size": patch,
            **shared,
        },
    }


@dataclass(frozen=True)
class DecoderShape:
    """What the shapes of a decoder say about the model it belongs to."""

    reduce_dim: int
    use_complex_transposed_convolution: bool
    decoder_intermediate_size: int
    layers: int
    patch_size: int
    projection_dim: int
    vision_width: int


def infer_decoder_config(tensors: Tensors) -> DecoderShape:
    """`decoder.*` of the released layout -> what its shapes say. Raises CheckpointMismatchError."""
    head = "decoder.transposed_convolution"
    refined = f"{head}.0.weight" in tensors
    try:
        reduce_dim, projection_dim = tensors["decoder.film_mul.weight"].shape
        kernels = [tensors[f"{head}{step}.weight"].shape[-1] for step in ((".2", ".4") if refined else ("",))]
        return DecoderShape(
            reduce_dim=reduce_dim,
            use_complex_transposed_convolution=refined,
            decoder_intermediate_size=tensors["decoder.layers.0.mlp.fc1.weight"].shape[0],
            layers=_count(r"decoder\.reduces\.(\d+)\.weight", tensors),
            patch_size=torch.Size(kernels).numel(),
            projection_dim=projection_dim,
            vision_width=tensors["decoder.reduces.0.weight"].shape[1],
        )
    except KeyError as error:
        raise CheckpointMismatchError(f"decoder: missing {error.args[0]}; expected the keys decoder.*") from error
