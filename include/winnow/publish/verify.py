"""Verification: is every file of a version what its manifest says?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from winnow.errors import Corrupt
from winnow.lake import Lake
from winnow.publish.layout import MANIFEST, folder_names
from winnow.publish.versions import Version, newest_number

_MOST_SHOWN = 5


def verify_version(lake: Lake, version: Version) -> None:
    """Hold each file of a version against its digest, as stored and as laid out in its folder.

    A folder that was removed (`winnow gc --folders`) is no fault; the newest version's is.

    Raises:
        Corrupt: Files are missing or changed; names the first few.
    """
    faults = list(_faults(lake, version))
    if faults:
        shown = "; ".join(faults[:_MOST_SHOWN])
        raise Corrupt(
            f"{version.dataset} {version.name} in {lake.uri}: {len(faults)} files are not what the "
            f"manifest says: {shown}. Restore them; a folder alone is made again when its batch is "
            "published again."
        )


def _faults(lake: Lake, version: Version) -> Iterator[str]:
    has_folder = (
        lake.exists(f"{version.folder}/{MANIFEST}")
        or newest_number(lake, version.dataset) == version.number
    )
    laid_out = set(folder_names(lake, version)) if has_folder else set[str]()
    for name, artifact in sorted(version.files.items()):
        for path in (artifact.path, *([f"{version.folder}/{name}"] if name in laid_out else [])):
            sha256 = hashlib.sha256()
            try:
                for piece in lake.chunks(path):
                    sha256.update(piece)
            except FileNotFoundError:
                yield f"{path} is missing"
                continue
            if sha256.hexdigest() != artifact.sha256:
                yield f"{path} has other bytes"
