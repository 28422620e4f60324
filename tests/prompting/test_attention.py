"""Against attention written out one head, one query at a time, in float64, on a small model."""

import numpy as np
import pytest
import torch

import ready
import tiny
from clipseg.prompting.attention import masked_image_features, visible_tokens
from clipseg.prompting.conditioning import Conditioner
from clipseg.prompting.prompts import ImagePrompt
from clipseg.prompting.styles import VisualStyle


@pytest.fixture(scope="module")
def model():
    return tiny.segmenter()


def masks(side=64):
    """A thing in one corner, one in the middle, and everything."""
    out = torch.zeros(3, side, side, dtype=torch.bool)
    out[0, :20, :40] = True
    out[1, 24:60, 20:50] = True
    out[2] = True
    return out


def normed(x, norm):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + norm.eps)
    return x * numbers(norm.weight) + numbers(norm.bias)


def numbers(tensor):
    return tensor.detach().double().numpy()


def linear(x, layer):
    return x @ numbers(layer.weight).T + (0 if layer.bias is None else numbers(layer.bias))


def by_hand(clip, pixels, mask, attention):
    """One picture (3, H, W) -> its embedding (E,). A patch counts only where the tokens allowed to see it are."""
    tower = clip.vision_model
    patch, weight = tower.embeddings.patch_size, numbers(tower.embeddings.patch_embedding.weight)
    side = pixels.shape[1] // patch
    tokens, inside = [numbers(tower.embeddings.class_embedding)], [True]
    shares = []
    for row in range(side):
        for column in range(side):
            place = (slice(row * patch, (row + 1) * patch), slice(column * patch, (column + 1) * patch))
            tokens.append((weight * numbers(pixels)[:, place[0], place[1]]).sum((1, 2, 3)))
            shares.append(numbers(mask)[place].mean())
    inside += [share >= min(0.5, max(shares)) for share in shares]
    x = normed(np.stack(tokens) + numbers(tower.embeddings.position_embedding.weight), tower.pre_layrnorm)
    for number, layer in enumerate(tower.encoder.layers):
        last = number == len(tower.encoder.layers) - 1
        heads, h = layer.self_attn.heads, normed(x, layer.layer_norm1)
        q, k, v = (linear(h, getattr(layer.self_attn, f"{name}_proj")) for name in "qkv")
        width = q.shape[1] // heads
        out = np.zeros_like(q)
        for head in range(heads):
            of = slice(head * width, (head + 1) * width)
            for query in range(len(x)):
                masked = attention == "all" or (query == 0 and (attention == "class" or last))
                seen = [key for key in range(len(x)) if not masked or inside[key] or key == query]
                scores = np.array([q[query, of] @ k[key, of] / np.sqrt(width) for key in seen])
                shares = np.exp(scores - scores.max())
                out[query, of] = (shares / shares.sum()) @ v[seen, of]
        x = x + linear(out, layer.self_attn.out_proj)
        h = linear(normed(x, layer.layer_norm2), layer.mlp.fc1)
        x = x + linear(h / (1 + np.exp(-1.702 * h)), layer.mlp.fc2)
    return linear(normed(x[0], tower.post_layernorm), clip.visual_projection)


@pytest.mark.parametrize("attention", ["class_last", "class", "all"])
def test_as_written_out(model, attention):
    pixels = tiny.pixels(3)
    with torch.inference_mode():
        out = masked_image_features(model.clip, pixels, masks(), attention)
    for row, picture, mask in zip(out, pixels, masks(), strict=True):
        np.testing.assert_allclose(row.numpy(), by_hand(model.clip, picture, mask, attention), atol=2e-5)


@pytest.mark.parametrize("attention", ["class_last", "class", "all"])
def test_all_inside_is_no_mask(model, attention):
    pixels = tiny.pixels(2)
    with torch.inference_mode():
        out = masked_image_features(model.clip, pixels, torch.ones(2, 64, 64, dtype=torch.bool), attention)
        expected = model.clip.get_image_features(pixels)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)


def test_what_all_tokens_are_kept_from_has_no_influence(model):
    """With "all" the background may be anything; in the other ways it comes in through the tokens of the thing."""
    pixels = tiny.pixels(1)
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[:, 16:48, 16:48] = True  # whole patches
    other = torch.where(mask[:, None], pixels, tiny.pixels(1, seed=1))
    with torch.inference_mode():
        out = {
            attention: [masked_image_features(model.clip, each, mask, attention) for each in (pixels, other)]
            for attention in ("class_last", "class", "all")
        }
    torch.testing.assert_close(*out["all"], atol=1e-6, rtol=0)
    for attention in ("class_last", "class"):
        assert (out[attention][0] - out[attention][1]).abs().max() > 1e-2


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_either_implementation(implementation):
    model = tiny.segmenter()
    for layer in model.clip.vision_model.encoder.layers:
        layer.self_attn.implementation = implementation
    pixels = tiny.pixels(1)
    with torch.inference_mode():
        out = masked_image_features(model.clip, pixels, masks()[:1], "all")
    np.testing.assert_allclose(out[0].numpy(), by_hand(model.clip, pixels[0], masks()[0], "all"), atol=2e-5)


def test_visible_tokens():
    mask = torch.zeros(1, 32, 48, dtype=torch.bool)
    mask[0, :16, :8] = True  # half of the first patch of 16
    mask[0, 16:32, 40:47] = True  # less than half of the last
    assert visible_tokens(mask, 16).tolist() == [[True, True, False, False, False, False, False]]
    mask[0, :16, :8] = False
    assert visible_tokens(mask, 16).tolist() == [[True, False, False, False, False, False, True]], "the most there is"
    assert visible_tokens(torch.ones(2, 32, 48, dtype=torch.bool), 16).all()


def test_prompts_with_masked_attention():
    """A batch of examples with masks and ways of their own is those one by one; each way is another embedding."""
    conditioner = Conditioner(ready.model(), ready.processor())
    boxes = [(0, 0, 20, 15), (10, 10, 40, 30)]
    prompts = [
        ImagePrompt(ready.picture(), box=box, style=VisualStyle(attention=attention))
        for attention in ("free", "class_last", "class", "class", "all")
        for box in boxes
    ]
    together = conditioner.embed(prompts)
    one_by_one = torch.cat([conditioner.embed([prompt]) for prompt in prompts])
    torch.testing.assert_close(together, one_by_one, atol=1e-5, rtol=0)
    assert len(together.mul(1e4).round().unique(dim=0)) == 7, "free looks at all, whatever the box"
    whole = conditioner.embed([ImagePrompt(ready.picture(), style="attend_all"), ImagePrompt(ready.picture())])
    torch.testing.assert_close(whole[0], whole[1], atol=1e-5, rtol=0)
