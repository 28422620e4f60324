"""The compiled model against the model itself."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch

import ready
import tiny
from clipseg import Segmenter
from clipseg.errors import MissingPackageError, UsageError
from clipseg.runtime import compiled
from clipseg.runtime.compiled import COMPILERS, CompiledModel


def test_traced_whole_and_equal_to_the_model():
    model = tiny.segmenter(use_complex_transposed_convolution=True).eval()
    runner, pixels = CompiledModel(model, "eager"), tiny.pixels(2)
    with torch.inference_mode():
        exact, encoded = model.encode_images(pixels), runner.encode_images(pixels)
        assert encoded.grid == exact.grid
        for found, expected in zip(encoded.reduced, exact.reduced, strict=True):
            torch.testing.assert_close(found, expected)
        for prompts in (1, 2, 3, 5):
            conditions = torch.randn(prompts, model.config.projection_dim)
            torch.testing.assert_close(runner.decode(encoded, conditions), model.decode(exact, conditions))
            of_each = torch.randn(2, prompts, model.config.projection_dim)
            torch.testing.assert_close(runner.decode(encoded, of_each), model.decode(exact, of_each))


def test_few_numbers_of_prompts_are_compiled():
    model, seen = tiny.segmenter().eval(), set()
    runner = CompiledModel(model, "eager")
    runner._decode = lambda encoded, conditions: (seen.add(len(conditions)), model.decode(encoded, conditions))[1]
    encoded = model.encode_images(tiny.pixels(1))
    for prompts in range(1, 18):
        assert runner.decode(encoded, torch.randn(prompts, model.config.projection_dim)).shape[1] == prompts
    assert seen == {1, 2, 4, 8, 16, 32}


def test_in_a_segmenter():
    plain = ready.segmenter()
    runner = CompiledModel(plain.model, "eager")
    segmenter = Segmenter(runner, plain.processor)
    assert segmenter.model is plain.model
    assert copy.deepcopy(runner).engine == "eager"
    prompts = ["a cat", "wood", "a jar"]
    expected = plain.segment(ready.picture(), prompts)
    torch.testing.assert_close(
        segmenter.segment(ready.picture(), prompts).logits, expected.logits, atol=1e-4, rtol=1e-4
    )


def test_only_the_text_encoder_is_packed():
    model, texts = tiny.segmenter().eval(), tiny.texts(2)
    runner = CompiledModel(model, "eager")
    runner.pack()
    assert set(runner._packed) == {"packed text"}
    with torch.inference_mode():
        found = runner.get_conditional_embeddings(2, **texts)
        torch.testing.assert_close(found, model.get_conditional_embeddings(2, **texts), atol=1e-4, rtol=1e-4)


def test_without_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"needs a C\+\+ compiler and there is none; install g\+\+"):
        Segmenter.from_pretrained(ready.folder(tmp_path), compile=True)
    with pytest.raises(UsageError, match='dtype "int8" cannot be compiled'):
        Segmenter.from_pretrained(tmp_path, dtype="int8", compile=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch, when its compiler is imported
@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="needs a C++ compiler")
def test_compiled_for_this_processor(tmp_path):
    folder = ready.folder(tmp_path)
    expected = Segmenter.from_pretrained(folder).segment(ready.picture(), ["a cat", "wood"])
    found = Segmenter.from_pretrained(folder, compile=True).segment(ready.picture(), ["a cat", "wood"])
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-3, rtol=1e-3)
