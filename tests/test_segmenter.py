"""The segmenter against the documented forward call, and everything it must leave alone."""

import copy
import gc
import io
import pickle
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ready
from clipseg.errors import (
    CheckpointNotFoundError,
    PictureError,
    PictureNotFoundError,
    PromptError,
    UsageError,
)
from clipseg.masks.options import OPTIONS, MaskOptions
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.processing.image_processors import CLIPImageProcessor
from clipseg.processing.statistics import IMAGENET_MEAN, IMAGENET_STD
from clipseg.prompting.prompts import EmbeddingPrompt, ImagePrompt, TextPrompt
from clipseg.segmenter import ImageFeatures, Segmenter

TEXTS = ["a cat", "something to fill", "wood"]


@pytest.fixture(scope="module")
def segmenter():
    return ready.segmenter()


@pytest.fixture
def towers(segmenter):
    """Pictures that each pass of the vision tower takes, pass by pass."""
    seen = []
    embeddings = segmenter.model.clip.vision_model.embeddings
    handle = embeddings.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    yield seen
    handle.remove()


def documented(segmenter, picture, text):
    """One picture, one text, through processor and forward, as the documentation has it -> (h, w)."""
    inputs = ready.processor()(text=[text], images=[picture], padding="max_length", return_tensors="pt")
    with torch.no_grad():
        return segmenter.model(**inputs).logits[0]


def close(one, other, atol=1e-5):
    torch.testing.assert_close(one, other, atol=atol, rtol=0)


# -- segment ---------------------------------------------------------------------------------------------------------


def test_segment_is_the_documented_forward_one_by_one(segmenter):
    masks = segmenter.segment(ready.picture(), TEXTS)
    assert masks.labels == tuple(TEXTS)
    assert masks.size_hw == (30, 40)
    assert masks.logits.shape == (3, 64, 64)
    for text, logits in zip(TEXTS, masks.logits, strict=True):
        close(logits, documented(segmenter, ready.picture(), text))
    assert (masks.logits[0] - masks.logits[1]).abs().max() > 0.1, "prompts matter"


def test_visual_prompts_are_the_documented_forward(segmenter):
    jar = ready.picture(seed=3)
    pixels = ready.image_processor().pixel_values
    with torch.no_grad():
        output = segmenter.model(pixel_values=pixels(ready.picture()), conditional_pixel_values=pixels(jar))
    close(segmenter.segment(ready.picture(), ImagePrompt(jar)).logits, output.logits)


def test_one_prompt_keeps_its_axis(segmenter):
    for prompts in ("a cat", ["a cat"], TextPrompt("a cat"), segmenter.embed("a cat"), segmenter.embed("a cat")[0]):
        masks = segmenter.segment(ready.picture(), prompts)
        assert masks.logits.shape == (1, 64, 64)
        assert masks.binary().shape == (1, 30, 40)
        close(masks.logits[0], documented(segmenter, ready.picture(), "a cat"))


def test_the_order_of_prompts_does_not_matter(segmenter):
    texts = [f"a cat {number}" for number in range(11)]  # more than are decoded at once
    features = segmenter.encode(ready.picture())
    forward, backward = segmenter.segment(features, texts), segmenter.segment(features, texts[::-1])
    assert forward.labels == backward.labels[::-1]
    close(forward.logits, backward.logits.flip(0))
    for number, text in enumerate(texts):
        close(segmenter.segment(features, text).logits[0], forward.logits[number])


def test_encode_once_ask_often(segmenter, towers):
    features = segmenter.encode(ready.picture())
    assert isinstance(features, ImageFeatures)
    assert features.size_hw == (30, 40)
    for text in TEXTS:
        close(segmenter.segment(features, text).logits[0], documented(segmenter, ready.picture(), text))
    segmenter.segment(features, TEXTS * 5)
    assert towers == [1, *[1] * len(TEXTS)], "one pass by encode, the others by the documented forward"


