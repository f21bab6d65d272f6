"""Reads a campaign's file: YAML, each name once, no secret; every fault is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from winnow.addresses import holds_secret
from winnow.campaign.sections import Campaign, Content, Judge
from winnow.errors import Fatal

MOST_BYTES = 1 << 20
MOST_VALUES = 100_000
"""Of a file: what is larger would hold up all the campaigns that are read with it."""


def load_campaign(path: Path) -> Campaign:
    """Read a campaign from YAML; relative source folders are taken from the file's own folder.

    Raises:
        Fatal: The file is missing, is not YAML, or a setting is wrong (all of them are named) or
            stands twice.
    """
    try:
        settings = read_yaml(path, "Campaign")
    except FileNotFoundError as error:
        raise Fatal(f"Campaign {path} cannot be read: {error.strerror}.") from error
    if named := list(_secrets(settings)):
        raise Fatal(
            f"Campaign {path} holds a secret at {', '.join(named)}: it would lie in every batch. "
            "Keys and passwords belong into Airflow connections, or into the environment."
        )
    campaign = parse_campaign(settings, where=str(path))

    def placed(source: str | None) -> str | None:
        return None if source is None else _from_folder(source, path.parent)

    places = {
        "ingest": {"sources": [placed(source) for source in campaign.ingest.sources]},
        "expand": _expand(campaign, path.parent),
        "label": {
            "gold": placed(campaign.label.gold),
            "judge": _judge(campaign.label.judge, path.parent),
            "sources": [
                each.model_copy(update={"judge": _judge(each.judge, path.parent)})
                for each in campaign.label.sources
            ],
        },
        "validation": {
            "evaluation_prompts": placed(campaign.validation.evaluation_prompts),
            "suites": [
                each.model_copy(update={"path": placed(each.path)})
                for each in campaign.validation.suites
            ],
        },
    }
    sections = {k: getattr(campaign, k).model_copy(update=paths) for k, paths in places.items()}
    return campaign.model_copy(update=sections)


def _judge(judge: Judge | None, folder: Path) -> Judge | None:
    """A judge of the campaign with the principles of its constitution, read now.

    Raises:
        Fatal: The file is missing or is no list of texts, or there are principles beside it.
    """
    if judge is None or judge.constitution is None:
        return judge
    file, principles = _frozen(judge.constitution, folder, "Constitution")
    if judge.principles:
        raise Fatal(f"Judge {judge.model} has principles and a constitution: keep one of them.")
    named = {**judge.model_dump(), "constitution": file, "principles": principles}
    try:
        return Judge.model_validate(named)
    except ValidationError as error:
        raise Fatal(f"Constitution {file} is no list of principles, each a text.") from error


def _expand(campaign: Campaign, folder: Path) -> dict[str, Content]:
    """Whom and what responses speak of, by the file of terms, read now.

    Raises:
        Fatal: The file is missing or holds no lists of terms, or there are some beside it.
    """
    content = campaign.expand.content
    if content.terms is None:
        return {}
    file, lists = _frozen(content.terms, folder, "List of terms")
    if content.groups or content.stances or content.tones:
        raise Fatal("expand.content has lists and a file of terms: keep one of them.")
    if not isinstance(lists, dict) or not lists.keys() <= {"groups", "stances", "tones"}:
        raise Fatal(f"List of terms {file} has groups, stances and tones, and nothing else.")
    try:
        named = {**content.model_dump(), **lists, "terms": file}
        return {"content": Content.model_validate(named)}
    except ValidationError as error:
        raise Fatal(f"List of terms {file}: {faults_of(error, 'all')}.") from error


def _frozen(name: str, folder: Path, what: str) -> tuple[str, Any]:
    """A file beside the campaign, and what it holds now, which a batch keeps.

    Raises:
        Fatal: It cannot be read.
    """
    file = Path(_from_folder(name, folder))
    try:
        return str(file), read_yaml(file, what)
    except FileNotFoundError as error:
        raise Fatal(f"{what} {file} cannot be read: {error.strerror}.") from error


def read_yaml(path: Path, what: str) -> Any:
    """What a file holds; `what` it is, is for messages.

    Raises:
        FileNotFoundError: There is none.
        Fatal: It cannot be read, is too large, is not YAML, or a name stands twice.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Fatal(f"{what} {path} is larger than {MOST_BYTES // 1024} KiB.")
        settings = yaml.load(path.read_text(encoding="utf-8"), _Strict)
        if _values_in(settings, {}) > MOST_VALUES:
            raise Fatal(f"{what} {path} has more than {MOST_VALUES} values, aliases written out.")
        return settings
    except (FileNotFoundError, Fatal):
        raise
    except OSError as error:
        raise Fatal(f"{what} {path} cannot be read: {error.strerror}.") from error
    except Exception as error:  # YAML's constructors raise what they like.
        raise Fatal(f"{what} {path} is not valid YAML: {_yaml_fault(error)}.") from error


