"""The dataset card: what Hugging Face's loader reads at its head, what a person reads below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from markupsafe import Markup

from winnow.campaign import Campaign
from winnow.money import MICROS
from winnow.pages.render import render
from winnow.pages.words import NOT_MEASURED
from winnow.publish.report import TEMPLATES
from winnow.publish.report.labels import UNKNOWN_PEOPLE, certainty_told
from winnow.publish.shards import configs, told_features
from winnow.publish.versions import Version
from winnow.publish.views import OPTIONAL, VIEWS
from winnow.text import plain_text

_MARKS = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{mark: f"\\{mark}" for mark in "\\`*[]|#"}}
)

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""A card names every file of every night: libyaml, where it is there, writes much faster."""

_IN_WORDS = ("judges", "brought_labels")
"""Figures that are told in sentences."""

_ABOUT = {
    "reward": "every decided pair; `margin` = log-odds that chosen is better, `weight` = 2 p - 1",
    "dpo": "decided pairs that are certain enough for preference optimisation",
    "kto": "the responses of the `dpo` pairs one by one, with a label",
    "prompts": "the prompts alone, labelled or not",
    "annotations": "every judgement, ties and skips too; `model` is set where no person judged",
    "sharegpt": "the `dpo` pairs for LLaMA-Factory, those whose turns alternate",
    "talks": "the `dpo` pairs as whole talks for Axolotl, torchtune and ms-swift, but for those of "
    "which one of them would train on other words (`left_out`)",
    "calls": "the `dpo` pairs with calls of tools, which are `tool_calls` there",
    "dimensions": "a row for each dimension of a pair on which people prefer a side, which is "
    "`chosen` there; filter by `dimension`",
    "consistent": "the `dpo` pairs on which no dimension prefers what is rejected",
    "listwise": "a row a ranking: its responses, best first, with `ranks` and `rewards` (logits)",
}


def dataset_card(version: Version, campaign: Campaign, vendor_note: str) -> str:
    """Card of a version; `vendor_note` is Markdown, and the rest is shown as words."""
    files = configs(version)
    head = {
        "license": campaign.publish.license,
        "pretty_name": f"{version.dataset} {version.name}",
        "tags": ["preference", "winnow"],
        "configs": files,
        "dataset_info": told_features(files),
    }
    return render(
        "card.md.jinja",
        TEMPLATES,
        _shown,
        head=Markup(yaml.dump(head, Dumper=_DUMPER, sort_keys=False, allow_unicode=True)),
        version=version,
        campaign=campaign,
        note=Markup(vendor_note),
        views=[
            (view, Markup(_ABOUT.get(view, "")))
            for view in VIEWS
            if view not in OPTIONAL or version.n_rows(view)
        ],
        figures={n: _plain(n, v) for n, v in version.figures.items() if n not in _IN_WORDS},
        brought=version.figures.get("brought_labels"),
        judges=version.figures.get("judges") or [],
        absent=sorted(name for name, value in version.figures.items() if value is None),
        certainty=certainty_told(version.figures),
        unknown_people=UNKNOWN_PEOPLE,
    )


def reward_card(version: Version, campaign: Campaign, reward: Any, gate: str) -> str:
    """Card of an exported reward model.

    Args:
        version: Whose votes taught it.
        campaign: Whose they are.
        reward: `winnow.stages.select.own_reward.OwnReward`.
        gate: What exploration votes say of the model that chooses pairs; empty: nothing yet.
    """
    head = {
        "license": campaign.publish.license,
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["reward-model", "trl", "winnow"],
    }
    return render(
        "reward_card.md.jinja",
        TEMPLATES,
        _shown,
        head=Markup(yaml.dump(head, Dumper=_DUMPER, sort_keys=False, allow_unicode=True)),
        version=version,
        campaign=campaign,
        reward=reward,
        gate=gate,
    )


def inert(text: str) -> str:
    r"""A text of somebody else's for a Markdown page: on one line, and nothing in it acts.

    >>> print(inert("a|b <i>\n# [x](y)"))
    a\|b &lt;i&gt; \# \[x\](y)
    """
    return " ".join(plain_text(text).split()).translate(_MARKS)


def _shown(value: Any) -> Any:
    return value if isinstance(value, Markup) else Markup(inert(str(value)))


def _plain(name: str, value: Any) -> str:
    if value is None:
        return NOT_MEASURED
    if name == "cost":
        return f"${value / MICROS:.2f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {v}" for k, v in value.items()) or "none"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
