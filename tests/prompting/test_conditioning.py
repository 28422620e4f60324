import copy
import pickle
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ready
from clipseg.errors import PictureNotFoundError, PromptError
from clipseg.prompting import conditioning
from clipseg.prompting.conditioning import Conditioner, ImageProcessorOnly
from clipseg.prompting.prompts import EmbeddingPrompt, ImagePrompt, MixedPrompt, TextPrompt, as_prompts, mean_prompt
from clipseg.prompting.styles import STYLES, VisualStyle
from clipseg.prompting.visual import engineer


@pytest.fixture
def conditioner():
    return Conditioner(ready.model(), ready.processor())


@pytest.fixture(scope="module")
def shared():
    """For tests that only ask."""
    return Conditioner(ready.model(), ready.processor())


@pytest.fixture
def calls(conditioner):
    """What the towers of `conditioner` were given: numbers of texts and of pictures, call by call."""
    seen = SimpleNamespace(texts=[], pictures=[])
    clip = conditioner.model.clip
    clip.text_model.register_forward_pre_hook(lambda _, args, kwargs: seen.texts.append(len(args[0])), with_kwargs=True)
    clip.vision_model.register_forward_pre_hook(lambda _, args: seen.pictures.append(len(args[0])))
    return seen


def half_mask(width=40, height=30):
    mask = np.zeros((height, width), dtype=bool)
    mask[5:20, 10:30] = True
    return mask


# -- text ------------------------------------------------------------------------------------------------------------


def test_texts_are_clips_text_features(shared):
    texts = ["a cat", "something to fill", "wood"]
    encoded = ready.tokenizer()(texts, padding="max_length", max_length=ready.LONGEST, return_tensors="pt")
    expected = shared.model.clip.get_text_features(encoded["input_ids"], encoded["attention_mask"]).detach()
    torch.testing.assert_close(shared.embed(as_prompts(texts)), expected, atol=1e-5, rtol=0)


def test_each_phrase_is_encoded_once(conditioner, calls):
    cat, named = TextPrompt("a cat"), TextPrompt("a cat", label="Tom")
    out = conditioner.embed([cat, TextPrompt("wood"), named, 0.5 * cat + 0.5 * TextPrompt("a jar"), cat])
    assert calls.texts == [3]
    assert torch.equal(out[0], out[2])
    assert torch.equal(out[0], out[4])
    again = conditioner.embed([TextPrompt("wood"), TextPrompt("a glass"), cat])
    assert calls.texts == [3, 1]
    assert torch.equal(again[2], out[0])
    assert torch.equal(again[0], out[1])
    conditioner.embed([cat])
    assert calls.texts == [3, 1]


def test_a_batch_is_its_phrases_one_by_one(shared, monkeypatch):
    texts = [f"a cat {number}" for number in range(10)] + ["wood"]
    one_by_one = torch.cat([Conditioner(shared.model, shared.processor).embed(as_prompts(text)) for text in texts])
    torch.testing.assert_close(shared.embed(as_prompts(texts)), one_by_one, atol=1e-5, rtol=0)
    monkeypatch.setattr(conditioning, "TEXT_BATCH", 4)
    in_fours = Conditioner(shared.model, shared.processor).embed(as_prompts(texts))
    torch.testing.assert_close(in_fours, one_by_one, atol=1e-5, rtol=0)
    assert one_by_one.unique(dim=0).shape == one_by_one.shape, "and no two of them are alike"


def test_what_is_given_back_is_not_what_is_remembered(conditioner):
    first = conditioner.embed([TextPrompt("a cat")])
    kept = first.clone()
    with torch.inference_mode():
        first.zero_()
    assert torch.equal(conditioner.embed([TextPrompt("a cat")]), kept)


def optimise(model):
    optimizer = torch.optim.SGD([model.clip.text_projection.weight.requires_grad_(True)], lr=1.0)
    (model.clip.text_projection.weight**2).sum().backward()
    optimizer.step()


def replace(model):
    projection = model.clip.text_projection
    projection.weight = torch.nn.Parameter(projection.weight * 2)


@pytest.mark.parametrize(
    "change",
    [
        optimise,
        replace,
        lambda model: model.load_state_dict(ready.model(seed=1).state_dict()),
        lambda model: model.load_state_dict(ready.model(seed=1).state_dict(), assign=True),
        lambda model: model.clip.text_model.half(),
        lambda model: setattr(model.clip.text_projection.weight, "data", torch.ones(ready.WIDTH, 16)),
    ],
    ids=["optimizer step", "another parameter", "load_state_dict", "assigned state", "another type", "data"],
)
def test_changed_weights_drop_what_is_remembered(conditioner, change):
    phrase = [TextPrompt("a cat")]
    conditioner.embed(phrase)
    change(conditioner.model)
    conditioner.model.clip.text_model.to(conditioner.model.clip.text_projection.weight.dtype)
    fresh = Conditioner(conditioner.model, conditioner.processor).embed(phrase)
    assert torch.equal(conditioner.embed(phrase), fresh)


