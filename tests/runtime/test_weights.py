"""Whether weights have changed."""

from __future__ import annotations

import torch
from torch import nn

import tiny
from clipseg.runtime.weights import every_module, weight_state


def test_all_modules_of_all_parts_are_found():
    model = tiny.segmenter()
    model.nothing = None
    parts = (model.clip.text_model, model.decoder)
    assert set(every_module(parts)) == {module for part in parts for module in part.modules()}


def test_a_weight_written_to_replaced_or_moved_changes_the_state():
    part = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1, bias=False))
    seen = [weight_state(every_module([part]))]
    assert seen[0] == weight_state(every_module([part]))
    assert len(seen[0]) == 3
    with torch.no_grad():
        part[0].weight.add_(1)
    seen.append(weight_state(every_module([part])))
    part[1].weight = nn.Parameter(part[1].weight.detach().clone())
    seen.append(weight_state(every_module([part])))
    part[0] = nn.Linear(2, 3)
    seen.append(weight_state(every_module([part])))
    part.double()
    seen.append(weight_state(every_module([part])))
    assert all(one != other for place, one in enumerate(seen) for other in seen[:place])


def test_weights_that_do_not_count_have_no_state():
    with torch.inference_mode():
        part = nn.Linear(2, 2)
    assert weight_state(every_module([part])) is None
