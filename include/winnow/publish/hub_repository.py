"""A dataset repository on a Hugging Face hub, as `huggingface_hub` asks for it.

The library is imported where it is used: only deployments with a hub need it (`winnow[hub]`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from winnow.addresses import ServerAddress, without_secrets
from winnow.calls import CONNECT_SECONDS
from winnow.errors import Blocked, Corrupt, Fatal, Retryable
from winnow.publish.layout import MANIFEST

Tell = Callable[[str], None]

_LISTED_BYTES = 256 << 20
"""So much is sent between two lines of progress."""


class Moved(Exception):
    """Somebody else wrote between a look and a write: look again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a tree on the hub; `sha256` is empty where the hub tells git's hash alone."""

    n_bytes: int
    git_hash: str
    sha256: str


def git_hash(data: bytes) -> str:
    """The hash by which git, and with it the hub, names a small file.

    >>> git_hash(b"")
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class Repository:
    """A dataset repository on a hub, by the hub's own library; every call ends.

    Raises:
        Fatal: `huggingface_hub` is not installed.
    """

    def __init__(self, address: ServerAddress, name: str, seconds: float) -> None:
        self._library = _library(seconds)
        # The variable of this name keeps models from being looked for; who names a hub means it.
        self._library.constants.HF_HUB_OFFLINE = False
        self.name, self.endpoint = name, without_secrets(address.url)
        self.uri = f"{self.endpoint}/datasets/{name}"
        # Without a token of Winnow's own, the one that `hf auth login` has stored.
        self._api = self._library.HfApi(
            endpoint=address.url, token=address.key or None, library_name="winnow"
        )
        self._of: dict[str, Any] = {"repo_id": name, "repo_type": "dataset"}

    def make(self, private: bool) -> None:
        """Make the repository unless it is there.

        Raises:
            Blocked: It is public and is not to be.
        """
        with self._told():
            try:
                about = self._api.dataset_info(self.name)
            except self._library.errors.RepositoryNotFoundError:
                self._api.create_repo(**self._of, private=private, exist_ok=True)
                return
        if private and about.private is False:
            raise Blocked(
                f"{self.uri} is public and publish.hub.private is true: nothing is pushed. Make "
                "the repository private, or set publish.hub.private to false."
            )

    def refs(self) -> tuple[dict[str, str], dict[str, str]]:
        """Commits of the branches, and of the tags, by name."""
        with self._told():
            refs = self._api.list_repo_refs(**self._of)
        branches, tags = ({r.name: r.target_commit for r in x} for x in (refs.branches, refs.tags))
        return branches, tags

    def commit_of(self, revision: str) -> str:
        """The commit that a tag or a branch is at."""
        with self._told():
            return str(self._api.dataset_info(self.name, revision=revision).sha)

    def tree(self, revision: str) -> dict[str, Entry]:
        """Every file at a revision, by its path."""
        with self._told():
            listed = self._api.list_repo_tree(**self._of, revision=revision, recursive=True)
            return {
                each.path: Entry(
                    each.size, each.blob_id, each.lfs.sha256 if each.lfs is not None else ""
                )
                for each in listed
                if hasattr(each, "blob_id")
            }

    def file(self, name: str, revision: str, folder: str) -> Path:
        """Bring a file at a revision into a folder."""
        with self._told():
            found = self._api.hf_hub_download(
                **self._of, filename=name, revision=revision, local_dir=folder
            )
        return Path(found)

    def manifest(self, revision: str) -> bytes | None:
        """The manifest at a revision, if there is one."""
        with TemporaryDirectory(prefix="winnow-hub-") as folder, self._told():
            try:
                found = self._api.hf_hub_download(
                    **self._of, filename=MANIFEST, revision=revision, local_dir=folder
                )
            except self._library.errors.RemoteEntryNotFoundError:
                return None
            return Path(found).read_bytes()

    def commit(
        self,
        sources: dict[str, tuple[bytes | Path, str]],
        gone: Sequence[str],
        title: str,
        branch: str,
        parent: str | None,
        tell: Tell,
    ) -> str:
        """One commit on `parent` that adds `sources` and removes `gone`; its id.

        Raises:
            Corrupt: A source is not what its SHA-256 says.
            Moved: `branch` is no longer at `parent`.
        """
        library = self._library
        added = []
        for name, (source, sha256) in sources.items():
            adds = library.CommitOperationAdd(name, source)
            if adds.upload_info.sha256.hex() != sha256:
                raise Corrupt(f"{name} does not match its digest in the lake; restore it.")
            added.append(adds)
        removed = [library.CommitOperationDelete(name) for name in gone]
        with self._told():
            n_bytes, n_sent = 0, 0
            for some in _portions(added):
                self._api.preupload_lfs_files(
                    self.name, some, repo_type="dataset", revision=branch, free_memory=False
                )
                n_sent += len(some)
                n_bytes += sum(each.upload_info.size for each in some)
                tell(f"Sent {n_sent} of {len(added)} files, {n_bytes / 1e6:.1f} MB.")
            made = self._api.create_commit(
                **self._of,
                operations=[*added, *removed],
                commit_message=title,
                revision=branch,
                parent_commit=parent,
            )
        return str(made.oid)

    def tag(self, name: str, commit: str) -> None:
        """Make a tag; one that is there is looked at by `Moved`."""
        with self._told():
            self._api.create_tag(**self._of, tag=name, revision=commit)

    def make_branch(self, name: str, commit: str) -> None:
        """Make a branch at a commit, unless somebody else did."""
        with self._told():
            self._api.create_branch(**self._of, branch=name, revision=commit, exist_ok=True)

    def drop_branch(self, name: str) -> None:
        """Remove a branch, unless somebody else did."""
        with self._told():
            try:
                self._api.delete_branch(**self._of, branch=name)
            except self._library.errors.RevisionNotFoundError:
                return

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the library and of the hub as Winnow's own; none holds the token."""
        import httpx2

        errors = self._library.errors
        try:
            yield
        except (errors.HfHubHTTPError, httpx2.TransportError) as error:
            raise self._error(error) from None
        except errors.LocalEntryNotFoundError as error:
            # What a download says where it could not ask.
            raise self._error(error.__cause__) from None
        except RuntimeError as error:
            # What an upload says of a file that did not go through.
            raise self._error(error.__cause__ or error) from None
        except (errors.FileMetadataError, ValueError, LookupError, TypeError) as error:
            raise Fatal(
                f"{self.uri}: huggingface_hub does not take what it was told or what was answered: "
                f"{type(error).__name__}: {error}"
            ) from None

    def _error(self, error: BaseException | None) -> Exception:
        response = getattr(error, "response", None)
        if response is None:
            return Retryable(f"{self.uri} does not answer ({type(error).__name__}); try again.")
        status = response.status_code
        told = getattr(error, "server_message", None) or "no reason given"
        what = f"{self.uri} answered HTTP {status}: {told}"
        if status in (409, 412):
            return Moved(what)
        if status in (408, 429) or status >= 500:
            return Retryable(f"{what}; try again.")
        if status in (401, 403, 404):
            return Fatal(f"{what}. Is it there, and may the connection's token read and write it?")
        return Fatal(what)


