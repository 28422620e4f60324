import ast
import dataclasses
import json
from pathlib import Path

import pytest

import clipseg
from clipseg.checkpoints.hub import BUNDLED
from clipseg.data.scenes import SceneOptions
from clipseg.errors import ConfigurationError
from clipseg.training.recipes import (
    FOLDER,
    DataRecipe,
    ModelRecipe,
    Recipe,
    Settings,
    StartModel,
    TowerRecipe,
    read_recipe,
    shipped_recipes,
)
from clipseg.training.records import build, flattened, merged
from clipseg.training.stages import Optimisation, PromptedStage, Stage
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
    assert pebble.stages[1] == Stage("segmentation", steps=6, batch=2, lr=1e-3)
    assert (pebble.seed, pebble.precision) == (0, "float32")


def test_the_bundled_recipe():
    nano = read_recipe(ROOT / "recipes" / "nano.toml")
    assert nano.name == "nano"
    assert [stage.task for stage in nano.stages] == ["contrastive", *["segmentation"] * 2]
    assert nano.stages[1].example_sizes == (128, 256, 320)
    beside_the_weights = json.loads((BUNDLED["nano"] / "recipe.json").read_text(encoding="utf-8"))
    assert build(Recipe, beside_the_weights, "beside the weights") == nano


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
        ("precision=float8", "precision is 'float8'; expected one of 'float32', 'bfloat16', 'float16'"),
        ("precision=[1]", r"precision is \[1\]; expected one of"),
        ("stages.0.task=flying", "task is 'flying'; expected one of 'contrastive', 'segmentation', 'prompted'"),
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


@pytest.mark.parametrize(
    "record",
    [
        TowerRecipe,
        ModelRecipe,
        StartModel,
        DataRecipe,
        Optimisation,
        Stage,
        PromptedStage,
        Settings,
        Recipe,
        SceneOptions,
    ],
)
def test_every_field_is_read_somewhere(record, attributes_read):
    """An option that nothing reads is a promise that is not kept."""
    assert not {field.name for field in dataclasses.fields(record)} - attributes_read


@pytest.fixture(scope="module")
def attributes_read():
    """The names of all attributes that any file of the package reads."""
    read = set()
    for path in Path(clipseg.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                read.add(node.attr)
    return read


# -- tables chosen by their keys, short forms, and recipes on top of others -------------------------------------------

PROMPTED = """
name = "mine"
[model]
start = "nano"
decoder = "kept"
[[stages]]
task = "prompted"
steps = 10
batch = 2
lr = 1e-3
[data]
kind = "own"
"""


@pytest.fixture
def prompted(tmp_path):
    (tmp_path / "mine.toml").write_text(PROMPTED)
    return lambda *overrides: read_recipe(tmp_path / "mine.toml", overrides)


def test_tables_are_chosen_by_their_keys(prompted, recipe):
    assert prompted().model == StartModel("nano", decoder="kept")
    assert isinstance(recipe().model, ModelRecipe)
    assert prompted().stages == (PromptedStage(steps=10, batch=2, lr=1e-3),)
    assert prompted("data.negatives=0.1", "data.absent=['a']").data == DataRecipe(
        "own", options={"negatives": 0.1, "absent": ("a",)}
    )
    again = build(Recipe, json.loads(json.dumps(dataclasses.asdict(prompted("data.negatives=0.1")))), "again")
    assert again == prompted("data.negatives=0.1"), "also from JSON, where there is null"


def test_short_forms(prompted, recipe):
    changed = prompted("data=some folder", "steps=3", "lr=1", "betas=[0.5, 0.6]", "start=elsewhere", "seed=2")
    assert changed.data.root == "some folder"
    assert (changed.stages[0].steps, changed.stages[0].lr, changed.stages[0].betas) == (3, 1.0, (0.5, 0.6))
    assert (changed.model.start, changed.seed) == ("elsewhere", 2)
    assert prompted('validation={kind="own", root="v"}').validation == DataRecipe("own", "v")
    with pytest.raises(ConfigurationError, match="unknown key 'step'; did you mean 'steps'"):
        prompted("step=3")
    with pytest.raises(ConfigurationError, match="unknown key 'steps'"):
        recipe("steps=3")  # of which of its two stages?


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.kind=phrasecutt", "data: unknown kind of data set 'phrasecutt'; did you mean 'phrasecut'"),
        ("data.kind=3", "data: kind is 3; expected the name of a kind of data set"),
        ("data.negative=1", "data: unknown option 'negative' of own data; did you mean 'negatives'"),
        ("data.root=3", "data: root is 3; expected the path of a folder"),
        ("model.reduce_dim=3", 'decoder = "kept" has settings of its own; leave out reduce_dim'),
        ("model.towers=new", 'decoder = "kept" goes with towers'),
        ("model.extract_layers=3", "extract_layers is 3; expected a list"),
        ("model=3", "model: start is 3|model is 3"),
        ("final=best", r'final = "best" needs a \[validation\] table'),
        ("name=a/b", "name is 'a/b'; expected what can be the name of a folder"),
        ("train=decodr", "train is 'decodr'; expected one of 'decoder', 'head', 'adapters', 'lora', 'all'"),
        ("stages.0={}", "does not name a key of a table"),
    ],
)
def test_wrong_prompted_values(prompted, override, message):
    with pytest.raises(ConfigurationError, match=message):
        prompted(override)


