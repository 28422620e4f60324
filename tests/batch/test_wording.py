"""What is asked survives being written down: another process asks the very same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import ready
from clipseg.batch.storage import LocalStorage
from clipseg.batch.wording import identity, keep, kept, phrases, read_again, to_keep, written
from clipseg.errors import DataError
from clipseg.prompting.prompts import EmbeddingPrompt, ImagePrompt, TextPrompt, as_prompts, parse
from clipseg.segmenter import Segmenter

EXAMPLE = ready.picture(5)


def asked() -> list:
    thing = ImagePrompt(EXAMPLE, box=(3, 3, 20, 20), label="thing")
    cat = TextPrompt("a cat", templates=("a photo of {}.", "the {}"))
    return as_prompts(
        [
            *("wood", 'a jar AND NOT (wood OR "salt & pepper"){+3}', cat, 0.5 * cat + 0.5 * thing, thing),
            EmbeddingPrompt([0.1] * ready.WIDTH, "ready"),
            parse("animal AND NOT thing", {"animal": TextPrompt("a glass", "animal"), "thing": thing}),
        ]
    )


def test_another_process_asks_the_very_same(model, tmp_path):
    segmenter, terms, storage = Segmenter.from_pretrained(model), asked(), LocalStorage(tmp_path)
    keep(storage, segmenter.embedded(to_keep(terms)))
    again = read_again(written(terms), kept(storage, phrases(terms)))
    assert [term.label for term in again] == [term.label for term in terms]
    for mine, theirs in zip(segmenter.segment(EXAMPLE, terms), segmenter.segment(EXAMPLE, again), strict=True):
        torch.testing.assert_close(theirs.logits, mine.logits, rtol=0, atol=1e-5)


def test_of_phrases_no_file_is_needed(tmp_path):
    terms = asked()[:3]
    assert to_keep(terms) == []
    assert read_again(written(terms), kept(LocalStorage(tmp_path), phrases(terms))) == terms


def test_a_prompt_file_that_lacks_one(model, tmp_path):
    storage, terms = LocalStorage(tmp_path), asked()
    keep(storage, [EmbeddingPrompt([0.1] * ready.WIDTH, "thing")])
    with pytest.raises(DataError, match=r"has no prompt '0\.5 a cat"):
        kept(storage, phrases(terms))


def test_an_identity_is_of_what_is_asked_and_not_of_what_it_is_called():
    cat, box = TextPrompt("a cat"), (1, 1, 9, 9)
    assert identity(cat) == identity(TextPrompt("a cat", "animal")) != identity(TextPrompt("a dog"))
    assert identity(ImagePrompt(EXAMPLE)) == identity(ImagePrompt(EXAMPLE.copy(), label="other"))
    others = [
        cat,
        TextPrompt("a cat", templates="photo"),
        ImagePrompt(EXAMPLE),
        ImagePrompt(EXAMPLE, box=box),
        ImagePrompt(EXAMPLE, box=box, style="crop"),
        ImagePrompt(EXAMPLE, np.ones((30, 40), bool)),
        ImagePrompt(Image.new("RGB", (40, 30))),
        0.5 * cat,
        0.6 * cat,
        EmbeddingPrompt([0.0, 1.0]),
        EmbeddingPrompt([1.0, 0.0]),
        cat & TextPrompt("a dog"),
        cat | TextPrompt("a dog"),
    ]
    assert len({identity(one) for one in others}) == len(others)
    assert all(len(identity(one)) == 16 for one in others)