def test_prompts_of_all_kinds_mix(segmenter):
    jar = ImagePrompt(ready.picture(seed=3), box=(3, 4, 30, 20), label="jar")
    mixed = 0.6 * TextPrompt("a cat") + 0.4 * jar
    masks = segmenter.segment(ready.picture(), [mixed, "a cat", jar])
    assert masks.labels == ("0.6 a cat + 0.4 jar", "a cat", "jar")
    conditions = 0.6 * segmenter.embed("a cat") + 0.4 * segmenter.embed(jar)
    close(masks.logits[0], segmenter.segment(ready.picture(), conditions).logits[0])


def test_masks_have_the_pictures_own_size(segmenter):
    for width, height in ((40, 30), (30, 40), (64, 64), (1, 1), (200, 1), (1, 200), (3, 500)):
        picture = ready.picture(width=width, height=height)
        masks = segmenter.segment(picture, TEXTS)
        assert masks.size_hw == (height, width)
        assert masks.probabilities().shape == (3, height, width)
        assert masks.probabilities().isfinite().all()
        assert masks.picture.size == (width, height)


def test_all_kinds_of_pictures(segmenter, tmp_path):
    picture = ready.picture()
    path = tmp_path / "picture.png"
    picture.save(path)
    array = np.asarray(picture)
    expected = segmenter.segment(picture, "a cat").logits
    kinds = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), array, torch.from_numpy(array.copy())]
    for source in [*kinds, array.transpose(2, 0, 1), torch.from_numpy(array / 255)]:
        close(segmenter.segment(source, "a cat").logits, expected, atol=0)


def test_a_processor_that_keeps_the_aspect():
    """The grid is a rectangle then, and masks still fit."""
    model = ready.model()
    segmenter = Segmenter(model, ready.image_processor(size={"shortest_edge": 32}))
    features = segmenter.encode(ready.picture(width=80, height=40))
    assert features.encoded.grid == (2, 4)
    masks = segmenter.segment(features, torch.ones(ready.WIDTH))
    assert masks.logits.shape == (1, 32, 64)
    assert masks.binary().shape == (1, 40, 80)


# -- encode, embed, segment_many, similarity -------------------------------------------------------------------------


def test_encode_one_or_several(segmenter, towers):
    pictures = [ready.picture(seed) for seed in range(10)]
    for container in (pictures, tuple(pictures)):
        features = segmenter.encode(container)
        assert isinstance(features, list)
        assert len(features) == 10
    assert towers == [8, 2, 8, 2]
    close(segmenter.segment(features[9], TEXTS).logits, segmenter.segment(pictures[9], TEXTS).logits)
    assert segmenter.encode([]) == []
    assert len(segmenter.encode([pictures[0]])) == 1


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_segment_many_is_segment_one_by_one(segmenter, towers, batch_size):
    sizes = [(40, 30), (30, 40), (1, 1), (64, 64), (5, 90)]
    pictures = [ready.picture(seed, *size) for seed, size in enumerate(sizes)]
    features = segmenter.encode(pictures[2])
    towers.clear()
    mixed = [*pictures[:2], features, *pictures[3:]]
    many = segmenter.segment_many(iter(mixed), TEXTS, batch_size=batch_size)
    assert max(towers) <= batch_size
    assert sum(towers) == 4
    assert [masks.size_hw for masks in many] == [(height, width) for width, height in sizes]
    for masks, picture in zip(many, pictures, strict=True):
        assert masks.labels == tuple(TEXTS)
        close(masks.logits, segmenter.segment(picture, TEXTS).logits)


def test_segment_many_with_inputs_of_several_sizes(towers, segmenter):
    keeping = Segmenter(segmenter.model, ready.processor(size={"shortest_edge": 32}))
    pictures = [ready.picture(seed, *size) for seed, size in enumerate([(64, 32), (64, 32), (32, 64), (64, 32)])]
    many = keeping.segment_many(pictures, "a cat")
    assert towers == [2, 1, 1]
    for masks, picture in zip(many, pictures, strict=True):
        close(masks.logits, keeping.segment(picture, "a cat").logits)


