"""What fits is taken whole, what does not is named whole."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from clipseg.checkpoints.fitting import Fitted, fit
from clipseg.checkpoints.keymaps import clip_to_hf, decoder_to_hf
from clipseg.errors import CheckpointMismatchError
from originals import decoder_file, openai_file

Tensors = dict[str, Tensor]

CLIP = clip_to_hf(openai_file())
DECODER = decoder_to_hf(decoder_file())
REFINED = decoder_to_hf(decoder_file(refined=True))
SEGMENTATION = {f"clip.{key}": value for key, value in CLIP.items()} | DECODER
TEXT = {key: value for key, value in CLIP.items() if key.startswith("text_model.")}
VISION = {key: value for key, value in CLIP.items() if key.startswith("vision_model.")}
PROJECTION = {"text_projection.weight": CLIP["text_projection.weight"]}
BESIDE_TEXT = ("vision_model.", "visual_projection.", "text_projection.", "logit_scale", "decoder.")


def shapes(tensors: Tensors) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in tensors.items()}


def same(left: Tensors, right: Tensors) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def bare(tensors: Tensors, prefix: str) -> Tensors:
    return {key.removeprefix(prefix): value for key, value in tensors.items()}


def clothed(tensors: Tensors, prefix: str) -> Tensors:
    return {prefix + key: value for key, value in tensors.items()}


def refusal(tensors: Tensors, model: Tensors, **options: tuple[str, ...]) -> str:
    with pytest.raises(CheckpointMismatchError) as caught:
        fit(tensors, shapes(model), source="some/model", **options)
    message = str(caught.value)
    assert message.startswith("some/model")
    assert "\n" not in message
    return message


def test_exact() -> None:
    fitted = fit(SEGMENTATION, shapes(SEGMENTATION), source="x", heads=("decoder.",))
    assert fitted == Fitted(fitted.tensors, (), (), ())
    assert same(fitted.tensors, SEGMENTATION)


@pytest.mark.parametrize(
    ("tensors", "model", "surplus"),
    [
        (clothed(SEGMENTATION, "module."), SEGMENTATION, ()),
        ({key.replace("clip.", "clipseg.", 1): value for key, value in SEGMENTATION.items()}, SEGMENTATION, ()),
        (SEGMENTATION, CLIP, ("decoder.",)),
        (clothed(SEGMENTATION, "module."), CLIP, ("decoder.",)),
        (CLIP, TEXT, BESIDE_TEXT),
        (SEGMENTATION, TEXT, BESIDE_TEXT),
        (bare(TEXT, "text_model."), TEXT, ()),
        (TEXT, bare(TEXT, "text_model."), ()),
        (SEGMENTATION, bare(TEXT, "text_model."), BESIDE_TEXT),
        (bare(VISION, "vision_model."), VISION, ()),
        (VISION, bare(VISION, "vision_model."), ()),
        (bare(TEXT, "text_model.") | PROJECTION, TEXT | PROJECTION, ()),
    ],
)
def test_prefixes(tensors: Tensors, model: Tensors, surplus: tuple[str, ...]) -> None:
    fitted = fit(tensors, shapes(model), source="x", surplus=surplus)
    assert same(fitted.tensors, model)
    assert len(fitted.surplus_keys) == len(tensors) - len(model)


def test_a_clip_file_leaves_the_decoder_new() -> None:
    fitted = fit(CLIP, shapes(SEGMENTATION), source="x", heads=("decoder.",))
    assert same(fitted.tensors, clothed(CLIP, "clip."))
    assert fitted.missing_heads == ("decoder.",)
    assert set(fitted.missing_keys) == set(DECODER)
    assert "missing: decoder." in refusal(CLIP, SEGMENTATION)  # only if the caller allows it


def test_a_head_of_other_shapes_is_left_out_on_request() -> None:
    wider = {**SEGMENTATION, "decoder.film_mul.bias": torch.zeros(99)}
    assert "1 misshapen: decoder.film_mul.bias" in refusal(wider, SEGMENTATION, heads=("decoder.",))
    fitted = fit(wider, shapes(SEGMENTATION), source="x", heads=("decoder.",), ignore_mismatched_heads=True)
    assert same(fitted.tensors, clothed(CLIP, "clip."))
    assert fitted.missing_heads == ("decoder.",)
    assert fitted.mismatched_keys == (("decoder.film_mul.bias", (99,), (8,)),)
    assert set(fitted.missing_keys) == set(DECODER)
    with pytest.raises(
        CheckpointMismatchError, match=r"1 misshapen: clip\.logit_scale"
    ):  # a tower's are never let pass
        fit(
            {**wider, "clip.logit_scale": torch.zeros(2)},
            shapes(SEGMENTATION),
            source="x",
            heads=("decoder.",),
            ignore_mismatched_heads=True,
        )


def test_part_of_a_head_is_refused() -> None:
    part = dict(SEGMENTATION)
    del part["decoder.film_mul.bias"]
    assert "1 missing: decoder.film_mul.bias" in refusal(part, SEGMENTATION, heads=("decoder.",))


def test_a_prefix_on_part_of_the_file_is_refused() -> None:
    half = {("module." if i % 2 else "") + key: value for i, (key, value) in enumerate(SEGMENTATION.items())}
    assert "unused: module." in refusal(half, SEGMENTATION)
    clash = CLIP | {"clip.logit_scale": CLIP["logit_scale"]}
    assert "clip.logit_scale" in refusal(clash, CLIP)


def test_ignored_keys_never_count() -> None:
    buffers = {
        "clip.text_model.embeddings.position_ids": torch.arange(77)[None],
        "clip.vision_model.embeddings.position_ids": torch.arange(5)[None],
        "decoder.reduce.weight": torch.zeros(8, 64),
        "reduce.bias": torch.zeros(8),
    }
    assert same(fit(SEGMENTATION | buffers, shapes(SEGMENTATION), source="x").tensors, SEGMENTATION)
    assert "position_idss" in refusal(SEGMENTATION | {"clip.embeddings.position_idss": torch.zeros(1)}, SEGMENTATION)


def test_everything_is_said_at_once() -> None:
    wrong = SEGMENTATION | {"clip.logit_scale": torch.zeros(2), "extra.weight": torch.zeros(1)}
    del wrong["clip.visual_projection.weight"]
    message = refusal(wrong, SEGMENTATION)
    assert "1 missing: clip.visual_projection.weight" in message
    assert "1 unused: extra.weight" in message
    assert "1 misshapen: clip.logit_scale (found 2, expected scalar)" in message


def test_long_lists_are_cut() -> None:
    message = refusal({}, SEGMENTATION)
    assert f"({len(SEGMENTATION) - 8} more)" in message
    assert len(message) < 600


@pytest.mark.parametrize(
    ("tensors", "model", "remedy"),
    [
        (clothed(CLIP, "clip.") | REFINED, SEGMENTATION, "use_complex_transposed_convolution=True"),
        (SEGMENTATION, clothed(CLIP, "clip.") | REFINED, "use_complex_transposed_convolution=False"),
        (SEGMENTATION, SEGMENTATION | {"decoder.film_mul.weight": torch.zeros(16, 32)}, "set reduce_dim=8"),
        (SEGMENTATION, SEGMENTATION | {"decoder.layers.0.mlp.fc1.weight": torch.zeros(99, 8)}, "intermediate_size=24"),
        (CLIP, CLIP | {"visual_projection.weight": torch.zeros(7, 64)}, "set projection_dim=32"),
        (CLIP | {"classifier.bias": torch.ones(3)}, CLIP | {"classifier.bias": torch.ones(5)}, "own num_labels"),
        (DECODER, SEGMENTATION, "name the CLIP weights"),
        (decoder_file(), SEGMENTATION, "clipseg convert"),
        (openai_file(), CLIP, "clipseg convert"),
        (
            clothed(CLIP, "clip.") | decoder_to_hf(decoder_file(layers=2)),
            SEGMENTATION,
            "name 2 layers in extract_layers, not 3",
        ),
        (
            SEGMENTATION,
            SEGMENTATION | {"decoder.transposed_convolution.weight": torch.zeros(8, 1, 32, 32)},
            "patch_size",
        ),
        (
            SEGMENTATION,
            SEGMENTATION | {"clip.vision_model.embeddings.position_embedding.weight": torch.zeros(50, 64)},
            "(4 cells)",
        ),
    ],
)
def test_remedies(tensors: Tensors, model: Tensors, remedy: str) -> None:
    assert remedy in refusal(tensors, model, heads=("decoder.",)).partition(" -> ")[2]


@given(st.sampled_from(sorted(SEGMENTATION)), st.sampled_from(["missing", "unused", "misshapen"]))
def test_one_wrong_key_is_always_found(key: str, kind: str) -> None:
    wrong = dict(SEGMENTATION)
    if kind == "missing":
        del wrong[key]
    elif kind == "unused":
        key = key + "_"
        wrong[key] = torch.zeros(1)
    else:
        wrong[key] = torch.zeros(7, 5, 3)
    message = refusal(wrong, SEGMENTATION, heads=("decoder.",))
    assert f"1 {kind}: {key}" in message
