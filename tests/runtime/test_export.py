"""Exporting: what is written, how it is compared with torch, and what is refused."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import exports
import ready
import tiny
from clipseg.cli.export import export as command
from clipseg.configuration.deconv import CLIPDeconvConfig
from clipseg.errors import CheckpointError, MissingPackageError, OutputError, UsageError
from clipseg.modeling.deconv import CLIPDeconvForImageSegmentation
from clipseg.runtime import export as exporting
from clipseg.runtime.export import LARGEST_ERROR, RMS_ERROR, Exported, compared, export
from clipseg.runtime.export_files import TARGETS, traced
from clipseg.runtime.export_graphs import graphs_of, rehearsals
from clipseg.runtime.exported import Manifest, digest_of
from clipseg.segmenter import Segmenter

ROOT = Path(__file__).parents[2]
GRAPHS = {"picture_encoder", "text_encoder", "decoder", "picture_embedder"}


def baseline() -> CLIPDeconvForImageSegmentation:
    config = CLIPDeconvConfig(tiny.TEXT, tiny.VISION, 12, [2], 8, 16)
    return tiny.model(CLIPDeconvForImageSegmentation, config)


MODELS = {
    "plain": tiny.segmenter,
    "refined": lambda: tiny.segmenter(use_complex_transposed_convolution=True),
    "patch 8, condition late": lambda: tiny.segmenter(vision={"patch_size": 8}, conditional_layer=2),
    "order of taps, the last layer": lambda: tiny.segmenter(extract_layers=[3, 0]),
    "text ends at the highest id": lambda: tiny.segmenter(text={"eos_token_id": 2}),
    "baseline": baseline,
}


@pytest.mark.filterwarnings("ignore:extract_layers .* are not ascending")
@pytest.mark.parametrize("name", MODELS)
def test_graphs_compute_what_the_model_does(name: str) -> None:
    model = MODELS[name]()
    with torch.no_grad():
        for each in rehearsals(model, None):
            for graph in graphs_of(model, None):
                inputs, expected = each[graph.name]
                found = graph.module(*inputs)
                found = found if isinstance(found, tuple) else (found,)
                assert len(graph.inputs) == len(inputs)
                assert len(graph.outputs) == len(expected)
                for pair in zip(found, expected, strict=True):
                    assert compared(*pair)[0] < 1e-5


def test_the_baseline_takes_other_shapes_than_it_was_traced_with() -> None:
    model = baseline()
    with exports.untraced(), torch.no_grad():
        traced_with, other = rehearsals(model, None)
        (decoder,) = (graph for graph in graphs_of(model, None) if graph.name == "decoder")
        program = traced(decoder, traced_with["decoder"][0])
        inputs, (expected,) = other["decoder"]
        assert compared(program.module()(*inputs), expected)[0] < 1e-5
    assert not any("stack_trace" in node.meta for node in program.graph.nodes)


def test_no_two_graphs_hold_the_same_weights() -> None:
    model = tiny.segmenter()
    held = [{id(weight) for weight in graph.module.parameters()} for graph in graphs_of(model, None)]
    reduces = {id(weight) for weight in model.decoder.reduces.parameters()}  # small, and left out when written
    assert all(not (one & another) - reduces for one in held for another in held if one is not another)
    ours = set().union(*held)
    assert {id(weight) for name, weight in model.named_parameters() if name != "clip.logit_scale"} == ours


def test_what_is_written(onnx_folder: Path, model_folder: Path) -> None:
    manifest = json.loads((onnx_folder / "export.json").read_text())
    assert manifest["format_version"] == 1
    assert (manifest["to"], manifest["precision"], manifest["opset"], manifest["size_hw"]) == (
        "onnx",
        "float32",
        18,
        None,
    )
    assert manifest["versions"].keys() == {"clipseg", "torch", "onnx", "onnxscript", "onnxruntime"}
    assert manifest["graphs"].keys() == GRAPHS
    for name, graph in manifest["graphs"].items():
        assert list(graph["files"]) == [f"{name}.onnx", f"{name}.onnx.data"]
        assert all(digest_of(onnx_folder / file) == digest for file, digest in graph["files"].items())
        assert 0 < graph["rms_error"] < graph["largest_error"] < LARGEST_ERROR
    beside = {path.name for path in model_folder.iterdir()} - {"model.safetensors"}
    graphs = {file for graph in manifest["graphs"].values() for file in graph["files"]}
    assert {path.name for path in onnx_folder.iterdir()} == beside | graphs | {"export.json"}
    for path in onnx_folder.iterdir():
        assert path.stat().st_mode & 0o044 == (onnx_folder / "export.json").stat().st_mode & 0o044
        content = path.read_bytes()
        assert str(ROOT).encode() not in content
        assert b"site-packages" not in content


def test_axes_are_named_and_nothing_else_is_told(onnx_folder: Path) -> None:
    import onnx

    graph = onnx.load_model(onnx_folder / "decoder.onnx", load_external_data=False).graph
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {
        "conditions": ["pictures", "prompts", 12],
        "rows": [],
        "columns": [],
        **{f"tap_{number}": ["pictures", "tokens", 8] for number in range(2)},
        "logits": ["pictures", "prompts", "height", "width"],
    }
    assert not any(node.metadata_props for node in graph.node)


def test_programs_of_torch(program_folder: Path) -> None:
    manifest = Manifest.read(program_folder)
    assert (manifest.to, manifest.opset, manifest.versions.keys()) == ("exported-program", None, {"clipseg", "torch"})
    model, pixels, texts = exports.model(), tiny.pixels(1, 48, 96), exports.texts(4)
    picture_encoder, text_encoder, decoder, picture_embedder = (
        torch.export.load(program_folder / f"{name}.pt2").module()
        for name in ("picture_encoder", "text_encoder", "decoder", "picture_embedder")
    )
    with torch.no_grad():
        encoded, conditions = model.encode_images(pixels, pooled=True), model.get_conditional_embeddings(4, **texts)
        *taps, state = picture_encoder(pixels)
        assert compared(picture_embedder(state), encoded.pooled_output)[0] < 1e-5
        found = text_encoder(texts["input_ids"], texts["attention_mask"])
        assert compared(found, conditions)[0] < 1e-5
        assert compared(decoder(found[None], *encoded.grid, *taps), model.decode(encoded, conditions))[0] < 1e-5
    with pytest.raises(CheckpointError, match="was exported to exported-program, not to onnx"):
        Segmenter.from_pretrained(program_folder, backend="onnx")


def test_the_page(onnx_folder: Path, program_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of docs/export.md run and print what they say, and its commands can be read."""
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    for name, target in (("nano-onnx", onnx_folder), ("nano-program", program_folder), ("examples", ROOT / "examples")):
        (tmp_path / name).symlink_to(target)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "export", lambda *_, **__: Exported(onnx_folder, (), Manifest.read(onnx_folder)))
        for block in blocks:
            printed = io.StringIO()
            with redirect_stdout(printed):
                exec(compile(block, "export.md", "exec"), {})
            assert printed.getvalue().splitlines() == re.findall(r"^print\(.*\)  # (.*)$", block, flags=re.MULTILINE)
    lines = re.findall(r"^clipseg export (.*?)(?: +#.*)?$", page, flags=re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        assert command.make_context("export", line.split()).params["to"] in TARGETS
    for option in command.params:
        assert all(f"`{flag}" in page or f", `{flag}" in page for flag in option.opts if flag.startswith("--"))


def test_presence_comes_along(onnx_folder: Path, model_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    for path in model_folder.iterdir():
        (source / path.name).symlink_to(path)
    (source / "presence.json").write_text(json.dumps({"slope": 2.0, "offset": 0.5, "measured": {}}))
    done = exports.exported(source, tmp_path / "onnx", source=onnx_folder)
    calibration = Segmenter.from_pretrained(done, backend="onnx").calibration
    assert calibration is not None
    assert calibration.slope == 2.0


def test_one_size(onnx_folder: Path, tmp_path: Path) -> None:
    graphs = {graph.name: graph for graph in graphs_of(tiny.segmenter(), (32, 48))}
    assert graphs["picture_encoder"].inputs == {"pixels": {0: "pictures"}}
    done = exports.exported(exports.model(), tmp_path / "sized", source=onnx_folder, size_hw=(32, 48))
    segmenter = Segmenter.from_pretrained(done, backend="onnx")
    assert segmenter.segment(ready.picture(), "a cat").logits.shape == (1, 32, 48)
    with pytest.raises(ValueError, match=r"64x64 pixels does not fit .* exported for 32x48"):
        segmenter._parts.runner.encode_images(tiny.pixels(1))
    with pytest.raises(UsageError, match="size is 8x64; expected at least one patch of 16"):
        export(exports.model(), tmp_path / "small", size_hw=(8, 64), processor=ready.processor())


def test_a_model_of_another_type_is_exported_in_float32(onnx_folder: Path, tmp_path: Path) -> None:
    model = exports.model().train().to(torch.float64)
    done = exports.exported(model, tmp_path / "onnx", source=onnx_folder)
    assert Manifest.read(done).precision == "float32"
    assert model.training
    assert model.dtype == torch.float64


def test_8_bit_of_openvino(openvino_int8_folder: Path, openvino_folder: Path) -> None:
    manifest = Manifest.read(openvino_int8_folder)
    assert (manifest.to, manifest.precision) == ("openvino", "int8")
    assert 1e-4 < manifest.graphs["picture_encoder"].rms_error < RMS_ERROR
    sizes = [(folder / "picture_encoder.bin").stat().st_size for folder in (openvino_int8_folder, openvino_folder)]
    assert sizes[0] < 0.8 * sizes[1]


def test_8_bit(int8_folder: Path, onnx_folder: Path) -> None:
    manifest = Manifest.read(int8_folder)
    assert manifest.precision == "int8"
    assert 1e-4 < manifest.graphs["picture_encoder"].rms_error < RMS_ERROR
    assert manifest.graphs["decoder"].largest_error < LARGEST_ERROR  # is left as it is
    sizes = [
        sum(path.stat().st_size for path in folder.glob("picture_*.onnx.data")) for folder in (int8_folder, onnx_folder)
    ]
    assert sizes[0] < 0.7 * sizes[1]  # less is left of larger models, whose tables are a smaller part


@pytest.mark.parametrize(("to", "int8"), [("onnx", False), ("onnx", True), ("openvino", False)])
def test_what_is_not_what_torch_computes_is_refused(
    to: str, int8: bool, onnx_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(path: Path, _int8: bool):
        run = TARGETS["onnx"].opened(onnx_folder / f"{path.stem}.onnx", False)
        return lambda inputs, outputs: [x * (1.1 if int8 else 1.001) for x in run(inputs, outputs)]

    monkeypatch.setattr(exporting, "TARGETS", {to: replace(TARGETS[to], opened=opened)})
    with pytest.raises(CheckpointError, match="the exported picture_encoder is not what torch computes"):
        exports.exported(exports.model(), tmp_path / "bad", to, source=onnx_folder, int8=int8)
    assert list(tmp_path.iterdir()) == []


def test_what_torch_cannot_export_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(graph, inputs):
        raise torch._dynamo.exc.UserError(torch._dynamo.exc.UserErrorType.CONSTRAINT_VIOLATION, "\nno such thing\nmore")

    monkeypatch.setattr(exporting, "traced", fail)
    with pytest.raises(CheckpointError, match=r"cannot export the picture_encoder of this model \(no such thing\)"):
        export(exports.model(), tmp_path / "bad", processor=ready.processor())
    assert list(tmp_path.iterdir()) == []


def test_differences() -> None:
    expected = torch.tensor([0.0, 2.0])
    assert compared(torch.tensor([0.0, 2.5]), expected) == pytest.approx((0.5, 0.125**0.5))
    assert compared(expected[:1], expected) == (float("inf"), float("inf"))
    assert compared(torch.tensor([0.0, float("nan")]), expected) == (float("inf"), float("inf"))


def test_folders_are_not_written_over(onnx_folder: Path, tmp_path: Path) -> None:
    target, model = tmp_path / "onnx", exports.model(seed=1)
    target.mkdir()
    done = exports.exported(exports.model(), target, source=onnx_folder)  # an empty folder is fine
    before = digest_of(done / "export.json")
    with pytest.raises(OutputError, match="holds an earlier export: name another folder, or overwrite it"):
        export(model, target, processor=ready.processor())
    (target / "export.json").rename(target / "other.json")
    with pytest.raises(OutputError, match="is neither an empty folder nor an earlier export"):
        export(model, target, overwrite=True, processor=ready.processor())
    (target / "other.json").rename(target / "export.json")
    exports.exported(exports.model(), target, source=onnx_folder, overwrite=True)
    assert not (target / "other.json").exists()
    assert digest_of(target / "export.json") == before
    assert [path.name for path in tmp_path.iterdir()] == ["onnx"]
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file exists and is neither"):
        export(model, tmp_path / "file", processor=ready.processor())


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/onnx cannot be written: .*; choose another place"):
        export(exports.model(), tmp_path / "file" / "onnx", processor=ready.processor())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "tflite"}, "to is 'tflite'; expected onnx, openvino, exported-program"),
        ({"to": "exported-program", "int8": True}, "exported-program cannot be in 8 bit.*torchao"),
        ({}, "came from no folder.*give processor"),
    ],
)
def test_refused(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        export(exports.model(), tmp_path / "out", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("to", "package", "extra"),
    [
        ("onnx", "onnx", "onnx"),
        ("onnx", "onnxscript", "onnx"),
        ("onnx", "onnxruntime", "onnx"),
        ("openvino", "openvino", "openvino"),
    ],
)
def test_missing_packages(to: str, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf"{package}, which is not installed.*clipseg\[{extra}\]"):
        export(exports.model(), tmp_path / "out", to, processor=ready.processor())


def test_the_example_needs_no_torch(onnx_folder: Path, tmp_path: Path) -> None:
    picture = tmp_path / "noise.png"
    ready.picture().save(picture)
    code = (
        "import sys, runpy\n"
        "class Nothing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'clipseg', 'transformers'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Nothing())\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    script = ROOT / "examples" / "onnx_without_torch.py"
    prompts = ["a cat", "a red cup"]
    call = [sys.executable, "-W", "error", "-c", f"import sys; sys.argv = sys.argv[1:]\n{code}"]
    done = subprocess.run(
        [*call, script, onnx_folder, picture, *prompts, "--threshold", "0.6", "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2
    expected = Segmenter(exports.model(), ready.processor()).segment(picture, prompts).binary(0.6).numpy()
    for name, mask in zip(("noise.a-cat.png", "noise.a-red-cup.png"), expected, strict=True):
        with Image.open(tmp_path / "out" / name) as opened:
            found = np.asarray(opened) > 0
        assert 0.02 < mask.mean() < 0.98
        assert (found == mask).mean() > 0.99
