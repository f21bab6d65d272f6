"""Named groups and stances are found by whole words, in any script, and by a team's own list."""

from __future__ import annotations

from typing import Any

import pytest

from winnow.campaign import Content
from winnow.expand.content import ContentReader


def spoken_of(text: str, **own: Any) -> set[str]:
    found = ContentReader(Content.model_validate(own)).traits(text)
    assert found == sorted(set(found))
    assert all(name.startswith("content ") for name in found)
    return {name.removeprefix("content ") for name in found}


def alone(text: str, **own: Any) -> set[str]:
    return spoken_of(text, shipped=False, **own)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("WOMEN and girls first", "women"),
        ("Las mujeres votan.", "women"),
        ("Женщины голосуют.", "women"),
        ("女性的权利", "women"),
        ("여성은 투표한다", "women"),
        ("the Muslims of the town", "muslims"),
        ("они мусульмане", "muslims"),
        ("他们是穆斯林。", "muslims"),
        ("مسلمون في المدينة", "muslims"),
        ("मुसलमान लोग", "muslims"),
        ("A Jewish bakery", "jews"),
        ("people of\ncolor", "black people"),
        ("wo\u00admen", "women"),
        ("ｗｏｍｅｎ", "women"),
        ("right-wing parties", "words of the right"),
        ("Socialists and trade unions", "words of the left"),
    ],
)
def test_the_shipped_list_finds_groups_and_stances(text: str, name: str) -> None:
    assert name in spoken_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The jewel is on the right, the white wall is left of the black door.",
        "The mandate of the commander was human.",
        "A polished table; the option is disabled. Old maps, old ships.",
        "def f(x): return x[0] + 1",
    ],
)
def test_it_takes_no_part_of_a_word_for_one(text: str) -> None:
    assert spoken_of(text) == set()


def test_praise_and_blame_count_near_a_group_alone() -> None:
    assert "blame of women" in spoken_of("They say that women are lazy.")
    assert "praise of men" in spoken_of("Brave and honest men came.")
    far = f"Women came. {'It rained on and on. ' * 3} A lazy cat slept."
    assert spoken_of(far) == {"women"}
    assert spoken_of("A lazy, dangerous cat") == set()


def test_a_team_s_list_adds_to_the_shipped_one_or_stands_in_its_place() -> None:
    text = "Muslims and Martians met women."
    martians = {"groups": {"martians": ["martian*"]}}
    assert spoken_of(text, **martians) == {"martians", "muslims", "women"}
    assert alone(text, **martians) == {"martians"}
    assert spoken_of(text, groups={"women": []}) == {"muslims"}
    assert spoken_of(text, groups={"muslims": ["islam*"]}) == {"women"}
    assert alone(text) == set()


def test_a_term_may_be_a_phrase_and_go_on_at_its_end() -> None:
    own = {"groups": {"sea folk": ["sea people*", "old sea dog"], "sailors": ["sail*"]}}
    assert alone("The Sea-Peoples came", **own) == {"sea folk"}
    assert alone("an old sea dog and a sailor", **own) == {"sea folk", "sailors"}
    assert alone("old sea dogs by the sea; people", **own) == {"sea folk"}
    assert alone("old sea dogs, an assail", **own) == set()
    assert alone("ended by an old sea", **own) == set()


def test_more_words_than_are_kept_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("winnow.expand.content._MOST_SILENT", 10)
    reader = ContentReader(Content())
    for _ in range(3):
        assert reader.traits(" ".join(f"w{n}" for n in range(50))) == []
        assert reader.traits("the women of the sea") == ["content women"]