def test_a_recipe_on_top_of_another(tmp_path, prompted):
    (tmp_path / "top.toml").write_text('extend = "mine.toml"\nname = "top"\n[[stages]]\nlr = 2e-3\n')
    top = read_recipe(tmp_path / "top.toml", ["steps=4"])
    assert top == dataclasses.replace(prompted(), name="top", stages=(PromptedStage(steps=4, batch=2, lr=2e-3),))
    (tmp_path / "coco.toml").write_text('extend = "rd64"\nname = "x"\n[data]\nkind = "coco20i"\nfold = 1\n')
    assert read_recipe(tmp_path / "coco.toml").data == DataRecipe("coco20i", options={"fold": 1}), (
        "nothing of PhraseCut"
    )
    (tmp_path / "round.toml").write_text('extend = "round.toml"\n')
    with pytest.raises(ConfigurationError, match=r"round.toml: extend = 'round.toml' leads back to where it began"):
        read_recipe(tmp_path / "round.toml")
    (tmp_path / "three.toml").write_text("extend = 3\n")
    with pytest.raises(ConfigurationError, match="extend is 3; expected a recipe's name or path"):
        read_recipe(tmp_path / "three.toml")


def test_names_of_recipes():
    assert read_recipe("nano") == read_recipe(FOLDER / "nano.toml")
    with pytest.raises(ConfigurationError, match=r"no recipe is named 'rd46'; did you mean 'rd64'\?; or give the path"):
        read_recipe("rd46")


def test_tables_are_merged_and_flattened():
    base, changes = {"a": {"b": 1, "c": [1]}, "s": [{"x": 1}, {"x": 2}]}, {"a": {"c": [2]}, "s": [{"y": 3}], "n": 4}
    both = {"a": {"b": 1, "c": [2]}, "s": [{"x": 1, "y": 3}, {"x": 2}], "n": 4}
    assert merged(base, changes) == both
    assert flattened(both) == {"a.b": 1, "a.c": [2], "s.0.x": 1, "s.0.y": 3, "s.1.x": 2, "n": 4}
    assert base["s"] == [{"x": 1}, {"x": 2}], "neither is changed"


# -- the recipes that come along ---------------------------------------------------------------------------------------