def test_another_type_or_device_is_answered_in(conditioner):
    before = conditioner.embed([TextPrompt("a cat")])
    conditioner.model.to(torch.float64)
    after = conditioner.embed([TextPrompt("a cat")])
    assert after.dtype == torch.float64
    assert before.dtype == torch.float32
    torch.testing.assert_close(after.float(), before, atol=1e-5, rtol=0)


def test_weights_that_count_no_writes_are_not_trusted():
    with torch.inference_mode():
        model = ready.model()
    conditioner = Conditioner(model, ready.processor())
    first = conditioner.embed([TextPrompt("a cat")])
    with torch.inference_mode():
        model.clip.text_projection.weight.mul_(2)
    torch.testing.assert_close(conditioner.embed([TextPrompt("a cat")]), 2 * first)


def test_only_so_many_are_remembered(conditioner, calls, monkeypatch):
    monkeypatch.setattr(conditioning, "REMEMBERED_TEXTS", 2)
    cat, dog, wood = map(TextPrompt, ("a cat", "the dog", "wood"))
    assert conditioner.embed([cat, dog, wood]).shape == (3, ready.WIDTH), "more in one call are no trouble"
    conditioner.embed([dog])  # used last, so it outlives wood
    conditioner.embed([cat])
    assert calls.texts == [3, 1]
    conditioner.embed([dog, cat])
    assert calls.texts == [3, 1]
    conditioner.embed([wood])
    assert calls.texts == [3, 1, 1]


