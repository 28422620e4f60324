"""Reading and writing weights: what is safe is read, what is not is refused, what is written is whole."""

import json
import os
import pickle
import stat
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clipseg.checkpoints import files
from clipseg.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    OutputError,
    UnsafeFileError,
    UsageError,
)
from hub_server import HubServer

Tensors = dict[str, Tensor]
TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(2.5), "half": torch.ones(4).half()}


def same(left: Tensors, right: Tensors) -> bool:
    return left.keys() == right.keys() and all(
        torch.equal(left[key], right[key]) and left[key].dtype == right[key].dtype for key in left
    )


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> object:
        return os.system, (f"touch {self.target}",)


# Reading


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin", "w.pth"])
def test_written_is_read(tmp_path: Path, name: str) -> None:
    files.write_tensors(tmp_path / name, TENSORS)
    assert same(files.read_tensors(tmp_path / name), TENSORS)


def test_content_counts_not_the_suffix(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "w.bin")
    assert same(files.read_tensors(tmp_path / "w.bin"), TENSORS)


def test_old_pickles_and_parameters(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert same(files.read_tensors(tmp_path / "old.pth"), TENSORS)
    torch.save({"p": nn.Parameter(torch.ones(2))}, tmp_path / "p.pth")
    value = files.read_tensors(tmp_path / "p.pth")["p"]
    assert not isinstance(value, nn.Parameter)
    assert not value.requires_grad


def test_torchscript_archives(tmp_path: Path) -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.proj = nn.Parameter(torch.ones(2, 3))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.proj

    with pytest.warns(DeprecationWarning, match="jit"):
        torch.jit.save(torch.jit.script(Small()), str(tmp_path / "w.pt"))
    assert same(files.read_tensors(tmp_path / "w.pt"), {"proj": torch.ones(2, 3)})


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_one_level_down(tmp_path: Path, key: str) -> None:
    torch.save({"epoch": 3, key: TENSORS}, tmp_path / "w.pth")
    assert same(files.read_tensors(tmp_path / "w.pth"), TENSORS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"state_dict": TENSORS, "model": TENSORS}, "no tensors"),
        ({"epoch": 3}, "no tensors"),
        ({}, "no tensors"),
        ({**TENSORS, "state_dict": TENSORS}, "'state_dict', which is no tensor"),
        ({**TENSORS, "epoch": 3}, "'epoch', which is no tensor"),
        ([1, 2], "holds a list"),
    ],
)
def test_no_state_dict(tmp_path: Path, content: object, reason: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=reason):
        files.read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize("form", ["zip", "old", "protocol 2", "protocol 4"])
