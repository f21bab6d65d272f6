"""A campaign is read once, checked whole, and every fault is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import winnow
from winnow.campaign import Expand, load_campaign, parse_campaign
from winnow.campaign.sections import STAGE_ASSETS
from winnow.errors import Fatal
from winnow.label.tasks import rubric_version
from winnow.stages.tasks import DAGS

SHIPPED = Path(winnow.__file__).parents[1] / "campaigns" / "nightly.yaml"
OTHER_STRATEGY = SHIPPED.with_name("nightly-dts.yaml")


def written(folder: Path, **changes: object) -> Path:
    settings = yaml.safe_load(SHIPPED.read_text())
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump({**settings, **changes}))
    return path


def test_the_shipped_campaign_loads_and_its_sources_exist() -> None:
    campaign = load_campaign(SHIPPED)
    assert all(Path(source).is_dir() for source in campaign.ingest.sources)


def test_relative_sources_start_at_the_file_and_others_stay(tmp_path: Path) -> None:
    sources = {"sources": ["in", "/abs/in", "s3://bucket/in"]}
    campaign = load_campaign(written(tmp_path, ingest=sources))
    assert campaign.ingest.sources == [str(tmp_path / "in"), "/abs/in", "s3://bucket/in"]


def suites(*entries: dict[str, str]) -> dict[str, object]:
    return {"validation": {"suites": list(entries)}}


def test_a_teams_suites_start_at_the_file_and_are_called_what_theirs_is(tmp_path: Path) -> None:
    named = suites(
        {"path": "of/rules.v2.json", "table": "annotations", "severity": "warn"},
        {"path": "/abs/rules.json", "table": "annotations"},
        {"path": "/abs/rules.json", "table": "tasks"},
    )
    found = load_campaign(written(tmp_path, **named)).validation.suites
    assert [each.path for each in found] == [
        str(tmp_path / "of" / "rules.v2.json"),
        "/abs/rules.json",
        "/abs/rules.json",
    ]
    assert [each.name for each in found] == ["rules.v2", "rules", "rules"]


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([{"path": "a.json", "table": "votes"}], r"suites\.0\.table"),
        ([{"path": "s3://b/a.json", "table": "tasks"}], r"suites\.0\.path.*path of a file"),
        ([{"path": "a b.json", "table": "tasks"}], r"suites\.0\.path.*letters, digits"),
        ([{"path": "a.json", "table": "tasks", "severity": "stop"}], r"suites\.0\.severity"),
        (
            [{"path": "a.json", "table": "tasks"}, {"path": "b/a.json", "table": "tasks"}],
            "a on tasks stands twice; give one of the files another name",
        ),
    ],
)
def test_a_suite_that_cannot_be_told_is_refused(
    tmp_path: Path, entries: list[dict[str, str]], told: str
) -> None:
    with pytest.raises(Fatal, match=told):
        load_campaign(written(tmp_path, **suites(*entries)))


def test_a_misspelt_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match=r"expand\.pool_sise"):
        load_campaign(written(tmp_path, expand={"model": "m", "pool_sise": 3}))


def test_every_fault_is_listed(tmp_path: Path) -> None:
    label = {"budget_usd": -1, "second_vote_share": 2}
    with pytest.raises(Fatal, match=r"budget_usd.*second_vote_share"):
        load_campaign(written(tmp_path, label=label))


FEATURES = """
expand:
  model: m
  features:
    - policy
    - embedding
    - reward_model: org/judge
    - reward_model: served
      server: http://gpu-1:8000/classify
