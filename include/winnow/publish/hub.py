"""A version on a Hugging Face hub: one commit that holds all of it, and its tag, made last.

    main        the newest version that was pushed; a commit a version, each on a known parent
    v000007     the tag of a version, whose commit holds what `winnow pull` would bring

Nothing is remembered on this side. Whoever pushes looks at what the hub has, does what is missing
and looks again: one that was killed anywhere, or whose answer was lost, is simply run again. Two
that push at once are decided by the commit's parent, which the hub compares, and the tag's name.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from winnow.addresses import ServerAddress
from winnow.batch import Artifact, read_artifact
from winnow.campaign import Hub
from winnow.errors import Blocked, Corrupt, Fatal, Retryable
from winnow.ids import digest
from winnow.lake import Lake
from winnow.publish.hub_repository import Entry, Moved, Repository, Tell, git_hash
from winnow.publish.layout import MANIFEST
from winnow.publish.versions import Version, manifest_path
from winnow.stored import parsed, read_sealed, sealed_json
from winnow.text import plain_row

ENDPOINT = "https://huggingface.co"
NAMED = re.compile(r"hf://(?:datasets/)?([^/@\s]+/[^/@\s]+)@(?:v?0*([1-9][0-9]*)|latest)")
"""A version on a hub, as a person names it: hf://org/name@v12, hf://org/name@latest."""

SILENCE = 120.0
"""Seconds that a hub may send nothing, where no campaign says otherwise."""

