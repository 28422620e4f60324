"""Where a model's files come from, and go to: the bundled model, a folder, or the Hugging Face Hub.

A name is tried in this order: a bundled name (`nano`), a folder of this machine, a hub id such as `CIDAS/clipseg-rd64`.
The hub is asked through `huggingface_hub`, which keeps its own cache and obeys its own environment variables (HF_HOME,
HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN, …). A file arrives under a temporary name and is moved into the cache when it is
whole, so an interrupted download is never taken for a file. An upload is one commit: all files of a folder, or none.
"""

import os
import re
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from clipseg.errors import CheckpointNotFoundError, OutputError

BUNDLED = {"nano": Path(__file__).parent.parent / "assets" / "nano"}

# A hub id: `name` or `owner/name`, each part beginning and ending with a letter, digit or underscore.
_PART = r"\w(?:[\w.-]{0,94}\w)?"
_HUB_ID = re.compile(rf"(?!.*(?:--|\.\.|\.git$))(?:{_PART}/)?{_PART}", re.ASCII)

_NAME_LOOKUP_HOLDS = 30  # seconds for which a hub's name, found or not, is not looked up again

_LOGIN = "run `hf auth login` or set HF_TOKEN"
_WAYS = 'give a folder, "nano" (the bundled model) or a hub id such as CIDAS/clipseg-rd64-refined'


def find_file(
    name_or_path: str | os.PathLike[str],
    filename: str,
    *,
    subfolder: str = "",
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    required: bool = True,
) -> Path | None:
    """A model's name and one of its file names -> the file on this machine, downloaded first if it is not here yet.

    None only if the file is not `required` and the model is known not to have it; a hub that does not answer is an
    error all the same, since a default must not stand in for a file that exists. `revision`, `cache_dir`, `token` and
    `local_files_only` concern hub ids only. Raises CheckpointNotFoundError.
    """
    return find_first(
        name_or_path,
        (filename,),
        subfolder=subfolder,
        revision=revision,
        cache_dir=cache_dir,
        token=token,
        local_files_only=local_files_only,
        required=required,
    )


def find_first(
    name_or_path: str | os.PathLike[str],
    filenames: Sequence[str],
    *,
    subfolder: str = "",
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    required: bool = True,
) -> Path | None:
    """A model's name and file names in order of preference -> the first that the model has; see `find_file`.

    The path of a file of one of these names is that file.
    """
    itself = Path(name_or_path)
    if itself.name in filenames and itself.expanduser().is_file():
        return itself.expanduser()
    files = [f"{subfolder.strip('/')}/{filename}" if subfolder else filename for filename in filenames]
    folder = local_folder(name_or_path)
    if folder is not None:
        found = next((folder / file for file in files if (folder / file).is_file()), None)
        place = f"folder {folder}"
    else:
        repository = _Repository(os.fspath(name_or_path), revision, cache_dir, token, local_files_only)
        found = repository.first(files, trust_absence=True)
        if found is None and required:  # an absence remembered may be over: before it becomes an error, ask
            found = repository.first(files, trust_absence=False)
        place = f"hub repository {repository}"
    if found is None and required:
        raise CheckpointNotFoundError(f"{place} has no {_either(files)}: is it the right model? otherwise {_WAYS}")
    return found


def upload_folder(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    commit_message: str,
    commit_description: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
) -> str:
    """A folder and a hub id -> the address of the commit that holds the folder's files.

    The repository, which is made if need be (`private` as the owner's default unless given), keeps its other files.
    `revision` is a branch, made if need be; `create_pr` proposes the commit instead. Raises OutputError.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import LocalTokenNotFoundError

    if not _HUB_ID.fullmatch(repo_id):
        raise OutputError(f"{repo_id!r} cannot be a hub id; expected owner/name, such as me/my-clipseg")
    if constants.HF_HUB_OFFLINE or not hub_has_an_address():
        raise OutputError(f"{repo_id} cannot be uploaded without the hub; save to a folder, and upload it when online")
    api = HfApi(endpoint=constants.ENDPOINT, token=token)
    try:
        name = api.create_repo(repo_id, private=private, exist_ok=True).repo_id  # completed by the owner
        if revision is not None and not create_pr:
            api.create_branch(name, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name,
            folder_path=Path(folder),
            commit_message=commit_message,
            commit_description=commit_description,
            revision=revision,
            create_pr=create_pr,
        )
    except Exception as error:  # requests, httpx or httpx2 lie below, by version; they share no nearer base
        if isinstance(error, LocalTokenNotFoundError) or _status(error) in (401, 403):
            raise OutputError(
                f"the hub does not let you write to {repo_id}: {_LOGIN}, with a token that may"
            ) from error
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise OutputError(f"{repo_id} could not be uploaded ({reason}): try again, nothing was committed") from error
    return str(commit.pr_url or commit.commit_url)


def local_folder(name_or_path: str | os.PathLike[str]) -> Path | None:
    """A model's name -> its folder on this machine; None if the name is a hub id. Raises CheckpointNotFoundError."""
    name = os.fspath(name_or_path)
    if name in BUNDLED:
        return BUNDLED[name]
    path = Path(name).expanduser()
    if name and path.is_dir():
        return path
    if path.is_file():
        raise CheckpointNotFoundError(f"model {name!r} is a file; give the folder that holds it")
    if not isinstance(name_or_path, str) or not _HUB_ID.fullmatch(name):
        raise CheckpointNotFoundError(f"model {name!r} is no folder on this machine and cannot be a hub id: {_WAYS}")
    return None


