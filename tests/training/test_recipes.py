import ast
import dataclasses
import json
from pathlib import Path

import pytest

import clipseg
from clipseg.checkpoints.hub import BUNDLED
from clipseg.data.scenes import SceneOptions
from clipseg.errors import ConfigurationError
from clipseg.training.config import ModelRecipe, Recipe, Stage, TowerRecipe, build, read_recipe
from ready import RECIPE

ROOT = Path(__file__).parents[2]


@pytest.fixture
def write(tmp_path):
    def write(text=RECIPE, *changes):
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "pebble.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def recipe(write):
    """`recipe("seed=1")` -> the recipe above with overrides."""
    path = write()
    return lambda *overrides: read_recipe(path, overrides)


def test_a_recipe(recipe):
    pebble = recipe()
    assert pebble.name == "pebble"
    assert pebble.model.text == TowerRecipe(16, 1, 2, 16)
    assert pebble.model.extract_layers == (0,)
    assert pebble.scenes == SceneOptions(size=32, scale=(0.25, 1.0))
    assert [(stage.task, stage.steps) for stage in pebble.stages] == [("contrastive", 5), ("segmentation", 6)]
    assert isinstance(pebble.stages[0].lr, float), "a whole number is a number"
    assert pebble.stages[1] == Stage("segmentation", 6, 2, 1e-3)
    assert (pebble.seed, pebble.precision) == (0, "float32")