_TAG = re.compile(r"v(\d{6,})")
_FRESH = {".gitattributes", ".gitignore", "LICENSE", "README.md"}
"""What a repository may hold before its first version."""
_TRIES = 6
"""How often a hub is looked at that is away or busy, or that others write to meanwhile."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pushed:
    """A version that the hub has, in full and under its tag; `n_sent` files were sent now."""

    endpoint: str
    repo: str
    version: str
    digest: str
    commit: str
    n_sent: int = 0


def address_of(host: str, url: str, token: str) -> ServerAddress:
    """The hub that a connection names; one without a host is huggingface.co."""
    return ServerAddress(url.rstrip("/") if host else ENDPOINT, token)


def push(
    lake: Lake,
    version: Version,
    hub: Hub,
    address: ServerAddress,
    now: datetime,
    *,
    older: bool = False,
    tell: Tell = _LOG.info,
    wait: Callable[[float], None] = time.sleep,
) -> Pushed | None:
    """Bring `version` onto the hub, unless it is there; None: the hub has a later one.

    An `older` one gets its commit and its tag beside `main`, which stays at the later version.
    `wait` is given seconds between tries. What came of it is noted in the lake.

    Raises:
        Blocked: The hub has something else under the version's name, or the repository is not one
            that this dataset may go into.
        Retryable: The hub is away, busy, or others push without end; run again.
        Fatal: The token, the address or the library is wrong.
        Corrupt: A file of the lake is not what the manifest says, or the hub's commit is not.
    """
    if not address.key:
        raise Fatal(f"The connection {hub.connection} has no password: put the hub's token there.")
    repo = Repository(address, hub.repo, hub.timeout_seconds)
    tell(f"{version.dataset} {version.name} goes to {repo.uri}.")
    for again in range(1, _TRIES + 1):
        try:
            pushed = _Push(lake, version, hub, repo, tell).run(older)
        except (Moved, Retryable) as error:
            # Nothing is known of what the hub did last: the next try looks.
            if again == _TRIES:
                raise Retryable(f"{error} {version.name} was not pushed; push again.") from None
            tell(f"{plain_row(str(error))} Looking again, try {again} of {_TRIES}.")
            wait(float(2**again))
        else:
            break
    if pushed is None:
        tell(f"{repo.uri} has a later version than {version.name}: nothing is pushed.")
    else:
        _note(lake, version, pushed, now)
        tell(f"{repo.uri} has {version.name}, commit {pushed.commit}.")
    return pushed


def note_path(version: Version) -> str:
    """Where the lake says to which commit of which repository a version was pushed last."""
    return f"datasets/{version.dataset}/hub/{version.name}.json"


def _note(lake: Lake, version: Version, pushed: Pushed, now: datetime) -> None:
    """Note where the version is, unless the note says so already."""
    path = note_path(version)
    told = {name: value for name, value in asdict(pushed).items() if name != "n_sent"}
    while True:
        data, tag = lake.read_tagged(path)
        noted = parsed(lake, path, read_sealed, data) if data is not None else {}
        if noted and told.items() <= noted.items():
            return
        at = now.isoformat(timespec="seconds")
        if lake.swap(path, sealed_json({**told, "pushed_at": at}), tag):
            return


class _Push:
    """One look at the hub, and what is missing there."""

    def __init__(
        self, lake: Lake, version: Version, hub: Hub, repo: Repository, tell: Tell
    ) -> None:
        self._lake, self._version, self._hub = lake, version, hub
        self._repo, self._tell = repo, tell
        # What a version holds on the hub: its files, and its manifest as it is stored.
        manifest = lake.read(manifest_path(version.dataset, version.number))
        self._manifest = manifest
        own = Artifact("", digest(manifest), 0, len(manifest))
        self._files = {**version.files, MANIFEST: own}

    def run(self, older: bool) -> Pushed | None:
        repo, version = self._repo, self._version
        repo.make(self._hub.private)
        branches, tags = repo.refs()
        beside = f"winnow-{version.name}"
        if version.name in tags:
            held = self._of_dataset(version.name)
            self._refuse_another(held, f"the tag {version.name}")
            if beside in branches:
                repo.drop_branch(beside)
            return self._pushed(repo.commit_of(version.name), 0)
        branch, head = "main", branches.get("main")
        held = self._of_dataset(head)
        if held is not None and held.number > version.number:
            if not older:
                return None
            branch = beside
            if branch not in branches:
                repo.make_branch(branch, str(head))
            head = branches.get(branch, head)
            held = self._of_dataset(head)
        if held is not None and held.number == version.number:
            self._refuse_another(held, branch)
        elif held is not None and held.name not in tags and branch == "main":
            # Whoever pushed it was killed before its tag, and later nobody would find its commit.
            repo.tag(held.name, str(head))
        n_sent, commit = self._commit(branch, head, held)
        if faults := self._missing(repo.tree(commit), held):
            raise Corrupt(
                f"{repo.uri} at {commit} is not {version.name}: {', '.join(faults[:5])}. Nothing "
                f"was tagged; see whether a .gitignore there or its .gitattributes hide files."
            )
        repo.tag(version.name, commit)
        if repo.commit_of(version.name) != commit:
            raise Moved(f"{repo.uri}: {version.name} was moved.")
        if branch != "main":
            repo.drop_branch(branch)
        return self._pushed(commit, n_sent)

    def _pushed(self, commit: str, n_sent: int) -> Pushed:
        version, repo = self._version, self._repo
        return Pushed(repo.endpoint, repo.name, version.name, version.digest, commit, n_sent)

    def _of_dataset(self, revision: str | None) -> Version | None:
        """The version at a revision; None where the repository has none yet.

        Raises:
            Blocked: It holds something else, or another dataset.
        """
        repo, dataset = self._repo, self._version.dataset
        if revision is None:
            return None
        stored = repo.manifest(revision)
        if stored is None:
            if foreign := sorted(repo.tree(revision).keys() - _FRESH):
                raise Blocked(
                    f"{repo.uri} at {revision} holds no version but {', '.join(foreign[:5])}: "
                    "nothing is pushed over it. Name an empty repository under publish.hub.repo."
                )
            return None
        held = version_of(stored)
        if held is None or held.dataset != dataset:
            what = f"dataset {held.dataset}" if held else "a manifest that cannot be read"
            raise Blocked(
                f"{repo.uri} at {revision} holds {what}: a repository is of one dataset. Name "
                f"another one for {dataset} under publish.hub.repo."
            )
        return held

    def _refuse_another(self, held: Version | None, where: str) -> None:
        version, repo = self._version, self._repo
        if held is None or (held.number, held.digest) != (version.number, version.digest):
            has = f"{held.name} {held.digest[:12]}" if held else "no version"
            raise Blocked(
                f"{repo.uri} has {has} at {where}, and {version.dataset} {version.name} of "
                f"{self._lake.uri} is {version.digest[:12]}: nothing was pushed or moved. Another "
                "lake pushes there, or somebody wrote it by hand: name a repository of its own "
                "under publish.hub.repo, or delete what is there if it is wrong."
            )

    def _commit(self, branch: str, head: str | None, held: Version | None) -> tuple[int, str]:
        """Files sent, and the commit on `branch` that has the version."""
        there = self._repo.tree(head) if head else {}
        missing = self._missing(there, held)
        gone = [name for name in (held.files if held else ()) if name not in self._files]
        gone = [name for name in gone if name in there]
        n_bytes = sum(self._files[name].n_bytes for name in missing)
        n_there = len(self._files) - len(missing)
        self._tell(
            f"{len(missing)} files of {n_bytes / 1e6:.1f} MB are to send, {n_there} are there, "
            f"{len(gone)} go."
        )
        if not missing and not gone and head:
            return 0, head
        version = self._version
        title = f"{version.dataset} {version.name} {version.digest[:12]}"
        with ExitStack() as stack:
            sources = {name: self._source(name, stack) for name in missing}
            commit = self._repo.commit(sources, gone, title, branch, head, self._tell)
        self._tell(f"Commit {commit} is made on {branch}.")
        return len(missing), commit

    def _source(self, name: str, stack: ExitStack) -> tuple[bytes | Path, str]:
        """What is sent of a file, and its SHA-256."""
        if name == MANIFEST:
            return self._manifest, self._files[name].sha256
        artifact = self._files[name]
        try:
            return stack.enter_context(self._lake.local(artifact.path)), artifact.sha256
        except FileNotFoundError as error:
            raise Corrupt(
                f"{self._lake.uri}/{artifact.path} is named by a manifest but missing; restore it."
            ) from error

    def _missing(self, there: dict[str, Entry], held: Version | None) -> list[str]:
        """Names of the version's files that a tree does not have as they are.

        The hub tells the SHA-256 of a large file and git's hash of a small one, which is computed
        from the lake's bytes, but for one that the commit's parent named with the same content.
        """
        known = held.files if held else {}

        def is_there(name: str) -> bool:
            entry, artifact = there.get(name), self._files[name]
            if entry is None or entry.n_bytes != artifact.n_bytes:
                return False
            if entry.sha256:
                return entry.sha256 == artifact.sha256
            if name in known and known[name].sha256 == artifact.sha256:
                return True
            own = name == MANIFEST
            data = self._manifest if own else read_artifact(self._lake, artifact)
            return entry.git_hash == git_hash(data)

        return [name for name in sorted(self._files) if not is_there(name)]


def version_of(stored: bytes) -> Version | None:
    """The version of which `stored` is the manifest; None where it is none."""
    try:
        return Version.from_bytes(stored)
    except (ValueError, TypeError):
        return None


@dataclass(frozen=True, slots=True)
class HubVersion:
    """A version on a hub as `pull` reads it: by the paths that its manifest has for its files."""

    repo: Repository
    version: Version
    commit: str
    stored: bytes

    @property
    def uri(self) -> str:
        """Where it lies."""
        return f"{self.repo.uri}@{self.version.name}"

    def read(self, path: str) -> bytes:
        """The manifest, which alone is read whole."""
        if path != manifest_path(self.version.dataset, self.version.number):
            raise FileNotFoundError(path)
        return self.stored

    def chunks(self, path: str) -> Iterator[bytes]:
        """A file's bytes, piece by piece."""
        name = next(n for n, artifact in self.version.files.items() if artifact.path == path)
        with (
            TemporaryDirectory(prefix="winnow-hub-") as folder,
            self.repo.file(name, self.commit, folder).open("rb") as file,
        ):
            while piece := file.read(1 << 20):
                yield piece


