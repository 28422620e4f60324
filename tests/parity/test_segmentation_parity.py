"""CLIPSegForImageSegmentation against the reference implementation, with the same random weights."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from tiny import config, pixels, randomise, segmenter, texts
from twins import Twin, difference

TOLERANCE = 1e-5
DRAWS = range(16)


def drawn(number: int) -> CLIPSegConfig:
    """A number -> a small configuration; four numbers have all patch sizes, eight both heads of patches of 16."""
    draw = random.Random(number)
    patch = (16, 8, 32, 4)[number % 4]
    text_heads, heads, decoder_heads = (draw.choice((1, 2, 3)) for _ in range(3))
    layers = draw.randint(2, 5)
    taps = sorted(draw.sample(range(layers), draw.choice((1, 2, 3, 3)) if layers > 2 else draw.randint(1, 2)))
    return config(
        text={
            "hidden_size": text_heads * draw.choice((8, 12)),
            "num_attention_heads": text_heads,
            "num_hidden_layers": draw.randint(1, 3),
            "intermediate_size": draw.choice((20, 48)),
            "hidden_act": draw.choice(("quick_gelu", "gelu")),
            "eos_token_id": (2, 59)[number // 2 % 2],
        },
        vision={
            "hidden_size": heads * draw.choice((8, 12)),
            "num_attention_heads": heads,
            "num_hidden_layers": layers,
            "intermediate_size": draw.choice((20, 48)),
            "hidden_act": draw.choice(("quick_gelu", "gelu")),
            "patch_size": patch,
            "image_size": draw.choice((7, 14)) * patch,
            "layer_norm_eps": draw.choice((1e-5, 1e-3)),
        },
        projection_dim=draw.choice((6, 10, 16)),
        extract_layers=taps,
        conditional_layer=draw.randrange(len(taps)),
        reduce_dim=2 * decoder_heads * draw.choice((2, 4)),
        decoder_num_attention_heads=decoder_heads,
        decoder_intermediate_size=draw.choice((16, 40)),
        use_complex_transposed_convolution=number % 8 == 0,
    )


def sizes(patch: int) -> tuple[int, ...]:
    """Square sizes in pixels: those of CLIP and CLIPSeg (as many patches, where they are small), and an odd one."""
    return (224, 352, 165) if patch >= 16 else (14 * patch, 22 * patch, 9 * patch + 3)


def conditions(model: CLIPSegForImageSegmentation) -> Iterator[dict[str, Any]]:
    """The three ways to say what is looked for, two of each."""
    width = model.config.projection_dim
    yield texts(2)
    yield {"conditional_pixel_values": pixels(2, 5 * model.config.vision_config.patch_size, seed=7)}
    yield {"conditional_embeddings": torch.randn(2, width, generator=torch.Generator().manual_seed(8))}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("number", DRAWS)
def test_everything_is_the_reference_s(number: int, attention: str) -> None:
    model = randomise(CLIPSegForImageSegmentation(drawn(number)), number).eval()
    model.set_attn_implementation(attention)
    twin = Twin(model, attention)
    for side in sizes(model.config.vision_config.patch_size):
        for condition in conditions(model):
            inputs = {"pixel_values": pixels(2, side, seed=side), **condition}
            with torch.no_grad():
                ours = model(**inputs, output_hidden_states=True, output_attentions=attention == "eager")
            theirs = twin(True, attention == "eager", **inputs)
            assert theirs.logits.std() > 0.2
            assert difference(ours, theirs) <= TOLERANCE
            if attention == "eager":
                assert torch.equal(ours.logits, theirs.logits)  # the same operations in the same order


def test_the_draw_covers_what_it_should() -> None:
    configs = [drawn(number) for number in DRAWS]
    assert {c.vision_config.patch_size for c in configs} == {4, 8, 16, 32}
    assert {len(c.extract_layers) for c in configs} == {1, 2, 3}
    assert {c.conditional_layer for c in configs} == {0, 1, 2}
    assert {c.use_complex_transposed_convolution for c in configs if c.vision_config.patch_size == 16} == {True, False}
    assert {c.text_config.eos_token_id for c in configs} == {2, 59}
    assert {c.vision_config.hidden_act for c in configs} == {"quick_gelu", "gelu"}


def test_the_comparison_would_notice() -> None:
    model = segmenter()
    twin = Twin(segmenter(), "sdpa")
    norm = model.clip.vision_model.encoder.layers[1].layer_norm1
    assert isinstance(norm, nn.LayerNorm)
    with torch.no_grad():
        norm.weight.mul_(1.01)
        inputs = {"pixel_values": pixels(2), **texts(2)}
        assert difference(model(**inputs).logits, twin(**inputs).logits) > 50 * TOLERANCE


def test_attentions_under_sdpa_are_those_of_eager() -> None:
    model = segmenter()
    inputs = {"pixel_values": pixels(2), **texts(2)}
    with torch.no_grad():
        ours = model(**inputs, output_attentions=True)
    assert difference(ours, Twin(model, "eager")(attentions=True, **inputs)) <= TOLERANCE


def test_taps_that_do_not_ascend_are_walked_as_given() -> None:
    with pytest.warns(UserWarning, match=r"\[2, 0, 1\] are not ascending"):
        model = segmenter(extract_layers=[2, 0, 1])
    inputs = {"pixel_values": pixels(2), **texts(2)}
    with torch.no_grad():
        assert difference(model(**inputs).logits, Twin(model, "sdpa")(**inputs).logits) <= TOLERANCE


@pytest.mark.parametrize("kind", [torch.float32, torch.bool, torch.uint8, torch.long])
def test_loss(kind: torch.dtype) -> None:
    model = segmenter()
    inputs = {"pixel_values": pixels(2), **texts(2)}
    chances = torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(0))
    masks = chances if kind.is_floating_point else (chances > 0.7).to(kind)
    with torch.no_grad():
        ours = model(**inputs, labels=masks)
    theirs = Twin(model, "sdpa")(**inputs, labels=masks.float())  # which takes no other kind
    assert next(iter(ours)) == "loss"
    assert difference(ours, theirs) <= TOLERANCE


def test_tuples_hold_what_the_output_holds() -> None:
    model = segmenter()
    inputs = {"pixel_values": pixels(2), **texts(2), "output_hidden_states": True}
    with torch.no_grad():
        whole, plain = model(**inputs), model(**inputs, return_dict=False)
        model.config.return_dict = False
        configured = model(**inputs)
    assert [type(value) for value in plain] == [torch.Tensor] * 3 + [tuple] * 2
    assert difference(plain, whole.to_tuple()) == 0
    assert difference(configured, whole.to_tuple()) == 0
    theirs = Twin(model, "sdpa")(True, pixel_values=inputs["pixel_values"], input_ids=inputs["input_ids"])
    assert difference(plain, theirs.to_tuple()) <= TOLERANCE


@pytest.fixture(scope="module")
def released_size() -> CLIPSegForImageSegmentation:
    """ViT-B/16 with the refined head, as released, with random weights."""
    with torch.device("meta"):
        model = CLIPSegForImageSegmentation(
            CLIPSegConfig({"eos_token_id": 2}, {"patch_size": 16}, use_complex_transposed_convolution=True)
        )
    return randomise(model.to_empty(device="cpu")).eval()


@pytest.mark.parametrize(
    ("attention", "side", "condition"),
    [("sdpa", 352, texts(1)), ("eager", 224, {"conditional_pixel_values": pixels(1, 96, seed=1)})],
)
def test_the_released_size(
    released_size: CLIPSegForImageSegmentation, attention: str, side: int, condition: dict[str, Any]
) -> None:
    released_size.set_attn_implementation(attention)
    inputs = {"pixel_values": pixels(1, side), **condition}
    with torch.no_grad():
        ours = released_size(**inputs, output_hidden_states=True)
    theirs = Twin(released_size, attention)(True, **inputs)
    assert theirs.logits.shape == (1, side, side)
    assert theirs.logits.std() > 0.2
    assert difference(ours, theirs) <= TOLERANCE
