"""Weights with NaN or infinity in them are refused, wherever they are, and looking for them keeps nothing in memory."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from clipseg.checkpoints import soundness
from clipseg.checkpoints.files import read_tensors
from clipseg.checkpoints.soundness import refuse_sick_tensors
from clipseg.errors import CheckpointError

VALUES = [float("nan"), float("inf"), -float("inf")]
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sick_files_are_refused(value: float, dtype: torch.dtype, suffix: str, tmp_path: Path) -> None:
    sick = torch.ones(3, 4, dtype=dtype)
    sick[1, 2] = value
    tensors, path = {"a": torch.ones(1), "b": sick, "c": torch.arange(3)}, tmp_path / f"weights.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(tensors, path)
    with pytest.raises(CheckpointError, match=r"weights\.\w+: NaN or infinite values in b: the file is damaged"):
        read_tensors(path)


@pytest.mark.parametrize("place", [0, 4095, 4096, 4097, 9_000, 9_999])
def test_a_number_is_found_in_whichever_part(place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "_PART", 4096)
    tensors = {"odd": torch.zeros(3, dtype=torch.uint8), "long": torch.ones(10_000), "last": torch.ones(5)}
    save_file(tensors, tmp_path / "sound.safetensors")
    assert torch.equal(read_tensors(tmp_path / "sound.safetensors")["long"], tensors["long"])
    tensors["long"][place] = torch.nan
    save_file(tensors, tmp_path / "sick.safetensors")
    with pytest.raises(CheckpointError, match="values in long"):
        read_tensors(tmp_path / "sick.safetensors")


def test_empty_and_integer_tensors_are_sound(tmp_path: Path) -> None:
    tensors = {"a": torch.empty(0, 3), "b": torch.arange(3), "c": torch.tensor(True)}
    refuse_sick_tensors("x", tensors)
    save_file(tensors, tmp_path / "x.safetensors")
    assert read_tensors(tmp_path / "x.safetensors").keys() == tensors.keys()


@pytest.mark.parametrize("place", [0, 5, -1])
def test_large_files_are_sampled(place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "_WHOLE", 100)
    tensors = {"small": torch.ones(9), "large": torch.ones(100, 1000)}
    save_file(tensors, tmp_path / "sound.safetensors")
    assert read_tensors(tmp_path / "sound.safetensors").keys() == tensors.keys()
    for name in tensors:
        sick = tensors | {name: tensors[name].clone()}
        sick[name].view(-1)[place] = torch.inf
        save_file(sick, tmp_path / "sick.safetensors")
        with pytest.raises(CheckpointError, match=f"values in {name}:"):
            read_tensors(tmp_path / "sick.safetensors")


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_what_was_looked_at_does_not_stay_in_memory(tmp_path: Path) -> None:
    def resident() -> int:
        return 1024 * int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0])

    save_file({"a": torch.ones(2**25)}, tmp_path / "x.safetensors")  # 128 MiB
    read_tensors(tmp_path / "x.safetensors")  # whatever is needed once
    before = resident()
    tensors = read_tensors(tmp_path / "x.safetensors")
    assert resident() - before < 2**25
    assert tensors["a"][-1] == 1