def find(address: ServerAddress, named: str, seconds: float = SILENCE) -> HubVersion:
    """The version that `hf://org/name@v12` names.

    Raises:
        Fatal: There is none, or it is named wrongly.
        Retryable: The hub is away.
        Corrupt: Its manifest is none, or is another version's.
    """
    match = NAMED.fullmatch(named)
    if match is None:
        raise Fatal("What is named is no version on a hub: write hf://ORG/NAME@v12 or @latest.")
    repo = Repository(address, match[1], seconds)
    _, tags = repo.refs()
    numbers = sorted(int(tag[1]) for tag in map(_TAG.fullmatch, tags) if tag)
    number = int(match[2]) if match[2] else (numbers or [0])[-1]
    if number not in numbers:
        has = f"has v{numbers[0]} to v{numbers[-1]}" if numbers else "has no version"
        raise Fatal(f"{repo.uri} {has}, and not v{number or 'any'}.")
    tag = f"v{number:06d}"
    commit = repo.commit_of(tag)
    stored = repo.manifest(commit)
    version = version_of(stored) if stored is not None else None
    if version is None or stored is None or version.number != number:
        raise Corrupt(f"{repo.uri} at {tag} has no manifest of {tag}; it cannot be checked.")
    return HubVersion(repo, version, commit, stored)
