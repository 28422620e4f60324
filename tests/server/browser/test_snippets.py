"""What is copied runs, and makes what is on screen: the functions are asked in the browser, the answers run here."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page

from clipseg import Segmenter
from clipseg.cli.main import execute
from clipseg.masks.draw import PALETTE, paint_heat, paint_masks
from clipseg.masks.masks import Masks
from clipseg.masks.rle import decode
from clipseg.prompting.lexing import is_expression, tokens
from clipseg.prompting.parsing import parsed
from clipseg.prompting.prompts import TextPrompt, parse
from clipseg.server.answers import records
from clipseg.server.requests import SegmentRequest

TEXTS = [
    "a cup", "salt and pepper", "ANDROID", "AT&T", "a dog!", "bus (vehicle)", "what's this?", 'a 24" screen',
    "face AND NOT (hat OR hair)",
    "a | b", "a & b", "!a", "NOT a", "a{*1.5}", "a {+20}", '"a AND b"', '"a" b', "a OR", "(a) OR b",
    "a{b}", 'say "AND" loud', "b\\c", "a  b", "OR", "tom&jerry", "x |", "1 & 2",
]  # fmt: skip
FARM = Path(__file__).parents[3] / "examples" / "options" / "farm.jpg"


def call(page: Page, module: str, function: str, *values: object) -> Any:
    return page.evaluate(
        "async ([module, name, values]) => (await import(`/static/${module}`))[name](...values)",
        [module, function, list(values)],
    )


def test_expressions_are_told_from_phrases_as_the_library_does(page: Page) -> None:
    said = {text: call(page, "snippets.js", "isExpression", text) for text in TEXTS}
    assert said == {text: is_expression(tokens(text)) for text in TEXTS}


@pytest.mark.parametrize("text", [text for text in TEXTS if not is_expression(tokens(text))])
def test_a_quoted_phrase_is_read_as_that_phrase(page: Page, text: str) -> None:
    written = call(page, "snippets.js", "weighted", text, 1.5)
    term = parse(written)
    assert term.terms()[0] == TextPrompt(text)
    assert parse(call(page, "snippets.js", "weighted", text, 1)) == TextPrompt(text)


def test_a_weighted_expression_is_one(page: Page) -> None:
    written = call(page, "snippets.js", "weighted", "a OR b", 0.5)
    assert parsed(written, TextPrompt) == parsed("(a OR b){*0.5}", TextPrompt)


@pytest.mark.parametrize("text", ["it's", "a b", 'say "x"', "$HOME `ls`", "ä", "a\nb", "plain-1.jpg", "!"])
def test_words_of_a_shell_and_of_python_come_back(page: Page, text: str) -> None:
    assert shlex.split(call(page, "snippets.js", "sh", text)) == [text]
    assert eval(call(page, "snippets.js", "py", text)) == text


def test_points_that_were_picked_become_numbers_of_parts(page: Page) -> None:
    parts = [
        {"number": 1, "box": [0, 0, 100, 100], "centroid": [50, 50]},
        {"number": 2, "box": [40, 40, 60, 60], "centroid": [50, 50]},
        {"number": 3, "box": [200, 0, 300, 100], "centroid": [250, 50]},
    ]
    points = [[250, 20], [50, 45], [210, 50], [500, 500]]
    assert call(page, "question.js", "numbersAt", points, parts) == [2, 3]


def test_parts_whose_boxes_lie_in_each_other_are_told_apart(page: Page) -> None:
    """Two stripes side by side: the smaller one has the smaller box, but a point is of that on which it lies."""
    y, x = np.mgrid[:300, :400]
    logits = np.where((np.abs(x - y - 20) < 12) | ((np.abs(x - y - 60) < 12) & (y < 280)), 4.0, -4.0)
    masks = Masks(torch.from_numpy(logits)[None].float(), ("x",), (300, 400))
    (answer,) = records(masks, {"instances"}, None, lambda: None)
    for part in answer["instances"]:
        inside = decode(part["rle"])
        for row, column in np.argwhere(inside)[:: inside.sum() // 9]:
            point = [float(column) + 0.5, float(row) + 0.5]
            assert call(page, "question.js", "numbersAt", [point], answer["instances"]) == [part["number"]]


def test_of_parts_that_are_gone_nothing_is_asked_for(page: Page) -> None:
    """All that was picked is beyond the threshold: the mask on screen is empty, and that of the library has to be."""
    parts = [{"number": 1, "box": [0, 0, 100, 100], "centroid": [50, 50]}]
    keep = call(page, "question.js", "keepAt", [[300, 200]], parts)
    asked = call(page, "question.js", "keepAt", [[30, 20]], parts)
    assert asked == [1]
    masks = Masks(torch.full((1, 8, 8), 4.0), ("x",), (8, 8))
    assert not masks.with_options(keep=",".join(map(str, keep))).binary().any()


def test_a_file_that_begins_with_a_dash_is_no_option(page: Page, folder: Path) -> None:
    asked = scene()
    asked["state"]["picture"]["name"] = "-farm.jpg"
    (folder / "farm.jpg").rename(folder / "-farm.jpg")
    assert execute(words_of(call(page, "snippets.js", "command", asked))[1:]) == 0
    assert (folder / "-farm.overlay.png").exists()


def test_a_long_name_of_a_file_is_shortened_for_the_server(page: Page) -> None:
    asked = scene()
    asked["state"]["picture"]["name"] = "x" * 180 + ".jpg"
    body = json.loads(words_of(call(page, "snippets.js", "curl", asked))[-1])
    assert SegmentRequest(**body).name == "x" * 100


def words_of(command: str) -> list[str]:
    """A command over several lines -> its words, as a shell has them."""
    return shlex.split(command.replace("\\\n", ""))


def scene(**settings: Any) -> dict[str, Any]:
    prompt = {
        "key": "p1", "kind": "text", "text": "cactus", "label": "cactus", "visible": True, "negative": False,
        "weight": 1, "threshold": None, "colour": "#e69f00", "example": None,
    }  # fmt: skip
    other = {
        **prompt,
        "key": "p2",
        "text": "cow face",
        "label": "cow face",
        "weight": 1.5,
        "threshold": 0.5,
        "colour": "#56b4e9",
    }
    less = {**prompt, "key": "p3", "text": "cat face", "label": "cat face", "negative": True}
    every = {
        "show": "fill",
        "threshold": 0.35,
        "opacity": 0.5,
        "smooth": 1,
        "feather": 0,
        "colormap": "ice",
        "fit": "squash",
    }
    state = {
        "picture": {"id": "0" * 64, "name": "farm.jpg", "width": 352, "height": 352},
        "prompts": [prompt, other, less],
        "settings": {**every, "fit": "squash", **settings},
        "kept": {},
    }
    prompts = [prompt, other] if state["settings"]["show"] == "fill" else [prompt]
    return {
        "state": state,
        "prompts": prompts,
        "keeps": {},
        "model": "nano",
        "origin": "http://127.0.0.1:8000",
        "token": False,
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "farm.jpg").write_bytes(FARM.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def expected(show: str, keep: str = "all") -> Masks:
    names = ["cactus", "{}"] if show == "fill" else ["cactus"]
    prompts = [name.format('"cow face"{*1.5}') for name in names]
    threshold: Any = (0.35, 0.5) if show == "fill" else 0.35
    return Segmenter.from_pretrained("nano").segment(
        FARM, prompts, negative=["cat face"], threshold=threshold, smooth="1%", keep=keep
    )


@pytest.mark.parametrize("show", ["fill", "heat", "cutout"])
@pytest.mark.parametrize("language", ["python", "command"])
def test_code_makes_what_is_on_screen(page: Page, folder: Path, show: str, language: str) -> None:
    written = call(page, "snippets.js", language, scene(show=show))
    if language == "python":
        exec(compile(written, "copied", "exec"), {})
    else:
        assert execute(words_of(written)[1:]) == 0
    kind = {"fill": "overlay", "heat": "heatmap", "cutout": "cutout"}[show]
    (made,) = folder.glob(f"farm*.{kind}.png")
    reference = folder / "reference.png"
    write(expected(show), show, reference)
    assert made.read_bytes() == reference.read_bytes()


def write(masks: Masks, show: str, path: Path) -> None:
    from clipseg.formats.cutouts import write_cutout
    from clipseg.formats.drawings import write_heat_map, write_overlay

    if show == "fill":
        write_overlay(path, masks, alpha=0.5, legend=False)
    elif show == "heat":
        write_heat_map(path, masks[0], colormap="ice", alpha=0.5)
    else:
        write_cutout(path, masks[0])


def test_parts_of_different_masks_are_finished_apart(page: Page, folder: Path) -> None:
    asked = {**scene(), "keeps": {"p1": [1]}}
    exec(compile(call(page, "snippets.js", "python", asked), "copied", "exec"), {})
    masks = expected("fill")
    finished = [masks[0].with_options(keep="1").binary().numpy(), masks[1].binary().numpy()]
    made = Image.open(folder / "farm.overlay.png")
    assert made.tobytes() == paint_masks(Image.open(FARM), finished, 0.5).tobytes()
    bodies = call(page, "question.js", "exactQuestions", asked["state"], asked["prompts"], asked["keeps"])
    assert [(one["keep"], one["body"]["options"]) for one in bodies] == [
        ([1], {"threshold": 0.35, "smooth": "1%", "keep": "1"}),
        (None, {"threshold": 0.5, "smooth": "1%"}),
    ]
    assert call(page, "snippets.js", "command", asked).count("--out farm.") == 2


def test_masks_that_shrink_are_said_in_every_language(page: Page) -> None:
    for grow, said in ((2, "grow"), (-2, "shrink")):
        asked = scene(grow=grow)
        assert f'    {said}="2%",\n' in call(page, "snippets.js", "python", asked)
        assert f"--{said} 2%" in call(page, "snippets.js", "command", asked)
        assert f'"{said}":"2%"' in call(page, "snippets.js", "curl", asked)
        heat = scene(grow=grow, feather=2, show="heat")  # about which nothing is decided
        assert said not in call(page, "snippets.js", "command", heat)
        assert call(page, "question.js", "onScreen", heat["state"], heat["prompts"]) == {"smooth": "1%"}


def test_feathered_masks_are_painted_as_they_are(page: Page, folder: Path) -> None:
    exec(compile(call(page, "snippets.js", "python", scene(feather=2)), "copied", "exec"), {})
    mattes = [matte.numpy() for matte in expected("fill").with_options(feather="2%").each_matte()]
    made = Image.open(folder / "farm.overlay.png")
    assert made.tobytes() == paint_heat(Image.open(FARM), mattes, 0.5).tobytes()


def test_curl_uploads_and_asks_for_the_same(page: Page) -> None:
    written = call(page, "snippets.js", "curl", scene())
    upload, question = written.replace("\\\n", "").strip().split("\n")
    assert words_of(upload) == [
        "curl", "--data-binary", "@farm.jpg", "-H", "Content-Type: image/jpeg", "http://127.0.0.1:8000/v1/pictures",
    ]  # fmt: skip
    body = json.loads(words_of(question)[-1])
    assert body["options"] == {"threshold": [0.35, 0.5], "smooth": "1%"}
    assert body["formats"] == ["overlay:alpha=0.5,legend=no"]
    assert body["prompts"][1] == {"text": "cow face", "weight": 1.5}


@pytest.mark.parametrize("language", ["python", "command"])
def test_colours_that_were_chosen_are_kept(page: Page, folder: Path, language: str) -> None:
    asked = scene()
    asked["prompts"][0]["colour"] = "#ff00aa"
    written = call(page, "snippets.js", language, asked)
    if language == "python":
        exec(compile(written, "copied", "exec"), {})
    else:
        assert execute(words_of(written)[1:]) == 0
    made = Image.open(folder / "farm.overlay.png")
    painted = paint_masks(Image.open(FARM), expected("fill").binary().numpy(), 0.5, [(255, 0, 170), PALETTE[1]])
    assert made.tobytes() == painted.tobytes()
    question = call(page, "snippets.js", "curl", asked)
    assert '"overlay:alpha=0.5,legend=no,colours=#ff00aa/#56b4e9"' in question


@pytest.mark.parametrize("settings", [{}, {"feather": 2}])
def test_colours_of_masks_that_are_painted_apart(page: Page, folder: Path, settings: dict[str, Any]) -> None:
    asked = {**scene(**settings), "keeps": {"p1": [1]}}
    asked["prompts"][0]["colour"] = "#ff00aa"
    exec(compile(call(page, "snippets.js", "python", asked), "copied", "exec"), {})
    masks = [expected("fill")[0].with_options(keep="1"), expected("fill")[1]]
    own = [(255, 0, 170), PALETTE[1]]
    if settings:
        mattes = [mask.with_options(feather="2%").matte().numpy() for mask in masks]
        painted = paint_heat(Image.open(FARM), mattes, 0.5, own)
    else:
        painted = paint_masks(Image.open(FARM), [mask.binary().numpy() for mask in masks], 0.5, own)
    assert Image.open(folder / "farm.overlay.png").tobytes() == painted.tobytes()


def test_examples_are_said_in_every_language(page: Page) -> None:
    asked = scene(feather=2)
    picture = {"id": "1" * 64, "name": "jar's.jpg", "width": 10, "height": 10}
    mask = {"id": "2" * 64, "name": "jar's.mask.png"}
    marked = {"picture": picture, "mask": mask, "box": None, "style": "crop"}
    boxed = {"picture": picture, "mask": None, "box": [1, 2, 3, 4], "style": "cut_out"}
    one = {**asked["prompts"][0], "kind": "example", "label": "jar", "example": marked, "weight": 2}
    asked["prompts"] = [one, {**one, "key": "p9", "example": boxed, "weight": 1}, *asked["prompts"]]
    python = call(page, "snippets.js", "python", asked)
    compile(python, "copied", "exec")
    assert 'Strength(ImagePrompt("jar\'s.jpg", mask="jar\'s.mask.png", style="crop", label="jar"), 2)' in python
    assert "box=(1, 2, 3, 4)" in python
    command = call(page, "snippets.js", "command", asked)
    assert "--image-prompt 'jar'\\''s.jpg:1,2,3,4'" in command
    assert command.count("take Python") == 2
    assert call(page, "snippets.js", "curl", asked).count("--data-binary") == 3
