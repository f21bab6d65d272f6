"""Which files of a batch's folder hold answers, the lines of one, and a line as an annotation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from winnow.ids import content_id
from winnow.ingest.formats.raw import PIECE_BYTES, RAW_LIMIT, opened
from winnow.ingest.values import Twice, Unreadable, columns_of, read_json
from winnow.label.vendor import RANKED, DeliveredAnnotation, DeliveredRanking, id_text
from winnow.label.vendors.file_drop.folder import AskedLine, BatchFolder
from winnow.label.vendors.pages import UNREAD, members, read_part

PACKED = (".gz", ".zst", ".bz2")
ENDINGS = tuple(f"{text}{pack}" for text in (".jsonl", ".ndjson") for pack in ("", *PACKED))
"""Ends of names of files of answers, in any case."""

MAX_UNPACKED = 256 << 20
"""Bytes that one packed file may hold."""

LABEL = "preference"
"""The label attribute, where a vendor gives the manifest's line back with an answer added."""

_PACKINGS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
"""How a file is packed, by its first bytes: no line of JSON begins so."""
_READ = "answers are read from files below output/ that end in .jsonl or .ndjson, packed or not"
_WHO_SAID_WHAT = ("task_id", "annotator", "choice", "order")


class Lines(NamedTuple):
    """The lines of a file that are not blank; `fault` says why what follows them is not read."""

    lines: list[bytes]
    fault: str = ""


def answer_files(folder: BatchFolder) -> list[str]:
    """Paths of the files of answers, sorted."""
    return [path for path in _below_output(folder) if path.lower().endswith(ENDINGS)]


def strange_files(folder: BatchFolder) -> list[str]:
    """What to do about each file that may hold answers and is not read, the file named."""
    own = (f"{folder.ref}/input/", f"{folder.ref}/output/")
    strange = [path for path in _below_output(folder) if not path.lower().endswith(ENDINGS)]
    strange += [p for p in folder.paths if p.lower().endswith(ENDINGS) and not p.startswith(own)]
    return [f"{path}: {_READ} ({', '.join(PACKED)})" for path in strange]


def _below_output(folder: BatchFolder) -> list[str]:
    """All files there but the vendor's word that it is done, and hidden ones."""
    named = [(path, path.removeprefix(f"{folder.ref}/output/")) for path in folder.below("output")]
    return [
        path
        for path, name in named
        if name != "done.json" and not any(part[:1] in ("", ".") for part in name.split("/"))
    ]


def lines_of(data: bytes) -> Lines:
    """The lines of a file; what cannot be unpacked is one more, its beginning as it came."""
    packing = next((p for begin, p in _PACKINGS.items() if data.startswith(begin)), None)
    text, fault = _unpacked(data, packing) if packing else (data, "")
    # By newlines alone: other characters that end a line may stand in a rationale.
    lines = [line for line in text.split(b"\n") if line.strip()]
    return Lines([*lines, data[:RAW_LIMIT]] if fault else lines, fault)


def _unpacked(data: bytes, packing: str) -> tuple[bytes, str]:
    text = bytearray()
    try:
        with opened(data, packing) as source:
            while len(text) <= MAX_UNPACKED:
                piece = source.read(PIECE_BYTES)
                if not piece:
                    return bytes(text), ""
                text += piece
    except OSError as error:
        return bytes(text), f"it is damaged: {error}"
    return bytes(text), f"it holds more than {MAX_UNPACKED} bytes: cut it into smaller files"


def read_line(line: bytes, tasks: Mapping[str, AskedLine]) -> DeliveredAnnotation:
    """The annotation in a line.

    A line is either an annotation, or a line of the manifest with the attribute `preference` (a
    choice, an order of a ranking, or an object with it) and what else is known under
    `preference-metadata`. What a vendor
    may leave out: `annotation_id` (then one for each annotator and task), `revision` (0) and
    `price` (what Winnow offered).

    Raises:
        Unreadable: There is none to be read.
    """
    found = _fields(read_json(line))
    shape = _shape(found)
    fields = columns_of(found, shape.model_fields)
    task_id, annotator = (id_text(fields.get(name)) for name in ("task_id", "annotator"))
    task = tasks.get(task_id) if isinstance(task_id, str) else None
    defaults = {
        "annotation_id": content_id("annotation", task_id, annotator),
        "price": task.price if task else 0,
    }
    return shape.of({**defaults, **fields})


def is_answer(line: bytes, tasks: Mapping[str, AskedLine]) -> tuple[str, str | None] | None:
    """Task and annotator of a line that `read_line` refuses, if it answers one of `tasks` at all.

    Who said what of which task can be read: the work was done, whatever else is wrong with it.
    """
    essential = (*_WHO_SAID_WHAT, LABEL, f"{LABEL}-metadata")
    try:
        parts = {n: read_part(part) for n, part in members(line).items() if n in essential}
        readable = {n: value for n, value in parts.items() if value is not UNREAD}
        fields = {n: v for n, v in _fields(readable).items() if n in _WHO_SAID_WHAT}
        answer = _shape(fields).of({**fields, "annotation_id": "any", "price": 0})
    except Unreadable:
        return None
    return (answer.task_id, answer.annotator) if answer.task_id in tasks else None


def _fields(line: Any) -> Any:
    if not isinstance(line, dict) or line.get(LABEL) is None:
        return line
    label, metadata = line[LABEL], line.get(f"{LABEL}-metadata")
    name = "order" if isinstance(label, list) else "choice"
    given = label if isinstance(label, dict) else {name: label}
    about = metadata if isinstance(metadata, dict) else {}
    if any(isinstance(each, Twice) for each in (line, about, given)):
        raise Unreadable("stands_twice", "a name stands more than once")
    named = {k: v for k, v in (*about.items(), *given.items()) if k in _KNOWN}
    return {"task_id": line.get("task_id"), **named}


def _shape(fields: Any) -> type[DeliveredAnnotation]:
    """What a line is: an order without another choice is a ranking."""
    if not isinstance(fields, dict) or fields.get("order") is None:
        return DeliveredAnnotation
    return DeliveredRanking if fields.get("choice") in (None, RANKED) else DeliveredAnnotation


_KNOWN = DeliveredRanking.model_fields