def test_segment_many_of_nothing(segmenter):
    assert segmenter.segment_many([], "a cat") == []
    for size in (0, -1, 1.5, "2", None):
        with pytest.raises(UsageError, match=f"batch_size is {size!r}; expected at least 1"):
            segmenter.segment_many([ready.picture()], "a cat", batch_size=size)
    with pytest.raises(PromptError, match="no prompts given"):
        segmenter.segment_many([ready.picture()], [])


def test_embeddings_can_be_prompts_and_be_trained(segmenter):
    conditions = segmenter.embed(TEXTS)
    assert conditions.shape == (3, ready.WIDTH)
    assert conditions.dtype == torch.float32
    asked = segmenter.segment(ready.picture(), conditions)
    assert asked.labels == ("embedding 1", "embedding 2", "embedding 3")
    close(asked.logits, segmenter.segment(ready.picture(), TEXTS).logits)
    learned = torch.nn.Parameter(conditions)
    pixels = ready.image_processor().pixel_values(ready.picture()).expand(3, -1, -1, -1)
    segmenter.model(pixel_values=pixels, conditional_embeddings=learned).logits.sum().backward()
    assert learned.grad.abs().min() > 0


def test_masks_are_ordinary_tensors(segmenter):
    masks = segmenter.segment(ready.picture(width=64, height=64), TEXTS)  # the size of the logits themselves
    before = masks.logits.clone()
    masks.probabilities()
    masks.probabilities().mul_(0)
    assert torch.equal(masks.logits, before)
    assert not masks.logits.is_inference()
    assert not segmenter.similarity(ready.picture(), "a cat").is_inference()


def test_similarity_is_clips_cosine(segmenter):
    prompts = [*TEXTS, ImagePrompt(ready.picture())]
    cosines = segmenter.similarity(ready.picture(), prompts)
    assert cosines.shape == (4,)
    assert cosines.dtype == torch.float32
    assert cosines.abs().max() <= 1
    assert cosines[3].item() == pytest.approx(1, abs=1e-6), "a picture is like itself"
    inputs = ready.processor()(text=TEXTS, images=[ready.picture()], padding=True, return_tensors="pt")
    with torch.no_grad():
        output = segmenter.model.clip(**inputs)
    close(cosines[:3], output.logits_per_image[0] / segmenter.model.clip.logit_scale.exp())
    assert segmenter.similarity(ready.picture(), "a cat").shape == (1,)
    opposite = segmenter.similarity(ready.picture(), -1 * ImagePrompt(ready.picture()))
    assert -1 <= opposite.item() < -0.99999


# -- negatives, expressions, options ---------------------------------------------------------------------------------


def test_options_as_keywords_are_with_options(segmenter):
    options = {"threshold": 0.55, "smooth": 1.5, "grow": 2, "fill_holes": True, "keep": "largest", "feather": 1}
    plain = segmenter.segment(ready.picture(), TEXTS)
    for masks in (
        segmenter.segment(ready.picture(), TEXTS, **options),
        *segmenter.segment_many([ready.picture()], TEXTS, **options),
    ):
        assert masks.options == MaskOptions(**options)
        assert torch.equal(masks.matte(), plain.with_options(**options).matte())
    given = {name: getattr(MaskOptions(), name) for name in OPTIONS if name != "combine"}
    assert torch.equal(segmenter.segment(ready.picture(), TEXTS, **given).binary(), plain.binary())


def test_negatives(segmenter):
    features = segmenter.encode(ready.picture())
    masks = segmenter.segment(features, TEXTS[:2], negative="wood")
    assert masks.labels == tuple(TEXTS[:2]), "negatives have no mask of their own"
    single = segmenter.segment(features, TEXTS).logits
    close(masks.negatives[0], single[2])
    low = masks.probabilities((64, 64))
    close(low, torch.minimum(single[:2], -single[2]).sigmoid())


