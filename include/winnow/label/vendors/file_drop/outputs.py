"""Which files of a batch's folder hold answers, and the lines of one."""

from __future__ import annotations

from typing import NamedTuple

from winnow.ingest.formats.raw import PIECE_BYTES, RAW_LIMIT, opened
from winnow.label.vendors.file_drop.folder import BatchFolder

PACKED = (".gz", ".zst", ".bz2")
ENDINGS = tuple(f"{text}{pack}" for text in (".jsonl", ".ndjson") for pack in ("", *PACKED))
"""Ends of names of files of answers, in any case."""

MAX_UNPACKED = 256 << 20
"""Bytes that one packed file may hold."""

_PACKINGS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
"""How a file is packed, by its first bytes: no line of JSON begins so."""

_READ = "answers are read from files below output/ that end in .jsonl or .ndjson, packed or not"


class Lines(NamedTuple):
    """The lines of a file that are not blank; `fault` says why what follows them is not read."""

    found: list[bytes]
    fault: str = ""


def answer_files(folder: BatchFolder) -> list[str]:
    """Paths of the files of answers, sorted."""
    return [path for path in _below_output(folder) if _is_answers(path)]


def strange_files(folder: BatchFolder) -> list[str]:
    """What to do about each file that may hold answers and is not read, the file named."""
    own = f"{folder.ref}/input/"
    elsewhere = [path for path in folder.paths if not path.startswith((own, _output(folder)))]
    strange = [path for path in _below_output(folder) if not _is_answers(path)]
    strange += [path for path in elsewhere if _is_answers(path)]
    return [f"{path}: {_READ} ({', '.join(PACKED)})" for path in strange]


def lines_of(data: bytes) -> Lines:
    """The lines of a file; what cannot be unpacked is one more, its beginning as it came."""
    packing = next((p for begin, p in _PACKINGS.items() if data.startswith(begin)), None)
    if packing is None:
        return Lines(_not_blank(data))
    text, fault = _unpacked(data, packing)
    return Lines([*_not_blank(text), *([data[:RAW_LIMIT]] if fault else [])], fault)


def _unpacked(data: bytes, packing: str) -> tuple[bytes, str]:
    pieces: list[bytes] = []
    try:
        with opened(data, packing) as source:
            while sum(map(len, pieces)) <= MAX_UNPACKED:
                piece = source.read(PIECE_BYTES)
                if not piece:
                    return b"".join(pieces), ""
                pieces.append(piece)
    except OSError as error:
        return b"".join(pieces), f"it is damaged: {error}"
    return b"".join(pieces), f"it holds more than {MAX_UNPACKED} bytes: cut it into smaller files"


def _not_blank(text: bytes) -> list[bytes]:
    # By newlines alone: other characters that end a line may stand in a rationale.
    return [line for line in text.split(b"\n") if line.strip()]


def _is_answers(path: str) -> bool:
    return path.lower().endswith(ENDINGS)


def _output(folder: BatchFolder) -> str:
    return f"{folder.ref}/output/"


def _below_output(folder: BatchFolder) -> list[str]:
    """All files there but the vendor's word that it is done, and hidden ones."""
    named = [(path, path.removeprefix(_output(folder))) for path in folder.below("output")]
    return [
        path
        for path, name in named
        if name != "done.json" and not any(part[:1] in ("", ".") for part in name.split("/"))
    ]