def _portions(added: Sequence[Any]) -> Iterator[list[Any]]:
    """Files in order, so many at a time that a line of progress is worth it."""
    some: list[Any] = []
    for each in added:
        some.append(each)
        if sum(one.upload_info.size for one in some) >= _LISTED_BYTES:
            yield some
            some = []
    if some:
        yield some


@lru_cache(maxsize=1)
def _library(seconds: float) -> Any:
    """`huggingface_hub`, each of whose calls ends when nothing has come for so many seconds.

    The library has no time-outs of its own, and hands `None` to some calls: the time is set on each
    request as it goes out.
    """
    try:
        import huggingface_hub
        from huggingface_hub import constants
        from huggingface_hub.utils import _http
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError:
        raise Fatal("huggingface_hub is not installed: pip install 'winnow[hub]'.") from None

    silence = {
        "connect": min(CONNECT_SECONDS, seconds),
        **dict.fromkeys(("read", "write", "pool"), seconds),
    }

    def bounded() -> Any:
        client = _http.default_client_factory()
        hooks = client.event_hooks
        hooks["request"] = [
            *hooks["request"],
            lambda request: request.extensions.update(timeout=silence),
        ]
        client.event_hooks = hooks
        return client

    huggingface_hub.set_client_factory(bounded)
    disable_progress_bars()
    # Xet's client cannot be told to end, and does not say where it is. The hub takes LFS as well.
    constants.HF_HUB_DISABLE_XET = True
    return huggingface_hub