def test_competition_and_combine(segmenter):
    features = segmenter.encode(ready.picture())
    shares = segmenter.segment(features, TEXTS, negative="a jar", competition="softmax").probabilities((64, 64))
    everything = segmenter.segment(features, [*TEXTS, "a jar"]).logits
    close(shares, everything.softmax(0)[:3])
    exclusive = segmenter.segment(features, TEXTS, competition="argmax", threshold=0).binary()
    assert exclusive.sum(0).max() == 1
    one = segmenter.segment(features, TEXTS, combine="max")
    assert one.labels == (" | ".join(TEXTS),)
    close(one.logits, everything[:3].amax(0, keepdim=True))
    mean = segmenter.segment(features, TEXTS, combine="mean").probabilities((64, 64))
    close(mean, everything[:3].sigmoid().mean(0, keepdim=True))


def test_expressions_ask_each_distinct_prompt_once(segmenter, monkeypatch):
    decoded = []
    decode = segmenter.model.decode
    monkeypatch.setattr(
        segmenter.model,
        "decode",
        lambda encoded, conditions: (decoded.append(len(conditions)), decode(encoded, conditions))[1],
    )
    features = segmenter.encode(ready.picture())
    asked = ["a cat AND NOT wood", "wood", "a cat OR (wood AND a jar)"]
    masks = segmenter.segment(features, asked, negative="a jar")
    assert decoded == [3]
    cat, wood, jar = segmenter.segment(features, ["a cat", "wood", "a jar"]).logits
    close(masks.logits[0], torch.minimum(cat, -wood))
    close(masks.logits[1], wood)
    close(masks.logits[2], torch.maximum(cat, torch.minimum(wood, jar)))


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(9)), st.booleans())
def test_masks_know_nothing_of_their_order(order, tiles):
    asker = ready.segmenter()
    features = asker.encode(ready.picture(width=90, height=60), fit="tile" if tiles else "squash")
    texts = [f"a cat {number}" for number in range(9)]
    expected = asker.segment(features, texts).logits
    torch.testing.assert_close(
        asker.segment(features, [texts[n] for n in order]).logits, expected[list(order)], atol=1e-5, rtol=1e-5
    )


def test_a_stream_of_pictures_is_read_a_batch_ahead(segmenter):
    read = []

    def pictures():
        while True:
            read.append(1)
            yield ready.picture(len(read))

    answers = segmenter.asking("wood", batch_size=3, threshold=0.3)(pictures())
    assert read == []
    masks = next(answers)
    assert len(read) == 4
    assert masks.options.threshold == 0.3
    close(masks.logits, segmenter.segment(ready.picture(1), "wood").logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"treshold": 0.4}, "did you mean 'threshold'"),
        ({"competition": "softmix"}, "did you mean 'softmax'"),
        ({"combine": "median"}, "known are max, mean, sum, product"),
        ({"threshold": 3}, "threshold"),
        ({"fit": "sqash"}, "did you mean 'squash'"),
    ],
)
def test_options_that_are_not_known(segmenter, options, message):
    with pytest.raises(UsageError, match=message):
        segmenter.segment(ready.picture(), TEXTS, **options)
    with pytest.raises(UsageError, match=message):
        segmenter.segment_many([ready.picture()], TEXTS, **options)


def test_warm_up_leaves_nothing_to_be_done_by_the_first_question():
    segmenter, cold = ready.segmenter(), ready.segmenter()
    segmenter.warm_up()
    packed = dict(segmenter._parts.runner._packed)
    assert set(packed) == {"vision", "decoder", "packed text"}
    masks = segmenter.segment(ready.picture(), TEXTS)
    assert segmenter._parts.runner._packed == packed
    torch.testing.assert_close(masks.logits, cold.segment(ready.picture(), TEXTS).logits, atol=1e-4, rtol=1e-4)