def test_the_bundled_recipe():
    nano = read_recipe(ROOT / "recipes" / "nano.toml")
    assert nano.name == "nano"
    assert [stage.task for stage in nano.stages] == ["contrastive", *["segmentation"] * 3]
    assert nano.stages[1].example_sizes == (64, 64, 128)
    beside_the_weights = json.loads((BUNDLED["nano"] / "recipe.json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(dataclasses.asdict(nano))) == beside_the_weights


def test_overrides(recipe):
    changed = recipe(
        "seed=7", "stages.0.steps=9", "stages.1.lr=2", "model.text.hidden_size=32", "scenes.size=64",
        "stages.1.example_sizes=[32, 64]", "precision=bfloat16", 'name="rock"', "scenes.flip=false",
    )  # fmt: skip
    assert (changed.seed, changed.precision, changed.name) == (7, "bfloat16", "rock")
    assert (changed.stages[0].steps, changed.stages[1].steps) == (9, 6)
    assert changed.stages[1].lr == 2.0
    assert changed.stages[1].example_sizes == (32, 64)
    assert changed.model.text.hidden_size == 32
    assert (changed.scenes.size, changed.scenes.flip) == (64, False)
    assert recipe("name=two words").name == "two words", "what is no TOML value is a string"


def test_an_override_into_a_table_that_is_not_there(write):
    path = write(RECIPE, ("[scenes]\nsize = 32\nscale = [0.25, 1]\n", ""))
    assert read_recipe(path).scenes == SceneOptions()
    assert read_recipe(path, ["scenes.size=64"]).scenes == SceneOptions(size=64)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "has no '='; write key=value"),
        ("stages.2.steps=1", r"'2' is not one of 0 to 1"),
        ("stages.-1.steps=1", r"'-1' is not one of 0 to 1"),
        ("stages.².steps=1", r"is not one of 0 to 1"),
        ("stages.first.steps=1", r"'first' is not one of 0 to 1"),
        ("stages.0=1", "does not name a key of a table"),
        ("name.deep=1", "does not name a key of a table"),
        ("name.deep.deeper=1", "does not name a key of a table"),
        ("sed=1", "unknown key 'sed'; did you mean 'seed'"),
        ("stages.0.step=1", r"stages\[0\]: unknown key 'step'; did you mean 'steps'"),
        ("=1", "unknown key ''"),
        ("seed=", "seed is ''; expected int"),
    ],
)
def test_wrong_overrides(recipe, override, message):
    with pytest.raises(ConfigurationError, match=message):
        recipe(override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.0.steps=1.0", r"pebble.toml: stages\[0\]: steps is 1.0; expected int"),
        ("stages.0.steps=true", r"steps is True; expected int"),
        ("stages.0.lr=true", "lr is True; expected float"),
        ('stages.0.lr="1"', "lr is '1'; expected float"),
        ("name=3", "name is 3; expected str"),
        ("scenes.flip=1", "scenes: flip is 1; expected bool"),
        ("precision=float16", "precision is 'float16'; expected one of 'float32', 'bfloat16'"),
        ("precision=[1]", r"precision is \[1\]; expected one of"),
        ("stages.0.task=flying", "task is 'flying'; expected one of 'contrastive', 'segmentation'"),
        ("scenes.objects=[1, 2, 3]", "objects has 3 items; expected 2"),
        ("scenes.objects=2", "objects is 2; expected a list"),
        ("scenes.objects=[1, 2.5]", r"objects\[1\] is 2.5; expected int"),
        ("scenes.objects=[5, 2]", r"pebble.toml: scenes: scene option objects is \(5, 2\)"),
        ("model.extract_layers=[true]", r"extract_layers\[0\] is True; expected int"),
        ("model.text=3", "model: text is 3; expected a table"),
        ("model=[]", r"model is \[\]; expected a table"),
        ("stages={}", r"stages is \{\}; expected a list"),
        ("stages=[]", "stages is empty"),
        ("stages.0.steps=0", r"pebble.toml: stages\[0\]: steps is 0; expected at least 1"),
        ("stages.0.batch=0", "batch is 0; expected at least 1"),
        ("stages.0.lr=-1.0", "lr is -1.0; expected at least 0"),
        ("stages.0.lr=nan", "lr is nan; expected at least 0"),
        ("stages.0.clip=inf", "clip is inf; expected at least 0"),
        ("stages.0.size=8", "size is 8; expected at least 16"),
        ("stages.0.absent=6", "absent is 6; expected at least 0 and at most 5"),
        ("stages.0.plain_examples=1.5", "plain_examples is 1.5; expected at least 0 and at most 1"),
        ("stages.0.examples=2", r"example_sizes is \(\); expected at least one side"),
        ("save_every=0", "pebble.toml: save_every is 0; expected at least 1"),
        ("workers=-1", "workers is -1; expected at least 0"),
        ("seed=-1", "seed is -1; expected at least 0"),
    ],
)
def test_wrong_values(recipe, override, message):
    with pytest.raises(ConfigurationError, match=message):
        recipe(override)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("name =", "nome =")], "unknown key 'nome'; did you mean 'name'"),
        ([("patch_size", "patchsize")], "pebble.toml: model: unknown key 'patchsize'; did you mean 'patch_size'"),
        ([("size = 32\nscale", "zzz = 32\nscale")], "scenes: unknown key 'zzz'; known are size, objects"),
        ([("steps = 5\n", "")], r"pebble.toml: stages\[0\]: missing steps"),
        ([("steps = 5\nbatch = 2\n", "")], r"stages\[0\]: missing steps, batch"),
        ([('name = "pebble"', "")], "pebble.toml: missing name"),
        ([('name = "pebble"', "name = pebble")], "pebble.toml cannot be read as TOML: .*line 2"),
    ],
)
def test_wrong_files(write, changes, message):
    with pytest.raises(ConfigurationError, match=message):
        read_recipe(write(RECIPE, *changes))


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no recipe at .*nowhere\.toml"):
        read_recipe(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigurationError, match="cannot be read as TOML"):
        read_recipe(tmp_path)
    (tmp_path / "picture.toml").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ConfigurationError, match="cannot be read as TOML"):
        read_recipe(tmp_path / "picture.toml")


def test_recipes_are_values(recipe):
    assert recipe() == recipe()
    assert recipe() != recipe("seed=1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe().seed = 3
    built = build(Recipe, dataclasses.asdict(recipe("stages.0.steps=9")), "again")
    assert built == recipe("stages.0.steps=9")


@pytest.mark.parametrize("record", [TowerRecipe, ModelRecipe, Stage, Recipe, SceneOptions])
def test_every_field_is_read_somewhere(record):
    """An option that nothing reads is a promise that is not kept."""
    read = set()
    for path in Path(clipseg.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                read.add(node.attr)
    unread = {field.name for field in dataclasses.fields(record)} - read
    assert not unread
