"""How versions lie in a lake for programs that know no manifest.

    datasets/NAME/v000007/            the version, made after its manifest and never changed
    datasets/NAME/latest/README.md    the card of the newest version, moved by compare-and-swap

On a disk a version's folder holds all its files, as hard links. On S3, where each would be another
copy of what every night before it brought, it holds the card, the report and the manifest; there
the card names the dataset's files by their addresses, which `datasets` reads, so that a folder with
the card alone loads. The stored card names them as a pulled folder has them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from winnow.batch import read_artifact
from winnow.lake import Lake

if TYPE_CHECKING:
    from winnow.publish.versions import Version

CARD, REPORT = "README.md", "quality/report.html"
"""Pages of a version's folder that tell of the whole version, so that none is its parent's."""
MANIFEST = "manifest.json"

_HEAD = re.compile(r"\A---\n.*?^---$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"^(\s*- )(['\"]?)(data/.+)\2$", re.MULTILINE)
_NUMBER = re.compile(rb"^winnow_version: (\d+)$", re.MULTILINE)


def folder_names(lake: Lake, version: Version) -> list[str]:
    """The files of the manifest that a version's folder holds with the bytes of the manifest."""
    if lake.links:
        return sorted(version.files)
    return [name for name in (REPORT,) if name in version.files]


def lay_out(lake: Lake, version: Version, manifest: str) -> None:
    """Make the version's folder: the card and the manifest last, since they say what is in it."""
    objects = {name: version.files[name].path for name in folder_names(lake, version)}
    if lake.links:
        objects |= {CARD: objects.pop(CARD)} if CARD in objects else {}
    elif CARD in version.files and not lake.exists(f"{version.folder}/{MANIFEST}"):
        lake.create(f"{version.folder}/{CARD}", _card(lake, version, _address_of(lake, version)))
    objects[MANIFEST] = manifest
    lake.create_folder(version.folder, objects)


def show_latest(lake: Lake, version: Version) -> None:
    """Let the card of the newest version be this one's, unless it is a later one's."""
    if CARD not in version.files:
        return
    address_of = _address_of(lake, version)
    if lake.links:
        address_of = f"../{version.name}/{{}}".format
    card = _card(lake, version, address_of)
    number_line = b"winnow_version: %d\n" % version.number
    has_head = card.startswith(b"---\n")
    shown = b"---\n" + number_line + (card[4:] if has_head else b"---\n" + card)
    path = f"datasets/{version.dataset}/latest/{CARD}"
    while True:
        data, tag = lake.read_tagged(path)
        number = _NUMBER.search(data or b"")
        if number is not None and int(number[1]) >= version.number:
            return
        if lake.swap(path, shown, tag):
            return


def _address_of(lake: Lake, version: Version) -> Callable[[str], str]:
    return lambda name: f"{lake.uri}/{version.files[name].path}"


def _card(lake: Lake, version: Version, address_of: Callable[[str], str]) -> bytes:
    """The version's card with other names for the dataset's files at its head."""
    card = read_artifact(lake, version.files[CARD]).decode()
    head = _HEAD.match(card)
    if head is None:
        return card.encode()

    def renamed(line: re.Match[str]) -> str:
        name = line[3]
        return f"{line[1]}{json.dumps(address_of(name))}" if name in version.files else line[0]

    return (_FILE.sub(renamed, head[0]) + card[head.end() :]).encode()
