"""Styles of picture prompts: how the thing meant and what is around it are treated. `visual` carries them out.

The paper's styles by name, and their parameters for others of one's own. Nothing here needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clipseg.errors import PromptError

RED_TINT = (1.0, 0.2, 0.2)
ATTENTIONS = ("free", "class_last", "class", "all")


def _check(name: str, value: object, low: float = -math.inf) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < low:  # type: ignore[arg-type, operator]  # a number, if `number`
        least = "" if low == -math.inf else f" of at least {low:g}"
        raise PromptError(f"a style's {name} is a finite number{least}, got {value!r}")


@dataclass(frozen=True)
class VisualStyle:
    """How the thing and its background are treated in a picture prompt. The defaults leave the picture as it is.

    Fields
        blur        sigma of the Gaussian over the background in pixels of the prompt's input; 0: none
        background  factor on the normalised background, 0 (mean colour) to 1 (as it is)
        context     how far a crop goes beyond the mask's box, as a share of the box's extent; None: no crop
        offset      added to all normalised pixels; the paper's `blur_highlight` takes a hundredth off
        tint        red, green and blue factors on the thing in grey; the background is grey then, times `background`
                    as light, so 0 is black there; None: colours as they are
        outline     thickness in pixels of a red line along the mask's outer border; 0: none
        attention   who is kept from looking at the background: nobody ("free"), the class token in the last layer
                    ("class_last") or in all layers ("class"), or all tokens in all layers ("all")

    Raises PromptError for a value out of range.
    """

    blur: float = 0.0
    background: float = 1.0
    context: float | None = None
    offset: float = 0.0
    tint: tuple[float, float, float] | None = None
    outline: float = 0.0
    attention: str = "free"

    def __post_init__(self) -> None:
        _check("blur", self.blur, low=0)
        _check("background", self.background, low=0)
        _check("offset", self.offset)
        _check("outline", self.outline, low=0)
        if self.context is not None:
            _check("context", self.context, low=0)
        if self.tint is not None:
            if not isinstance(self.tint, Sequence) or len(self.tint) != 3:
                raise PromptError(f"a style's tint is three factors for red, green and blue, got {self.tint!r}")
            for factor in self.tint:
                _check("tint", factor, low=0)
            object.__setattr__(self, "tint", tuple(map(float, self.tint)))
        if self.attention not in ATTENTIONS:
            raise PromptError(f"unknown attention {self.attention!r} of a style; known are {', '.join(ATTENTIONS)}")


STYLES: Mapping[str, VisualStyle] = {
    "whole": VisualStyle(),  # the picture as it is; the mask means nothing
    "crop": VisualStyle(blur=1.0, context=0.1),  # the background slightly blurred, as in the code: 13.60
    "crop_blur_highlight": VisualStyle(blur=3.0, background=0.1, context=0.1),  # the paper's final recipe: 23.50
    "crop_large": VisualStyle(context=0.5),  # "large context": 6.27
    "crop_blur": VisualStyle(blur=3.0, context=0.1),  # 15.34
    "crop_dim": VisualStyle(background=0.1, context=0.1),  # 21.73
    "dim": VisualStyle(background=0.5),  # intensity 50 %: 3.08
    "dark": VisualStyle(background=0.1),  # intensity 10 %: 13.85
    "cut_out": VisualStyle(background=0.0),  # intensity 0 %, also the author's advice: 23.40
    "blur": VisualStyle(blur=3.0),  # 13.15
    "highlight": VisualStyle(background=0.15),  # 0.85·img·m + 0.15·img
    "blur_highlight": VisualStyle(blur=1.0, background=0.5, offset=-0.01),
    "blur3_highlight": VisualStyle(blur=3.0, background=0.5, offset=-0.01),
    "blur3_highlight01": VisualStyle(blur=3.0, background=0.1, offset=-0.01),  # "blur + 10 %": 21.73
    "tint": VisualStyle(tint=RED_TINT),  # "dye red": 1.21
    "outline": VisualStyle(outline=5.0),  # "red outline": 2.29
    "attend_last": VisualStyle(attention="class_last"),  # "CLS, layer 11": 1.34
    "attend": VisualStyle(attention="class"),  # "CLS, all layers": 1.71
    "attend_all": VisualStyle(attention="all"),  # "all tokens, all layers": -14.44
}
"""Name -> style. The figures are the paper's gain in the probability of the object's name, in points, by plain CLIP."""

DEFAULT_STYLE = "crop_blur_highlight"
STYLE_NAMES = tuple(STYLES)


def style_named(style: str | VisualStyle) -> VisualStyle:
    """A key of STYLES, or a style -> the style. Raises PromptError for another name."""
    if isinstance(style, VisualStyle):
        return style
    if style not in STYLES:
        raise PromptError(f"unknown visual-prompt style {style!r}; known are {', '.join(STYLES)}")
    return STYLES[style]
