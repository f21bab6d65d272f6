"""Published nights made up in a lake, for tests of what refits read: votes on planted rewards.

There are no pools: what a refit needs of the responses lies in `compared`. The prompts of a night
have two pairs each, a share of which was drawn uniformly; the wanted weights may move by night.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np

from winnow.batch import Artifact, Batch, Manifest, open_batch, read_table
from winnow.campaign import Campaign, parse_campaign
from winnow.expand.features import feature_version, stored_blocks
from winnow.expand.vectors import Columns, columns_of, new_columns
from winnow.ids import content_id, pair_id
from winnow.lake import Lake
from winnow.publish.versions import Version
from winnow.records import ANNOTATIONS, COMPARED, COMPARISONS, RANKED_TRAINING, to_table
from winnow.reward.blocks import width
from winnow.reward.logistic import sigmoid
from winnow.stages.expand.brought_labels import LISTED, Listed
from winnow.stages.select import history, reward_model
from winnow.stored import as_json, sealed_json
from winnow.style import style_names

NOW = datetime(2026, 11, 23, tzinfo=UTC)
WORDS = ["rain", "sun", "wind", "tide", "moon", "follows", "because", "the", "water"]


@dataclass
class VotedWorld:
    """A campaign whose nights are voted on as `weights` want it, give or take guesses."""

    lake: Lake
    select: dict[str, Any] = field(default_factory=dict)
    n_embedding: int = 6
    per_night: int = 24
    dimensions: Sequence[str] = ("helpfulness",)
    batches: tuple[str, ...] = ()
    drift: float = 0.0
    asleep: int | None = None
    """A column that is the same for all responses."""
    judges: Mapping[str, float] = field(default_factory=dict)
    """Models that judge every pair too, with their log-odds for each logit of people's."""
    mode: str = "logits"
    """How the models are asked."""
    people: bool = True
    """Whether people vote at all."""
    label: dict[str, Any] = field(default_factory=dict)
    brought: int = 0
    """How many labels the campaign brings; below 0 so many that say the contrary of its people."""
    rated: bool = False
    """Whether people rate `PLANTED` as well, two dimensions at odds, and choose by their sum."""

    @cached_property
    def campaign(self) -> Campaign:
        return parse_campaign(
            {
                "name": "small",
                "ingest": {"sources": ["inbox"]},
                "expand": {"model": "tiny"},
                "select": self.select,
                "label": {"budget_usd": 50, **self.label},
                "publish": {"dataset": "small"},
            },
            "test",
        )

    def asking(self, **select: Any) -> VotedWorld:
        """The same lake with other settings."""
        return replace(self, select={**self.select, **select})

    def batch(self, key: str, lake: Lake | None = None) -> Batch:
        return open_batch(self.campaign, key, lake or self.lake, lambda: NOW)

    @property
    def version(self) -> Version:
        return Version("small", max(len(self.batches), 1), None, self.batches, {}, {}, "")

    def columns(self, key: str) -> Columns:
        return columns_of(self.batch(key).require("expand"), self.campaign.expand)

    def add(self, key: str) -> None:
        """Choose and label a night, as the newest of the dataset's version."""
        number = int(content_id("night", key)[:8], 16)
        batch, rng = self.batch(key), np.random.default_rng(number)
        self._commit(batch, "ingest", {})
        figures = {
            "feature_version": feature_version(self.campaign.expand),
            "n_embedding": self.n_embedding,
        }
        self._commit(batch, "expand", {}, self._labels(batch), **figures)
        columns = self.columns(key)
        current = reward_model.newest(self.lake, "small")
        votes = list(self._votes(key, columns, rng))
        compared = {row["response_id"]: row for vote in votes for row in vote["sides"]}
        rows = sorted(compared.values(), key=lambda r: (r["prompt_id"], r["response_id"]))
        outputs = {
            "comparisons": to_table([self._stated(v, current) for v in votes], COMPARISONS),
            "compared": to_table(rows, COMPARED),
        }
        n_labels = sum(h.n_labels for h in current.model.heads.values()) if current else 0
        model = {} if current is None else {"reward_model": current.model.to_bytes()}
        self._commit(batch, "select", outputs, model, posterior_labels=n_labels)
        given = [vote["annotation"] for vote in votes] if self.people else []
        said = [row for vote in votes for row in self._verdicts(vote)]
        annotations = to_table([*given, *said], ANNOTATIONS)
        judges = {"judges": [{"model": name} for name in self.judges]} if self.judges else {}
        self._commit(batch, "label", {"annotations": annotations}, **judges)
        self.batches = (*self.batches, key)

    def refit(self, lake: Lake | None = None) -> reward_model.Refitted:
        """The model of the version as it is."""
        return reward_model.refit(lake or self.lake, self.campaign, self.version)

    def publish(self, lake: Lake | None = None) -> Manifest:
        """Refit on the version as it is and commit its last batch."""
        lake = lake or self.lake
        batch, fitted = self.batch(self.batches[-1], lake), self.refit(lake)
        assert fitted.past is not None
        path = reward_model.store(lake, "small", fitted, len(self.batches))
        return batch.commit(
            "publish",
            inputs=[],
            outputs=history.outputs_of(batch, fitted.past),
            counts=_NONE,
            figures={"posterior": path, "drift": fitted.drift},
        )

    def night(self, key: str) -> reward_model.Refitted:
        """A night from its prompts to its refit."""
        self.add(key)
        self.publish()
        return self.refit()

    def rows(self, key: str, stage: str, table: str) -> list[dict[str, Any]]:
        stored = self.batch(key).require(stage).outputs[table]
        return list(read_table(self.lake, stored).to_pylist())

    def _votes(
        self, key: str, columns: Columns, rng: np.random.Generator
    ) -> Iterator[dict[str, Any]]:
        n_columns = width(columns.blocks)
        planted = planted_weights(n_columns)
        wanted_c = self.wanted(n_columns)
        if self.rated:
            wanted_c = sum(planted.values(), np.zeros(n_columns))
        vectors = rng.normal(size=(4 * -(-self.per_night // 2), n_columns)).astype(np.float16)
        if self.asleep is not None:
            vectors[:, self.asleep] = 1.0
        for number in range(self.per_night):
            prompt = content_id("prompt", key, number // 2)[:16]
            dimension = self.dimensions[(number // 2) % len(self.dimensions)]
            rows = [4 * (number // 2) + 2 * (number % 2) + side for side in (0, 1)]
            sides = sorted(
                (
                    self._response(prompt, f"{key} {row}", vectors[row], columns, rng)
                    for row in rows
                ),
                key=lambda row: str(row["response_id"]),
            )
            first, second = (np.array(side["vector"], np.float64) for side in sides)
            p = float(sigmoid((first - second) @ wanted_c))
            annotator = f"annotator-{rng.integers(7)}"
            guesses = annotator == "annotator-0"
            preferred = "first" if rng.random() < (0.5 if guesses else p) else "second"
            pair = pair_id(*(str(side["response_id"]) for side in sides))
            yield {
                "logit": float((first - second) @ wanted_c),
                "sides": sides,
                "pair_id": pair,
                "prompt_id": prompt,
                "first_id": sides[0]["response_id"],
                "second_id": sides[1]["response_id"],
                "kind": "exploration" if number % 3 == 0 else "selected",
                "dimension": dimension,
                "contested": dimension if self.campaign.select.head_per_dimension else "overall",
                "annotation": {
                    "annotation_id": content_id("annotation", pair),
                    "revision": 1,
                    "pair_id": pair,
                    "kind": "comparison",
                    "annotator": annotator,
                    "swapped": bool(rng.integers(2)),
                    "preferred": "tie" if rng.random() < 0.1 else preferred,
                    "status": "submitted",
                    "ratings": [
                        {
                            "dimension": name,
                            "first": self._grade(first @ weights_c, annotator, rng),
                            "second": self._grade(second @ weights_c, annotator, rng),
                        }
                        for name, weights_c in (planted if self.rated else {}).items()
                    ],
                },
            }

    def wanted(self, n_columns: int) -> Any:
        """What people want of a response's columns (c,), in logits."""
        wanted_c = np.random.default_rng(5).normal(size=n_columns) / np.sqrt(n_columns)
        later = len(self.batches) * self.drift
        wanted_c = wanted_c + later * np.random.default_rng(6).normal(size=n_columns)
        wanted_c[self.n_embedding : self.n_embedding + len(style_names())] *= 0.2
        return wanted_c

    def _labels(self, batch: Batch) -> dict[str, bytes]:
        """What an expand stage names of the labels that are brought."""
        if not self.brought:
            return {}
        n, settings = abs(self.brought), self.campaign.expand
        stored = stored_blocks((), self.n_embedding + len(style_names()))
        columns = new_columns(feature_version(settings), stored, settings)
        rng, n_columns = np.random.default_rng(7), width(columns.blocks)
        sides = rng.normal(size=(2, n, n_columns)).astype(np.float16)
        apart_e = (sides[0] - sides[1]).astype(np.float64) @ self.wanted(n_columns)
        first_e = rng.random(n) < sigmoid(np.sign(self.brought) * apart_e)
        rows = [
            {
                **{name: content_id(name, k) for name in ("pair_id", "prompt_id")},
                **{name: content_id(name, k) for name in ("first_id", "second_id")},
                "kind": "brought",
                "dimension": self.dimensions[0],
                "annotator": "brought",
                "preference": float(first_e[k]),
                "swapped": False,
                "length": 0.0,
                "first": sides[0, k],
                "second": sides[1, k],
                "feature_version": columns.version,
                "weight": 1.0,
            }
            for k in range(n)
        ]
        training = batch.write_table("expand", "labels", to_table(rows, RANKED_TRAINING))
        listed = Listed(columns.version, [training], ["a.jsonl"], "MIT")
        return {LISTED: sealed_json(as_json(listed))}

    def _grade(self, reward: float, annotator: str, rng: np.random.Generator) -> int:
        """A rating, 1 to 5, by somebody with a scale of their own; one of them guesses."""
        own = np.random.default_rng(int(content_id("scale", annotator)[:8], 16))
        middle, step = 3.0 + own.normal(0.0, 0.4), float(np.exp(own.normal(0.0, 0.3)))
        felt = middle + step * (reward + float(rng.normal(0.0, 0.6)))
        guessed = int(rng.integers(1, 6))
        return guessed if annotator == "annotator-0" else min(5, max(1, round(felt)))

    def _verdicts(self, vote: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for name, kappa in self.judges.items():
            luck = np.random.default_rng(int(content_id(name, vote["pair_id"])[:8], 16))
            odds = kappa * vote["logit"] + float(luck.normal(0.0, 0.3))
            yield {
                **vote["annotation"],
                "annotation_id": content_id("verdict", name, vote["pair_id"]),
                "annotator": name,
                "preferred": "first" if odds > 0 else "second",
                "model": name,
                "mode": self.mode,
                "log_odds": odds if self.mode == "logits" else float(np.sign(odds)),
            }

    def _response(
        self, prompt: str, name: str, vector: Any, columns: Columns, rng: np.random.Generator
    ) -> dict[str, Any]:
        return {
            "response_id": content_id("response", name)[:16],
            "prompt_id": prompt,
            "message": " ".join(rng.choice(WORDS, size=int(rng.integers(2, 40)))),
            "vector": vector,
            "feature_version": columns.version,
        }

    def _stated(self, vote: dict[str, Any], current: reward_model.Current | None) -> dict[str, Any]:
        p_first = 0.5
        if current is not None:
            model = current.model
            head = model.heads.get(vote["contested"], model.posterior)
            pair = np.stack([np.array(side["vector"], np.float64) for side in vote["sides"]])
            first, second = head.mean(model.projection.apply(pair))
            p_first = float(sigmoid(np.array(first - second)))
        return {**vote, "p_first": p_first}

    def _commit(
        self,
        batch: Batch,
        stage: str,
        tables: dict[str, Any],
        files: dict[str, bytes] | None = None,
        **figures: Any,
    ) -> None:
        outputs: dict[str, Artifact] = {
            **{name: batch.write_table(stage, name, table) for name, table in tables.items()},
            **{n: batch.write_bytes(stage, n, "npz", data) for n, data in (files or {}).items()},
        }
        batch.commit(stage, inputs=[], outputs=outputs, counts=_NONE, figures=figures)


PLANTED = ("brevity", "honesty")


def planted_weights(n_columns: int) -> dict[str, Any]:
    """Weights (c,) of the dimensions `PLANTED`, at a cosine of -1/2, of raw features."""
    drawn_c2 = np.random.default_rng(8).normal(size=(n_columns, 2))
    one_c, other_c = np.linalg.qr(drawn_c2)[0].T
    return dict(zip(PLANTED, (one_c, -0.5 * one_c + 0.75**0.5 * other_c), strict=True))


_NONE = {"rows_in": 0, "rows_out": 0, "quarantined": 0}
