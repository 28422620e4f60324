"""What can be saved can be shared: `push_to_hub` for models, configurations, processors and their parts."""

from tempfile import TemporaryDirectory
from typing import Any

from clipseg.checkpoints.hub import upload_folder


class Shareable:
    """Base of whatever has `save_pretrained`."""

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        commit_description: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        **saving: Any,
    ) -> str:
        """A hub id -> the address of the commit with the files of `save_pretrained`, which gets the other keywords.

        See `hub.upload_folder` for the options. Raises OutputError where the hub does not take it.
        """
        thing: Any = self
        with TemporaryDirectory(prefix="clipseg-") as folder:
            thing.save_pretrained(folder, **saving)
            return upload_folder(
                folder,
                repo_id,
                commit_message=commit_message or f"Upload {type(self).__name__}",
                commit_description=commit_description,
                private=private,
                token=token,
                revision=revision,
                create_pr=create_pr,
            )
