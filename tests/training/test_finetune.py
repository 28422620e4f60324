"""`clipseg train finetune`, made short: a folder in, an ordinary model folder out that answers better."""

import sys
from pathlib import Path

import pytest
import torch

from clipseg.data.own import open_data
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.segmenter import Segmenter
from clipseg.training.recipes import read_recipe
from clipseg.training.run import trainer_of

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def woodcuts(tmp_path_factory):
    sys.path.insert(0, str(BENCHMARKS))
    try:
        from style_set import write_style_set
    finally:
        sys.path.remove(str(BENCHMARKS))
    folder = tmp_path_factory.mktemp("woodcuts")
    write_style_set(folder, 12, 3)
    return folder


def mean_iou(segmenter, data):
    ious = []
    for sample in data:
        found = segmenter.segment(sample.picture, sample.phrase).binary(0.5)[0].numpy()
        ious.append((found & sample.mask).sum() / (found | sample.mask).sum())
    return sum(ious) / len(ious)


def test_a_few_steps_on_a_few_pictures(woodcuts, tmp_path):
    data = open_data(woodcuts, "test")
    recipe = read_recipe("finetune", [f"data={woodcuts}", "steps=10", "batch=8", "warmup=2", "workers=0"])
    model = trainer_of(recipe, tmp_path / "run", device="cpu").fit()
    assert len(list((tmp_path / "run" / "features").iterdir())) == 1, "features are stored"
    tuned = Segmenter.from_pretrained(model, device="cpu")
    assert type(tuned.model) is CLIPSegForImageSegmentation
    nano = Segmenter.from_pretrained("nano", device="cpu")
    clip = nano.model.clip.state_dict()
    assert all(torch.equal(value, clip[name]) for name, value in tuned.model.clip.state_dict().items())
    assert mean_iou(tuned, data) > mean_iou(nano, data) + 0.05


def test_what_the_recipes_say():
    """The released weights are tuned as nano is, at their size."""
    small = read_recipe("finetune", ["data=there"])
    released = read_recipe("finetune-released", ["data=there"])
    assert (small.model.start, released.model.start) == ("nano", "CIDAS/clipseg-rd64-refined")
    assert (small.stages[0].size, released.stages[0].size) == (320, 352)
    for recipe in (small, released):
        assert recipe.data.root == "there"
        assert recipe.data.options["negatives"] == 0.2
        assert recipe.model.decoder == "kept"
        assert (recipe.stages[0].train, recipe.stages[0].cache) == ("decoder", True)
