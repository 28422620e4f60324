"""Steps as the recipe draws them, on a few kinds and a tiny model."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch

import tiny
from clipseg.data.kinds import SEEN
from clipseg.data.scenes import SceneGenerator, SceneOptions
from clipseg.metrics import iou_per_mask
from clipseg.processing.statistics import IMAGENET_MEAN, IMAGENET_STD
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.processing.vocabulary import train_vocabulary
from clipseg.training.losses import dice_loss, mask_bce, soft_contrastive_loss
from clipseg.training.stages import Stage
from clipseg.training.tasks import (
    TEMPLATES,
    ContrastiveTask,
    Phrases,
    SegmentationTask,
    normalised,
    patch_kinds,
    scaled_similarities,
    squashed,
)

STAGE = Stage("segmentation", steps=4, batch=6, lr=1e-3, prompts=4, absent=2, examples=3, example_sizes=(16, 32))


@pytest.fixture(scope="module")
def generator(installed_pictograms):
    return SceneGenerator(SEEN[:10], SceneOptions(size=32, objects=(1, 3)))


@pytest.fixture(scope="module")
def tokenizer(generator):
    names = [name for kind in generator.pictograms for name in (kind.name, *kind.synonyms)]
    return CLIPTokenizer(*train_vocabulary([*names, *TEMPLATES], 560), model_max_length=40)


@pytest.fixture
def model(tokenizer):
    text = {
        "vocab_size": len(tokenizer), "max_position_embeddings": 40,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    return tiny.segmenter(text=text, vision={"image_size": 32, "patch_size": 8}).requires_grad_(True)


@pytest.fixture
def task(generator, tokenizer):
    return SegmentationTask(STAGE, generator, tokenizer, (5, 1))


@pytest.fixture
def contrastive(generator, tokenizer):
    return ContrastiveTask(Stage("contrastive", steps=4, batch=8, lr=1e-3, size=24), generator, tokenizer, (5, 0))


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def words(tokenizer, rows):
    return [tokenizer.decode(row, skip_special_tokens=True).strip() for row in rows]


# -- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ContrastiveTask, SegmentationTask])
def test_a_batch_is_a_function_of_seed_and_step(kind, generator, tokenizer):
    first, second, other = (kind(STAGE, generator, tokenizer, seed) for seed in ((5, 1), [5, 1], (5, 2)))
    batch = first.batch(3)
    first.batch(4)
    torch.manual_seed(0)
    np.random.seed(0)
    assert same(batch, first.batch(3)), "whatever was drawn in between"
    assert same(batch, second.batch(3))
    assert not same(batch, first.batch(4))
    assert not same(batch, other.batch(3))


def test_contrastive_batches(contrastive, generator, tokenizer):
    batch = contrastive.batch(0)
    assert batch["pixels"].shape == (8, 3, 24, 24)
    said = words(tokenizer, batch["text_ids"])
    known = [{kind.name, *kind.synonyms} for kind in generator.pictograms]
    meant = [[n for n, names in enumerate(known) if any(name in text for name in names)] for text in said]
    assert all(meant), said
    drawn = np.random.default_rng([5, 0, 0]).permutation(10)[:8]
    for row, (kind, kinds) in enumerate(zip(drawn, meant, strict=True)):
        assert kind in kinds, "row i of both is one kind"
        picture = generator.single([5, 0, 0, 1 + row], int(kind), 24)
        assert torch.equal(batch["pixels"][row], normalised(picture[None])[0])
    assert len(set(drawn.tolist())) == 8, "every kind at most once"


def test_scenes_and_their_targets(task, generator):
    batch = task.batch(0)
    assert batch["pixels"].shape == (6, 3, 32, 32)
    assert batch["targets"].shape == (6, 6, 32, 32)
    assert batch["targets"].dtype == torch.bool
    kinds = torch.cat([batch["kinds"].view(6, 4), batch["example_kinds"][batch["example_places"]]], dim=1)
    for slot in range(6):
        row = kinds[slot].tolist()
        wanted = int(batch["example_kinds"][slot % 3])
        scenes = [generator.scene([5, 1, 0, 1 + slot], must_contain=kind) for kind in (wanted, None)]
        pictures = [normalised(scene.picture[None])[0] for scene in scenes]
        scene = scenes[[torch.equal(batch["pixels"][slot], picture) for picture in pictures].index(True)]
        for kind, target in zip(row, batch["targets"][slot], strict=True):
            truth = scene.masks[scene.kinds.index(kind)] if kind in scene.kinds else np.zeros((32, 32), dtype=bool)
            assert (target.numpy() == truth).all()
        texts = row[:4]
        assert len(set(texts)) == 4, "no kind is asked for twice"
        present = [kind in scene.kinds for kind in texts]
        assert present == sorted(present, reverse=True), "present kinds first"
        assert 1 <= sum(present) <= 2, "and at least two absent"


def test_example_places_and_shares(task):
    shares = []
    for step in range(30):
        batch = task.batch(step)
        assert batch["example_places"].tolist() == [[slot % 3, (slot + 1) % 3] for slot in range(6)]
        assert batch["examples"].shape[:2] == (3, 3)
        assert batch["text_share"].shape == (6, 2)
        shares.append(batch["text_share"])
        assert len(batch["example_ids"]) == 3
    shares = torch.stack(shares)
    assert 0 <= shares.min() <= shares.max() < 1
    assert 0.15 < (shares > 0).float().mean() < 0.35
    assert {task.batch(step)["examples"].shape[-1] for step in range(10)} == {16, 32}


def test_most_examples_show_what_is_in_their_scenes(task):
    shown = [task.batch(step)["targets"][:, 4].any(-1).any(-1) for step in range(20)]
    assert 0.85 < torch.cat(shown).float().mean() <= 1


def test_without_examples_there_are_none(generator, tokenizer):
    batch = SegmentationTask(Stage("segmentation", steps=4, batch=3, lr=1e-3), generator, tokenizer, (5,)).batch(0)
    assert set(batch) == {"pixels", "kinds", "text_ids", "text_keep", "targets"}
    assert batch["targets"].shape == (3, 5, 32, 32)


def test_phrases(generator, tokenizer):
    phrases, rng = Phrases(generator.pictograms, tokenizer), np.random.default_rng(0)
    kind = max(range(10), key=lambda n: len(generator.pictograms[n].synonyms))
    named = generator.pictograms[kind]
    drawn = Counter(phrases.draw(rng, kind) for _ in range(2000))
    names = (named.name, *named.synonyms)
    assert set(drawn) == {form.format(name) for name in names for form in ("{}", *TEMPLATES)}
    assert 0.2 < drawn[named.name] / 2000 < 0.3, "half are the name proper, and half of those stand alone"
    tokens = phrases.tokens(["a cat", "the cat on it"], "text")
    assert tokens["text_ids"].shape == tokens["text_keep"].shape
    assert tokens["text_keep"].sum(1).tolist() == sorted(tokens["text_keep"].sum(1).tolist())


def test_normalised():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    expected = (pictures / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    np.testing.assert_allclose(normalised(pictures).numpy(), expected.transpose(0, 3, 1, 2), atol=1e-6)


# -- losses and scores -----------------------------------------------------------------------------------------------


def test_segmentation_losses_add_up(task, model):
    batch = task.batch(0)
    losses = task.losses(model, batch)
    with torch.no_grad():
        texts = model.clip.get_text_features(batch["text_ids"], batch["text_keep"])
        named = model.clip.get_text_features(batch["example_ids"], batch["example_keep"])
        examples = model.clip.get_image_features(batch["examples"])
        rows = []
        for slot in range(6):
            conditions = list(texts[4 * slot : 4 * slot + 4])
            for column in range(2):
                place, share = batch["example_places"][slot, column], batch["text_share"][slot, column]
                conditions.append(share * named[place] + (1 - share) * examples[place])
            pixels = batch["pixels"][slot].expand(6, -1, -1, -1)
            rows.append(model(pixel_values=pixels, conditional_embeddings=torch.stack(conditions)).logits)
        logits, targets = torch.stack(rows), batch["targets"].float()
        same = batch["example_kinds"][:, None] == torch.cat([batch["kinds"], batch["example_kinds"]])
        matching = soft_contrastive_loss(scaled_similarities(model, examples, torch.cat([texts, named])), same)
    bce, dice = mask_bce(logits, targets), dice_loss(logits, targets)
    for name, expected in {
        "bce": bce, "dice": dice, "matching": matching, "loss": bce + 0.5 * dice + 0.1 * matching,
    }.items():  # fmt: skip
        torch.testing.assert_close(losses[name].detach(), expected, atol=1e-4, rtol=1e-4)
    scores = task.scores(model, batch)
    ious, present = iou_per_mask(logits > 0, batch["targets"]), batch["targets"].any(-1).any(-1)
    assert scores["iou_text"] == pytest.approx(ious[:, :4][present[:, :4]].tolist(), abs=1e-3)
    assert scores["iou_example"] == pytest.approx(ious[:, 4:][present[:, 4:]].tolist(), abs=1e-3)


def test_scenes_of_another_size_are_shown_as_a_processor_shows_them(tokenizer, task, model):
    larger = tiny.segmenter(
        text={"vocab_size": len(tokenizer), "max_position_embeddings": 40, "bos_token_id": tokenizer.bos_token_id,
              "eos_token_id": tokenizer.eos_token_id},
        vision={"image_size": 48, "patch_size": 8},
    )  # fmt: skip
    batch = task.batch(0)
    answers = task._answers(larger, batch)
    assert answers.grid == (6, 6), "patches of the larger input"
    assert answers.logits.shape == (6, 6, 32, 32), "at the scene's size"
    shown = torch.nn.functional.interpolate(batch["pixels"], (48, 48), mode="bilinear")
    again = task._answers(larger, {**batch, "pixels": shown, "targets": batch["targets"]}).logits
    torch.testing.assert_close(answers.logits, squashed(again, 32), atol=1e-5, rtol=1e-5)
    dense = SegmentationTask(dataclasses.replace(STAGE, dense=0.3), task.generator, tokenizer, (5, 1))
    losses = dense.losses(larger, dense.batch(0))
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert losses["dense"] > 0, "patches have their kinds there as well"


def test_described_prompts_mean_some_of_a_kind(installed_pictograms, tokenizer):
    scenes = SceneGenerator(SEEN[:10], SceneOptions(size=32, objects=(2, 4), repeat=0.4, dyed=0.4))
    stage = dataclasses.replace(STAGE, described=1.0, examples=0)
    task = SegmentationTask(stage, scenes, tokenizer, (5, 1))
    partial, phrases = 0, []
    for step in range(6):
        batch = task.batch(step)
        phrases += words(tokenizer, batch["text_ids"])
        for slot in range(6):
            scene = scenes.scene([5, 1, step, 1 + slot], range(10))
            for kind, target in zip(batch["kinds"].view(6, 4)[slot].tolist(), batch["targets"][slot], strict=True):
                whole = torch.from_numpy(scene.mask_of(kind))
                assert not (target & ~whole).any(), "never more than the kind"
                partial += bool((target != whole).any())
    assert partial > 5
    places = ("on the left", "on the right", "at the top", "at the bottom")
    assert sum(phrase.endswith(places) for phrase in phrases) > 20


def test_contrastive_losses(contrastive, model):
    batch = contrastive.batch(0)
    losses = contrastive.losses(model, batch)
    with torch.no_grad():
        output = model.clip(batch["text_ids"], batch["pixels"], attention_mask=batch["text_keep"])
    logits, targets = output.logits_per_image, torch.arange(8)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = (cross_entropy(logits, targets) + cross_entropy(logits.t(), targets)) / 2
    torch.testing.assert_close(losses["loss"].detach(), expected, atol=1e-4, rtol=1e-4)
    top1 = (logits.argmax(1) == targets).float()
    assert losses["top1"] == top1.mean()
    assert contrastive.scores(model, batch) == {"top1": top1.tolist()}


def test_the_scale_of_similarities_has_a_limit(model):
    features = torch.eye(3, 12)
    with torch.no_grad():
        model.clip.logit_scale.fill_(10.0)
    similarities = scaled_similarities(model, features, features)
    torch.testing.assert_close(similarities.detach(), 100 * torch.eye(3))


@pytest.mark.parametrize("kind", ["task", "contrastive"])
def test_losses_reach_the_weights(kind, model, request):
    task = request.getfixturevalue(kind)
    task.losses(model, task.batch(0))["loss"].backward()
    without = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is None}
    assert without == ({"decoder"} if kind == "contrastive" else set())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_tiny_model_learns_a_batch(generator, tokenizer, model):
    task = SegmentationTask(Stage("segmentation", steps=4, batch=2, lr=1e-3, prompts=3), generator, tokenizer, (5, 1))
    batch = task.batch(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(120):
        loss = task.losses(model, batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert np.mean(task.scores(model, batch)["iou_text"]) > 0.2


# -- every patch, and kinds without a name ---------------------------------------------------------------------------


def test_a_patch_belongs_to_what_fills_more_than_half_of_it():
    owners = torch.full((1, 4, 8), -1)
    owners[0, :2, :2] = 3  # all of the first patch
    owners[0, :2, 2] = 5  # half of the second: not more
    owners[0, 2:, 4:7] = 7  # all of a third and half of a fourth
    assert patch_kinds(owners, (2, 4)).tolist() == [[[3, -1, -1, -1], [-1, -1, 7, -1]]]


def test_dense_matching_adds_its_weight(generator, tokenizer, model):
    stage = dataclasses.replace(STAGE, dense=0.3)
    dense = SegmentationTask(stage, generator, tokenizer, (5, 1))
    plain = SegmentationTask(STAGE, generator, tokenizer, (5, 1))
    batch = dense.batch(0)
    assert same(plain.batch(0), {name: batch[name] for name in plain.batch(0)}), "the rest is drawn as without it"
    with torch.no_grad():
        with_it, without = dense.losses(model.eval(), batch), plain.losses(model, batch)
    assert with_it["dense"] > 0
    torch.testing.assert_close(with_it["loss"], without["loss"] + 0.3 * with_it["dense"])


def test_unnamed_kinds_are_shown_and_never_named(generator, tokenizer, model):
    stage = dataclasses.replace(STAGE, unnamed=1, dense=0.3)
    task = SegmentationTask(stage, generator, tokenizer, (5, 1))
    names = len(generator.pictograms)
    found = 0
    for step in range(4):
        batch = task.batch(step)
        assert (batch["example_kinds"][:2] < names).all()
        assert (batch["example_kinds"][2:] >= names).all()
        assert len(batch["example_ids"]) == 2
        assert (batch["kinds"] < names).all()
        assert batch["owners"].max() < names
        strange = torch.arange(stage.batch) % stage.examples == 2
        assert not batch["targets"][strange, : stage.prompts].any(), "no text is right in a scene of unnamed kinds"
        assert (batch["text_share"][batch["example_places"] == 2] == 0).all()
        found += int(batch["targets"][strange, stage.prompts].any(-1).any(-1).sum())
    assert found >= 5, "examples of unnamed kinds mostly show what is in their scenes"
    assert torch.isfinite(task.losses(model, batch)["loss"])