def test_unload_lets_go_of_the_weights():
    segmenter = ready.segmenter()
    features = segmenter.encode(ready.picture())
    masks = segmenter.segment(features, TEXTS)
    weights = weakref.ref(next(segmenter.model.parameters()))
    segmenter.unload()
    segmenter.unload()
    gc.collect()
    assert weights() is None
    assert masks.binary().shape == (3, 30, 40), "what was made stays"
    for later in (
        lambda: segmenter.segment(features, TEXTS),
        lambda: segmenter.encode(ready.picture()),
        lambda: segmenter.embed(TEXTS),
        lambda: segmenter.warm_up(),
        lambda: segmenter.similarity(ready.picture(), TEXTS),
        lambda: segmenter.model,
    ):
        with pytest.raises(UsageError, match=r"has been unloaded; .*from_pretrained"):
            later()


# -- what it refuses -------------------------------------------------------------------------------------------------


def test_features_of_another_model(segmenter):
    for other in (ready.segmenter(reduce_dim=16), ready.segmenter(extract_layers=[0, 1])):
        features = other.encode(ready.picture())
        with pytest.raises(PictureError, match="come from another model"):
            segmenter.segment(features, "a cat")
        with pytest.raises(PictureError, match="come from another model"):
            segmenter.segment_many([ready.picture(), features], "a cat")


def test_wrong_inputs(segmenter):
    with pytest.raises(PictureNotFoundError):
        segmenter.segment("nowhere.png", "a cat")
    with pytest.raises(PictureError, match="list is no picture"):
        segmenter.segment([ready.picture()], "a cat")
    with pytest.raises(PromptError, match=r"wrap a picture in ImagePrompt"):
        segmenter.segment(ready.picture(), ready.picture())
    with pytest.raises(PromptError, match="width 5"):
        segmenter.segment(ready.picture(), torch.ones(5))
    with pytest.raises(PromptError, match="no prompts given"):
        segmenter.segment(ready.picture(), [])


def test_a_processor_that_crops_is_refused():
    with pytest.raises(UsageError, match="do_center_crop=False"):
        Segmenter(ready.model(), ready.image_processor(do_center_crop=True, crop_size=32))
    with pytest.raises(UsageError, match="do_center_crop=False"):
        Segmenter(ready.model(), CLIPImageProcessor())
    Segmenter(ready.model(), ready.image_processor(do_center_crop=False))


# -- where it comes from ---------------------------------------------------------------------------------------------


def test_without_a_processor_pictures_are_prepared_as_released():
    segmenter = Segmenter(ready.model())
    processor = segmenter.processor.image_processor
    assert processor.size == {"height": 352, "width": 352}
    assert tuple(processor.image_mean) == tuple(IMAGENET_MEAN)
    assert tuple(processor.image_std) == tuple(IMAGENET_STD)
    prompts = [ImagePrompt(ready.picture(), box=(1, 2, 9, 9)), EmbeddingPrompt(torch.ones(ready.WIDTH))]
    assert segmenter.segment(ready.picture(), prompts).logits.shape == (2, 352, 352)
    with pytest.raises(PromptError, match=r"need a tokenizer .* Segmenter\.from_pretrained"):
        segmenter.segment(ready.picture(), "a cat")


def test_a_model_from_a_folder_brings_its_processor(tmp_path):
    folder = ready.folder(tmp_path / "model", side=48)
    segmenter = Segmenter(CLIPSegForImageSegmentation.from_pretrained(folder))
    assert segmenter.segment(ready.picture(), "a cat").logits.shape == (1, 48, 48)
    given = Segmenter(CLIPSegForImageSegmentation.from_pretrained(folder), ready.processor())
    assert given.segment(ready.picture(), "a cat").logits.shape == (1, 64, 64), "unless another is given"


def test_a_folder_of_weights_alone(tmp_path):
    ready.model().save_pretrained(tmp_path)
    segmenter = Segmenter(CLIPSegForImageSegmentation.from_pretrained(tmp_path))
    assert segmenter.processor.image_processor.size == {"height": 352, "width": 352}
    with pytest.raises(CheckpointNotFoundError):
        Segmenter.from_pretrained(tmp_path)


