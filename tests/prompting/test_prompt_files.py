import io
import json
import os
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

import ready
from clipseg.errors import OutputError, PromptError
from clipseg.prompting.prompt_files import description, load_prompts, save_prompts
from clipseg.prompting.prompts import EmbeddingPrompt, ImagePrompt, MixedPrompt, Origin, TextPrompt
from clipseg.prompting.styles import VisualStyle


def embeddings(count=2, width=5):
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(0))
    return [EmbeddingPrompt(row, f"thing {n}", Origin("pebble", {"kind": "embedding"})) for n, row in enumerate(rows)]


def same(found, expected):
    assert [prompt.label for prompt in found] == [prompt.label for prompt in expected]
    assert [prompt.origin for prompt in found] == [prompt.origin for prompt in expected]
    assert all(torch.equal(a.embedding, b.embedding) for a, b in zip(found, expected, strict=True))


def test_there_and_back(tmp_path):
    path = save_prompts(tmp_path / "things.safetensors", embeddings())
    assert path == tmp_path / "things.safetensors"
    same(load_prompts(path), embeddings())
    same(load_prompts(str(path), width=5), embeddings())
    save_prompts(path, embeddings()[0])
    same(load_prompts(path), embeddings()[:1])
    assert os.listdir(tmp_path) == ["things.safetensors"]


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=3))
@settings(deadline=None, max_examples=30)
def test_any_words_there_and_back(tmp_path_factory, label, model, source):
    prompt = EmbeddingPrompt(torch.ones(2), label, Origin(model, source))
    path = save_prompts(tmp_path_factory.mktemp("prompts") / "p.safetensors", prompt)
    same(load_prompts(path), [prompt])


def test_names_of_files_that_are_no_text(tmp_path):
    prompt = EmbeddingPrompt(torch.ones(2), os.fsdecode(b"caf\xe9"))
    (found,) = load_prompts(save_prompts(tmp_path / "p.safetensors", prompt))
    assert found.label == os.fsdecode(b"caf\xe9")
    assert found.origin == Origin("", {"kind": "embedding"})


def test_what_a_segmenter_embeds(tmp_path):
    """Made with one picture and used on another: what comes back answers as what went in."""
    segmenter = ready.segmenter()
    ready.picture().save(tmp_path / "jar.png")
    jar = ImagePrompt(tmp_path / "jar.png", box=(3, 4, 30, 20), style=VisualStyle(blur=2))
    asked = [TextPrompt("a cat", templates="photo"), jar, 0.6 * TextPrompt("wood") + -0.4 * jar]
    path = save_prompts(tmp_path / "p.safetensors", segmenter.embedded(asked))
    found = load_prompts(path)
    assert [prompt.label for prompt in found] == ["a cat", "jar", "0.6 wood + -0.4 jar"]
    assert found[0].origin.source == {"kind": "text", "text": "a cat", "templates": "photo"}
    assert found[1].origin.source["picture"] == "jar.png", "no folder is told"
    assert found[1].origin.source["box"] == [3, 4, 30, 20]
    assert found[1].origin.source["style"]["blur"] == 2
    parts = found[2].origin.source["parts"]
    assert [(part["weight"], part["kind"], part["label"]) for part in parts] == [
        (0.6, "text", "wood"),
        (-0.4, "image", "jar"),
    ]
    assert str(tmp_path) not in path.read_bytes().decode("latin-1")
    torch.testing.assert_close(torch.stack([prompt.embedding for prompt in found]), segmenter.embed(asked))
    picture = ready.picture(seed=1)
    torch.testing.assert_close(segmenter.segment(picture, found).logits, segmenter.segment(picture, asked).logits)
    again = segmenter.embedded(found)
    assert [prompt.origin for prompt in again] == [prompt.origin for prompt in found], "an origin is kept"


def test_descriptions():
    marked = ImagePrompt(ready.picture(), mask=ready.picture())
    assert description(marked) == {
        "kind": "image", "picture": None, "marked": "mask", "box": None, "style": "crop_blur_highlight",
    }  # fmt: skip
    assert description(ImagePrompt(b"GIF"))["marked"] == "nothing"
    assert description(TextPrompt("a", templates=["the {}"]))["templates"] == ["the {}"]
    assert json.loads(json.dumps(description(MixedPrompt(((2, marked), (1, TextPrompt("a")))))))["kind"] == "mix"
    with pytest.raises(PromptError, match="'a AND b' is an expression, which has no embedding"):
        description(TextPrompt("a") & TextPrompt("b"))


def test_another_model_is_told(tmp_path):
    segmenter = ready.segmenter()
    row = torch.ones(ready.WIDTH)
    with pytest.warns(UserWarning, match="'jar' was made with pebble and is used with"):
        segmenter.embed(EmbeddingPrompt(row, "jar", Origin("pebble", {})))
    segmenter.embed(EmbeddingPrompt(row, "jar", Origin("", {})))
    segmenter.embed(segmenter.embedded("a cat"))


