"""What saves itself can be uploaded: all its files, in one commit, and the keywords of saving reach it."""

from pathlib import Path

import pytest
import torch

import ready
from clipseg.auto import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer
from clipseg.checkpoints.sharing import Shareable
from clipseg.errors import OutputError
from hub_server import HubServer


class Note(Shareable):
    def __init__(self) -> None:
        self.saved: list[Path] = []

    def save_pretrained(self, save_directory: str, text: str = "plain") -> None:
        self.saved.append(Path(save_directory))
        (Path(save_directory) / "note.txt").write_text(text)


def test_saved_somewhere_then_uploaded(hub_server: HubServer) -> None:
    note = Note()
    assert note.push_to_hub("me/note", token="hf_secret").startswith(f"{hub_server.url}/me/note/commit/")
    assert hub_server.repositories == {"me/note": {"note.txt": b"plain"}}
    note.push_to_hub(
        "me/note",
        commit_message="Bold",
        commit_description="!",
        private=True,
        token="hf_secret",
        revision="b",
        text="bold",
    )
    assert hub_server.repositories["me/note@b"] == {"note.txt": b"bold"}
    assert hub_server.messages == [("me/note", "Upload Note", ""), ("me/note@b", "Bold", "!")]
    assert not any(folder.exists() for folder in note.saved)


def test_nothing_is_left_after_a_refusal(hub_server: HubServer) -> None:
    note = Note()
    hub_server.status = 403
    with pytest.raises(OutputError, match="does not let you write to me/note"):
        note.push_to_hub("me/note", token="hf_secret")
    assert not any(folder.exists() for folder in note.saved)
    assert not hub_server.messages


def test_everything_that_is_saved_can_be_shared(hub_server: HubServer) -> None:
    model, processor = ready.model(), ready.processor()
    parts = {"model": model, "processor": processor, "config": model.config, "tokenizer": processor.tokenizer}
    for name, thing in (parts | {"images": processor.image_processor}).items():
        assert isinstance(thing, Shareable)
        thing.push_to_hub(f"me/{name}", token="hf_secret")
    assert {name: set(files) for name, files in hub_server.repositories.items()} == {
        "me/model": {"config.json", "model.safetensors"},
        "me/config": {"config.json"},
        "me/images": {"preprocessor_config.json"},
        "me/tokenizer": (words := set(hub_server.repositories["me/tokenizer"])),
        "me/processor": words | {"preprocessor_config.json"},
    }
    assert {"tokenizer.json", "vocab.json", "merges.txt"} <= words
    processor.push_to_hub("me/model", token="hf_secret")
    assert AutoModel.from_pretrained("me/model").num_parameters() == model.clip.num_parameters()
    assert type(AutoProcessor.from_pretrained("me/model")) is type(processor)
    assert AutoConfig.from_pretrained("me/config").to_dict() == model.config.to_dict()
    assert len(AutoTokenizer.from_pretrained("me/tokenizer")) == len(processor.tokenizer)
    half = {"dtype": "float16", "commit_message": "Half the size", "token": "hf_secret"}
    model.push_to_hub("me/model", **half)
    assert AutoModel.from_pretrained("me/model", dtype="auto").dtype == torch.float16