def test_from_pretrained(tmp_path, segmenter):
    folder = ready.folder(tmp_path / "model")
    expected = segmenter.segment(ready.picture(), TEXTS).logits
    for name in (folder, str(folder)):
        loaded = Segmenter.from_pretrained(name, device="cpu")
        close(loaded.segment(ready.picture(), TEXTS).logits, expected)
        assert loaded.model.dtype == torch.float32
        assert not loaded.model.training
    for dtype in ("bfloat16", torch.bfloat16):
        half = Segmenter.from_pretrained(folder, device=torch.device("cpu"), dtype=dtype)
        assert half.model.dtype == torch.bfloat16
        logits = half.segment(ready.picture(), [*TEXTS, ImagePrompt(ready.picture())]).logits
        assert logits.dtype == half.embed(TEXTS).dtype == torch.float32
        assert (logits[:3] - expected).abs().mean() < 0.1 * expected.std()
        half.similarity(ready.picture(), TEXTS)


def test_from_pretrained_of_what_is_not_there(tmp_path):
    with pytest.raises(CheckpointNotFoundError):
        Segmenter.from_pretrained(tmp_path / "nowhere")
    folder = ready.folder(tmp_path / "model")
    for device in ("cuda:99", "meteor", "cuda:x"):
        with pytest.raises(UsageError, match=rf"device '{device}' is not available here \(.*\); use auto or cpu"):
            Segmenter.from_pretrained(folder, device=device)
    with pytest.raises(UsageError, match="unknown dtype 'float33'"):
        Segmenter.from_pretrained(folder, dtype="float33")


# -- what it leaves alone --------------------------------------------------------------------------------------------


def everything(segmenter):
    features = segmenter.encode([ready.picture(), ready.picture(1)])
    segmenter.embed([*TEXTS, ImagePrompt(ready.picture(), box=(1, 2, 9, 9))])
    segmenter.segment(features[0], TEXTS)
    segmenter.segment_many([ready.picture(2), features[1]], TEXTS)
    segmenter.similarity(ready.picture(), TEXTS)


def test_nothing_around_it_changes():
    segmenter = ready.segmenter()
    weights = {name: tensor.clone() for name, tensor in segmenter.model.state_dict().items()}
    state, threads, numpy_state = torch.get_rng_state(), torch.get_num_threads(), np.random.get_state()[1].copy()
    everything(segmenter)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()
    assert torch.get_num_threads() == threads
    assert all(torch.equal(tensor, weights[name]) for name, tensor in segmenter.model.state_dict().items())
    assert all(parameter.grad is None for parameter in segmenter.model.parameters())
    with torch.no_grad():
        everything(segmenter)
        assert not torch.is_grad_enabled()


def test_a_failure_leaves_the_grad_mode(segmenter):
    with pytest.raises(PromptError):
        segmenter.segment(ready.picture(), torch.ones(5))
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_the_same_answer_twice(segmenter):
    first, second = (segmenter.segment(ready.picture(), TEXTS).logits for _ in range(2))
    assert torch.equal(first, second)


def test_training_goes_on_after_segmenting():
    """What the segmenter caches, in conditioner and position table, must not reach into a backward pass."""
    model = ready.model().requires_grad_(True)
    segmenter = Segmenter(model, ready.processor(side=48))  # another size than the position table's
    segmenter.segment(ready.picture(), TEXTS)
    inputs = ready.processor(side=48)(text=["a cat"], images=[ready.picture()], return_tensors="pt")
    model(**inputs).logits.sum().backward()
    assert model.clip.vision_model.embeddings.position_embedding.weight.grad.abs().sum() > 0


def test_copies_answer_alike(segmenter):
    expected = segmenter.segment(ready.picture(), TEXTS).logits
    for twin in (copy.deepcopy(segmenter), pickle.loads(pickle.dumps(segmenter))):
        close(twin.segment(ready.picture(), TEXTS).logits, expected)
