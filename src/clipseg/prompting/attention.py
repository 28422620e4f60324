"""Example pictures seen through a mask: attention that is kept away from what lies outside it.

The study of visual prompts calls this attention masking. Here what is masked counts nothing at all; the original code
multiplied attention scores before the softmax by zero, which leaves it a share, and mixed up the masks of a batch.

Shapes: B pictures · H, W their pixels · N tokens, the class token first, then the patches of a grid · E width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it

from clipseg.modeling.clip import CLIPSegModel


def masked_image_features(
    clip: CLIPSegModel, pixels: torch.Tensor, masks: torch.Tensor, attention: str
) -> torch.Tensor:
    """Pixels (B, 3, H, W) and masks (B, H, W), true inside -> embeddings (B, E), not normalised.

    `attention` is a word of `styles.ATTENTIONS` other than "free": the class token sees only patches inside, in the
    last layer ("class_last") or in all ("class"); or every token does, itself aside, in all layers ("all").
    """
    tower = clip.vision_model
    embedded, _ = tower.embeddings(pixels, interpolate_pos_encoding=True)
    x = tower.pre_layrnorm(embedded)  # (B, N, D)
    visible = visible_tokens(masks, tower.embeddings.patch_size)  # (B, N)
    tokens = visible.shape[1]
    if attention == "all":
        sees = visible[:, None, :] | torch.eye(tokens, dtype=torch.bool, device=visible.device)
    else:
        sees = visible.new_ones(len(visible), tokens, tokens)
        sees[:, 0] = visible
    sees = sees[:, None]  # (B, 1, N, N)
    layers = tower.encoder.layers
    if attention == "class_last":
        x, _, _ = tower.encoder(x, depth=len(layers) - 1)
        x, _ = layers[-1](x, sees)
    else:
        x, _, _ = tower.encoder(x, sees)
    return clip.visual_projection(tower.post_layernorm(x[:, 0]))  # type: ignore[no-any-return]


def visible_tokens(masks: torch.Tensor, patch_size: int) -> torch.Tensor:
    """Masks (B, H, W) -> (B, N), true for the class token and for patches that are inside.

    Inside is what a mask covers half of, or most of where it covers half of no patch.
    """
    covered = F.avg_pool2d(masks.float()[:, None], patch_size).flatten(1)  # (B, N - 1)
    inside = covered >= covered.amax(1, keepdim=True).clamp(max=0.5)
    return F.pad(inside, (1, 0), value=True)
