"""Finding a model's files, end to end against a hub on 127.0.0.1 that speaks the real protocol."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg.checkpoints import hub
from clipseg.checkpoints.hub import BUNDLED, find_file, find_first, local_folder, upload_folder
from clipseg.errors import CheckpointNotFoundError, OutputError
from hub_server import HubServer

MODEL = "CIDAS/tiny"
WEIGHTS = os.urandom(300_000)


@pytest.fixture
def server(hub_server: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    hub_server.repositories[MODEL] = {
        "config.json": b'{"model_type": "clipseg"}',
        "model.safetensors": WEIGHTS,
        "inner/config.json": b"{}",
    }
    hub_server.repositories["legacy"] = {"config.json": b"{}"}
    hub_server.repositories["gated/model"] = {"config.json": b"{}"}
    import huggingface_hub.file_download
    import huggingface_hub.utils._http

    for module in (huggingface_hub.file_download, huggingface_hub.utils._http):  # waits between retries, not behaviour
        monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    return hub_server


def fail(name: Any, filename: str = "config.json", **options: Any) -> str:
    with pytest.raises(CheckpointNotFoundError) as caught:
        find_file(name, filename, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert filename in message
    assert isinstance(caught.value, OSError)  # documented: file absent, no network -> OSError
    return message


def test_download_then_cache(server: HubServer) -> None:
    path = find_file(MODEL, "model.safetensors")
    assert path is not None
    assert path.read_bytes() == WEIGHTS
    assert (server.count("HEAD"), server.count("GET", "model.safetensors")) == (1, 1)
    assert find_file(MODEL, "model.safetensors") == path
    assert (server.count("HEAD"), server.count("GET", "model.safetensors")) == (
        2,
        1,
    )  # asked, not fetched
    assert find_file(MODEL, "model.safetensors", revision=server.commit(MODEL)) == path
    assert server.count("HEAD") == 2  # a commit never changes


def test_a_changed_file_is_fetched_again(server: HubServer) -> None:
    find_file(MODEL, "config.json")
    server.repositories[MODEL]["config.json"] = b"new"
    path = find_file(MODEL, "config.json")
    assert path is not None
    assert server.count("GET", "config.json") == 2


def test_subfolder_and_legacy_name(server: HubServer) -> None:
    path = find_file(MODEL, "config.json", subfolder="inner")
    assert path is not None
    assert path.read_bytes() == b"{}"
    assert find_file("legacy", "config.json") is not None
    assert f"hub repository {MODEL} has no inner/absent.json" in fail(MODEL, "absent.json", subfolder="inner")


def test_cache_dir_and_token_are_handed_on(server: HubServer, tmp_path: Path) -> None:
    path = find_file(MODEL, "config.json", cache_dir=tmp_path / "elsewhere", token="hf_secret")
    assert path is not None
    assert path.is_relative_to(tmp_path / "elsewhere")
    assert "Bearer hf_secret" in server.tokens
    assert "hf_secret" not in fail("CIDAS/absent", token="hf_secret")


def test_offline_by_choice(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "HF_HUB_OFFLINE" in fail(MODEL, local_files_only=True)
    path = find_file(MODEL, "config.json")
    asked = len(server.requests)
    assert find_file(MODEL, "config.json", local_files_only=True) == path
    assert find_file(MODEL, "absent.json", local_files_only=True, required=False) is None
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find_file(MODEL, "config.json") == path
    assert find_file(MODEL, "absent.json", required=False) is None
    assert "hf download CIDAS/other" in fail("CIDAS/other", required=False)  # no snapshot: absence is not known
    assert len(server.requests) == asked


def test_hub_gone(server: HubServer) -> None:
    path = find_file(MODEL, "config.json")
    assert find_file(MODEL, "absent.json", required=False) is None
    server.stop()
    assert find_file(MODEL, "config.json") == path
    assert find_file(MODEL, "absent.json", required=False) is None  # remembered
    message = fail(MODEL, "model.safetensors", required=False)  # not known to be absent, so no default may stand in
    assert "cannot be reached" in message
    assert "HF_HUB_OFFLINE=1" in message
    message = fail("CIDAS/other")
    for way in ("nano", "hf download CIDAS/other --local-dir", "HF_HOME"):
        assert way in message


def test_absence(server: HubServer) -> None:
    assert find_file(MODEL, "absent.json", required=False) is None
    asked = len(server.requests)
    assert find_file(MODEL, "absent.json", required=False) is None
    assert len(server.requests) == asked
    assert f"hub repository {MODEL} has no absent.json" in fail(MODEL, "absent.json")
    server.repositories[MODEL]["absent.json"] = b"{}"
    assert find_file(MODEL, "absent.json") is not None  # a remembered absence does not become an error unasked


def test_first_of_several(server: HubServer) -> None:
    path = find_first(MODEL, ("a.bin", "model.safetensors", "config.json"))
    assert path is not None
    assert path.name == "model.safetensors"
    with pytest.raises(CheckpointNotFoundError, match=r"has no a\.bin, b\.bin or c\.bin"):
        find_first(MODEL, ("a.bin", "b.bin", "c.bin"))


def test_refusals(server: HubServer) -> None:
    assert "no folder and no hub repository is called CIDAS/absent" in fail("CIDAS/absent")
    assert "gated" in fail("gated/model", required=False)
    assert "no revision 'v9'" in fail(MODEL, revision="v9")
    server.status = 503
    assert "HTTP 503" in fail(MODEL, required=False)
    server.status = 403
    assert "refused access" in fail(MODEL)


def test_token_true_without_a_token(server: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    assert "no token is stored" in fail(MODEL, token=True)


def test_dropped_connection_is_resumed(server: HubServer) -> None:
    server.cut["model.safetensors"] = 1
    path = find_file(MODEL, "model.safetensors")
    assert path is not None
    assert path.read_bytes() == WEIGHTS


def test_interrupted_download_leaves_nothing_behind(server: HubServer, tmp_path: Path) -> None:
    server.cut["model.safetensors"] = 100
    assert "could not be downloaded" in fail(MODEL, "model.safetensors")
    kept = [path for path in (tmp_path / "hub").rglob("*") if path.is_file() and path.stat().st_size > 1000]
    assert kept == []
    assert not list((tmp_path / "hub").rglob("snapshots/*/model.safetensors"))
    fail(MODEL, "model.safetensors", local_files_only=True)
    server.cut.clear()
    path = find_file(MODEL, "model.safetensors")
    assert path is not None
    assert path.read_bytes() == WEIGHTS


def test_a_fresh_process_obeys_the_environment(server: HubServer, tmp_path: Path) -> None:
    script = (
        "import sys; from clipseg.checkpoints.hub import find_file; assert 'huggingface_hub' not in sys.modules;"
        f"print(find_file({MODEL!r}, 'model.safetensors'))"
    )

    def run(**extra: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, **server.environment(tmp_path / "home"), **extra}
        return subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60
        )

    first = run()
    assert first.returncode == 0, first.stderr
    path = Path(first.stdout.strip())  # the progress bar went to stderr
    assert path.is_relative_to(tmp_path / "home" / "hub")
    assert path.read_bytes() == WEIGHTS
    asked = len(server.requests)
    assert run(HF_HUB_OFFLINE="1").stdout == first.stdout
    assert len(server.requests) == asked
    empty = run(HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "empty"))
    assert "CheckpointNotFoundError" in empty.stderr
    assert "nano" in empty.stderr


def test_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "config.json").write_text("{}")
    assert find_file(tmp_path, "config.json", subfolder="sub") == tmp_path / "sub" / "config.json"
    assert find_file(str(tmp_path), "config.json", required=False) is None
    assert str(tmp_path) in fail(tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    assert find_file(f"{tmp_path.name}/sub", "config.json") is not None  # a folder wins over a hub id
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_file("~/sub", "config.json") == tmp_path / "sub" / "config.json"


def test_bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert BUNDLED["nano"].parts[-2:] == ("assets", "nano")
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(hub.BUNDLED, "nano", tmp_path)
    assert find_file("nano", "config.json") == tmp_path / "config.json"


@pytest.mark.parametrize(
    "name", ["", "./foo/bar", "../x", "/no/such", "a/b/c", "a b", "a--b", "a..b", "-a", "a/", "ä", "~/x", "m.git"]
)
def test_impossible_names(name: str) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"nano.*hub id"):
        local_folder(name)


def test_absent_path_object_and_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="no folder"):
        local_folder(Path("CIDAS/clipseg"))
    (tmp_path / "w.pth").touch()
    with pytest.raises(CheckpointNotFoundError, match="give the folder"):
        local_folder(tmp_path / "w.pth")


@given(st.text(alphabet="aZ9_-./ é", max_size=12) | st.from_regex(r"[a-z.-]{0,5}/[a-z.-]{0,5}", fullmatch=True))
def test_names_agree_with_the_hub(name: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        valid = False
    else:
        valid = True
    assert bool(hub._HUB_ID.fullmatch(name)) == valid


def test_a_hub_without_an_address_is_not_waited_for(hub_server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network: a cached file comes from the cache, another one is an error at once, and nothing is retried."""
    from huggingface_hub import constants

    hub_server.repositories["org/model"] = {"config.json": b"{}"}
    assert hub.find_file("org/model", "config.json") is not None
    asked = len(hub_server.requests)
    monkeypatch.setattr(constants, "ENDPOINT", "http://nowhere.invalid")
    monkeypatch.setattr("time.sleep", lambda _seconds: pytest.fail("waited for a hub that has no address"))
    assert hub.find_file("org/model", "config.json") is not None
    with pytest.raises(CheckpointNotFoundError, match=r"the hub cannot be reached.*--model nano"):
        hub.find_file("org/other", "config.json")
    assert len(hub_server.requests) == asked


