import math
import subprocess
import sys

import pytest

from clipseg.errors import PromptError
from clipseg.prompting.styles import ATTENTIONS, DEFAULT_STYLE, STYLE_NAMES, STYLES, VisualStyle, style_named


def test_styles_by_name():
    assert style_named(DEFAULT_STYLE) == VisualStyle(blur=3, background=0.1, context=0.1)
    assert style_named("crop") == VisualStyle(blur=1, background=1, context=0.1)
    own = VisualStyle(blur=2)
    assert style_named(own) is own
    assert tuple(STYLES) == STYLE_NAMES
    with pytest.raises(PromptError, match="known are whole, crop, crop_blur_highlight"):
        style_named("zoom")


def test_styles_are_all_different():
    assert len(set(STYLES.values())) == len(STYLES)
    assert {style.attention for style in STYLES.values()} == set(ATTENTIONS)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "3", None, True])
@pytest.mark.parametrize("name", ["blur", "background", "outline"])
def test_parameters_out_of_range(name, value):
    with pytest.raises(PromptError, match=f"a style's {name} is a finite number of at least 0, got"):
        VisualStyle(**{name: value})


def test_other_parameters_out_of_range():
    with pytest.raises(PromptError, match=r"context is a finite number of at least 0, got -0\.1"):
        VisualStyle(context=-0.1)
    with pytest.raises(PromptError, match="offset is a finite number, got nan"):
        VisualStyle(offset=math.nan)
    for tint in (1, (1, 1), (1, 1, 1, 1)):
        with pytest.raises(PromptError, match="three factors"):
            VisualStyle(tint=tint)
    with pytest.raises(PromptError, match="tint is a finite number"):
        VisualStyle(tint=(1, "red", 1))
    with pytest.raises(PromptError, match="known are free, class_last, class, all"):
        VisualStyle(attention="none")


def test_a_tint_is_kept_as_a_tuple():
    assert VisualStyle(tint=[1, 0, 0]) == VisualStyle(tint=(1.0, 0.0, 0.0))
    assert hash(VisualStyle(tint=[1, 0, 0]))


def test_names_need_no_torch():
    code = "import sys; import clipseg.prompting.styles, clipseg.prompting.templates; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