def test_a_mix_of_files_works_with_strings(tmp_path):
    segmenter = ready.segmenter()
    (cat,) = load_prompts(save_prompts(tmp_path / "cat.safetensors", segmenter.embedded("a cat")))
    mixed = segmenter.embed([0.5 * cat + 0.5 * TextPrompt("wood")])[0]
    torch.testing.assert_close(mixed, segmenter.embed(["a cat", "wood"]).mean(0))


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "holds at least one"),
        ([TextPrompt("a cat")], r"got a TextPrompt; make one with segmenter\.embedded"),
        (["a cat"], "got a str"),
        ([*embeddings(), EmbeddingPrompt(torch.ones(3))], "3 and 5 wide"),
        (
            [EmbeddingPrompt(torch.ones(3), origin=Origin("pebble", {"picture": b"GIF"}))],
            "no plain values, fit for JSON",
        ),
    ],
)
def test_what_cannot_be_saved(tmp_path, prompts, message):
    with pytest.raises(PromptError, match=message):
        save_prompts(tmp_path / "p.safetensors", prompts)
    assert not any(tmp_path.iterdir())


def test_names_and_places(tmp_path):
    for name in ("p.pt", "p", "p.safetensors.bak"):
        with pytest.raises(PromptError, match=r"is named ….safetensors"):
            save_prompts(tmp_path / name, embeddings())
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OutputError):
        save_prompts(tmp_path / "folder.safetensors", embeddings())


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = save_prompts(tmp_path / "p.safetensors", embeddings())
    before = path.read_bytes()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    for moment in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(os, moment, interrupted)
            with pytest.raises(KeyboardInterrupt):
                save_prompts(path, embeddings(3))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["p.safetensors"], "and nothing is left over"


GOOD = {"clipseg_prompts": "1", "prompts": json.dumps([{"label": "a", "model": "m", "source": {}}])}


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        ({"embeddings": torch.ones(1, 3)}, None, "no prompt file but other tensors"),
        ({"embeddings": torch.ones(1, 3)}, GOOD | {"clipseg_prompts": "2"}, "format version '2', known is '1'"),
        ({"other": torch.ones(1, 3)}, GOOD, "damaged prompt file"),
        ({"embeddings": torch.ones(3)}, GOOD, "damaged prompt file"),
        ({"embeddings": torch.ones(2, 3)}, GOOD, "damaged prompt file"),
        ({"embeddings": torch.full((1, 3), torch.nan)}, GOOD, "not finite"),
        ({"embeddings": torch.ones(1, 3)}, {"clipseg_prompts": "1"}, "damaged prompt file"),
        *(
            ({"embeddings": torch.ones(1, 3)}, GOOD | {"prompts": text}, "damaged prompt file")
            for text in ("{", "[" * 100_000, "{}", "[1]", "[{}]", '[{"label": 1, "model": "m", "source": {}}]',
                         '[{"label": "a", "model": "m", "source": []}]')
        ),
    ],
)  # fmt: skip
def test_damaged_files(tmp_path, tensors, metadata, message):
    path = tmp_path / "p.safetensors"
    save_file(tensors, path, metadata)
    with pytest.raises(PromptError, match=message) as caught:
        load_prompts(path)
    assert str(path) in str(caught.value)


def test_what_is_no_such_file(tmp_path):
    with pytest.raises(PromptError, match="there is no prompt file"):
        load_prompts(tmp_path / "nowhere.safetensors")
    with pytest.raises(PromptError, match="is no prompt file"):
        load_prompts(tmp_path)
    path = save_prompts(tmp_path / "p.safetensors", embeddings())
    whole = path.read_bytes()
    for length in (0, 5, 8, 50, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(PromptError, match="not whole, or not safetensors"):
            load_prompts(path)
    path.write_bytes(pickle.dumps({"embeddings": 1}))
    with pytest.raises(PromptError, match="not whole, or not safetensors"):
        load_prompts(path)


def test_another_width(tmp_path):
    path = save_prompts(tmp_path / "p.safetensors", embeddings())
    with pytest.raises(PromptError, match="are 5 wide but the model's conditions have 12"):
        load_prompts(path, width=12)
    with pytest.raises(PromptError, match="has width 5 but the model's conditions have 12"):
        ready.segmenter().embed(load_prompts(path))


def test_the_file_is_plain_safetensors(tmp_path):
    path = save_prompts(tmp_path / "p.safetensors", embeddings())
    tensors = load_file(path)
    assert list(tensors) == ["embeddings"]
    assert tensors["embeddings"].shape == (2, 5)
    assert tensors["embeddings"].dtype == torch.float32


def test_a_picture_that_was_opened_from_a_file_is_told_by_its_name(tmp_path):
    path = tmp_path / "jar.png"
    ready.picture().save(path)
    nameless = Image.open(io.BytesIO(path.read_bytes()))
    with Image.open(path) as opened:
        told = [description(ImagePrompt(picture))["picture"] for picture in (path, opened, nameless, ready.picture())]
    assert told == ["jar.png", "jar.png", None, None]
