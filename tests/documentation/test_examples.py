"""Every documented example: its import line and the source of its files changed, nothing else, and the same results.

The examples are data (`*_examples.md`): the documented calls, names and order. Each runs twice, with this library on
checkpoints that the hub of the tests serves, and with the reference implementation on a folder of the same files. The
number in a test's name is that of the contract's table of examples, then follow the editions that print it.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import io
import re
import sys
import urllib.request
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

import ready
import released_layout
from hub_server import HubServer
from released_layout import CLIP, CLIPSEG
from rows import row
from twins import quiet

PAGES = sorted(Path(__file__).parent.glob("*_examples.md"))
EXAMPLES: dict[str, str] = {
    name: code
    for page in PAGES
    for name, code in re.findall(r"^## (\w+)\n+```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
}
PICTURE_URL = "http://images.cocodataset.org/val2017/000000039769.jpg"
LABELS = {"a photo of a cat", "a photo of a dog", "a photo of a car"}


@dataclass(frozen=True)
class Run:
    """What an example left behind: its variables, what it printed, and the value of its last line."""

    names: dict[str, Any]
    printed: str
    last: Any

    def __getitem__(self, name: str) -> Any:
        return self.names[name]


Example = Callable[[str], Run]


def execute(name: str, library: str, sources: dict[str, str]) -> Run:
    """An example, imported from a library, its sources replaced by ours -> what it left behind."""
    code = EXAMPLES[name].replace("from transformers", f"from {library}").replace("device=0", 'device="cpu"')
    for documented, ours in sources.items():
        code = code.replace(documented, ours)
    tree = ast.parse(code)
    if isinstance(end := tree.body[-1], ast.Expr):  # as an interactive session keeps it
        tree.body[-1] = ast.copy_location(ast.Assign([ast.Name("_", ast.Store())], end.value), end)
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(ast.fix_missing_locations(tree), name, "exec"), names)
    return Run(names, printed.getvalue(), names.get("_"))


@pytest.fixture(scope="session")
def picture() -> bytes:
    """A picture of the documented one's size, as a JPEG."""
    encoded = io.BytesIO()
    ready.picture(seed=3, width=640, height=480).save(encoded, "JPEG", quality=95)
    return encoded.getvalue()


@pytest.fixture
def picture_url(hub_server: HubServer, picture: bytes) -> str:
    hub_server.repositories["coco/val2017"] = {"000000039769.jpg": picture}
    return f"{hub_server.url}/coco/val2017/resolve/main/000000039769.jpg"


@pytest.fixture
def ours(hub_server: HubServer, picture_url: str) -> Example:
    """Runs an example with this library, which downloads the documented models from the hub of the tests."""
    for name in (CLIPSEG, CLIP):
        hub_server.repositories[name] = dict(released_layout.files(name))
    return lambda name: execute(name, "clipseg", {PICTURE_URL: picture_url})


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("released")
    return {name: str(released_layout.write(name, root / name)) for name in (CLIPSEG, CLIP)}


@pytest.fixture
def theirs(folders: dict[str, str], picture_url: str) -> Example:
    """Runs an example with the reference implementation, on the same files in a folder."""

    def run(name: str) -> Run:
        with quiet():
            return execute(name, "transformers", {PICTURE_URL: picture_url, **folders})

    return run


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch, picture: bytes) -> None:
    """The two other packages that examples import: as much of them as the examples use."""

    def module(name: str, **members: Any) -> ModuleType:
        made = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, None))
        vars(made).update(members)
        return made

    def get(url: str, stream: bool = False) -> SimpleNamespace:
        assert stream
        return SimpleNamespace(raw=urllib.request.urlopen(url))

    def load_dataset(name: str) -> dict[str, dict[str, list[Image.Image]]]:
        assert name == "huggingface/cats-image"
        return {"test": {"image": [Image.open(io.BytesIO(picture))]}}

    monkeypatch.setitem(sys.modules, "requests", module("requests", get=get))
    monkeypatch.setitem(sys.modules, "datasets", module("datasets", load_dataset=load_dataset))


def agree(ours: Run, theirs: Run, *names: str, atol: float = 1e-5) -> None:
    """Both runs made the same inputs and the same tensors of these names."""
    assert list(ours["inputs"]) == list(theirs["inputs"])
    for key, value in theirs["inputs"].items():
        torch.testing.assert_close(ours["inputs"][key], value, rtol=0, atol=1e-6)
    for name in names:
        expected = theirs[name]
        # Recent releases answer features with an output object; the documents and this library with the tensor.
        expected = expected if isinstance(expected, torch.Tensor) else expected.pooler_output
        torch.testing.assert_close(ours[name], expected, rtol=0, atol=atol)
        assert ours[name].float().std() > 10 * atol, f"{name} hardly varies, so that it proves nothing"


