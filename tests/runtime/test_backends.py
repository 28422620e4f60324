"""By which engine a model is run, on which device, and in what precision."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import ready
from clipseg import Segmenter
from clipseg.errors import UsageError
from clipseg.runtime import backends, precision
from clipseg.runtime.fused import FusedModel

needs_int8 = pytest.mark.skipif(
    not precision.native_int8(torch.device("cpu")), reason="needs a processor with 8-bit products"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return ready.folder(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize(("cuda", "mps", "chosen"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_auto_takes_an_accelerator_where_there_is_one(monkeypatch, cuda, mps, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert backends._device("auto") == torch.device(chosen)
    assert backends._device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize(
    ("dtype", "weights", "computed"),
    [
        ("auto", torch.float32, "float32"),
        ("float32", torch.float32, "float32"),
        (torch.bfloat16, torch.bfloat16, "bfloat16"),
        ("float16", torch.float16, "float16"),
        pytest.param("int8", torch.float32, "int8", marks=needs_int8),
    ],
)
def test_a_dtype_is_what_is_computed_in(folder, dtype, weights, computed):
    runner = backends.load_runner(folder, dtype=dtype)
    assert isinstance(runner, FusedModel)
    assert runner.dtype == weights
    assert runner.precision == computed


@pytest.mark.parametrize(
    ("width", "native", "chosen"),
    [(768, True, "bfloat16"), (768, False, "float32"), (256, True, "float32"), (512, True, "bfloat16")],
)
def test_auto_is_bfloat16_where_it_is_native_and_the_model_large(monkeypatch, width, native, chosen):
    monkeypatch.setattr(precision, "native_bfloat16", lambda device: native)
    config = ready.model().config
    config.vision_config.hidden_size = width
    assert precision.chosen_precision(config, torch.device("cpu")) == chosen


def test_what_is_not_known_is_named(folder):
    with pytest.raises(UsageError, match="backend 'tensorrt' is not known; expected torch, onnx, openvino"):
        Segmenter.from_pretrained(folder, backend="tensorrt")
    with pytest.raises(UsageError, match="unknown dtype 'int4'; expected auto, float32, bfloat16, float16, int8"):
        Segmenter.from_pretrained(folder, dtype="int4")
    with pytest.raises(UsageError, match="precision is 'int8', but FusedModel has its own; leave it out"):
        Segmenter(backends.load_runner(folder), precision="int8")


@pytest.mark.parametrize("dtype", ["auto", pytest.param("int8", marks=needs_int8)])
def test_a_copy_runs_as_its_original(folder, dtype):
    segmenter = Segmenter.from_pretrained(folder, dtype=dtype)
    masks = segmenter.segment(ready.picture(), ["a cat", "wood"])
    for twin in (copy.deepcopy(segmenter), pickle.loads(pickle.dumps(segmenter))):
        torch.testing.assert_close(twin.segment(ready.picture(), ["a cat", "wood"]).logits, masks.logits)
