"""Tiny files in the layouts of the original projects, written down by hand: the tests' own word on the key names.

D = 64 and E = 32 widths, patches of 16 in a 2x2 grid; decoder width 8, three layers.
"""

import torch
from torch import Tensor

TEXT, VISION, EMBEDDING, PATCH, DECODER, WORDS = 32, 64, 32, 16, 8, 50


def decoder_file(refined: bool = False, reduce: bool = False, layers: int = 3) -> dict[str, Tensor]:
    """What `rd*-uni*.pth` holds, at a small size."""
    d = DECODER
    shapes: dict[str, tuple[int, ...]] = {}
    for name in ("film_mul", "film_add"):
        shapes |= {f"{name}.weight": (d, EMBEDDING), f"{name}.bias": (d,)}
    for j in range(layers):
        shapes |= {f"reduces.{j}.weight": (d, VISION), f"reduces.{j}.bias": (d,)}
        shapes |= {
            f"blocks.{j}.self_attn.in_proj_weight": (3 * d, d),
            f"blocks.{j}.self_attn.in_proj_bias": (3 * d,),
            f"blocks.{j}.self_attn.out_proj.weight": (d, d),
            f"blocks.{j}.self_attn.out_proj.bias": (d,),
            f"blocks.{j}.linear1.weight": (24, d),
            f"blocks.{j}.linear1.bias": (24,),
            f"blocks.{j}.linear2.weight": (d, 24),
            f"blocks.{j}.linear2.bias": (d,),
        }
        for norm in ("norm1", "norm2"):
            shapes |= {f"blocks.{j}.{norm}.weight": (d,), f"blocks.{j}.{norm}.bias": (d,)}
    if refined:
        shapes |= {"trans_conv.0.weight": (d, d, 3, 3), "trans_conv.0.bias": (d,)}
        shapes |= {"trans_conv.2.weight": (d, d // 2, 4, 4), "trans_conv.2.bias": (d // 2,)}
        shapes |= {"trans_conv.4.weight": (d // 2, 1, 4, 4), "trans_conv.4.bias": (1,)}
    else:
        shapes |= {"trans_conv.weight": (d, 1, PATCH, PATCH), "trans_conv.bias": (1,)}
    if reduce:
        shapes |= {"reduce.weight": (d, VISION), "reduce.bias": (d,)}
    return random(shapes)


def openai_file(layers: int = 2) -> dict[str, Tensor]:
    """What OpenAI's CLIP holds, at a small size; the text projection is square, as in ViT-B/16."""
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding.weight": (WORDS, TEXT),
        "positional_embedding": (77, TEXT),
        "ln_final.weight": (TEXT,),
        "ln_final.bias": (TEXT,),
        "text_projection": (TEXT, EMBEDDING),
        "logit_scale": (),
        "visual.conv1.weight": (VISION, 3, PATCH, PATCH),
        "visual.class_embedding": (VISION,),
        "visual.positional_embedding": (5, VISION),
        "visual.proj": (VISION, EMBEDDING),
    }
    for norm in ("visual.ln_pre", "visual.ln_post"):
        shapes |= {f"{norm}.weight": (VISION,), f"{norm}.bias": (VISION,)}
    for tower, width in (("transformer", TEXT), ("visual.transformer", VISION)):
        for n in range(layers):
            block = f"{tower}.resblocks.{n}"
            shapes |= {
                f"{block}.attn.in_proj_weight": (3 * width, width),
                f"{block}.attn.in_proj_bias": (3 * width,),
                f"{block}.attn.out_proj.weight": (width, width),
                f"{block}.attn.out_proj.bias": (width,),
                f"{block}.mlp.c_fc.weight": (4 * width, width),
                f"{block}.mlp.c_fc.bias": (4 * width,),
                f"{block}.mlp.c_proj.weight": (width, 4 * width),
                f"{block}.mlp.c_proj.bias": (width,),
            }
            for norm in ("ln_1", "ln_2"):
                shapes |= {f"{block}.{norm}.weight": (width,), f"{block}.{norm}.bias": (width,)}
    return random(shapes)


def random(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