def test_an_over_long_phrase_is_cut_with_a_warning(conditioner):
    long, short = "a red cup " * 20, "a cat"
    with pytest.warns(
        UserWarning, match=r"prompt 'a red cup a red cup .*has \d+ tokens and the model reads 16"
    ) as found:
        out = conditioner.embed([TextPrompt(short), TextPrompt(long)])
    assert len(found) == 1, "the short one is not blamed"
    ids = ready.tokenizer()(long, truncation=True, max_length=ready.LONGEST, return_tensors="pt")["input_ids"]
    assert ids.shape == (1, ready.LONGEST)
    expected = conditioner.model.clip.get_text_features(ids).detach()
    torch.testing.assert_close(out[1:], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(out[0], conditioner.embed([TextPrompt(short)])[0], atol=1e-5, rtol=0)


def test_a_phrase_of_just_the_length_is_not_cut(conditioner):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conditioner.embed([TextPrompt("a " * (ready.LONGEST - 2))])
    with pytest.warns(UserWarning, match="has 17 tokens"):
        conditioner.embed([TextPrompt("a " * (ready.LONGEST - 1))])


def test_phrases_need_a_tokenizer(shared):
    mute = Conditioner(shared.model, ImageProcessorOnly(ready.image_processor()))
    with pytest.raises(PromptError, match="text prompts need a tokenizer"):
        mute.embed([TextPrompt("a cat")])
    assert mute.embed([ImagePrompt(ready.picture())]).shape == (1, ready.WIDTH)


def test_a_set_of_templates_is_averaged_and_not_normalised_first(conditioner, calls):
    templated = TextPrompt("cat", templates=["{}", "a {}", "the {}", "a red {}"])
    out = conditioner.embed([templated, TextPrompt("cat"), TextPrompt("the cat")])
    assert calls.texts == [4], "phrases asked for as they are, are among those in templates"
    rows = conditioner.embed(as_prompts(templated.texts))
    assert calls.texts == [4]
    torch.testing.assert_close(out[0], rows.double().mean(0).float())
    assert torch.equal(out[1:], rows[[0, 2]])
    own = conditioner.embed([TextPrompt("cat", templates="a {} of wood"), TextPrompt("a cat of wood")])
    assert torch.equal(own[0], own[1])


def test_expressions_have_no_embedding(shared):
    with pytest.raises(PromptError, match="'a cat AND wood' is an expression, which has no embedding"):
        shared.embed(as_prompts("a cat AND wood"))


# -- sums ------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(weights=st.lists(st.floats(-5, 5), min_size=1, max_size=4))
def test_a_mix_is_the_weighted_sum(shared, weights):
    parts = [
        TextPrompt("a cat"),
        ImagePrompt(ready.picture(), box=(3, 4, 30, 20)),
        EmbeddingPrompt(torch.linspace(-1, 1, ready.WIDTH)),
        0.25 * TextPrompt("wood") + 0.75 * TextPrompt("a cat"),
    ][: len(weights)]
    singles = shared.embed(parts)
    mixed = shared.embed([MixedPrompt(tuple(zip(weights, parts, strict=True)))])[0]
    expected = sum(weight * row.double() for weight, row in zip(weights, singles, strict=True))
    torch.testing.assert_close(mixed.double(), expected, atol=1e-5, rtol=1e-5)


def test_text_and_picture_mixed(conditioner, calls):
    text, image = TextPrompt("a cat"), ImagePrompt(ready.picture())
    singles = conditioner.embed([text, image])
    mixed = conditioner.embed([0.6 * text + 0.4 * image])[0]
    torch.testing.assert_close(mixed, 0.6 * singles[0] + 0.4 * singles[1])
    assert calls.pictures == [1, 1]
    conditioner.embed([image, 0.5 * image, image + text])
    assert calls.pictures == [1, 1, 1], "a picture is encoded once a call, however often it is named"


# -- pictures and embeddings -----------------------------------------------------------------------------------------


def test_a_whole_picture_is_clips_image_feature(shared):
    pixels = ready.image_processor().pixel_values(ready.picture())
    expected = shared.model.clip.get_image_features(pixels).detach()
    torch.testing.assert_close(shared.embed([ImagePrompt(ready.picture())]), expected, atol=1e-5, rtol=0)
    assert torch.equal(shared.prompt_pixels(ImagePrompt(ready.picture())), pixels[0])


def test_a_mask_and_the_box_around_it_are_one_prompt(shared):
    masked = ImagePrompt(ready.picture(), mask=half_mask())
    boxed = ImagePrompt(ready.picture(), box=(10, 5, 30, 20))
    assert torch.equal(shared.prompt_pixels(masked), shared.prompt_pixels(boxed))
    torch.testing.assert_close(*shared.embed([masked, boxed]), rtol=1e-5, atol=1e-6)  # rows of one batch
    assert not torch.equal(shared.prompt_pixels(masked), shared.prompt_pixels(ImagePrompt(ready.picture())))


def test_masks_of_every_kind(shared, tmp_path):
    mask = half_mask()
    path = tmp_path / "mask.png"
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    expected = shared.prompt_pixels(ImagePrompt(ready.picture(), mask=mask))
    for same in (path, str(path), path.read_bytes(), Image.open(path), torch.from_numpy(mask), mask.astype(np.float32)):
        assert torch.equal(shared.prompt_pixels(ImagePrompt(ready.picture(), mask=same)), expected)


@pytest.mark.parametrize("style", STYLES)
def test_styles_are_engineered_at_the_models_size(shared, style):
    """A picture of just the model's size: nothing is resized on the way."""
    picture, mask = ready.picture(width=64, height=64), np.zeros((64, 64), dtype=bool)
    mask[20:40, 8:30] = True
    pixels = ready.image_processor().pixel_values(picture)[0]
    expected = engineer(pixels, torch.from_numpy(mask), STYLES[style], (64, 64))
    assert torch.equal(shared.prompt_pixels(ImagePrompt(picture, mask=mask, style=style)), expected)


def test_a_style_with_parameters(shared):
    picture, own = ready.picture(), VisualStyle(blur=3, background=0.1, context=0.1)
    named = ImagePrompt(picture, mask=half_mask())
    assert torch.equal(
        shared.prompt_pixels(ImagePrompt(picture, mask=half_mask(), style=own)), shared.prompt_pixels(named)
    )
    whole = ImagePrompt(picture, style=own)
    assert torch.equal(shared.prompt_pixels(whole), shared.prompt_pixels(ImagePrompt(picture, style="whole")))


def test_examples_averaged(conditioner, calls):
    examples = [ImagePrompt(ready.picture(seed), box=(3, 4, 30, 20)) for seed in range(3)]
    mean = conditioner.embed([mean_prompt(examples)])[0]
    assert calls.pictures == [3]
    torch.testing.assert_close(mean, conditioner.embed(examples).mean(0))


def test_thin_things_are_not_lost(shared):
    """One pixel among many still marks one place, and not the whole picture."""
    big = ready.picture(width=3000, height=2000)
    whole = shared.prompt_pixels(ImagePrompt(big))
    for place in ((0, 0), (1999, 2999), (1000, 700)):
        mask = np.zeros((2000, 3000), dtype=bool)
        mask[place] = True
        pixels = shared.prompt_pixels(ImagePrompt(big, mask=mask, style="crop"))
        y, x = place[0] * 64 // 2000, place[1] * 64 // 3000
        torch.testing.assert_close(pixels, whole[:, y : y + 1, x : x + 1].expand(-1, 64, 64), atol=1e-5, rtol=0)
        box = (place[1], place[0], place[1] + 1, place[0] + 1)
        assert torch.equal(shared.prompt_pixels(ImagePrompt(big, box=box, style="crop")), pixels)


@pytest.mark.parametrize(
    ("box", "same_as"),
    [
        ((0, 0, 40, 30), (0, 0, 40, 30)),
        ((9.6, 4.8, 30.4, 20.3), (10, 5, 30, 20)),
        ((-0.4, -0.3, 40.4, 30.2), (0, 0, 40, 30)),
        ((5.1, 5.1, 5.2, 5.2), (5, 5, 6, 6)),
        ((39.6, 29.6, 39.9, 29.9), (39, 29, 40, 30)),
    ],
)
def test_boxes_are_rounded_and_hold_a_pixel(shared, box, same_as):
    one, other = (shared.prompt_pixels(ImagePrompt(ready.picture(), box=corners)) for corners in (box, same_as))
    assert torch.equal(one, other)


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, -1, 5, 5), (0, 0, 41, 5), (0, 0, 5, 31), (50, 50, 60, 60)])
def test_a_box_beyond_its_picture(shared, box):
    with pytest.raises(PromptError, match="40 pixels wide and 30 high"):
        shared.embed([ImagePrompt(ready.picture(), box=box)])


