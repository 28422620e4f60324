"""Models loaded in half precision against the reference implementation in the same precision."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cases import CLASSES, COMPARING, READING
from clipseg.modeling.pretrained import PreTrainedModel
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from tiny import clip_config, config, model, pixels, texts
from twins import Twin, difference

TOLERANCES = {torch.bfloat16: 2**-5, torch.float16: 2**-8}
"""Eight steps of rounding on the way through some layers."""


@pytest.mark.parametrize("keyword", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("cls", CLASSES)
def test_half_precision(tmp_path: Path, cls: type[PreTrainedModel], dtype: torch.dtype, keyword: str) -> None:
    whole = model(cls, config() if "Seg" in cls.__name__ else clip_config())
    whole.save_pretrained(tmp_path)
    given = dtype if keyword == "dtype" else str(dtype).removeprefix("torch.")
    ours = cls.from_pretrained(tmp_path, **{keyword: given})
    assert {parameter.dtype for parameter in ours.parameters()} == {dtype}
    inputs: dict[str, Any] = texts(3) if cls in READING else {"pixel_values": pixels(3)}  # pixels are cast
    if cls in (*COMPARING, CLIPSegForImageSegmentation):
        inputs |= texts(3)
    with torch.no_grad():
        ours.set_attn_implementation("eager")
        answer = ours(**inputs, output_hidden_states=True, output_attentions=True)
        # The same operations in one order, but for the norm that embeddings are divided by.
        assert difference(answer, Twin(ours, "eager")(True, True, **inputs)) <= torch.finfo(dtype).eps
        ours.set_attn_implementation("sdpa")
        answer = ours(**inputs, output_hidden_states=True)
        assert difference(answer, Twin(ours, "sdpa")(True, **inputs)) <= TOLERANCES[dtype]
