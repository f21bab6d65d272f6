"""A campaign: what a team asks for, read once from YAML and frozen into each batch.

Every field has its unit in its description and a default; an unknown key is an error, so that a
misspelt setting never passes for a default. Secrets do not belong here: they live in Airflow
connections, which a campaign names.
"""

from __future__ import annotations

import math
import re
from datetime import date
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from winnow.addresses import holds_secret
from winnow.campaign.schedule import Schedule
from winnow.campaign.settings import (
    Dollars,
    Minutes,
    Name,
    Price,
    Probability,
    Seconds,
    Settings,
    Share,
    setting,
)
from winnow.ids import PEOPLE
from winnow.money import MICROS

Strategy = Literal[
    "decision_gain",
    "delta",
    "diversity",
    "dts",
    "hybrid",
    "info_gain",
    "random",
    "traditional",
    "uncertainty",
]
Tag = Annotated[str, Field(min_length=1, max_length=100)]
Vendor = Literal[
    "file_drop", "ground_truth", "judge", "label_studio", "links", "scale", "simulator"
]
RowFormat = Literal[
    "auto",
    "alpaca",
    "arena",
    "helpsteer",
    "hh_rlhf",
    "nectar",
    "openai",
    "openassistant",
    "pairs",
    "pool",
    "prompts",
    "sharegpt",
    "ultrafeedback",
    "ultrafeedback_binarized",
]
Column = Literal[
    "chosen",
    "conversations",
    "dimension",
    "input",
    "instruction",
    "language",
    "logprob",
    "messages",
    "model",
    "n_tokens",
    "output",
    "prompt",
    "received_at",
    "rejected",
    "response",
    "responses",
    "score",
    "source",
    "system",
    "tags",
    "tools",
    "vector",
]
Aggregation = Literal["bradley_terry", "dawid_skene", "majority"]

RANKING_VENDORS = ("file_drop", "label_studio", "simulator")
"""Vendors that can be asked for a ranking."""
CHOICE_VENDORS = (*RANKING_VENDORS, "links")
"""Vendors that can be asked for a choice on each of several dimensions."""
_OF_RANKINGS: dict[str, Any] = {
    "instructions": "Put the responses in order: the one that helps the person most comes first.",
    "third_votes": False,
}
"""Settings of `label` that are other ones where `task` is `ranking`."""


class Ingest(Settings):
    """Where prompts come from."""

    sources: list[str] = Field(
        default_factory=list,
        description="Folders, files or s3:// prefixes; {day} is the key; empty with `pools_from` "
        "only",
    )
    files_per_batch: int | None = setting(
        None, "New files a batch takes at most, in name order; null takes all", ge=1
    )
    format: RowFormat = setting(
        "auto", "What rows are; `auto` tells it row by row, by another one no others are read"
    )
    columns: dict[Column, Annotated[str, Field(min_length=1)]] = Field(
        default_factory=dict,
        description="`{prompt: my_question}` reads columns that have other names in the files",
    )
    max_prompt_chars: int = setting(20_000, "Longer prompts go to quarantine", ge=1)
    near_duplicates: Literal["off", "tag", "quarantine"] = setting(
        "off",
        "What becomes of prompts that nearly repeat an accepted one with the same system turns and "
        "tools, of whatever batch",
    )
    near_duplicate_share: float = setting(
        0.8,
        "Shared 8-letter pieces from which `near_duplicates` takes two prompts for one",
        ge=0.5,
        le=1.0,
    )


class BroughtLabels(Settings):
    """Preferences that a team has already, which teach the reward model before anybody is asked.

    They are of any format that says which of some responses is better, and are never published.
    """

    sources: list[str] = Field(
        min_length=1,
        description="Folders, files or s3:// prefixes; {day} is the key. A file is read once, and "
        "what it gave stays when it is gone",
    )
    license: str = Field(min_length=1, description="Licence of these labels, for the card")
    format: RowFormat = setting("auto", "What rows are, as `ingest.format` says it")
    columns: dict[Column | Literal["annotator"], Annotated[str, Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Names of columns, as `ingest.columns` has them; `annotator` is who gave a "
        "label, by a number or a code",
    )


class Sampler(Settings):
    """One way to draw responses; a pool may mix several. What is null is as in `expand`."""

    weight: float = setting(1.0, "Share of the pool, relative to the others", gt=0.0)
    model: str | None = setting(None, "A prepared model's name, a folder or a hub id")
    temperature: float | None = setting(None, "Of its draws", ge=0.01)
    top_p: float | None = setting(None, "Of its draws", gt=0.0, le=1.0)
    system_prompt: str | None = setting(
        None, "Put before the prompt, in the place of its own", min_length=1
    )


class Server(Settings):
    """An OpenAI-compatible server: a vLLM fleet, or a hosted model."""

    connection: str = setting("winnow_server", "Airflow connection of the server")
    concurrency: int = setting(64, "Requests in flight at most", ge=1, le=4096)
    responses_per_request: int = setting(
        1, "`n` of a request; more where a prompt's tokens cost money", ge=1, le=128
    )
    timeout_seconds: Seconds = setting(300.0, "Wait for one answer this long")
    attempts: int = setting(8, "Tries of one request before the task gives up", ge=1, le=1000)


class AuditLimits(Settings):
    """Means over prompts from which the pool audit warns; null: never. It blocks nothing.

    `vendi`, `vendi_share` and `language_match` are least values, all others greatest ones. The
    default of `vendi` suits sentence embeddings: by MiniLM the answers of 58 language models to one
    of 16 instructions had 2.3 to 8.9. It grows ever slower with the pool, so a limit of
    `vendi_share` must suit the size of the pools, and hidden states need another one of `vendi`.
    """

    duplicate_share: float | None = setting(0.3, "Draws that repeat a text")
    near_duplicate_share: float | None = setting(0.3, "Texts that nearly repeat another")
    self_bleu: float | None = setting(0.7, "Likeness of a response to the others (BLEU)")
    vendi: float | None = setting(1.5, "Wholly different responses (Vendi score)")
    vendi_share: float | None = setting(None, "Vendi score over distinct texts")
    truncated: float | None = setting(0.5, "Responses cut off at max_tokens")
    looping: float | None = setting(0.1, "Responses that repeat themselves")
    refusal: float | None = setting(0.3, "Responses that refuse")
    echo: float | None = setting(0.1, "Responses that repeat the prompt")
    injection: float | None = setting(0.005, "Responses that speak to a judge")
    language_match: float | None = setting(0.8, "Responses in the prompt's language")


Term = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^*]*\w[^*]*\*?$")]
Terms = dict[
    Annotated[str, Field(pattern=r"^[^\s*][^\n*]{0,59}$")],
    Annotated[list[Term], Field(max_length=2000)],
]


