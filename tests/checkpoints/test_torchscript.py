"""Tensors of a TorchScript archive without running it."""

import io
import os
import pickle
import re
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from clipseg.checkpoints.torchscript import is_torchscript, read_torchscript
from clipseg.errors import CheckpointError, UnsafeFileError


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Parameter(torch.randn(3, 5).t())  # not contiguous: strides count
        self.blocks = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        self.register_buffer("input_resolution", torch.tensor(224))
        self.register_buffer("empty", torch.empty(0))
        self.small = nn.Parameter(torch.randn(2).half())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(x)


@pytest.fixture
def archive(tmp_path: Path) -> tuple[Path, Tower]:
    torch.manual_seed(0)
    tower = Tower()
    path = tmp_path / "ViT.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; the published files are what they are
        torch.jit.save(torch.jit.script(tower), str(path))
    return path, tower


def test_tensors_by_state_dict_name(archive: tuple[Path, Tower]) -> None:
    path, tower = archive
    assert is_torchscript(path)
    found, expected = read_torchscript(path), tower.state_dict()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value)


def test_other_zips_are_not_torchscript(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pt")
    assert not is_torchscript(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(b"none")
    assert not is_torchscript(tmp_path / "b.pt")


def with_record(path: Path, record: str, data: bytes) -> Path:
    other = path.with_name("other.pt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            new.writestr(name, data if name.endswith(record) else old.read(name))
    return other


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> object:
        return os.system, (f"touch {self.target}",)


def test_foreign_names_are_refused_and_nothing_runs(archive: tuple[Path, Tower], tmp_path: Path) -> None:
    path = with_record(archive[0], "/data.pkl", pickle.dumps({"a": Evil(tmp_path / "ran")}, protocol=2))
    with pytest.raises(UnsafeFileError, match=r"posix\.system|nt\.system"):
        read_torchscript(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["builtins eval", "torch load", "torch._utils _rebuild_qtensor", "os.path join"])
def test_only_the_known_names_pass(archive: tuple[Path, Tower], name: str) -> None:
    path = with_record(archive[0], "/data.pkl", f"c{name.replace(' ', chr(10))}\n.".encode())
    with pytest.raises(UnsafeFileError, match=re.escape(name.replace(" ", "."))):
        read_torchscript(path)


def test_damage(archive: tuple[Path, Tower], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pickle.Pickler(buffer, protocol=2).dump({"a": 1})
    for data in (b"", b"\xff" * 40, buffer.getvalue()[:-3]):
        with pytest.raises(CheckpointError, match="damaged"):
            read_torchscript(with_record(archive[0], "/data.pkl", data))
    with pytest.raises(CheckpointError, match="damaged"):  # a storage smaller than its tensors
        read_torchscript(with_record(archive[0], "/data/0", b"1234"))