def _values_in(settings: Any, known: dict[int, int]) -> int:
    """How many values there are; what an alias stands for counts each time, and is read once."""
    if not isinstance(settings, dict | list):
        return 1
    if id(settings) not in known:
        inner = settings.values() if isinstance(settings, dict) else settings
        known[id(settings)] = 1 + sum(_values_in(value, known) for value in inner)
    return known[id(settings)]


def _secrets(settings: Any, name: str = "") -> Iterator[str]:
    """Names of settings that are an address with a secret in it, or are called one.

    Texts that hold blanks are passed over: in instructions an address is an example.
    """
    if isinstance(settings, dict):
        for key, value in settings.items():
            yield from _secrets(value, f"{name}.{key}" if name else str(key))
    elif isinstance(settings, list):
        for i, value in enumerate(settings):
            yield from _secrets(value, f"{name}.{i}")
    elif (
        isinstance(settings, str)
        and re.fullmatch(r"\S+", settings)
        and (holds_secret(settings) or _SECRET_NAME.search(name))
    ):
        yield name


_SECRET_NAME = re.compile(r"(password|secret|api_key|hf_token)$", re.IGNORECASE)


def _yaml_fault(error: Exception) -> str:
    """What is wrong with a file, and where, in one line."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem and mark:
        return f"{problem}, line {mark.line + 1}, column {mark.column + 1}"
    return " ".join(str(error).split())


class _Strict(yaml.SafeLoader):
    """YAML in which each name stands once, and 1e3 is a number as 1.0e+3 is.

    Nothing in it holds itself: whatever is built, is built whole, which YAML cannot do for that.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        return super().construct_object(node, deep=True)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and isinstance(key.value, str):
                if key.value in seen:
                    why = f"{key.value} stands twice"
                    raise yaml.constructor.ConstructorError(None, None, why, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


NUMBER = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")
_Strict.add_implicit_resolver("tag:yaml.org,2002:float", NUMBER, list("-+0123456789"))


def parse_campaign(settings: Any, where: str) -> Campaign:
    """Check `settings` (parsed YAML or JSON) from `where`.

    Raises:
        Fatal: A setting is missing, unknown or out of range; the message lists each one.
    """
    try:
        return Campaign.model_validate(settings)
    except ValidationError as error:
        faults = faults_of(error, "campaign")
        raise Fatal(f"Campaign {where} has wrong settings: {faults}.") from error


def bare_campaign(name: str) -> Campaign:
    """A campaign of which nothing but the name is known, for what has to have one; by hand."""
    settings = {
        "name": name,
        "schedule": {"cron": None},
        "ingest": {"sources": ["unknown"]},
        "expand": {"model": "unknown"},
        "label": {"budget_usd": 1.0},
        "publish": {"dataset": name},
    }
    return parse_campaign(settings, where=f"{name} (of which no settings are known)")


def faults_of(error: ValidationError, whole: str) -> str:
    """Every fault with its setting, as one line; what is wrong with all is of the `whole`."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or whole}: {e['msg']}" for e in error.errors())


def _from_folder(source: str, folder: Path) -> str:
    if "://" in source:
        return source
    try:
        return str((folder / source).resolve())
    except (OSError, ValueError, RuntimeError) as error:
        raise Fatal(f"{source!a} is no path: {error}") from error