class Content(Settings):
    """Whom and what responses speak of, counted from the pool to the bought and chosen ones.

    A list adds to the shipped one: what it names anew stands in the place of what the shipped one
    calls so, and an empty list takes it out.
    """

    terms: str | None = setting(
        None,
        "File of such lists, YAML, with `groups`, `stances` and `tones`: what it says when a batch "
        "begins is frozen in the batch",
    )
    shipped: bool = setting(True, "Whether the shipped list is looked for too")
    groups: Terms = Field(
        default_factory=dict, description="Terms by the group that they name, a * for any ending"
    )
    stances: Terms = Field(
        default_factory=dict, description="Terms by the stance they are used for"
    )
    tones: Terms = Field(
        default_factory=dict,
        description="Words such as those of praise, which count within five words of a group",
    )


class RewardScore(Settings):
    """A reward model whose score of a response guides from the first night on.

    Its weight is learnt from the labels: a score that says nothing loses it. One that was trained
    on the campaign's prompts, or that the policy was trained against, tests nothing of what is
    published.
    """

    reward_model: str = Field(
        min_length=1,
        description="A Hugging Face sequence classifier of one label, a folder or a hub id, run "
        "beside the engine; or what `server` calls it",
    )
    server: str | None = setting(
        None,
        "Address of a scoring server that is asked instead: `http://HOST/classify` (vLLM) or "
        "`http://HOST/get_reward` (OpenRLHF); its key is WINNOW_SCORE_KEY in the environment",
        pattern="^https?://.+/(classify|get_reward)$",
    )

    @field_validator("server")
    @classmethod
    def _names_no_secret(cls, value: str | None) -> str | None:
        if value is not None and holds_secret(value):
            raise ValueError("an address with a secret; put the key into WINNOW_SCORE_KEY")
        return value

    @property
    def name(self) -> str:
        """What reads: the model's states and score, or a server's score alone."""
        return f"{'score' if self.server else 'reward'}:{self.reward_model}"


Feature = Literal["embedding", "policy", "text", "vector", "score"] | RewardScore
EMBEDDINGS = ("embedding", "policy", "text", "vector")
"""Features by which near duplicates are told."""
BROUGHT = "brought"
"""The engine of responses that come with the prompts."""
_OF_BROUGHT = ("vector", "score")
_OF_GENERATED = ("first_round", "samplers")