# What the authors' configurations say, and the defaults of their code and of torch: experiments/phrasecut.yaml,
# ablation.yaml, coco.yaml and pascal_1shot.yaml of https://github.com/timojl/clipseg.
PUBLISHED = {
    "precision": "float16",  # amp: True
    "model.start": "openai/clip-vit-base-patch16",  # version: ViT-B/16
    "model.towers": "pretrained",
    "model.decoder": "new",
    "model.kind": "clipseg",
    "model.reduce_dim": 64,
    "model.extract_layers": [3, 7, 9],
    "model.decoder_num_attention_heads": 4,
    "model.decoder_intermediate_size": 2048,
    "model.conditional_layer": 0,
    "model.use_complex_transposed_convolution": False,
    "stages.0.train": "decoder",
    "stages.0.steps": 20_000,
    "stages.0.batch": 64,
    "stages.0.accumulate": 1,
    "stages.0.lr": 1e-3,
    "stages.0.lr_end": 1e-4,
    "stages.0.warmup": 0,
    "stages.0.betas": [0.9, 0.999],
    "stages.0.weight_decay": 0.01,
    "stages.0.decay": "all",
    "stages.0.clip": 0,
    "stages.0.dropout": 0.1,
    "stages.0.size": 352,
    "stages.0.crop": True,
    "stages.0.templates": "shuffle+",
    "stages.0.style": "crop_blur_highlight",
    "stages.0.text_min": 0.0,
    "stages.0.text_max": 0.5,
    "stages.0.bce": 1.0,
    "stages.0.dice": 0.0,
    "stages.0.focal": 0.0,
    "final": "last",
    "data.kind": "phrasecut",
    "data.options.split": "train",
    "data.options.negatives": 0.2,
    "data.options.visual": True,
    "data.options.remove": None,
}
TEXT_ALONE = {
    "stages.0.templates": "plain", "stages.0.text_min": 1.0, "stages.0.text_max": 1.0, "data.options.visual": False,
}  # fmt: skip
COCO = {"data.kind": "coco20i", "data.options.fold": 0, "data.options.visual": None}
DEVIATIONS = {
    "rd64": {},
    "rd64-refined": {"stages.0.steps": 50_000, "model.use_complex_transposed_convolution": True},
    "rd16": {"model.reduce_dim": 16},
    "rd64-phrasecut": TEXT_ALONE,
    "rd128-phrasecut": {**TEXT_ALONE, "model.reduce_dim": 128, "data.options.negatives": 0.0},
    "one-shot-coco": {**COCO, "stages.0.steps": 7000, "stages.0.text_max": 1.0, "data.options.negatives": 0.0},
    "one-shot-pascal": {"data.options.remove": ["pas5i", 0]},
    "one-shot-pascal-phrasecut": {
        "data.options.remove": ["pas5i", 0], "stages.0.text_max": 1.0, "data.options.negatives": 0.0,
    },
    "zero-shot-4": {"data.options.remove": ["zs", 2]},
    "zero-shot-10": {"data.options.remove": ["zs", 5]},
    "ablation-no-visual": TEXT_ALONE,
    "ablation-layer3": {"model.extract_layers": [3]},
    "ablation-highlight": {"stages.0.style": "blur_highlight"},
    "ablation-no-pretraining": {"model.towers": "new", "stages.0.lr": 3e-4},
    "clip-deconv": {
        **TEXT_ALONE, "model.kind": "deconv", "model.extract_layers": [9], "model.decoder_intermediate_size": 64,
        "data.options.negatives": 0.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", DEVIATIONS)
def test_the_papers_recipes_line_by_line(name):
    found = flattened(dataclasses.asdict(read_recipe(name)))
    expected = PUBLISHED | DEVIATIONS[name]
    assert {key: found.get(key) for key in expected} == expected
    assert found["name"] == name


def test_every_recipe_says_what_it_costs_and_gives():
    shipped = shipped_recipes()
    assert shipped.keys() >= {"nano", *DEVIATIONS}
    for name in shipped:
        head = (FOLDER / f"{name}.toml").read_text(encoding="utf-8").partition("name =")[0]
        assert head.startswith(f"# {name}: ")
        for line in ("command  clipseg train", "cost ", "score "):
            assert f"#   {line}" in head, f"{name} lacks its {line.strip()}"
        assert f"clipseg train {name}" in head or f"clipseg train recipes/{name}.toml" in head
        if name in DEVIATIONS:
            assert "source " in head
        assert read_recipe(name).name == name
