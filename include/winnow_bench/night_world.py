"""A night of any size, made up: prompt files, what generation would have left, and answers.

Or files of prompts with the responses to each, which nothing needs to generate.

Words are made up too, and drawn as those of real texts are (Zipf); lengths follow the quantiles of
3,700 real prompts and 23,400 real responses, one share of a length's spread being the prompt's.
Vectors have the shipped embedder's width: responses to one prompt lie about as near each other as
real ones do, no two prompts' do, and the figures of style behind them that annotators go by are
true. Some responses repeat another to the letter or nearly, are refused, cut off, or carry another
flag. So sizes, ids and columns are those of a real night, and quality says nothing.

Ids of responses are random: to hash ten million texts takes longer than to write them.

Shapes: n draws of a call, h columns of an embedding, c columns of a vector.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.special import ndtr

from winnow.batch import Batch, quarantine_table, read_table, store, table_bytes
from winnow.expand.calls import call_id
from winnow.expand.features import EMBEDDING, STYLE, feature_version
from winnow.expand.manifests import (
    CallManifest,
    ShardManifest,
    call_folder,
    call_path,
    shard_path,
)
from winnow.expand.samplers import samplers_of
from winnow.expand.shard import Call, Shard, calls_of, plan_shards
from winnow.lake import FolderLake
from winnow.records import FEATURES, RESPONSES
from winnow.reward.blocks import Block
from winnow.style import style_names

Row = Mapping[str, Any]
Item = TypeVar("Item")
Done = TypeVar("Done")

ENGINE = "vllm"
_ENGINE_VERSION = "0.32.0"
EMBEDDING_WIDTH = 384
"""Columns of all-MiniLM-L6-v2."""

_SHARES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_PROMPT_WORDS = (2.0, 2.0, 2.2, 6.5, 12.0, 23.0, 101.0, 330.0, 1500.0)
_RESPONSE_WORDS = (1.0, 2.0, 7.0, 56.0, 129.0, 225.0, 416.0, 605.0, 900.0)
"""Words of real texts at these shares of them; of prompts, a sixth of their characters."""

_PROMPT_PART = 0.5
"""Share of the variance of a response's length that is its prompt's."""

_VOCABULARY, _ZIPF = 40_000, 0.93
_PHRASE, _PHRASES = 3, 300_000
"""Words that are drawn together, and how many such phrases there are."""

_ENDING = 0.7
"""Share of responses that end with a full stop."""

_REPEATED, _NEARLY = 0.03, 0.02
"""Shares of draws that are another one's text, and that a reader would not tell from it."""

_FLAGGED = {"truncated": 0.04, "looping": 0.005, "refusal": 0.01, "echo": 0.003}
_REFUSAL = b"I'm sorry, but I cannot help with that. "
_SPREAD = 0.5
"""Length of what tells a response from its prompt's mean, an embedding's being 1."""

_GRID = 2.0**13
"""Embeddings are rounded to an inverse of it: a night of ten million takes a fifth less disk."""

_BROKEN, _TWICE, _TALKS = 0.001, 0.01, 0.1
"""Shares of lines of a prompt file that are none, repeat another's, and have several turns."""
_LINES = 10_000
"""Most lines of a prompt file."""

_ANNOTATORS = 200
_UNANSWERED, _TIED, _CARELESS = 0.02, 0.08, 0.15
_ANSWERS = 50_000
"""Most lines of a file of answers."""


class QuickLake(FolderLake):
    """A folder lake that need not outlast a loss of power: what is made up is made again."""

    def create(self, path: str, data: bytes) -> bool:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return True