def same_settings(ours: Any, theirs: Any) -> None:
    """Every documented setting of a default configuration is what the reference (a class name, or a part) says."""
    if isinstance(theirs, str):
        import transformers

        with quiet():
            theirs = getattr(transformers, theirs)()
    expected = theirs.to_dict()
    apart = {"architectures", "dtype", "transformers_version"}
    shared = {name for name in ours.to_dict() if name in expected and not isinstance(expected[name], dict)} - apart
    assert {"projection_dim", "logit_scale_init_value"} <= shared or {"hidden_size", "hidden_act"} <= shared
    assert {name: getattr(ours, name) for name in shared} == {name: expected[name] for name in shared}
    for part in {"text_config", "vision_config"} & expected.keys():
        same_settings(getattr(ours, part), getattr(theirs, part))


def test_examples_are_all_tested() -> None:
    tests = [name for name in globals() if re.match(r"test_\d\d_", name)]
    assert len(EXAMPLES) == 22
    for name in EXAMPLES:
        assert any(re.fullmatch(rf"test_{name}(_s37|_s56|_c5|_docstrings)+", test) for test in tests), name


@row("10", "example 1")
def test_01_configuration_s37_s56_docstrings(ours: Example) -> None:
    run = ours("01_configuration")
    assert run.printed == ""
    assert type(run["model"]).__name__ == "CLIPSegModel"
    assert run["configuration"] is run["model"].config
    assert run["model"].num_parameters() == 151_277_313
    assert type(run["config"]).__name__ == "CLIPSegConfig"
    assert run["config"].text_config.to_dict() == run["config_text"].to_dict()
    assert run["config"].vision_config.to_dict() == run["config_vision"].to_dict()
    same_settings(run["configuration"], "CLIPSegConfig")


@row("10", "example 2")
def test_02_text_configuration_s37_s56_docstrings(ours: Example) -> None:
    run = ours("02_text_configuration")
    assert run["configuration"] is run["model"].config
    same_settings(run["configuration"], "CLIPSegTextConfig")


@row("10", "example 2")
def test_02_vision_configuration_s37_s56_docstrings(ours: Example) -> None:
    run = ours("02_vision_configuration")
    assert run["configuration"] is run["model"].config
    same_settings(run["configuration"], "CLIPSegVisionConfig")


@row("10", "example 3")
def test_03_similarity_s37_s56(ours: Example, theirs: Example) -> None:
    run = ours("03_similarity")
    assert list(run["inputs"]) == ["input_ids", "attention_mask", "pixel_values"]
    assert run["inputs"]["pixel_values"].shape == (1, 3, 352, 352)
    assert run["probs"].shape == (1, 2)
    agree(run, theirs("03_similarity"), "logits_per_image", "probs")


@row("10", "example 4")
def test_04_text_features_s37_s56(ours: Example, theirs: Example) -> None:
    run = ours("04_text_features")
    assert type(run["text_features"]) is torch.Tensor
    agree(run, theirs("04_text_features"), "text_features")


@row("10", "example 4")
def test_04_image_features_s37_s56(ours: Example, theirs: Example) -> None:
    run = ours("04_image_features")
    assert type(run["image_features"]) is torch.Tensor
    agree(run, theirs("04_image_features"), "image_features")


def with_its_weights(run: Run, folder: str, part: str) -> Run:
    """The reference's run of example 5, answered by the tower inside the whole model.

    On its own that tower finds none of its weights in a segmentation checkpoint, and starts at random with a report.
    """
    import transformers

    with quiet():
        whole = transformers.CLIPSegForImageSegmentation.from_pretrained(folder)
        outputs = getattr(whole.clip, part)(**run["inputs"])
    answers = {"last_hidden_state": outputs.last_hidden_state, "pooled_output": outputs.pooler_output}
    return Run({**run.names, **answers}, run.printed, run.last)


@row("10", "example 5")
def test_05_text_model_s37_s56(ours: Example, theirs: Example, folders: dict[str, str]) -> None:
    expected = with_its_weights(theirs("05_text_model"), folders[CLIPSEG], "text_model")
    agree(ours("05_text_model"), expected, "last_hidden_state", "pooled_output")


@row("10", "example 5")
def test_05_vision_model_s37_s56(ours: Example, theirs: Example, folders: dict[str, str]) -> None:
    expected = with_its_weights(theirs("05_vision_model"), folders[CLIPSEG], "vision_model")
    agree(ours("05_vision_model"), expected, "last_hidden_state", "pooled_output")


@row("10", "example 6")
def test_06_segmentation_s37_s56(ours: Example, theirs: Example) -> None:
    run, expected = ours("06_segmentation"), theirs("06_segmentation")
    assert run.printed == expected.printed == "torch.Size([3, 352, 352])\n"
    agree(run, expected, "logits")
    assert (run["logits"][0] - run["logits"][1]).abs().max() > 0.1, "the texts make no difference"