@dataclass(frozen=True)
class _Repository:
    """One repository of the hub, as one caller wants to see it."""

    name: str
    revision: str | None
    cache_dir: str | os.PathLike[str] | None
    token: str | bool | None
    local_files_only: bool

    def __str__(self) -> str:
        return f"{self.name} at revision {self.revision}" if self.revision else self.name

    def first(self, files: Sequence[str], *, trust_absence: bool) -> Path | None:
        """The first of the files that the repository has, in the cache; None if it has none of them."""
        found = (self._file(file, files, trust_absence) for file in files)
        return next((path for path in found if path is not None), None)

    def _file(self, file: str, wanted: Sequence[str], trust_absence: bool) -> Path | None:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, OfflineModeIsEnabled

        # The cache also notes which files a commit lacks: no need to ask again, or to wait where there is no network.
        cached = huggingface_hub.try_to_load_from_cache(self.name, file, self._cache(), self.revision)
        if cached is huggingface_hub._CACHED_NO_EXIST and trust_absence:
            return None
        if isinstance(cached, str) and self.local_files_only:
            return Path(cached)
        try:
            path = huggingface_hub.hf_hub_download(
                self.name,
                file,
                revision=self.revision,
                cache_dir=self._cache(),
                token=self.token,
                local_files_only=self.local_files_only or not hub_has_an_address(),
            )
        except LocalEntryNotFoundError as error:
            # Whoever chose to stay offline means the snapshot in the cache: what it lacks, the model does not have.
            # A hub that merely fails to answer proves no absence.
            offline = self.local_files_only or isinstance(error.__cause__, OfflineModeIsEnabled)
            if offline and self._has_snapshot():
                return None
            raise CheckpointNotFoundError(self._unreachable(wanted, error, offline)) from error
        except EntryNotFoundError:
            return None
        except Exception as error:  # requests, httpx or httpx2 lie below, by version; they share no nearer base
            raise CheckpointNotFoundError(self._refused(wanted, error)) from error
        return Path(path)

    def _cache(self) -> Path:
        from huggingface_hub import constants

        return Path(self.cache_dir or constants.HF_HUB_CACHE).expanduser()

    def _has_snapshot(self) -> bool:
        """Whether the cache holds files of this revision. Layout: huggingface_hub's guide to its cache."""
        folder = self._cache() / f"models--{self.name.replace('/', '--')}"
        reference = folder / "refs" / (self.revision or "main")
        commit = reference.read_text().strip() if reference.is_file() else self.revision
        return commit is not None and (folder / "snapshots" / commit).is_dir()

    def _unreachable(self, wanted: Sequence[str], error: Exception, offline: bool) -> str:
        """The message for a file that is not in the cache while the hub gives no answer."""
        status = _status(error.__cause__)
        if offline:
            reason = "offline mode (HF_HUB_OFFLINE or local_files_only) forbids asking the hub"
        elif status in (401, 403):
            reason = f"the hub refused access (HTTP {status}; check HF_TOKEN)"
        elif status is not None:
            reason = f"the hub answered with HTTP {status}"
        else:
            reason = "the hub cannot be reached"
        if not offline and self._has_snapshot():
            reason += " (set HF_HUB_OFFLINE=1 to make do with the files of this model that are in the cache)"
        return (
            f"{_either(wanted)} of {self} is not in the cache {self._cache()} and {reason}: use the bundled model "
            f'(--model nano, or "nano"), or run `hf download {self.name} --local-dir FOLDER` on a connected machine '
            "and give that folder here, or set HF_HOME to a cache that has it"
        )

    def _refused(self, wanted: Sequence[str], error: Exception) -> str:
        """The message for a hub that answered, but not with the file."""
        from huggingface_hub import errors

        wish = f"looked for {_either(wanted)}"
        status = _status(error)
        if isinstance(error, errors.GatedRepoError):
            return f"hub repository {self.name} is gated ({wish}): accept its terms on the hub, then {_LOGIN}"
        if isinstance(error, errors.RepositoryNotFoundError):
            return (
                f"no folder and no hub repository is called {self.name} ({wish}): {_WAYS}; if it is private, {_LOGIN}"
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return (
                f"hub repository {self.name} has no revision {self.revision!r} ({wish}): give a branch, tag or commit"
            )
        if isinstance(error, errors.LocalTokenNotFoundError):
            return f"token=True, but no token is stored ({wish} of {self}): {_LOGIN}"
        if status in (401, 403):
            return f"the hub refused access to {self.name} (HTTP {status}; {wish}): {_LOGIN}"
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        return f"{_either(wanted)} of {self} could not be downloaded ({reason}): try again, no partial file was kept"


def hub_has_an_address() -> bool:
    """Whether the hub's name can be looked up here at all, which takes a moment.

    Without a network `huggingface_hub` would try again for half a minute a file before it says so, or before it makes
    do with its cache. Behind a proxy names are the proxy's business, and the answer is yes.
    """
    from huggingface_hub import constants

    host = urllib.parse.urlsplit(constants.ENDPOINT).hostname
    if constants.HF_HUB_OFFLINE or host is None or urllib.request.getproxies().keys() & {"http", "https", "all"}:
        return True
    return _has_address(host, int(time.monotonic() // _NAME_LOOKUP_HOLDS))


@lru_cache(maxsize=8)
def _has_address(host: str, _period: int) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


def _status(error: BaseException | None) -> int | None:
    """The HTTP status an error of the hub carries, if it carries one."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _either(files: Sequence[str]) -> str:
    return files[0] if len(files) == 1 else f"{', '.join(files[:-1])} or {files[-1]}"