def write_prompts(folder: Path, n: int, seed: int) -> int:
    """Write `n` prompts as JSON Lines, and some lines that are none; returns the lines."""
    rng = np.random.default_rng([seed, 0])
    words_n = _lengths(rng.standard_normal(n), _PROMPT_WORDS)
    texts = [text.decode() for text in _texts(rng, words_n)]
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for number, text in enumerate(texts):
        # Short prompts come in many forms of words, but they would repeat by chance.
        lines.append(_prompt_line(f"{text} ({seed}-{number})", number, rng.random() < _TALKS))
        draw = rng.random()
        if draw < _TWICE:
            lines.append(lines[int(rng.integers(len(lines)))])
        elif draw < _TWICE + _BROKEN:
            lines.append('{"prompt": 7')
    for start in range(0, len(lines), _LINES):
        file = folder / f"{seed:06d}-{start // _LINES:04d}.jsonl"
        file.write_text("\n".join([*lines[start : start + _LINES], ""]), encoding="utf-8")
    return len(lines)


def write_brought(folder: Path, n: int, seed: int, campaign: str, settings: Any) -> int:
    """Write the pools of `n` prompts as Parquet, a row a response in no order; returns the rows."""
    rng = np.random.default_rng([seed, 1])
    asked = _texts(rng, _lengths(rng.standard_normal(n), _PROMPT_WORDS))
    folder.mkdir(parents=True, exist_ok=True)
    n_rows = 0
    at_once = max(_LINES // settings.pool_size, 1)
    for start in range(0, n, at_once):
        numbers = range(start, min(start + at_once, n))
        call = Call(tuple(str(number) for number in numbers), 0, settings.pool_size)
        made = _call(rng, call, campaign, settings)
        times = made["responses"]["duplicates"].to_numpy()
        order = rng.permutation(np.repeat(np.arange(len(times)), times))
        rows, vectors = made["responses"].take(order), made["features"]["vector"].take(order)
        flat = vectors.combine_chunks().flatten().to_numpy().reshape(len(order), -1)
        wide = np.ascontiguousarray(flat[:, :EMBEDDING_WIDTH], np.float32)
        places = rows["prompt_id"].to_pylist()
        table = pa.table(
            {
                "prompt": [f"{asked[int(k)].decode()} ({seed}-{k})" for k in places],
                "response": rows["message"],
                "model": rows["model"],
                "score": flat[:, EMBEDDING_WIDTH].astype(np.float64),
                "logprob": rows["logprob"],
                "n_tokens": rows["n_tokens"],
                "vector": pa.FixedSizeListArray.from_arrays(wide.reshape(-1), EMBEDDING_WIDTH),
            }
        )
        pq.write_table(table, folder / f"{seed:06d}-{start:07d}.parquet")
        n_rows += table.num_rows
    return n_rows


def _prompt_line(text: str, number: int, talks: bool) -> str:
    row: dict[str, Any] = {
        "source": "bench",
        "language": ("en", "en", "en", "zh", "ja")[number % 5],
        "tags": [("science", "code", "writing", "advice")[number % 4]],
    }
    if talks:
        middle = len(text) // 2
        row["messages"] = [
            {"role": "user", "content": text[:middle] or "Go on"},
            {"role": "assistant", "content": "Of course. What else?"},
            {"role": "user", "content": text[middle:]},
        ]
    else:
        row["prompt"] = text
    return json.dumps(row, ensure_ascii=False)


def generate(batch: Batch, processes: int) -> int:
    """Leave what generation would have left of a batch that was ingested; returns responses."""
    prompts = read_table(batch.lake, batch.require("ingest").outputs["prompts"])
    shards = plan_shards(prompts.to_pylist(), batch.campaign.expand)
    work = partial(_shard, batch.campaign.name, batch.folder, batch.campaign.expand, batch.lake.uri)
    return sum(side_by_side(work, shards, processes))


def side_by_side(work: Callable[[Item], Done], items: Sequence[Item], processes: int) -> list[Done]:
    """What `work` makes of each, in so many processes; in this one where one is enough."""
    if processes == 1 or len(items) < 2:
        return list(map(work, items))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return list(pool.map(work, items))


def _shard(campaign: str, batch: str, settings: Any, uri: str, shard: Shard) -> int:
    """Write a shard's calls and its manifest; returns its responses."""
    rng = np.random.default_rng(int(shard.shard_id[:15], 16))
    lake, folder = QuickLake(Path(uri)), f"{batch}/expand"
    done: list[CallManifest] = []
    for group in shard.groups:
        for call in calls_of(group, 0, settings.pool_size, shard.model, settings):
            made = _call(rng, call, campaign, settings)
            identity = call_id(call, shard.model, campaign, settings, ENGINE)
            place = call_folder(folder, identity)
            manifest = CallManifest(
                call_id=identity,
                call=call,
                sampled=len(call.prompts) * settings.pool_size,
                tokens=int(np.sum(made["responses"]["n_tokens"].to_numpy())),
                engine=ENGINE,
                engine_version=_ENGINE_VERSION,
                outputs={
                    name: store(lake, f"{place}/{name}", "parquet", table_bytes(t), t.num_rows)
                    for name, t in made.items()
                },
                blocks=(Block(EMBEDDING, EMBEDDING_WIDTH), Block(STYLE, len(style_names()))),
            )
            lake.create(call_path(folder, identity), manifest.to_bytes())
            done.append(manifest)
    whole = ShardManifest(shard.shard_id, tuple(done))
    lake.create(shard_path(folder, shard.shard_id), whole.to_bytes())
    return sum(each.outputs["responses"].n_rows for each in done)


def _call(
    rng: np.random.Generator, call: Call, campaign: str, settings: Any
) -> dict[str, pa.Table]:
    """The tables of a call: a row for each distinct text."""
    size, n = settings.pool_size, len(call.prompts) * settings.pool_size
    sampler, pool_n = samplers_of(settings)[0], np.arange(n) // settings.pool_size
    place_n = np.arange(n) % size
    # The first tenth of a pool repeats nothing; what repeats repeats one of these.
    fresh = max(1, size // 10)
    draw_n = np.where(place_n < fresh, 1.0, rng.random(n))
    repeats_n = draw_n < _REPEATED
    nearly_n = ~repeats_n & (draw_n < _REPEATED + _NEARLY)
    source_n = pool_n * size + rng.integers(fresh, size=n)
    words_n = _lengths(
        np.sqrt(_PROMPT_PART) * rng.standard_normal(len(call.prompts))[pool_n]
        + np.sqrt(1.0 - _PROMPT_PART) * rng.standard_normal(n),
        _RESPONSE_WORDS,
    )
    words_n[nearly_n] = words_n[source_n[nearly_n]]
    flags_n = _flags(rng, n)
    texts = _texts(rng, words_n)
    for k in np.flatnonzero(nearly_n).tolist():
        texts[k] = texts[source_n[k]] + b"!"
        flags_n[k] = list(flags_n[source_n[k]])
    for k, flags in enumerate(flags_n):
        if "refusal" in flags and not texts[k].startswith(_REFUSAL):
            texts[k] = _REFUSAL + texts[k]
    vectors_nc = _vectors(rng, pool_n, texts, words_n)
    vectors_nc[nearly_n] = vectors_nc[source_n[nearly_n]]
    duplicates_n = np.ones(n, np.int32)
    np.add.at(duplicates_n, source_n[repeats_n], 1)
    kept = np.flatnonzero(~repeats_n)
    tokens_n = np.ceil(1.3 * words_n).astype(np.int32)
    first_seeds = [sampler.seed(campaign, settings, prompt) for prompt in call.prompts]
    ids, m = _ids(rng, len(kept)), len(kept)
    responses = pa.Table.from_arrays(
        [
            ids,
            pa.array([call.prompts[pool] for pool in pool_n[kept].tolist()], pa.string()),
            pa.array([texts[k] for k in kept.tolist()], pa.string()),
            pa.array([sampler.model] * m, pa.string()),
            pa.array([sampler.as_json] * m, pa.string()),
            pa.array(np.array(first_seeds)[pool_n[kept]] + place_n[kept], pa.int64()),
            pa.array(["length" if "truncated" in flags_n[k] else "stop" for k in kept.tolist()]),
            pa.array(tokens_n[kept]),
            pa.array(-tokens_n[kept] * rng.uniform(0.5, 1.5, m)),
            pa.array(duplicates_n[kept]),
            pa.array(np.zeros(m, np.int32)),
            pa.array([flags_n[k] for k in kept.tolist()], pa.list_(pa.string())),
        ],
        schema=RESPONSES,
    )
    offsets = pa.array(np.arange(m + 1, dtype=np.int32) * vectors_nc.shape[1])
    flat = pa.array(vectors_nc[kept].reshape(-1), pa.float16())
    versions = pa.array([feature_version(settings)] * m, pa.string())
    features = pa.Table.from_arrays(
        [ids, pa.ListArray.from_arrays(offsets, flat), versions], schema=FEATURES
    )
    return {"responses": responses, "features": features, "quarantine": quarantine_table([])}


def _flags(rng: np.random.Generator, n: int) -> list[list[str]]:
    flags: list[list[str]] = [[] for _ in range(n)]
    for name, share in _FLAGGED.items():
        for k in np.flatnonzero(rng.random(n) < share).tolist():
            flags[k].append(name)
    return flags


def _vectors(
    rng: np.random.Generator,
    pool_n: NDArray[np.intp],
    texts: Sequence[bytes],
    words_n: NDArray[np.intp],
) -> NDArray[np.float16]:
    """Vectors (n, c): unit embeddings around one for each prompt, and figures of style."""
    n_pools = int(pool_n[-1]) + 1
    # Few directions hold most of what tells the responses to a prompt apart.
    scale_h = 1.0 / np.sqrt(1.0 + np.arange(EMBEDDING_WIDTH) / 40.0, dtype=np.float32)
    scale_h *= _SPREAD / np.sqrt(np.sum(scale_h**2))
    mean_ph = rng.standard_normal((n_pools, EMBEDDING_WIDTH), np.float32)
    mean_ph /= np.linalg.norm(mean_ph, axis=1, keepdims=True)
    embedding_nh = rng.standard_normal((len(pool_n), EMBEDDING_WIDTH), np.float32) * scale_h
    embedding_nh += mean_ph[pool_n]
    embedding_nh /= np.linalg.norm(embedding_nh, axis=1, keepdims=True)
    embedding_nh = np.rint(embedding_nh * _GRID) / _GRID
    style = rng.random((len(style_names()), len(pool_n)), np.float32) * 0.1
    known = {
        "log_words": np.log1p(words_n),
        "log_chars": np.log1p([len(text) for text in texts]),
        "ends_complete": np.array([text.endswith(b".") for text in texts], np.float32),
        "refuses": np.array([text.startswith(_REFUSAL) for text in texts], np.float32),
        "log_code_blocks": np.zeros(len(texts)),
        "asks_back": np.zeros(len(texts)),
    }
    for name, figures in known.items():
        style[style_names().index(name)] = figures
    return np.hstack([embedding_nh, style.T]).astype(np.float16)


def _ids(rng: np.random.Generator, n: int) -> pa.Array:
    digits = rng.bytes(16 * n).hex()
    return pa.array([digits[k : k + 32] for k in range(0, len(digits), 32)], pa.string())


def _lengths(normal_n: NDArray[np.float64], words: Sequence[float]) -> NDArray[np.intp]:
    """Numbers of words that follow the quantiles `words`, from standard normal numbers."""
    shares = ndtr(normal_n)
    words_n = np.rint(np.interp(shares, _SHARES, words))
    return np.asarray(np.maximum(words_n, 1.0), np.intp)


def _texts(
    rng: np.random.Generator, words_n: NDArray[np.intp], ending: float = _ENDING
) -> list[bytes]:
    """Texts of about so many words each; a share `ending` of them ends with a full stop."""
    last_n = np.cumsum(np.maximum(words_n // _PHRASE, 1)).tolist()
    phrases = _phrases()
    drawn = phrases[rng.integers(len(phrases), size=last_n[-1])].tolist()
    ends_n = (rng.random(len(words_n)) < ending).tolist()
    texts: list[bytes] = []
    first = 0
    for last, ends in zip(last_n, ends_n, strict=True):
        text = b" ".join(drawn[first:last]).strip()
        texts.append(text.rstrip(b".,:") + b"." if ends else text)
        first = last
    return texts


@cache
def _phrases() -> NDArray[np.object_]:
    """Some words in a row, as bytes: to draw them together takes a third of the time."""
    rng, vocabulary = np.random.default_rng(0), _vocabulary()
    bounds = np.cumsum(1.0 / np.arange(1, len(vocabulary) + 1) ** _ZIPF)
    drawn = np.searchsorted(bounds, bounds[-1] * rng.random(_PHRASE * _PHRASES))
    words = [vocabulary[k] for k in drawn.tolist()]
    starts = range(0, len(words), _PHRASE)
    return np.array([b" ".join(words[k : k + _PHRASE]) for k in starts], np.object_)


def _vocabulary() -> list[bytes]:
    """Words, the commonest first; punctuation stands on some as it does in real texts."""
    rng = np.random.default_rng(1)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    lengths = np.clip(rng.poisson(2.0 + np.log1p(np.arange(_VOCABULARY)) / 2.5), 1, 14)
    words = [
        "".join(letters[int(k)] for k in 26 * rng.random(length) ** 1.6)
        for length in lengths.tolist()
    ]
    ends = rng.choice(["", ".", ",", ".\n\n", ":"], _VOCABULARY, p=[0.84, 0.07, 0.06, 0.02, 0.01])
    numbers = rng.random(_VOCABULARY) < 0.01
    return [
        (f"{k % 1000}" if is_number else f"{word}{end}").encode()
        for k, (word, end, is_number) in enumerate(zip(words, ends, numbers, strict=True))
    ]


def answer(vendor: Path) -> int:
    """Answer what a file drop was asked and nobody answered yet, all but some; returns answers.

    Annotators prefer longer responses, and such as end with a full stop.
    """
    n = 0
    for folder in sorted(vendor.iterdir()):
        manifests = sorted(folder.glob("input*.manifest"))
        output = folder / "output"
        if not manifests or (output / "done.json").exists():
            continue
        output.mkdir(exist_ok=True)
        lines: list[str] = []
        for line in _answers(manifests):
            lines.append(line)
            n += 1
            if len(lines) == _ANSWERS:
                _write_answers(output, lines)
        _write_answers(output, lines)
        (output / "done.json").write_text("{}")
    return n


def _write_answers(output: Path, lines: list[str]) -> None:
    if lines:
        file = output / f"{len(list(output.iterdir())):04d}.jsonl"
        file.write_text("\n".join([*lines, ""]), encoding="utf-8")
        lines.clear()


def _answers(manifests: Sequence[Path]) -> Iterator[str]:
    for manifest in manifests:
        with manifest.open("rb") as tasks:
            for line in tasks:
                task = json.loads(line)
                if answered := _answer(task):
                    yield answered


def _answer(task: Row) -> str:
    """A line that answers a task; empty where nobody does."""
    # Ids are hashes: their digits are as good as drawn ones, and cost nothing.
    digits = [int(task["task_id"][k : k + 6], 16) for k in range(0, 30, 6)]
    answered, tied, careless, slow = (digit / 0x1000000 for digit in digits[:4])
    if answered < _UNANSWERED:
        return ""
    better = _merit(task["response_a"]) >= _merit(task["response_b"])
    choice = "tie" if tied < _TIED else "ab"[better == (careless < _CARELESS)]
    minute = digits[4] % 600
    return json.dumps(
        {
            "task_id": task["task_id"],
            "annotator": f"worker-{digits[4] % _ANNOTATORS}",
            "choice": choice,
            "started_at": f"2026-11-22T{8 + minute // 60:02d}:{minute % 60:02d}:00Z",
            "active_seconds": 5.0
            + round((len(task["response_a"]) + len(task["response_b"])) / 30.0 + 20.0 * slow, 1),
        }
    )


def _merit(text: str) -> float:
    return float(np.log1p(text.count(" ")) + 0.7 * text.endswith("."))