class Expand(Settings):
    """How candidate pools are generated, or that they are brought."""

    engine: Literal["auto", "brought", "server", "transformers", "vllm"] = setting(
        "auto",
        "What generates; auto: vLLM where it is installed, else transformers; brought: nothing, "
        "the rows of `ingest.sources` hold the responses",
    )
    model: str = Field(
        description="A prepared model's name, a folder or a hub id; of responses that are brought "
        "who wrote those whose rows do not say"
    )
    embedding_model: str = setting(
        "all-MiniLM-L6-v2",
        "Turns responses into features; of `vector` a name for what made them, to be changed with "
        "it",
    )
    features: list[Feature] = setting(
        ["embedding"],
        "What the reward sees, one or several: `embedding` (a sentence embedding), `policy` (the "
        "model's own hidden states), `text` (words alone, without a model), `reward_model: NAME`; "
        "of responses that are brought also their `vector` and their `score`; one of the first "
        "three or `vector` at least, by which near duplicates are told",
    )
    pool_size: int = setting(50, "Responses per prompt, at most", ge=2, le=1000)
    first_round: int | None = setting(
        None,
        "Adaptive pools: size after which a pool is first asked whether to double; null: "
        "every pool has pool_size",
        ge=2,
    )
    usd_per_million_tokens: Price = setting(
        1.0,
        "Adaptive pools: what tokens cost; a pool grows while more of them promise what would "
        "cost more in labels",
    )
    max_tokens: int = setting(512, "Tokens per response at most", ge=1)
    max_model_len: int = setting(2048, "Context, tokens of prompt and response", ge=16)
    temperature: float = setting(1.0, "A pool needs draws that differ", ge=0.01)
    top_p: float = setting(0.95, "Tokens are drawn from the likeliest of this mass", gt=0.0, le=1.0)
    stop: list[str] = Field(default_factory=list, description="Strings that end a response")
    samplers: list[Sampler] = Field(
        default_factory=list, description="A mixture in one pool; empty: the settings above alone"
    )
    tokens_per_shard: int = setting(
        1_000_000,
        "Tokens, at most, that one GPU task is planned to generate; more where a night would have "
        "more than 1,000 tasks",
        ge=1,
    )
    responses_per_call: int = setting(
        1024,
        "Responses generated together, the unit that a resumed shard skips; a prompt's round "
        "is never split",
        ge=1,
    )
    engine_args: dict[str, Any] = Field(
        default_factory=dict,
        description="Passed on to vLLM's LLM: tensor_parallel_size, quantization, dtype, ...",
    )
    lora: str | None = setting(None, "Folder of a LoRA adapter of the model")
    chat_template: str | None = setting(None, "File of a chat template, Jinja")
    server: Server = Field(default_factory=Server)
    audit: AuditLimits = Field(default_factory=AuditLimits)
    content: Content = Field(default_factory=Content)
    seed: int = setting(0, "Response k of a prompt is drawn by it, the prompt and k")

    @property
    def shape(self) -> dict[str, Any]:
        """The settings that say what a pool holds; the others say where and how it is made."""
        how = {"engine", "server", "tokens_per_shard", "responses_per_call", "audit", "content"}
        shape = self.model_dump(mode="json", exclude=how)
        # Where a score is asked for does not change it.
        reads = [feature if isinstance(feature, str) else feature.name for feature in self.features]
        return {**shape, "features": reads}

    @property
    def is_brought(self) -> bool:
        """Whether responses come with the prompts."""
        return self.engine == BROUGHT

    @property
    def embeddings(self) -> list[str]:
        """The features by which near duplicates are told, in their order."""
        return [each for each in self.features if isinstance(each, str) and each in EMBEDDINGS]

    @property
    def has_model(self) -> bool:
        """Whether a night loads or asks any model: one that generates, or reads responses."""
        reads = {"embedding", "policy"} & set(self.embeddings)
        return not self.is_brought or bool(reads or self.scores)

    @property
    def scores(self) -> list[RewardScore]:
        """The reward models among the features."""
        return [feature for feature in self.features if isinstance(feature, RewardScore)]

    @field_validator("features", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        """Until 0.3 a campaign named one, and not in a list."""
        return [value] if isinstance(value, str) else value

    @field_validator("features")
    @classmethod
    def _tell_near_duplicates(cls, value: list[Feature]) -> list[Feature]:
        if not set(EMBEDDINGS) & {each for each in value if isinstance(each, str)}:
            raise ValueError(
                f"needs one of {', '.join(EMBEDDINGS)}: near duplicates are told by it"
            )
        names = [each if isinstance(each, str) else each.reward_model for each in value]
        if len(set(names)) < len(names):
            raise ValueError("names one twice")
        return value

    @model_validator(mode="after")
    def _rounds_fit(self) -> Expand:
        if self.first_round is not None and self.first_round > self.pool_size:
            raise ValueError(f"first_round {self.first_round} exceeds pool_size {self.pool_size}")
        return self

    @model_validator(mode="after")
    def _fits_what_is_brought(self) -> Expand:
        if self.is_brought:
            needless = [name for name in _OF_GENERATED if getattr(self, name)]
            if needless:
                raise ValueError(f"{needless[0]} has no meaning where engine is {BROUGHT}")
        elif needing := [each for each in self.features if each in _OF_BROUGHT]:
            raise ValueError(
                f"the feature {needing[0]} needs engine: {BROUGHT}, whose rows hold it"
            )
        return self


class Select(Settings):
    """Which pairs of a pool are worth a label."""

    strategy: Strategy = setting("decision_gain", "The rule that scores pairs")
    pairs_per_prompt: int = setting(4, "Pairs per prompt on average", ge=1)
    min_pairs_per_prompt: int | None = setting(
        None, "Pairs every prompt gets; null: the average", ge=0
    )
    max_pairs_per_prompt: int | None = setting(
        None, "Pairs no prompt exceeds; null: the average", ge=1
    )
    exploration: Share = setting(0.15, "Share of pairs drawn uniformly, to check the model")
    max_pairs_per_response: int | None = setting(
        2, "Pairs that one response may be in; null: any number", ge=1
    )
    fresh_first: bool = setting(
        True, "A response is compared again only when no pair of two fresh ones is left"
    )
    wait_for: Literal["nothing", "last_batch"] = setting(
        "nothing",
        "What a night waits for before it chooses: nothing, or until the batches before it have "
        "taught the model; a backfill waits anyway where the strategy reads the model",
    )
    longest_wait_hours: float | None = setting(
        None,
        "So long a night waits for one before it, hours after that one last got on; null: until "
        "its labels are due, and a day",
        gt=0.0,
        le=24 * 366.0,
    )
    floors: dict[str, int] = Field(
        default_factory=dict,
        description="Least pairs a batch holds of a stratum: language:de, dimension:correctness, "
        "tag:code, topic:3, failure:refusal or failure:truncated",
    )
    topics: int = setting(0, "Clusters of prompts named topic:0, ...", ge=0, le=1000)
    kappa: float = setting(4.0, "Sharpness of the policy softmax(kappa reward)", gt=0.0)
    residual_sd: float = setting(
        0.2, "Reward that features do not explain, logits, per response", ge=0.0
    )
    traditional_k: int | None = setting(
        None, "Responses compared by the strategy traditional; null: the pairs, at least 2", ge=2
    )
    near_duplicate: float = setting(
        0.97, "Cosine of embeddings from which two responses are one", gt=0.0, le=1.0
    )
    head: Literal["laplace", "ensemble"] = setting(
        "laplace", "Reward posterior: Gaussian, or an ensemble of small networks"
    )
    head_per_dimension: bool = setting(
        False,
        "A reward per dimension, learnt from its own labels, ratings and choices on it included; "
        "false: one of all, learnt from the choice between two responses alone",
    )
    dimension_weights: dict[str, float] = Field(
        default_factory=dict,
        description="What a dimension with a reward of its own counts for when pairs are chosen; 1 "
        "where it is not named, 0: it is learnt and steers nothing",
    )
    max_components: int = setting(64, "PCA dimensions kept of an embedding", ge=1, le=256)
    history_votes: int = setting(
        10_000,
        "Votes that a refit reads one by one, of the newest nights; what older ones taught is "
        "kept as a few numbers",
        ge=1,
    )
    prompts_per_shard: int = setting(64, "Prompts chosen on one posterior", ge=1)
    seed: int = setting(0, "Of exploration and of drawn strategies")

    @model_validator(mode="after")
    def _in_rising_order(self) -> Select:
        least, most = self.pair_limits
        if not least <= self.pairs_per_prompt <= most:
            raise ValueError(
                f"min_pairs_per_prompt {least}, pairs_per_prompt {self.pairs_per_prompt} and "
                f"max_pairs_per_prompt {most} must not fall"
            )
        if any(wanted < 0 for wanted in self.floors.values()):
            raise ValueError("floors must be at least 0")
        if not all(0.0 <= weight <= 1e6 for weight in self.dimension_weights.values()):
            raise ValueError("dimension_weights must be 0 to 1,000,000")
        if self.dimension_weights and not self.head_per_dimension:
            raise ValueError("dimension_weights need head_per_dimension: true")
        return self

    @property
    def pair_limits(self) -> tuple[int, int]:
        """Least and most pairs of a prompt."""
        least, most = self.min_pairs_per_prompt, self.max_pairs_per_prompt
        average = self.pairs_per_prompt
        return (average if least is None else least, average if most is None else most)


class Judge(Settings):
    """A model that judges, where `vendor` is `judge`: each task in both orders, one token each.

    It is no person: its votes are marked as a model's, and count in no figure about people.
    """

    model: str = Field(min_length=1, max_length=200, description="What the server calls it")
    constitution: str | None = setting(
        None,
        "File of principles, YAML, a list of texts: what it says when a batch begins is frozen in "
        "the batch",
    )
    principles: list[str] = Field(
        default_factory=list,
        max_length=100,
        description="What it judges by, beside the instructions, where there is no such file",
    )
    repeats: int = setting(
        1, "Samples of each order, of a server that tells no log-probabilities", ge=1, le=32
    )
    usd_per_million_input: Price = setting(0.0, "Price of tokens that it reads, dollars")
    usd_per_million_output: Price = setting(0.0, "Price of tokens that it writes, dollars")
    concurrency: int = setting(32, "Requests in flight at most", ge=1, le=4096)
    timeout_seconds: Seconds = setting(120.0, "Wait for one answer this long")
    attempts: int = setting(8, "Tries of one request before the task gives up", ge=1, le=1000)

    @property
    def calls(self) -> int:
        """Requests that a task takes at most."""
        return 2 * self.repeats

    def cost(self, n_read: float, n_written: float) -> int:
        """Micro-dollars for so many tokens."""
        return math.ceil(
            n_read * self.usd_per_million_input + n_written * self.usd_per_million_output
        )

    def price_of(self, n_bytes: int) -> int:
        """Micro-dollars that a task costs at most, by the bytes of all that a request holds."""
        return self.calls * self.cost(n_bytes / _BYTES_A_TOKEN, 1)

    @property
    def usual_price(self) -> int:
        """Micro-dollars of a task whose texts are not known yet, about."""
        return self.price_of(_USUAL_BYTES)


_BYTES_A_TOKEN = 3
"""Of UTF-8, so few that an estimate is rather too high: English has 4 to 5, Chinese about 3."""
_USUAL_BYTES = 6_000
"""Of a request to a judge, where its texts are not known yet."""
_JUDGE_ALONE = {"second_vote_share": 0.0, "third_votes": False, "repeat_share": 0.0}
"""What is asked of nobody twice: a judge sees both orders at once."""


def _costs_something(value: float) -> float:
    if value and not round(value * MICROS):
        raise ValueError("a price is 0 or at least a millionth of a dollar")
    return value


AnnotationPrice = Annotated[Price, AfterValidator(_costs_something)]


class Source(Settings):
    """One more who is asked about pairs, beside the people of `label.vendor`.

    A judge is asked of what people's answers leave uncertain, once it has shown that it tells
    something of what they prefer; see docs/labelling_vendors.md, "Several sources".
    """

    name: Name = Field(description="What it is called; `people` are those of the vendor above")
    vendor: Vendor = setting("judge", "Who answers; one word")
    connection: str = setting("winnow_judge", "Airflow connection of the vendor")
    price_usd: AnnotationPrice = setting(
        0.10, "Price of one annotation, dollars; a judge's is told by its tokens"
    )
    judge: Judge | None = setting(None, "The model that is asked where `vendor` is `judge`")

    @model_validator(mode="after")
    def _is_somebody(self) -> Source:
        if self.name == PEOPLE:
            raise ValueError(f"{PEOPLE} are those of label.vendor; give it another name")
        if (self.vendor == "judge") != (self.judge is not None):
            raise ValueError("vendor judge needs the section judge, and no other vendor has one")
        return self


MAX_SOURCES = 8
"""Of a campaign, beside people."""


class Label(Settings):
    """Who labels, for how much, and how long to wait."""

    vendor: Vendor = setting("simulator", "Who answers; one word")
    connection: str = setting("winnow_vendor", "Airflow connection of the vendor")
    task: Literal["comparison", "ranking"] = setting(
        "comparison",
        "What one annotation is: a choice between two responses, or an order of `size` responses; "
        "see docs/rankings.md",
    )
    size: int | None = setting(
        None, "Responses of a ranking; null: what is asked is no ranking", ge=4, le=9
    )
    price_usd: AnnotationPrice = setting(
        0.10, "Price of one annotation, dollars; a judge's is told by its tokens"
    )
    budget_usd: Dollars = Field(description="Most that one batch may cost, dollars")
    budget_month_usd: Dollars | None = setting(
        None, "Most that the campaign may buy for in a calendar month (UTC), dollars; null: any"
    )
    approve_above_usd: Dollars | None = setting(
        None, "A person must approve a dearer purchase in the Airflow UI"
    )
    rubric_version: str = setting(
        "helpfulness-1", "Name of the instructions; another one makes other tasks"
    )
    instructions: str = setting(
        "Which response helps the person more? A tie is a fine answer.",
        "What annotators read above the two responses",
    )
    rated_dimensions: list[str] = Field(
        default_factory=list, max_length=10, description="Rated 1 to 5 for both sides as well"
    )
    choice_dimensions: list[str] = Field(
        default_factory=list,
        max_length=10,
        description="Asked as a choice as well, A, B or no difference: half the answers of a "
        "rating; of file_drop, label_studio, links and simulator",
    )
    second_vote_share: Share = setting(0.15, "Share of pairs that two annotators judge")
    second_votes: Literal["uniform", "disagreement"] = setting(
        "uniform",
        "Which pairs they are: drawn evenly, or half of them so and half by how likely the model "
        "holds it that two people differ, once its gate is open; see docs/labelling_vendors.md",
    )
    third_votes: bool = setting(True, "Where two disagree a third one is asked")
    repeat_share: Share = setting(
        0.0, "Share of pairs shown to the same annotator again, sides swapped"
    )
    gold: str | None = setting(None, "File of prompt, chosen, rejected: tasks with a known answer")
    gold_share: Share = setting(0.05, "Gold tasks, as a share of the batch's pairs")
    pii: Literal["scrub", "block", "send"] = setting(
        "scrub", "Addresses, numbers and keys of people in what a vendor sees"
    )
    session_minutes: int | None = setting(
        None,
        "Longest stretch of one annotator, where the vendor can limit it",
        ge=1,
        le=366 * 24 * 60,
    )
    deadline_minutes: Minutes = setting(7 * 24 * 60.0, "Wait for answers this long")
    min_completion: Share = setting(
        0.8, "Share of tasks that must be answered for the batch to go on"
    )
    unanswered: Literal["drop", "buy_again"] = setting(
        "drop", "What becomes of tasks that nobody answered by the deadline"
    )
    aggregation: Aggregation = setting("majority", "How votes become a preference")
    judge: Judge | None = setting(None, "The model that is asked where `vendor` is `judge`")
    sources: list[Source] = Field(
        default_factory=list,
        max_length=MAX_SOURCES,
        description="Others who are asked beside the people of `vendor`: judges, and experts",
    )
    judge_share: float = setting(
        0.25,
        "What the judges among `sources` may cost together, of what people's answers about the "
        "same prompts cost",
        ge=0.0,
        le=10.0,
    )
    experts: Name | None = setting(
        None,
        "Who of `sources` is asked instead of people about pairs on which two dimensions disagree",
    )
    expert_share: Share = setting(0.2, "Share of the pairs that experts get, at most")
    poll_seconds: Seconds = setting(60.0, "First pause between looks at the vendor")
    max_poll_seconds: Seconds = setting(900.0, "Longest pause; it grows to this")

    @model_validator(mode="before")
    @classmethod
    def _usual(cls, values: Any) -> Any:
        """What is not said, where it is another thing for rankings or a judge."""
        if not isinstance(values, dict):
            return values
        of_task = _OF_RANKINGS if values.get("task") == "ranking" else {}
        of_vendor = _JUDGE_ALONE if values.get("vendor") == "judge" else {}
        return {**of_task, **of_vendor, **values}

    @model_validator(mode="after")
    def _rankings_can_be_had(self) -> Label:
        if self.task == "comparison":
            if self.size is not None:
                raise ValueError("size is of rankings: set task: ranking, or take it out")
            return self
        if self.size is None:
            raise ValueError("task ranking needs size, the responses of one ranking, 4 to 9")
        if self.vendor not in RANKING_VENDORS:
            able = ", ".join(RANKING_VENDORS)
            raise ValueError(
                f"vendor {self.vendor} cannot be asked for rankings; these can: {able}"
            )
        if self.second_votes != "uniform":
            raise ValueError("task ranking draws its second votes evenly; take out second_votes")
        refused = {
            "gold": "whose answers are choices between two",
            "repeat_share": "a ranking is not asked again of the same person",
            "third_votes": "two rankings nearly always differ somewhere",
            "rated_dimensions": "responses are rated in pairs alone",
            "choice_dimensions": "responses are told apart in pairs alone",
        }
        for name, why in refused.items():
            if getattr(self, name):
                raise ValueError(f"task ranking cannot have {name} ({why}); take it out")
        if self.aggregation != "majority":
            raise ValueError(
                f"aggregation {self.aggregation} takes the pairs of a ranking for votes of their "
                "own; task ranking needs majority"
            )
        return self

    @model_validator(mode="after")
    def _sources_can_be_asked(self) -> Label:
        names = [source.name for source in self.sources]
        models = [source.judge.model for source in self.sources if source.judge is not None]
        if len(set(names)) < len(names) or len(set(models)) < len(models):
            raise ValueError("sources: a name, or a judge's model, stands twice")
        people = [source.name for source in self.sources if source.judge is None]
        if self.experts is None and people:
            raise ValueError(
                f"sources: {', '.join(people)} would be asked nothing; name it in experts, or "
                "ask people by vendor"
            )
        if self.experts is not None and people != [self.experts]:
            raise ValueError("experts names the one of sources that is no judge")
        if self.sources and (self.vendor == "judge" or self.task == "ranking"):
            raise ValueError(
                "sources stand beside people who compare pairs: vendor judge, and task ranking, "
                "have none"
            )
        return self

    @model_validator(mode="after")
    def _dimensions_can_be_asked(self) -> Label:
        asked = [self.vendor, *(each.vendor for each in self.sources if each.judge is None)]
        unable = [vendor for vendor in asked if vendor not in CHOICE_VENDORS]
        if self.choice_dimensions and unable:
            raise ValueError(
                f"vendor {unable[0]} cannot be asked for choice_dimensions; these can: "
                f"{', '.join(CHOICE_VENDORS)}"
            )
        if self.choice_dimensions and len({*self.asked_dimensions}) < len(self.asked_dimensions):
            raise ValueError("rated_dimensions and choice_dimensions name a dimension twice")
        return self

    @model_validator(mode="after")
    def _judge_is_named(self) -> Label:
        if self.vendor == "judge":
            if self.judge is None:
                raise ValueError("vendor judge needs the section judge, with its model")
            if any(getattr(self, name) for name in _JUDGE_ALONE):
                named = ", ".join(_JUDGE_ALONE)
                raise ValueError(f"{named}: a judge sees both orders at once; take them out")
        return self

    @property
    def asked_judge(self) -> Judge | None:
        """The model that is asked; None where the vendor is another."""
        return self.judge if self.vendor == "judge" else None

    @property
    def asked_dimensions(self) -> tuple[str, ...]:
        """What is asked beside the choice between two responses."""
        return (*self.rated_dimensions, *self.choice_dimensions)

    @property
    def judges(self) -> dict[str, Judge]:
        """The judges among the sources, by the name of the source."""
        return {each.name: each.judge for each in self.sources if each.judge is not None}

    @property
    def asked(self) -> dict[str, Label]:
        """What holds for whom, by name: people first, then each source."""
        names = (PEOPLE, *(source.name for source in self.sources))
        return {name: self.of_source(name) for name in names}

    def of_source(self, name: str) -> Label:
        """What holds for what `name` is asked: these settings, but for who answers at what price.

        Nothing is asked of a source twice, and no gold: what people answer stands beside it.
        """
        if name == PEOPLE:
            return self
        source = next(each for each in self.sources if each.name == name)
        own = {each: getattr(source, each) for each in ("vendor", "connection", "price_usd")}
        asked: dict[str, Any] = {
            "judge": source.judge,
            "gold": None,
            "sources": [],
            "experts": None,
        }
        # Another name of the rubric: a task of people and one of a source are two tasks.
        rubric = {"rubric_version": f"{self.rubric_version}@{name}"}
        return self.model_copy(update={**own, **asked, **rubric, **_JUDGE_ALONE})

    @property
    def pair_share(self) -> float:
        """What a judged pair counts for, in votes: K responses in order are K - 1 choices."""
        return 1.0 if self.size is None else 2.0 / self.size

    @property
    def price(self) -> int:
        """Price of one annotation in micro-dollars; of a judge, about."""
        if self.asked_judge is not None:
            return self.asked_judge.usual_price
        return round(self.price_usd * MICROS)

    def price_of(self, n_bytes: int) -> int:
        """Price of a task in micro-dollars, at most, by the bytes of all that it shows."""
        if self.asked_judge is not None:
            return self.asked_judge.price_of(n_bytes)
        return self.price

    @property
    def budget(self) -> int:
        """Most that one batch may cost, in micro-dollars."""
        return round(self.budget_usd * MICROS)

    @property
    def approve_above(self) -> int | None:
        """What a batch may cost without a person's approval, in micro-dollars; None: anything."""
        return None if self.approve_above_usd is None else round(self.approve_above_usd * MICROS)


CheckedTable = Literal["annotations", "comparisons", "preferences", "prompts", "responses", "tasks"]
_FILE_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Suite(Settings):
    """A suite of a team's own, held against one table of the batch beside the gate's own checks."""

    path: str = Field(
        min_length=1,
        max_length=4096,
        description="File of the suite, JSON as Great Expectations writes it, taken from the "
        "campaign's folder; the suite is called what the file is called, and a batch keeps what "
        "it was first checked by",
    )
    table: CheckedTable = Field(
        description="Table that it is held against; `responses` are those of the pairs, and are "
        "looked at one column and row at a time"
    )
    severity: Literal["warn", "block"] | None = setting(
        None,
        "What each of its expectations does that fails; null: as its own severity says, `critical` "
        "blocks, others warn",
    )

    @property
    def name(self) -> str:
        """What it is called: its file without the suffix."""
        return PurePath(self.path).stem

    @field_validator("path")
    @classmethod
    def _is_a_file(cls, path: str) -> str:
        if "://" in path or not _FILE_NAME.fullmatch(PurePath(path).name):
            raise ValueError("is the path of a file with a name of letters, digits, ., - and _")
        return path


MOST_SUITES = 50
"""Of a campaign."""


class Validate(Settings):
    """The gate between labels and a published version: limits from which it warns or blocks.

    A null limit is never crossed. What is counted on few answers fails a limit only where its whole
    95 % interval does; of an annotator the interval allows for how many annotators are looked at.
    Faults in rows (an unknown id, a side shown wrongly) have no limit here: one is too many, and
    `row_faults` says what becomes of it.
    """

    row_faults: Literal["block", "quarantine"] = setting(
        "block",
        "What a row that breaks a rule does: it blocks the batch, or goes to quarantine with "
        "its pair's votes and the batch is published without them",
    )

    min_agreement_warn: Share | None = setting(0.55, "How often two annotators agree, upper bound")
    min_agreement_block: Share | None = 0.45
    max_side_bias_warn: Share | None = setting(0.15, "|share of first-shown wins - 1/2|")
    max_side_bias_block: Share | None = 0.35
    min_gold_accuracy_warn: Share | None = setting(0.7, "Of gold tasks, upper bound")
    min_gold_accuracy_block: Share | None = 0.5
    max_tie_rate_warn: Share | None = setting(0.5, "Votes that see no difference")
    max_tie_rate_block: Share | None = 0.9
    min_repeat_consistency_warn: Share | None = setting(
        0.5, "Repeats answered as before, sides swapped"
    )
    min_repeat_consistency_block: Share | None = None
    max_speeding_warn: Share | None = setting(0.25, "Answers that came faster than one can read")
    max_speeding_block: Share | None = 0.75
    max_chars_per_second: float = setting(
        100.0, "Prompt and both responses read faster than this were not read", gt=0.0
    )
    max_longer_chosen_warn: Share | None = setting(0.8, "Decided pairs whose longer response won")
    max_longer_chosen_block: Share | None = None
    max_suspects_block: Share | None = setting(
        0.5, "Votes of annotators that fail a limit of their own, which only warns"
    )
    max_cost_gap_warn: float | None = setting(
        0.02, "Charge against the prices of the annotations, of the charge", ge=0.0
    )
    max_cost_gap_block: float | None = Field(0.25, ge=0.0)
    annotator_answers: int = setting(12, "Answers from which an annotator is looked at", ge=1)
    min_annotator_gold_accuracy: Share | None = setting(0.5, "An annotator below it is suspect")
    min_annotator_agreement: Share | None = setting(
        0.4, "With others on the same pairs; below it suspect"
    )
    min_annotator_consistency: Share | None = setting(0.4, "On repeats; below it suspect")
    max_annotator_side_bias: Share | None = setting(
        0.3, "|share of first-shown choices - 1/2|; above it suspect"
    )
    max_annotator_same_choice: Share | None = setting(
        0.8, "Answers that are all the same choice as shown: straight-lining"
    )
    max_annotator_speeding: Share | None = setting(
        0.5, "Share of answers faster than reading; above it suspect"
    )
    max_session_decline_warn: Share | None = setting(
        0.1,
        "Fall of the answers that are right, as far as that can be checked, from the start to the "
        "end of a session; lower bound",
    )
    session_gap_minutes: float = setting(
        30.0, "Longest pause of an annotator within a session", gt=0.0
    )
    history_versions: int = setting(
        5, "Last versions whose mean a batch is held against, for drift", ge=1
    )
    max_agreement_drift_warn: Share | None = setting(0.15, "Change beyond chance")
    max_tie_rate_drift_warn: Share | None = setting(0.2, "Change beyond chance")
    max_length_drift_warn: float | None = setting(
        0.6, "Change of the mean length of labelled responses, of the length", ge=0.0
    )
    max_language_drift_warn: Share | None = setting(
        0.6, "Share of prompts that moved to another language"
    )
    max_strategy_drift_warn: Share | None = setting(
        None, "Share of pairs chosen otherwise; a fitted posterior changes it by itself"
    )
    max_selection_shift_warn: Share | None = setting(
        0.3, "Change of a trait's share from the pool to the bought responses"
    )
    max_choice_shift_warn: Share | None = setting(
        0.2, "Change of a trait's share from the bought to the chosen responses"
    )
    max_content_selection_shift_warn: float | None = setting(
        0.5,
        "Change of the share that speaks of a group or stance, pool to bought, of that share",
        ge=0.0,
    )
    max_content_choice_shift_warn: float | None = setting(
        0.3, "The same, from the bought to the chosen responses", ge=0.0
    )
    max_injected_chosen_warn: Share | None = setting(0.0, "Chosen responses that speak to a judge")
    evaluation_prompts: str | None = setting(
        None, "File of prompts, in any shape, that no batch may contain"
    )
    near_duplicate_prompt: float = setting(
        0.8, "Shared 8-letter pieces from which two prompts are one", gt=0.0, le=1.0
    )
    suites: list[Suite] = Field(
        default_factory=list,
        max_length=MOST_SUITES,
        description="Suites of Great Expectations of the team's own",
    )
    data_docs: bool = setting(
        True, "Whether each batch gets Data Docs: what every expectation found, as one page"
    )

    @model_validator(mode="after")
    def _suites_are_told_apart(self) -> Validate:
        names = [f"{suite.name} on {suite.table}" for suite in self.suites]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"suites: {twice[0]} stands twice; give one of the files another name")
        return self


