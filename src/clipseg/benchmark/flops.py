"""How much arithmetic a model is, counted from its configuration: 2 operations for each multiply-add of its matrices.

What is left out, as is usual: norms, activations, softmax and sums, which are some per cent of the whole.

Shapes: H, W pixels · p patch side · N = 1 + (H // p)(W // p) tokens · D tower width · I hidden units ·
d decoder width · E condition width · P conditions.
"""

from __future__ import annotations

from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.configuration.deconv import CLIPDeconvConfig
from clipseg.modeling.decoder import refined_kernels


def layer_flops(tokens: int, width: int, hidden: int) -> int:
    """One transformer layer: 4 projections, scores and their sums, 2 linear layers -> 8 N D² + 4 N² D + 4 N D I."""
    return 8 * tokens * width**2 + 4 * tokens**2 * width + 4 * tokens * width * hidden


def encoder_flops(config: CLIPSegConfig, size_hw: tuple[int, int]) -> int:
    """A picture of this size in the model's input -> its reduced taps: patches, layers to the deepest tap, reductions.

    2 (N - 1) 3 p² D + layers + 2 N D d for each tap.
    """
    vision, cells = config.vision_config, _cells(config, size_hw)
    tokens = 1 + cells
    patches = 2 * cells * vision.num_channels * vision.patch_size**2 * vision.hidden_size
    layers = (max(config.extract_layers) + 1) * layer_flops(tokens, vision.hidden_size, vision.intermediate_size)
    return patches + layers + len(config.extract_layers) * 2 * tokens * vision.hidden_size * config.reduce_dim


def decoder_flops(config: CLIPSegConfig, size_hw: tuple[int, int], prompts: int) -> int:
    """An encoded picture under P conditions -> its logits: FiLM, 4 P E d, the decoder's layers, the upsampling head.

    Layers before the condition enters are run once for all prompts.
    """
    cells, width, hidden = _cells(config, size_hw), config.reduce_dim, config.decoder_intermediate_size
    film = prompts * 4 * config.projection_dim * width
    if isinstance(config, CLIPDeconvConfig):
        body = prompts * 4 * (1 + cells) * width * hidden
    else:
        steps = len(config.extract_layers)
        runs = config.conditional_layer + prompts * (steps - config.conditional_layer)
        body = runs * layer_flops(1 + cells, width, hidden)
    return film + body + prompts * _head_flops(config, cells)


def text_flops(config: CLIPSegConfig, tokens: int) -> int:
    """One phrase of so many tokens -> its condition: all layers, and the projection, 2 D E."""
    text = config.text_config
    layers = text.num_hidden_layers * layer_flops(tokens, text.hidden_size, text.intermediate_size)
    return int(layers + 2 * text.hidden_size * config.projection_dim)


def _head_flops(config: CLIPSegConfig, cells: int) -> int:
    """The head on one map: 2 cells d p², or refined a 3 x 3 convolution and two transposed ones of kernels k and l.

    18 cells d² + cells d² k² + cells k² d l².
    """
    width, patch = config.reduce_dim, config.vision_config.patch_size
    if not config.use_complex_transposed_convolution:
        return int(2 * cells * width * patch**2)
    first, second = refined_kernels(patch)
    inner = width // 2
    convolved, widened = 18 * cells * width**2, 2 * cells * width * inner * first**2
    return int(convolved + widened + 2 * cells * first**2 * inner * second**2)


def _cells(config: CLIPSegConfig, size_hw: tuple[int, int]) -> int:
    patch = config.vision_config.patch_size
    return int((size_hw[0] // patch) * (size_hw[1] // patch))