"""


def test_features_are_one_as_before_or_a_list(tmp_path: Path) -> None:
    settings = {**yaml.safe_load(SHIPPED.read_text()), **yaml.safe_load(FEATURES)}
    campaign = load_campaign(written(tmp_path, **yaml.safe_load(FEATURES)))
    assert campaign.expand == parse_campaign(settings, "again").expand
    again = parse_campaign(campaign.model_dump(mode="json"), "stored")
    assert again.expand == campaign.expand
    assert [score.name for score in again.expand.scores] == ["reward:org/judge", "score:served"]
    for kind in ("embedding", "policy"):
        one, listed = (Expand(model="m", features=spelt) for spelt in (kind, [kind]))
        assert one == listed and one.shape == listed.shape
    assert Expand(model="m").features == ["embedding"]


def test_pools_are_of_one_shape_wherever_scores_are_asked_for() -> None:
    here, there, other = (
        Expand(
            model="m", features=["embedding", {"reward_model": model, "server": f"{url}/classify"}]
        )
        for model, url in (("a", "http://h"), ("a", "http://i"), ("b", "http://h"))
    )
    assert here.shape == there.shape != other.shape
    assert here.shape != Expand(model="m", features=["embedding", {"reward_model": "a"}]).shape


@pytest.mark.parametrize(
    ("features", "told"),
    [
        ([], "needs one of embedding"),
        ([{"reward_model": "a"}], "needs one of embedding"),
        ("hidden", "features"),
        (["embedding", "embedding"], "names one twice"),
        (["embedding", {"reward_model": "a"}, {"reward_model": "a"}], "names one twice"),
        (["embedding", {"reward_modell": "a"}], "reward_modell"),
        (["embedding", {"reward_model": ""}], "reward_model"),
        (["policy", {"reward_model": "a", "server": "http://h:8000"}], "server"),
        (["policy", {"reward_model": "a", "server": "http://u:p@h/classify"}], "secret"),
    ],
)
def test_features_that_cannot_serve_are_named(tmp_path: Path, features: object, told: str) -> None:
    with pytest.raises(Fatal, match=told):
        load_campaign(written(tmp_path, expand={"model": "m", "features": features}))


def test_a_budget_below_one_annotation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="below the price"):
        load_campaign(written(tmp_path, label={"budget_usd": 0.05, "price_usd": 0.10}))


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "", "\x00"])
def test_a_file_that_is_no_campaign_is_one_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(Fatal, match=r"c\.yaml"):
        load_campaign(path)
    with pytest.raises(Fatal, match="cannot be read"):
        load_campaign(tmp_path / "absent.yaml")


def test_money_is_whole_micro_dollars() -> None:
    label = load_campaign(SHIPPED).label
    assert (label.price, label.budget) == (100_000, 30_000_000)


def test_the_example_takes_over_the_shipped_campaigns_pools_and_votes() -> None:
    shipped, other = load_campaign(SHIPPED), load_campaign(OTHER_STRATEGY)
    assert (other.pools_from, other.vote_campaigns) == (shipped.name, (shipped.name,))
    assert other.expand.shape == shipped.expand.shape
    assert (other.label.vendor, rubric_version(other.label)) == (
        shipped.label.vendor,
        rubric_version(shipped.label),
    )
    assert other.publish.dataset != shipped.publish.dataset
    assert other.label.gold == shipped.label.gold


def test_without_pools_from_no_votes_are_taken_over() -> None:
    assert load_campaign(SHIPPED).vote_campaigns == ()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ingest": {}}, r"ingest\.sources must name"),
        ({"annotations_from": ["other"]}, "annotations_from needs pools_from"),
        ({"pools_from": "other"}, r"take out ingest\.sources"),
        ({"pools_from": "nightly", "ingest": {}}, "takes nothing over from itself"),
        ({"schedule": {"assets": ["nightly.datasets"]}}, "a batch would begin itself"),
        (
            {"pools_from": "other", "ingest": {}, "annotations_from": ["nightly"]},
            "takes nothing over from itself",
        ),
    ],
)
def test_where_prompts_and_votes_come_from_is_told_once(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    with pytest.raises(Fatal, match=told):
        load_campaign(written(tmp_path, **changes))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("label: {budget_usd: 5, budget_usd: 6}", "budget_usd stands twice.*line 1"),
        ("label:\n  budget_usd: 5\nlabel:\n  budget_usd: 6", "label stands twice.*line 3"),
        ("a: {b: [{c: 1, 'c': 2}]}", "c stands twice"),
        ("label: {price_usd: .nan}", r"label\.price_usd: Input should be .*number"),
        ("label: {price_usd: -.inf}", r"label\.price_usd: Input should be"),
        ("seed: " + "9" * 5_000, "not valid YAML"),
        ("[" * 3_000, "not valid YAML"),
        ("name: \x00", "not valid YAML"),
        ("x: !!timestamp foo", "not valid YAML"),
        ("x: !!bool foo", "not valid YAML"),
        ("a: &a [*a]", "c.yaml is not valid YAML.*line 1"),
        ("a: &a {b: {c: *a}}", "c.yaml is not valid YAML.*line 1"),
    ],
)
def test_a_setting_that_stands_twice_or_is_no_number_is_an_error(
    tmp_path: Path, text: str, fault: str
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(Fatal, match=f"(?s){fault}"):
        load_campaign(path)


def test_a_setting_may_be_merged_and_changed(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(SHIPPED.read_text().replace("label:\n", "label:\n  <<: {price_usd: 0.2}\n"))
    assert load_campaign(path).name == "nightly"


def test_a_number_that_is_none_is_an_error_in_stored_settings_too(tmp_path: Path) -> None:
    settings = load_campaign(SHIPPED).model_dump(mode="json")
    settings["expand"]["audit"]["vendi"] = float("nan")
    with pytest.raises(Fatal, match="finite"):
        parse_campaign(settings, "here")


NUMBERS = {
    "label": [
        "budget_usd",
        "price_usd",
        "approve_above_usd",
        "deadline_minutes",
        "poll_seconds",
        "max_poll_seconds",
        "session_minutes",
        "second_vote_share",
        "min_completion",
    ],
    "expand": ["pool_size", "usd_per_million_tokens", "temperature", "max_tokens", "seed"],
    "select": ["pairs_per_prompt", "kappa", "topics", "seed"],
    "validation": ["max_cost_gap_block", "max_chars_per_second", "history_versions"],
    "publish": ["test_share", "min_p_chosen"],
    "ingest": ["files_per_batch", "max_prompt_chars"],
}
NO_AMOUNTS = (".nan", ".inf", "-.inf", "1e300", "-1e300", "1e999", "9" * 400, "'5'", "yes", "[1]")


@pytest.mark.parametrize(("section", "name"), [(s, n) for s in NUMBERS for n in NUMBERS[s]])
def test_what_is_no_amount_is_refused_and_its_setting_named(
    tmp_path: Path, section: str, name: str
) -> None:
    for value in NO_AMOUNTS:
        settings = yaml.safe_load(SHIPPED.read_text())
        settings.setdefault(section, {})[name] = "VALUE"
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings).replace("VALUE", value))
        with pytest.raises(Fatal, match=rf"{section}\.{name}|not valid YAML") as refused:
            load_campaign(tmp_path / "c.yaml")
        assert "\n" not in str(refused.value)


def test_a_price_that_rounds_to_nothing_is_no_price(tmp_path: Path) -> None:
    for price in (1e-9, 4.9e-7):
        with pytest.raises(Fatal, match=r"label\.price_usd.*millionth"):
            load_campaign(written(tmp_path, label={"budget_usd": 5.0, "price_usd": price}))
    free = load_campaign(written(tmp_path, label={"budget_usd": 5.0, "price_usd": 0}))
    assert free.label.price == 0


def test_numbers_may_be_written_as_people_do(tmp_path: Path) -> None:
    text = SHIPPED.read_text().replace("label:\n", "label:\n  approve_above_usd: 1e3\n")
    (tmp_path / "c.yaml").write_text(text)
    assert load_campaign(tmp_path / "c.yaml").label.approve_above_usd == 1000.0
    label = {"budget_usd": 1_000, "deadline_minutes": 90}
    assert load_campaign(written(tmp_path, label=label)).label.budget == 10**9


def test_the_assets_that_no_campaign_may_begin_with_are_those_of_its_dags() -> None:
    assert tuple(dag.asset for dag in DAGS if dag.asset) == STAGE_ASSETS


def test_a_file_of_terms_is_read_with_the_campaign_and_frozen(tmp_path: Path) -> None:
    file = tmp_path / "terms.yaml"

    def loaded(terms: str, **beside: object) -> Expand:
        file.write_text(terms)
        content = {"terms": "terms.yaml", **beside}
        return load_campaign(written(tmp_path, expand={"model": "m", "content": content})).expand

    expand = loaded("groups: {sailors: [sailor*]}\ntones: {praise: []}\n", shipped=False)
    file.write_text("groups: {others: [other]}\n")
    again = Expand.model_validate(expand.model_dump(mode="json")).content
    assert (again.groups, again.tones) == ({"sailors": ["sailor*"]}, {"praise": []})
    assert (again.stances, again.shipped, again.terms) == ({}, False, str(file))
    # Whose pools these are does not depend on what is counted of them.
    assert expand.shape == Expand(model="m").shape
    for wrong in ("[a]", "5", "shipped: false", "group: {a: [b]}"):
        with pytest.raises(Fatal, match=r"List of terms .*terms\.yaml has groups, stances and"):
            loaded(wrong)
    for wrong in (
        "groups: {a: b}",
        "groups: {a: [5]}",
        "groups: {a: ['*']}",
        "groups: {a: ['b*c']}",
        "tones: {' a': [b]}",
    ):
        with pytest.raises(Fatal, match=r"List of terms .*terms\.yaml: \w+\.?.*a"):
            loaded(wrong)
    with pytest.raises(Fatal, match="keep one of them"):
        loaded("groups: {}", groups={"a": ["b"]})
    with pytest.raises(Fatal, match=r"List of terms .* cannot be read"):
        load_campaign(written(tmp_path, expand={"model": "m", "content": {"terms": "no.yaml"}}))