class Hub(Settings):
    """A dataset repository on a Hugging Face hub, to which each version is pushed."""

    repo: str = Field(
        description="ORGANISATION/NAME of the repository, of this dataset alone; made if absent",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,94}/[A-Za-z0-9][A-Za-z0-9._-]{0,94}$",
    )
    connection: str = setting(
        "winnow_hub", "Airflow connection: its password is the token; no host: huggingface.co"
    )
    private: bool = setting(
        True, "The repository is made private, and nothing is pushed to a public one"
    )
    timeout_seconds: Seconds = setting(120.0, "Longest silence of the hub in a call")


class Publish(Settings):
    """What is published, and under which name."""

    dataset: Name = Field(description="Name of the dataset; it belongs to this campaign alone")
    license: str = setting("other", "Licence of the prompts and responses, for the card")
    min_p_chosen: Probability = setting(
        0.75, "Pairs at least this certain after their votes enter the dpo view"
    )
    test_share: float = setting(
        0.05,
        "Share of prompts in the split test; a dataset keeps that of its first version",
        ge=0.0,
        le=0.5,
    )
    hub: Hub | None = setting(None, "A repository to which each version is pushed too; null: none")


def _pairs_of(size: int) -> dict[str, Any]:
    """Settings of `select` that say: all pairs of `size` responses."""
    n_pairs = size * (size - 1) // 2
    return {
        "pairs_per_prompt": n_pairs,
        "min_pairs_per_prompt": None,
        "max_pairs_per_prompt": None,
        "max_pairs_per_response": None,
        "traditional_k": size,
    }