def test_behind_a_proxy_names_are_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://nowhere.invalid")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert hub.hub_has_an_address()


def test_the_path_of_a_file_looked_for_is_that_file(tmp_path: Path) -> None:
    (path := tmp_path / "config.json").write_text("{}")
    assert find_file(path, "config.json") == path
    assert find_first(str(path), ("other.json", "config.json"), subfolder="inner") == path
    with pytest.raises(CheckpointNotFoundError, match="is a file; give the folder"):
        find_file(path, "other.json")


# -- uploads ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (folder := tmp_path / "model").mkdir()
    (folder / "config.json").write_bytes(b'{"new": true}')
    (folder / "model.safetensors").write_bytes(WEIGHTS[:1000])
    return folder


def upload(folder: Path, name: str = "me/model", **options: Any) -> str:
    return upload_folder(folder, name, **{"commit_message": "Trained longer", "token": "hf_secret", **options})


def refused(folder: Path, name: str = "me/model", **options: Any) -> str:
    with pytest.raises(OutputError) as caught:
        upload(folder, name, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert name in message
    assert "hf_secret" not in message
    return message


def test_upload_makes_the_repository(server: HubServer, model: Path) -> None:
    address = upload(model, private=True, commit_description="Twice as long")
    assert address == f"{server.url}/me/model/commit/{server.commit('me/model')}"
    assert server.repositories["me/model"] == {
        "config.json": b'{"new": true}',
        "model.safetensors": WEIGHTS[:1000],
    }
    assert server.private == {"me/model"}
    assert server.messages == [("me/model", "Trained longer", "Twice as long")]
    asked = zip(server.requests, server.tokens, strict=True)
    assert {token for (method, _), token in asked if method == "POST"} == {"Bearer hf_secret"}
    path = find_file("me/model", "config.json")
    assert path is not None
    assert path.read_bytes() == b'{"new": true}'


def test_upload_into_a_repository(server: HubServer, model: Path) -> None:
    before = dict(server.repositories[MODEL])
    assert upload(model, MODEL, create_pr=True).endswith("/discussions/1")
    upload(model, MODEL, revision="longer")
    assert server.repositories[MODEL] == before
    assert server.repositories[f"{MODEL}@longer"]["config.json"] == b'{"new": true}'
    for _ in range(2):  # the second changes nothing
        upload(model, MODEL)
        upload(model, MODEL, revision="longer")
    assert server.repositories[MODEL].keys() == before.keys()
    assert server.repositories[MODEL]["config.json"] == b'{"new": true}'
    assert not server.private
    assert upload(model, "mine").startswith(f"{server.url}/someone/mine/commit/")  # whose token it is


def test_upload_refused(server: HubServer, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    for token in (None, True, False):
        assert "hf auth login" in refused(model, token=token)
    assert "cannot be a hub id" in refused(model, "../model")
    server.status = 403
    assert "does not let you write" in refused(model)
    server.status = 400
    assert "could not be uploaded" in refused(model)
    server.stop()
    assert "could not be uploaded" in refused(model)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "when online" in refused(model)
    assert "me/model" not in server.repositories