def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, form: str) -> None:
    path, ran = tmp_path / "w.pth", tmp_path / "ran"
    evil = {"a": torch.ones(1), "b": Evil(ran)}
    if form.startswith("protocol"):
        path.write_bytes(pickle.dumps({"b": Evil(ran)}, protocol=int(form[-1])))
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(UnsafeFileError, match="safetensors on a machine where you trust it") as caught:
        files.read_tensors(path)
    assert not ran.exists()
    assert "\n" not in str(caught.value)
    if form != "protocol 4":
        assert "system" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"garbage garbage garbage", "neither safetensors nor a PyTorch file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"PK\x03\x04 no zip", "w.bin"),
    ],
)
def test_other_content(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "w.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match=reason):
        files.read_tensors(tmp_path / "w.bin")


def test_absent_and_unreadable(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="does not exist"):
        files.read_tensors(tmp_path / "absent.bin")
    with pytest.raises(CheckpointError, match="cannot be read"):
        files.read_tensors(tmp_path)


@given(st.data())
def test_damaged_files_never_pass_for_whole(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("damage") / data.draw(st.sampled_from(["w.safetensors", "w.pth"]))
    files.write_tensors(path, {"a": torch.zeros(300)})
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(CheckpointError):
        files.read_tensors(path)


@given(st.data())
def test_flipped_bytes_raise_nothing_else(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("flip") / data.draw(st.sampled_from(["w.safetensors", "w.pth"]))
    files.write_tensors(path, {"a": torch.zeros(3)})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(CheckpointError):
        files.read_tensors(path)


def test_corrupt_safetensors_header(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(TENSORS, path)
    content = bytearray(path.read_bytes())
    content[20:30] = b"\xff" * 10
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        files.read_tensors(path)


# Finding


def test_preference(tmp_path: Path) -> None:
    for i, name in enumerate(reversed(files.WEIGHT_FILES)):
        if name.endswith(".json"):
            (tmp_path / name).write_text(json.dumps({"weight_map": {"x": "part.bin"}}))
        else:
            torch.save({"x": torch.tensor(i)}, tmp_path / name)
        (tmp_path / "part.bin").touch()
        resolved = files.resolve_weights(tmp_path)
        assert [path.name for path in resolved] == ["part.bin" if name.endswith(".json") else name]


def test_no_weights_names_all_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError) as caught:
        files.read_weights(tmp_path)
    assert all(name in str(caught.value) for name in files.WEIGHT_FILES)


@pytest.mark.parametrize("shard", ["../w.bin", "/etc/passwd", "a/b.bin", "..", "", 3])
def test_shards_are_plain_names(tmp_path: Path, shard: object) -> None:
    (tmp_path / files.INDEX).write_text(json.dumps({"weight_map": {"x": shard}}))
    with pytest.raises(CheckpointError, match="plain file name"):
        files.read_weights(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": []}'])
def test_malformed_index(tmp_path: Path, text: str) -> None:
    (tmp_path / files.INDEX).write_text(text)
    with pytest.raises(CheckpointError):
        files.read_weights(tmp_path)


def test_shards_that_are_absent_or_overlap(tmp_path: Path) -> None:
    files.write_weights(tmp_path, TENSORS, max_shard_size=1)
    second, third = (tmp_path / f"model-0000{i}-of-00003.safetensors" for i in (2, 3))
    second.unlink()
    with pytest.raises(CheckpointNotFoundError, match=second.name):
        files.read_weights(tmp_path)
    second.write_bytes(third.read_bytes())
    with pytest.raises(CheckpointError, match="half, which another shard holds"):
        files.read_weights(tmp_path)


def test_sharded_model_from_the_hub(hub_server: HubServer, tmp_path: Path) -> None:
    written = files.write_weights(tmp_path / "model", TENSORS, max_shard_size=20)
    hub_server.repositories["org/model"] = {path.name: path.read_bytes() for path in written}
    assert same(files.read_weights("org/model"), TENSORS)
    hub_server.stop()
    assert same(files.read_weights("org/model", local_files_only=True), TENSORS)


# Writing


def test_aliases_views_and_strides_are_written_apart(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"a": base, "same": base, "row": base[1], "t": base.t(), "q": base[:1], "p": nn.Parameter(base)}
    files.write_tensors(tmp_path / "w.safetensors", tensors)
    assert same(files.read_tensors(tmp_path / "w.safetensors"), {key: value.detach() for key, value in tensors.items()})
    files.write_tensors(tmp_path / "row.pth", {"row": torch.zeros(1000, 1000)[0]})
    assert (tmp_path / "row.pth").stat().st_size < 10_000  # not the whole matrix behind it


def test_metadata(tmp_path: Path) -> None:
    from safetensors import safe_open

    files.write_tensors(tmp_path / "w.safetensors", TENSORS)
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    files.write_json(path, {"a": 1})

    def fail(error: Exception) -> None:
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(OutputError, match="no space"):
        fail(OSError(28, "no space"))
    with pytest.raises(KeyError):
        fail(KeyError())
    assert files.read_json(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.json"]


def test_unwritable_places(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("w.json", "w.safetensors", "w.pth"):
        with pytest.raises(OutputError, match="cannot be written"):
            files.write_json(tmp_path / "file" / name, {})
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OutputError):
        files.write_tensors(tmp_path / "folder.safetensors", TENSORS)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder.safetensors"]


def test_folders_are_made_and_permissions_are_the_usual(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "w.json"
    files.write_json(path, {"name": "Größe"})
    assert "Größe" in path.read_text(encoding="utf-8")
    files.write_tensors(tmp_path / "w.safetensors", {"a": torch.zeros(2)})
    files.write_tensors(tmp_path / "w.bin", {"a": torch.zeros(2)})
    (tmp_path / "usual").touch()
    usual = stat.S_IMODE((tmp_path / "usual").stat().st_mode)
    for written in (path, tmp_path / "w.safetensors", tmp_path / "w.bin"):
        assert stat.S_IMODE(written.stat().st_mode) == usual


def test_one_shard_or_many(tmp_path: Path) -> None:
    assert [path.name for path in files.write_weights(tmp_path, TENSORS)] == [files.SAFETENSORS]
    assert same(load_file(tmp_path / files.SAFETENSORS), TENSORS)
    written = files.write_weights(tmp_path, TENSORS, max_shard_size=30)
    assert [path.name for path in written] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        files.INDEX,
    ]
    assert not (tmp_path / files.SAFETENSORS).exists()  # it would win over the new index
    assert files.read_json(tmp_path / files.INDEX)["metadata"] == {"total_size": 24 + 4 + 8}
    assert same(files.read_weights(tmp_path), TENSORS)
    files.write_weights(tmp_path, TENSORS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [files.SAFETENSORS]


def test_names_of_a_variant(tmp_path: Path) -> None:
    def names() -> list[str]:
        return sorted(path.name for path in tmp_path.iterdir())

    files.write_weights(tmp_path, {"a": torch.zeros(1)})
    files.write_weights(tmp_path, TENSORS, max_shard_size=30, variant="fp16")
    sharded = [f"model.fp16-0000{i}-of-00002.safetensors" for i in (1, 2)]
    assert names() == [*sharded, files.SAFETENSORS, "model.safetensors.index.fp16.json"]
    assert same(files.read_weights(tmp_path, variant="fp16"), TENSORS)
    files.write_weights(tmp_path, TENSORS, variant="fp16")
    assert names() == ["model.fp16.safetensors", files.SAFETENSORS]
    assert same(files.read_weights(tmp_path), {"a": torch.zeros(1)})
    assert [files.of_variant(name, "x") for name in files.WEIGHT_FILES[2:]] == [
        "pytorch_model.x.bin",
        "pytorch_model.bin.index.x.json",
    ]
    with pytest.raises(UsageError, match=r"variant is '\.\./x'; expected a word"):
        files.read_weights(tmp_path, variant="../x")


@given(st.lists(st.integers(0, 20), max_size=8), st.integers(1, 100))
def test_shards_hold_everything_and_keep_the_limit(sizes: list[int], limit: int) -> None:
    tensors = {str(i): torch.zeros(size) for i, size in enumerate(sizes)}
    shards = list(files._shards(tensors, limit))
    assert [key for shard in shards for key in shard] == list(tensors)
    assert all(len(shard) == 1 or sum(4 * t.numel() for t in shard.values()) <= limit for shard in shards if shard)
    assert all(shards) or shards == [{}]


@pytest.mark.parametrize(
    ("text", "size"),
    [(7, 7), ("5GB", 5 * 10**9), ("200 MB", 2 * 10**8), ("2GiB", 2**31), ("1.5kb", 1500), ("9B", 9), ("1TB", 10**12)],
)
def test_sizes(text: int | str, size: int) -> None:
    assert files.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "5", "GB", "5XB", "-1GB", "5GBs"])
def test_malformed_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="is not understood"):
        files.parse_size(text)