STAGE_ASSETS = ("prompts", "candidate_pools", "comparisons", "annotations", "datasets")
"""What a campaign announces of a batch, stage by stage, each under the campaign"s name."""


class Campaign(Settings):
    """One campaign."""

    name: Name = Field(description="Names the campaign in the lake; small letters, digits, - and _")
    description: str = setting("", "For the dataset card")
    owner: str = setting("winnow", "Who answers for it, as Airflow shows it", min_length=1)
    team: Name | None = setting(
        None, "Whose money it spends: a name in teams.yaml, beside the campaigns"
    )
    tags: list[Tag] = Field(default_factory=list, description="Further tags of its DAGs")
    access: dict[str, Literal["read", "run"]] | None = setting(
        None,
        "What Airflow's roles may do with its DAGs, where its FAB auth manager is used; null: as "
        "that has it; `{}` takes away what was given here before",
    )
    priority: int = setting(
        10, "Of its tasks where tasks wait for a slot, such as one of the GPUs", ge=1, le=1000
    )
    max_active: int = setting(
        16, "Batches that it generates, chooses or publishes at the same time", ge=1, le=500
    )
    start: date | None = setting(None, "Day before which the schedule begins no batch")
    schedule: Schedule = Field(default_factory=Schedule)
    pools_from: Name | None = setting(
        None,
        "Another campaign of the lake: its prompts and pools are taken over, batch by batch "
        "of the same key, and nothing is generated",
    )
    continues: Name | None = setting(
        None,
        "A campaign that was renamed to this one: the prompt files and prompts that it took count "
        "as taken. `none`: they are taken anew, though the campaign that took them is gone",
    )
    annotations_from: list[Name] | None = setting(
        None,
        "Campaigns over the same pools whose votes are taken over and not bought again; null: "
        "that of `pools_from`; empty: every label is bought",
    )
    ingest: Ingest = Field(default_factory=Ingest)
    brought_labels: BroughtLabels | None = setting(
        None, "Labels that start the reward model; null: it starts from nothing"
    )
    expand: Expand
    select: Select = Field(default_factory=Select)
    label: Label
    validation: Validate = Field(default_factory=Validate)
    publish: Publish

    @field_validator("start", mode="before")
    @classmethod
    def _as_day(cls, value: Any) -> Any:
        """YAML has days; what is frozen in a batch has their text."""
        return date.fromisoformat(value) if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _chooses_rankings(cls, values: Any) -> Any:
        """Of a set of `size` responses all pairs are chosen, whatever is said of pairs."""
        label = values.get("label") if isinstance(values, dict) else None
        if not isinstance(label, dict) or label.get("task") != "ranking":
            return values
        size, select = label.get("size"), values.get("select", {})
        if not isinstance(size, int) or not isinstance(select, dict):
            return values
        return {**values, "select": {**_pairs_of(size), **select}}

    @model_validator(mode="after")
    def _rankings_fit(self) -> Campaign:
        size = self.label.size
        if size is None:
            return self
        if self.expand.pool_size < size:
            raise ValueError(f"expand.pool_size is below label.size {size}: nothing to rank")
        for name, wanted in _pairs_of(size).items():
            if getattr(self.select, name) != wanted:
                told = "null" if wanted is None else wanted
                raise ValueError(
                    f"select.{name} is {told} for rankings of {size}, of which all pairs are "
                    "chosen; take it out"
                )
        if self.select.floors:
            raise ValueError("select.floors count pairs, which rankings do not choose one by one")
        if self.expand.first_round is not None:
            raise ValueError(
                "expand.first_round asks what a pair is worth; rankings cannot have it"
            )
        if self.vote_campaigns:
            raise ValueError(
                "rankings take over no votes of pairs: set annotations_from: [] as well"
            )
        return self

    @model_validator(mode="after")
    def _judges_are_heard(self) -> Campaign:
        if self.label.judges and self.select.head == "ensemble":
            raise ValueError("select.head ensemble hears no judge: take out label.sources")
        return self

    @model_validator(mode="after")
    def _labels_have_the_features(self) -> Campaign:
        lacking = [each for each in self.expand.features if each in _OF_BROUGHT]
        if self.brought_labels is not None and lacking:
            raise ValueError(
                f"brought_labels have no {lacking[0]}, of which expand.features makes a feature: "
                "name features that are read from texts, such as text or embedding"
            )
        return self

    @model_validator(mode="after")
    def _budget_buys_something(self) -> Campaign:
        if self.label.price > self.label.budget:
            raise ValueError("label.budget_usd is below the price of one annotation")
        return self

    @model_validator(mode="after")
    def _prompts_come_from_one_place(self) -> Campaign:
        if self.pools_from is None:
            if not self.ingest.sources:
                raise ValueError("ingest.sources must name where prompts come from")
            if self.annotations_from:
                raise ValueError(
                    "annotations_from needs pools_from: only pairs of the same pools are the same"
                )
        elif self.ingest.sources:
            raise ValueError("take out ingest.sources: with pools_from prompts come with the pools")
        if self.name in (self.pools_from, self.continues, *self.vote_campaigns):
            # A model that learnt from the votes it takes over would be tested on what it knows.
            raise ValueError("a campaign takes nothing over from itself; give it another name")
        return self

    @model_validator(mode="after")
    def _is_not_begun_by_itself(self) -> Campaign:
        own = {f"{self.name}.{asset}" for asset in STAGE_ASSETS}
        if own & set(self.schedule.assets):
            raise ValueError("schedule.assets has an asset of its own: a batch would begin itself")
        return self

    @property
    def predecessor(self) -> str | None:
        """The campaign that it goes on from; None where there is none."""
        return None if self.continues == "none" else self.continues

    @property
    def taught_dimensions(self) -> tuple[str, ...]:
        """Dimensions beside that of the choice whose answers teach a head of their own."""
        return self.label.asked_dimensions if self.select.head_per_dimension else ()

    @property
    def vote_campaigns(self) -> tuple[str, ...]:
        """Campaigns whose votes are taken over, in order of preference."""
        if self.annotations_from is None:
            return () if self.pools_from is None else (self.pools_from,)
        return tuple(dict.fromkeys(self.annotations_from))
