"""Original files to a model folder and back, through the files themselves."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from clipseg.checkpoints import convert as conversion
from clipseg.checkpoints import files, keymaps
from clipseg.checkpoints.convert import convert
from clipseg.errors import CheckpointMismatchError, CheckpointNotFoundError, OutputError, UsageError
from originals import decoder_file, openai_file

LAYERS = (0, 1, 1)  # the tiny vision tower has two


@pytest.fixture
def originals(tmp_path: Path) -> tuple[Path, Path]:
    torch.save(decoder_file(refined=True, reduce=True), tmp_path / "my.pth")
    torch.save({key: value.half() for key, value in openai_file().items()}, tmp_path / "my-clip.pt")
    return tmp_path / "my.pth", tmp_path / "my-clip.pt"


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def test_folder_in_the_released_layout(originals: tuple[Path, Path], tmp_path: Path) -> None:
    result = convert(originals[0], tmp_path / "model", originals[1], extract_layers=LAYERS)
    assert result.missing_tokenizer_files == ("vocab.json", "merges.txt")
    assert {path.name for path in result.written} == {"model.safetensors", "config.json", "preprocessor_config.json"}
    assert {path.name for path in result.folder.iterdir()} == {path.name for path in result.written}
    config = files.read_json(result.folder / "config.json")
    expected = {
        "model_type": "clipseg",
        "architectures": ["CLIPSegForImageSegmentation"],
        "extract_layers": [0, 1, 1],
        "reduce_dim": 8,
        "use_complex_transposed_convolution": True,
        "decoder_num_attention_heads": 4,
        "decoder_intermediate_size": 24,
        "conditional_layer": 0,
        "projection_dim": 32,
        "torch_dtype": "float32",
    }
    assert expected.items() <= config.items()
    preprocessor = files.read_json(result.folder / "preprocessor_config.json")
    assert preprocessor["size"] == {"height": 352, "width": 352}
    assert preprocessor["image_mean"] == [0.485, 0.456, 0.406]
    assert preprocessor["rescale_factor"] == 0.00392156862745098
    tensors = files.read_weights(result.folder)
    assert all(value.dtype == torch.float32 for value in tensors.values())


def test_the_reference_loads_it_whole(originals: tuple[Path, Path], tmp_path: Path) -> None:
    from transformers import CLIPSegForImageSegmentation

    folder = convert(originals[0], tmp_path / "model", originals[1], extract_layers=LAYERS).folder
    model, info = CLIPSegForImageSegmentation.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    expected = openai_file()["text_projection"].half().float().T
    assert torch.equal(model.clip.text_projection.weight, expected)


def test_there_and_back(originals: tuple[Path, Path], tmp_path: Path) -> None:
    folder = convert(originals[0], tmp_path / "model", originals[1], extract_layers=LAYERS).folder
    result = convert(folder, tmp_path / "back", to="original")
    assert {path.name for path in result.written} == {conversion.DECODER_FILE, conversion.CLIP_FILE}
    decoder = decoder_file(refined=True)
    assert same(files.read_tensors(tmp_path / "back" / conversion.DECODER_FILE), decoder)
    clip = {key: value.half().float() for key, value in openai_file().items()}
    assert same(files.read_tensors(tmp_path / "back" / conversion.CLIP_FILE), clip)
    again = convert(
        tmp_path / "back" / conversion.DECODER_FILE,
        tmp_path / "again",
        tmp_path / "back" / conversion.CLIP_FILE,
        extract_layers=LAYERS,
    )
    assert same(files.read_weights(again.folder), files.read_weights(folder))


def test_clip_from_a_model_folder_brings_its_tokenizer(originals: tuple[Path, Path], tmp_path: Path) -> None:
    clip = tmp_path / "clip"
    positions = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    files.write_weights(clip, keymaps.clip_to_hf(openai_file()) | positions)
    for name in ("vocab.json", "merges.txt", "added_tokens.json", "README.md"):
        (clip / name).write_text(name)
    result = convert(originals[0], tmp_path / "model", clip, extract_layers=LAYERS)
    assert result.missing_tokenizer_files == ()
    assert (result.folder / "merges.txt").read_text() == "merges.txt"
    assert (result.folder / "added_tokens.json").exists()
    assert not (result.folder / "README.md").exists()
    single = convert(originals[0], tmp_path / "single", clip / "model.safetensors", extract_layers=LAYERS)
    assert same(files.read_weights(single.folder), files.read_weights(result.folder))


def test_full_original_file(tmp_path: Path) -> None:
    full = decoder_file() | {f"clip_model.{key}": value for key, value in openai_file().items()}
    full |= {"model.conv1.weight": full["clip_model.visual.conv1.weight"]}
    torch.save({"state_dict": full}, tmp_path / "full.pth")
    result = convert(tmp_path / "full.pth", tmp_path / "model", extract_layers=LAYERS, dtype=torch.float16)
    tensors = files.read_weights(result.folder)
    assert {value.dtype for value in tensors.values()} == {torch.float16}
    assert files.read_json(result.folder / "config.json")["torch_dtype"] == "float16"
    assert not files.read_json(result.folder / "config.json")["use_complex_transposed_convolution"]


def test_default_layers_are_the_released_ones(originals: tuple[Path, Path], tmp_path: Path) -> None:
    torch.save(openai_file(layers=10), tmp_path / "deep.pt")
    result = convert(originals[0], tmp_path / "model", tmp_path / "deep.pt")
    assert files.read_json(result.folder / "config.json")["extract_layers"] == [3, 6, 9]


def test_what_does_not_belong_together(originals: tuple[Path, Path], tmp_path: Path) -> None:
    decoder, clip = originals
    out = tmp_path / "out"
    with pytest.raises(CheckpointNotFoundError, match="name the CLIP weights"):
        convert(decoder, out)
    with pytest.raises(UsageError, match="needs 3 layers, each from 0 to 1"):
        convert(decoder, out, clip)
    with pytest.raises(UsageError, match="needs 3 layers"):
        convert(decoder, out, clip, extract_layers=(0, 1))
    with pytest.raises(UsageError, match="not known"):
        convert(decoder, out, clip, to="onnx")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="leave them out"):
        convert(decoder, out, clip, to="original")
    other = openai_file() | {"visual.conv1.weight": torch.zeros(64, 3, 32, 32)}
    torch.save(other, tmp_path / "ViT-other.pt")
    with pytest.raises(CheckpointMismatchError, match="patch size 16, but this one has 32"):
        convert(decoder, out, tmp_path / "ViT-other.pt", extract_layers=LAYERS)
    assert not out.exists()  # nothing is written before everything fits


def test_a_full_folder_is_not_touched(originals: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="not an empty folder"):
        convert(originals[0], out, originals[1], extract_layers=LAYERS)
    with pytest.raises(OutputError, match="not an empty folder"):
        convert(originals[0], out / "mine.txt", originals[1], extract_layers=LAYERS)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    convert(originals[0], out, originals[1], extract_layers=LAYERS, overwrite=True)
    assert (out / "mine.txt").read_text() == "mine"
    assert (out / "config.json").exists()


def test_known_names_are_checked(originals: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rd64-uni.pth", "rd64-uni-refined.pth"):
        path = originals[0].rename(tmp_path / name)
        with pytest.warns(UserWarning, match=f"published {name}"):
            convert(path, tmp_path / name.removesuffix(".pth"), originals[1], extract_layers=LAYERS)
        path.rename(originals[0])
    path = originals[0].rename(tmp_path / "rd64-uni.pth")
    monkeypatch.setitem(conversion._SHA256, path.name, conversion._digest(path, "sha256"))
    convert(path, tmp_path / "quiet", originals[1], extract_layers=LAYERS)