def test_masks_that_do_not_fit(shared):
    with pytest.raises(PromptError, match="mask is 40x30 but its picture is 30x40"):
        shared.embed([ImagePrompt(ready.picture(), mask=half_mask().T)])
    with pytest.raises(PromptError, match="mask of image prompt 'jar' is empty"):
        shared.embed([ImagePrompt(ready.picture(), mask=np.zeros((30, 40)), label="jar")])


def test_a_picture_that_is_not_there(shared):
    with pytest.raises(PictureNotFoundError, match=r"nowhere\.png"):
        shared.embed([ImagePrompt("nowhere.png")])


def test_many_pictures_are_those_one_by_one(conditioner, calls):
    prompts = [ImagePrompt(ready.picture(seed), box=(3, 4, 30, 20)) for seed in range(10)]
    together = conditioner.embed(prompts)
    assert calls.pictures == [8, 2]
    one_by_one = torch.cat([conditioner.embed([prompt]) for prompt in prompts])
    torch.testing.assert_close(together, one_by_one, atol=1e-5, rtol=0)


def test_pictures_that_keep_their_shape(shared):
    """With an image processor that keeps the aspect, neighbours of one shape go together; order is kept."""
    keeping = ImageProcessorOnly(ready.image_processor(size={"shortest_edge": 32}))
    conditioner = Conditioner(shared.model, keeping)
    sizes = [(40, 30), (40, 30), (30, 40), (40, 30)]
    prompts = [ImagePrompt(ready.picture(seed, *size), box=(3, 4, 20, 30)) for seed, size in enumerate(sizes)]
    assert conditioner.prompt_pixels(prompts[0]).shape == (3, 32, 42)
    one_by_one = torch.cat([conditioner.embed([prompt]) for prompt in prompts])
    torch.testing.assert_close(conditioner.embed(prompts), one_by_one, atol=1e-5, rtol=0)


def test_embeddings_pass_through(shared):
    vector = torch.linspace(-1, 1, ready.WIDTH)
    assert torch.equal(shared.embed([EmbeddingPrompt(vector)]), vector[None])
    with pytest.raises(PromptError, match=r"'mine' has width 5 but the model's conditions have 12"):
        shared.embed([EmbeddingPrompt(torch.ones(5), label="mine")])


# -- state -----------------------------------------------------------------------------------------------------------


def test_threads_may_share_it(conditioner, calls, monkeypatch):
    monkeypatch.setattr(conditioning, "REMEMBERED_TEXTS", 5)  # so that they also drop phrases under each other's hands
    texts = [f"a cat {number}" for number in range(8)]
    expected = dict(
        zip(texts, Conditioner(conditioner.model, conditioner.processor).embed(as_prompts(texts)), strict=True)
    )

    def ask(seed):
        rng = np.random.default_rng(seed)
        for _ in range(20):
            asked = [texts[place] for place in rng.integers(len(texts), size=3)]
            out = conditioner.embed(as_prompts(asked))
            torch.testing.assert_close(out, torch.stack([expected[text] for text in asked]), atol=1e-5, rtol=0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))


def test_threads_that_ask_for_one_phrase_encode_it_once(conditioner, calls):
    conditioner.model.clip.text_model.register_forward_pre_hook(lambda *_: time.sleep(0.05))  # so that they meet
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda _: conditioner.embed([TextPrompt("a cat")]), range(16)))
    assert calls.texts == [1]
    assert all(torch.equal(row, rows[0]) for row in rows)


def test_copies_start_with_nothing_remembered(conditioner):
    expected = conditioner.embed([TextPrompt("a cat")])
    for twin in (copy.deepcopy(conditioner), pickle.loads(pickle.dumps(conditioner))):
        assert twin.model is not conditioner.model
        assert torch.equal(twin.embed([TextPrompt("a cat")]), expected)
