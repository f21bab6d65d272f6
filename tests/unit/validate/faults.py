"""Faults to plant into a clean batch, each with the check that must name it and how severely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from winnow.campaign import Validate
from winnow.label.annotation import preferred_response
from winnow.validate.leakage import read_evaluation

from .world import Row, World

Plant = Callable[[World], None]

SPAMMER = "hash-03"
FAIR_PAST = {
    "agreement": 0.8,
    "tie_rate": 0.1,
    "mean_chars": 320.0,
    "languages": {"en": 0.5, "de": 0.2, "hi": 0.2, "ja": 0.1},
    "strategies": {"decision_gain": 1.0},
}


@dataclass(frozen=True)
class Fault:
    """`plant` it, and `check` must fail with `severity`."""

    name: str
    check: str
    severity: str
    plant: Plant


FAULTS: list[Fault] = []


def fault(check: str, severity: str = "block") -> Callable[[Plant], Plant]:
    def note(plant: Plant) -> Plant:
        FAULTS.append(Fault(plant.__name__, check, severity, plant))
        return plant

    return note


def of(world: World, annotator: str) -> list[Row]:
    return [row for row in world["annotations"] if row["annotator"] == annotator]


def hire(world: World, share: float) -> list[Row]:
    """Give `share` of all answers that may change hands to the spammer."""
    rows = world["annotations"]
    for row in rows[: round(share * len(rows))]:
        mine = {r["pair_id"] for r in of(world, SPAMMER)}
        if row["kind"] != "repeat" and row["pair_id"] not in mine:
            row["annotator"] = SPAMMER
    return of(world, SPAMMER)


# What annotators do.


@fault("annotator_gold_accuracy", "warn")
def spammer_fails_gold(world: World) -> None:
    gold = {t["task_id"]: t["expected"] for t in world["tasks"] if t["kind"] == "gold"}
    for row in [r for r in world["annotations"] if r["kind"] == "gold"][:14]:
        row["annotator"] = SPAMMER
        right = preferred_response("a", row["swapped"]) == gold[row["task_id"]]
        world.say(row, "b" if right else "a")
    world.aggregate()


@fault("annotator_same_choice", "warn")
def straight_liner(world: World) -> None:
    for row in hire(world, 0.2):
        world.say(row, "a")
    world.aggregate()


@fault("annotator_same_choice", "warn")
def straight_liner_of_ties(world: World) -> None:
    for row in hire(world, 0.1):
        world.say(row, "tie")
    world.aggregate()


@fault("annotator_side_bias", "warn")
def annotator_with_a_favourite_side(world: World) -> None:
    for number, row in enumerate(hire(world, 0.3)):
        world.say(row, "b" if number % 15 else "a")
    world.aggregate()


@fault("annotator_speeding", "warn")
def speeder(world: World) -> None:
    for row in hire(world, 0.1):
        row["active_seconds"] = 0.8


@fault("annotator_consistency", "warn")
def annotator_who_contradicts_repeats(world: World) -> None:
    repeats = [row for row in world["annotations"] if row["kind"] == "repeat"]
    for repeat in repeats:
        pair = [r for r in world.votes() if r["pair_id"] == repeat["pair_id"]]
        if any(r["annotator"] == SPAMMER for r in pair):
            continue
        mine = next(r for r in pair if r["annotator"] == repeat["annotator"])
        mine["annotator"] = repeat["annotator"] = SPAMMER
        world.say(mine, "a")
        world.say(repeat, "a")
    world.aggregate()


@fault("annotator_agreement", "warn")
def annotator_who_means_the_opposite(world: World) -> None:
    for row in world.votes():
        pair = [r for r in world.votes() if r["pair_id"] == row["pair_id"]]
        if len(pair) == 2:
            if SPAMMER not in {r["annotator"] for r in pair}:
                row["annotator"] = SPAMMER
            # The sides of a second vote are swapped: the same side shown is the other response.
            for each in pair:
                world.say(each, "a")
    world.rows["annotations"] = [r for r in world["annotations"] if r["kind"] != "repeat"]
    world.rows["tasks"] = [t for t in world["tasks"] if t["kind"] != "repeat"]
    world.n_rows = {}
    world.aggregate()


@fault("suspects")
def most_votes_from_a_straight_liner(world: World) -> None:
    for row in hire(world, 0.95):
        world.say(row, "b")
    world.aggregate()


# What a batch as a whole tells.


@fault("agreement_high")
def annotators_who_toss_coins(world: World) -> None:
    seen: dict[str, str] = {}
    for row in world.votes():
        was = seen.get(row["pair_id"])
        world.say(row, ("b" if hash_bit(row) else "a"))
        if was == row["preferred"]:
            world.say(row, "a" if row["choice"] == "b" else "b")
        seen[row["pair_id"]] = row["preferred"]
    world.aggregate()


@fault("side_bias_low")
def everybody_likes_the_first_side(world: World) -> None:
    for number, row in enumerate(world.votes()):
        world.say(row, "a" if number % 12 else "b")
    world.aggregate()


@fault("side_bias_low", "warn")
def most_like_the_first_side(world: World) -> None:
    for number, row in enumerate(world.votes()):
        world.say(row, "b" if number % 4 == 0 else "a")
    world.aggregate()


@fault("gold_accuracy_high")
def gold_answered_wrongly(world: World) -> None:
    gold = {t["task_id"]: t["expected"] for t in world["tasks"] if t["kind"] == "gold"}
    for number, row in enumerate(r for r in world["annotations"] if r["kind"] == "gold"):
        right = preferred_response("a", row["swapped"]) == gold[row["task_id"]]
        world.say(row, "a" if right == (number % 3 == 0) else "b")
    world.aggregate()


@fault("tie_rate_low")
def nothing_but_ties(world: World) -> None:
    for number, row in enumerate(world.votes()):
        if number % 50:
            world.say(row, "tie")
    world.aggregate()


@fault("repeat_consistency_high", "warn")
def repeats_answered_otherwise(world: World) -> None:
    first = {(r["pair_id"], r["annotator"]): r["preferred"] for r in world.votes()}
    for number, row in enumerate(r for r in world["annotations"] if r["kind"] == "repeat"):
        same = preferred_response("a", row["swapped"]) == first[row["pair_id"], row["annotator"]]
        world.say(row, "a" if same == (number % 5 == 0) else "b")


@fault("session_decline_low", "warn")
def annotators_who_tire(world: World) -> None:
    gold = {t["task_id"]: t["expected"] for t in world["tasks"] if t["kind"] == "gold"}
    rows = [r for r in world["annotations"] if r["kind"] == "gold"]
    for number, row in enumerate(rows):
        # A morning of it alone.
        row["annotator"] = SPAMMER
        row["started_at"] += timedelta(days=1)
        row["finished_at"] = row["started_at"] + timedelta(seconds=9.0)
        right = preferred_response("a", row["swapped"]) == gold[row["task_id"]]
        world.say(row, "a" if right == (number < 40) else "b")
    world.aggregate()


@fault("speeding_low", "warn")
def answers_faster_than_reading(world: World) -> None:
    for row in world["annotations"]:
        if hash_bit(row):
            row["active_seconds"] = 0.5


@fault("longer_chosen_low", "warn")
def the_longer_response_always_wins(world: World) -> None:
    length = {row["response_id"]: len(row["message"]) for row in world["responses"]}
    shown = {task["task_id"]: task for task in world["tasks"]}
    for row in world.votes():
        task = shown[row["task_id"]]
        longer = length[task["shown_a"]] > length[task["shown_b"]]
        world.say(row, "a" if longer else "b")
    world.aggregate()


@fault("floors_unmet", "warn")
def too_few_pairs_in_a_language(world: World) -> None:
    world.floors = {"language:ja": 170, "tag:code": 1}


@fault("cost_gap")
def a_charge_that_does_not_add_up(world: World) -> None:
    world.charged *= 3


@fault("rows_lost")
def rows_lost_on_the_way(world: World) -> None:
    world.n_rows["responses"] += 1


# Drift against the last versions.


@fault("agreement_drift", "warn")
def agreement_below_the_last_versions(world: World) -> None:
    past = {**FAIR_PAST, "agreement": 1.0}
    world.history = [past, past]
    for number, row in enumerate(world.votes()):
        if number % 3 == 0:
            world.say(row, "b" if row["choice"] == "a" else "a")
    world.aggregate()


@fault("tie_rate_drift", "warn")
def more_ties_than_in_the_last_versions(world: World) -> None:
    world.history = [{**FAIR_PAST, "tie_rate": 0.45}]


@fault("length_drift", "warn")
def longer_responses_than_in_the_last_versions(world: World) -> None:
    world.history = [{**FAIR_PAST, "mean_chars": 120.0}]


@fault("language_drift", "warn")
def another_language_than_in_the_last_versions(world: World) -> None:
    world.history = [{**FAIR_PAST, "languages": {"fr": 1.0}}]


@fault("strategy_drift", "warn")
def another_strategy_than_in_the_last_versions(world: World) -> None:
    world.history = [{**FAIR_PAST, "strategies": {"random": 1.0}}]
    world.limits = Validate(max_strategy_drift_warn=0.5)


# Annotations that do not fit what was asked.


@fault("choice is known")
def a_choice_nobody_offered(world: World) -> None:
    world["annotations"][3]["choice"] = "ZZZ"


@fault("status is known")
def a_status_nobody_knows(world: World) -> None:
    world["annotations"][3]["status"] = "maybe"


@fault("annotations: annotator is filled")
def an_annotation_of_nobody(world: World) -> None:
    world["annotations"][3]["annotator"] = None


@fault("annotation is unique")
def an_annotation_delivered_twice(world: World) -> None:
    world["annotations"].append(dict(world["annotations"][3]))


@fault("annotation_conflicts")
def an_annotation_told_in_two_ways(world: World) -> None:
    told = dict(world["annotations"][3])
    world.say(told, "both_bad")
    world["annotations"].append(told)


@fault("task_was_asked")
def a_vote_on_a_task_nobody_asked(world: World) -> None:
    world["annotations"][3]["task_id"] = "t-unknown"


@fault("annotation_is_of_its_task")
def a_vote_moved_to_another_pair(world: World) -> None:
    world["annotations"][3]["pair_id"] = world["comparisons"][90]["pair_id"]


@fault("sides_as_asked")
def sides_swapped_wrongly(world: World) -> None:
    row = world["annotations"][3]
    row["swapped"] = not row["swapped"]
    world.say(row, row["choice"])


@fault("preferred_as_chosen")
def an_answer_not_unswapped(world: World) -> None:
    row = next(r for r in world["annotations"] if r["choice"] == "a")
    row["preferred"] = "second" if row["preferred"] == "first" else "first"


@fault("task_answered_once")
def an_annotator_with_two_answers_to_a_task(world: World) -> None:
    row = world["annotations"][3]
    world["annotations"].append({**row, "annotation_id": "again"})


@fault("annotator_votes_once")
def the_same_annotator_twice_on_a_pair(world: World) -> None:
    pair = next(r["pair_id"] for r in world["tasks"] if r["repetition"] == 1)
    for row in world["annotations"]:
        if row["pair_id"] == pair:
            row["annotator"] = "hash-77"


@fault("scores_in_range")
def a_rating_off_the_scale(world: World) -> None:
    world["annotations"][3]["ratings"] = [{"dimension": "helpfulness", "first": 9, "second": 4}]


@fault("times_in_order", "warn")
def finished_before_it_was_started(world: World) -> None:
    row = world["annotations"][3]
    row["finished_at"] = row["started_at"] - timedelta(seconds=5)


@fault("active_seconds", "warn")
def no_time_at_all(world: World) -> None:
    world["annotations"][3]["active_seconds"] = 0.0


@fault("price_as_agreed", "warn")
def dearer_than_agreed(world: World) -> None:
    gold = next(row for row in world["annotations"] if row["kind"] == "gold")
    gold["price"] += 1


# Tasks, comparisons, responses and prompts.


@fault("task_is_of_a_comparison")
def a_task_of_an_unknown_pair(world: World) -> None:
    task = world["tasks"][3]
    for row in (task, *(r for r in world["annotations"] if r["task_id"] == task["task_id"])):
        row["pair_id"] = "p-unknown"


@fault("task_shows_its_pair")
def a_task_that_showed_the_sides_otherwise(world: World) -> None:
    task = world["tasks"][3]
    task["shown_a"], task["shown_b"] = task["shown_b"], task["shown_a"]


@fault("repeat_swaps_sides")
def a_repeat_that_did_not_swap(world: World) -> None:
    repeat = next(t for t in world["tasks"] if t["kind"] == "repeat")
    repeat["swapped"] = not repeat["swapped"]
    repeat["shown_a"], repeat["shown_b"] = repeat["shown_b"], repeat["shown_a"]
    for row in world["annotations"]:
        if row["task_id"] == repeat["task_id"]:
            row["swapped"] = repeat["swapped"]
            world.say(row, row["choice"])


@fault("gold_has_an_answer")
def gold_without_an_answer(world: World) -> None:
    next(t for t in world["tasks"] if t["kind"] == "gold")["expected"] = None


@fault("comparison_of_known_responses")
def an_unknown_response(world: World) -> None:
    used = world["comparisons"][3]["first_id"]
    world.rows["responses"] = [r for r in world["responses"] if r["response_id"] != used]


@fault("comparison_of_a_known_prompt")
def an_unknown_prompt(world: World) -> None:
    world["prompts"].pop()


@fault("responses_answer_its_prompt")
def a_response_to_another_prompt(world: World) -> None:
    used = world["comparisons"][3]["first_id"]
    response = next(r for r in world["responses"] if r["response_id"] == used)
    response["prompt_id"] = world["prompts"][50]["prompt_id"]


@fault("sides_differ")
def chosen_that_is_its_rejected(world: World) -> None:
    pair = world["comparisons"][3]
    text = {r["response_id"]: r for r in world["responses"]}
    text[pair["second_id"]]["message"] = text[pair["first_id"]]["message"]


@fault("pair_id_is_its_responses")
def rows_shifted_by_one(world: World) -> None:
    ids = [row["pair_id"] for row in world["comparisons"]]
    for row, pair in zip(world["comparisons"], [*ids[1:], ids[0]], strict=True):
        row["pair_id"] = pair


@fault("propensity_is_a_chance")
def a_propensity_above_one(world: World) -> None:
    world["comparisons"][3]["propensity"] = 1.2


@fault("comparisons_unique")
def a_comparison_twice(world: World) -> None:
    world["comparisons"].append(dict(world["comparisons"][3]))


@fault("responses_filled")
def a_response_without_text(world: World) -> None:
    world["responses"][3]["message"] = None


@fault("evaluation_prompts")
def a_leaked_prompt(world: World) -> None:
    text = world["prompts"][3]["messages"][0]["content"]
    line = f'{{"prompt": "{text.upper()}!!"}}'
    world.evaluation = read_evaluation("eval.jsonl", line.encode())


@fault("evaluation_prompts")
def a_nearly_leaked_prompt(world: World) -> None:
    text = world["prompts"][3]["messages"][0]["content"]
    line = f'{{"messages": [{{"role": "user", "content": "Please {text}"}}]}}'
    world.evaluation = read_evaluation("eval.jsonl", line.encode())


@fault("evaluation_prompts")
def a_prompt_leaked_by_its_id(world: World) -> None:
    line = f'{{"prompt_id": "{world["prompts"][3]["prompt_id"]}", "prompt": "in other words"}}'
    world.evaluation = read_evaluation("eval.jsonl", line.encode())


# Preferences that do not follow from their votes.


@fault("preference_has_a_vote")
def a_preference_that_contradicts_its_votes(world: World) -> None:
    row = next(r for r in world["preferences"] if r["votes"] == 1 and r["preferred"] != "tie")
    row["preferred"] = "second" if row["preferred"] == "first" else "first"


@fault("p_preferred")
def a_certain_preference(world: World) -> None:
    world["preferences"][3]["p_preferred"] = 1.0


@fault("preferred is known")
def a_preference_for_nothing_known(world: World) -> None:
    world["preferences"][3]["preferred"] = "left"


@fault("preference is unique")
def a_preference_twice(world: World) -> None:
    world["preferences"].append(dict(world["preferences"][3]))


@fault("preference_of_a_comparison")
def a_preference_with_its_sides_exchanged(world: World) -> None:
    row = world["preferences"][3]
    row["first_id"], row["second_id"] = row["second_id"], row["first_id"]


@fault("votes_add_up")
def votes_miscounted(world: World) -> None:
    world["preferences"][3]["votes"] += 1


@fault("agreement_adds_up")
def agreement_made_up(world: World) -> None:
    row = next(r for r in world["preferences"] if r["votes"] > 1)
    row["agreement"] = 0.75


@fault("cost_adds_up")
def a_cost_that_is_not_its_votes(world: World) -> None:
    world["preferences"][3]["cost"] += 7


@fault("no_vote_is_lost")
def a_preference_lost(world: World) -> None:
    world["preferences"].pop(3)


# Tables that are not what they should be.


@fault("columns")
def a_missing_column(world: World) -> None:
    world.without = (("tasks", "swapped"),)


@fault("preferences: rows")
def no_preferences(world: World) -> None:
    world["preferences"].clear()


@fault("annotations: rows")
def an_empty_frame(world: World) -> None:
    world["annotations"].clear()


def hash_bit(row: Row) -> bool:
    """A fair coin that belongs to the annotation."""
    return sum(map(ord, row["task_id"])) % 2 == 0