@row("10", "example 7")
def test_07_pipeline_c5(ours: Example, theirs: Example) -> None:
    answer, expected = ours("07_pipeline").last, theirs("07_pipeline").last
    assert [row["label"] for row in answer] == [row["label"] for row in expected]
    assert [row["score"] for row in answer] == pytest.approx([row["score"] for row in expected], abs=0.01)
    assert {row["label"] for row in answer} == LABELS
    assert [set(row) for row in answer] == [{"score", "label"}] * 3
    assert sum(row["score"] for row in answer) == pytest.approx(1, abs=0.01)


@row("10", "example 8")
def test_08_auto_model_c5(ours: Example, theirs: Example) -> None:
    run, expected = ours("08_auto_model"), theirs("08_auto_model")
    assert run["model"].dtype == torch.bfloat16
    assert re.fullmatch(r"Most likely label: (.+) with probability: \d\.\d{3}\n", run.printed)[1] in LABELS  # type: ignore[index]
    agree(run, expected, "logits_per_image", atol=0.02)
    agree(run, expected, "probs", atol=0.005)
    assert run["most_likely_label"] == expected["most_likely_label"]


@row("10", "example 9")
def test_09_configuration_c5(ours: Example) -> None:
    run = ours("09_configuration")
    assert run["configuration"] is run["model"].config
    assert run["model"].num_parameters() == 151_277_313
    same_settings(run["configuration"], "CLIPConfig")
    same_settings(run["config"], "CLIPConfig")


@row("10", "example 9")
def test_09_text_configuration_c5(ours: Example) -> None:
    run = ours("09_text_configuration")
    assert run["configuration"] is run["model"].config
    same_settings(run["configuration"], "CLIPTextConfig")


@row("10", "example 9")
def test_09_vision_configuration_c5(ours: Example) -> None:
    run = ours("09_vision_configuration")
    assert run["configuration"] is run["model"].config
    same_settings(run["configuration"], "CLIPVisionConfig")


@row("10", "example 10")
def test_10_similarity_c5(ours: Example, theirs: Example) -> None:
    run = ours("10_similarity")
    assert run["image"].size == (640, 480)
    assert run["inputs"]["pixel_values"].shape == (1, 3, 224, 224)
    agree(run, theirs("10_similarity"), "logits_per_image", "probs")


@row("10", "example 10")
def test_10_text_features_c5(ours: Example, theirs: Example) -> None:
    run = ours("10_text_features")
    assert type(run["text_features"]) is torch.Tensor
    agree(run, theirs("10_text_features"), "text_features")


@row("10", "example 10")
def test_10_image_features_c5(ours: Example, theirs: Example) -> None:
    run = ours("10_image_features")
    assert type(run["image_features"]) is torch.Tensor
    agree(run, theirs("10_image_features"), "image_features")


@row("10", "example 11")
def test_11_text_model_c5(ours: Example, theirs: Example) -> None:
    agree(ours("11_text_model"), theirs("11_text_model"), "last_hidden_state", "pooled_output")


@row("10", "example 11")
def test_11_text_model_with_projection_c5(ours: Example, theirs: Example) -> None:
    agree(ours("11_text_model_with_projection"), theirs("11_text_model_with_projection"), "text_embeds")


@row("10", "example 11")
def test_11_vision_model_c5(ours: Example, theirs: Example) -> None:
    agree(ours("11_vision_model"), theirs("11_vision_model"), "last_hidden_state", "pooled_output")


@row("10", "example 11")
def test_11_vision_model_with_projection_c5(ours: Example, theirs: Example) -> None:
    agree(ours("11_vision_model_with_projection"), theirs("11_vision_model_with_projection"), "image_embeds")


@row("10", "example 12")
def test_12_image_classification_c5(ours: Example, theirs: Example) -> None:
    with pytest.warns(UserWarning, match=r"holds no classifier\.\* weights") as caught:
        run = ours("12_image_classification")
    assert len(caught) == 1
    assert run.printed in ("LABEL_0\n", "LABEL_1\n")
    expected = theirs("12_image_classification")
    with torch.no_grad():  # the head of each is new, so theirs takes ours
        expected["model"].classifier.load_state_dict(run["model"].classifier.state_dict())
        expected.names["logits"] = expected["model"](**expected["inputs"]).logits
    agree(run, expected, "logits")


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("06_segmentation", ("/config.json", "preprocessor_config.json", "merges.txt", "model.safetensors")),
        ("10_similarity", ("/config.json", "preprocessor_config.json", "merges.txt", "pytorch_model.bin")),
    ],
)
def test_a_second_use_comes_from_the_cache(
    ours: Example, hub_server: HubServer, name: str, files: tuple[str, ...]
) -> None:
    first = ours(name)
    assert [hub_server.count("GET", file) for file in files] == [1] * len(files)
    second = ours(name)
    assert [hub_server.count("GET", file) for file in files] == [1] * len(files)
    torch.testing.assert_close(second["outputs"][0], first["outputs"][0])
