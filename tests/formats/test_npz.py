from pathlib import Path

import numpy as np
import pytest
import torch

from clipseg.errors import DataError, UsageError
from clipseg.formats.npz import read_npz, write_npz
from clipseg.masks.masks import Masks

LABELS = ("a cat", "猫")


def made() -> Masks:
    logits = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0)) * 3
    return Masks(logits, LABELS, (30, 41))


@pytest.mark.parametrize("kind", ["binary", "soft", "logits"])
def test_everything_comes_back(tmp_path: Path, kind: str) -> None:
    masks = made()
    assert write_npz(tmp_path / "a.npz", masks, 0.3, kind=kind) == [tmp_path / "a.npz"]
    back = read_npz(tmp_path / "a.npz")
    expected = {"binary": masks.binary(0.3), "soft": masks.soft(), "logits": masks.logits}[kind].numpy()
    assert (back.kind, back.labels, back.size_hw) == (kind, LABELS, (30, 41))
    assert back.maps.dtype == expected.dtype
    assert np.array_equal(back.maps, expected)
    assert np.array_equal(back.scores, masks.scores().numpy())


def test_logits_become_the_same_masks(tmp_path: Path) -> None:
    masks = made()
    write_npz(tmp_path / "a.npz", masks, kind="logits")
    assert torch.equal(read_npz(tmp_path / "a.npz").masks().binary(), masks.binary())
    write_npz(tmp_path / "b.npz", masks)
    with pytest.raises(UsageError, match="only logits become Masks again"):
        read_npz(tmp_path / "b.npz").masks()


def test_an_older_file_stays_where_writing_fails(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", made())
    before = (tmp_path / "a.npz").read_bytes()
    with pytest.raises(UsageError):
        write_npz(tmp_path / "a.npz", made(), 7.0)
    with pytest.raises(UsageError, match="kind is 'png'; known are binary, soft, logits"):
        write_npz(tmp_path / "a.npz", made(), kind="png")
    assert (tmp_path / "a.npz").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_files_that_are_no_archives_of_masks(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("nothing")
    np.savez(tmp_path / "other.npz", maps=np.zeros(3))
    parts = {"labels": np.array(["a"]), "scores": np.zeros(1, np.float32), "size_hw": np.array([2, 2])}
    np.savez(tmp_path / "kind.npz", kind=np.array("soft"), maps=np.zeros((1, 2, 2), bool), **parts)
    np.savez(tmp_path / "size.npz", kind=np.array("binary"), maps=np.zeros((1, 2, 3), bool), **parts)
    np.savez(tmp_path / "run.npz", kind=np.array([object()]), **parts)
    for name in ("text", "other", "kind", "size", "run", "missing"):
        with pytest.raises(DataError, match=name):
            read_npz(tmp_path / f"{name}.npz")
