"""A campaign: what a team asks for, read once from YAML and frozen into each batch.

Every field has its unit in its description and a default; an unknown key is an error, so that a
misspelt setting never passes for a default. Secrets do not belong here: they live in Airflow
connections, which a campaign names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from winnow.addresses import holds_secret
from winnow.errors import Fatal
from winnow.records import MICROS

NAME = re.compile("[a-z0-9][a-z0-9_-]{0,62}")
Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Probability = Annotated[float, Field(gt=0.0, lt=1.0)]
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
Vendor = Literal["file_drop", "ground_truth", "label_studio", "scale", "simulator"]
Aggregation = Literal["bradley_terry", "dawid_skene", "majority"]


MOST = 10**12
"""No number of a campaign is larger: what is counted and paid must fit 64 bits."""

Dollars = Annotated[float, Field(ge=0.0, le=1e9)]
Price = Annotated[float, Field(ge=0.0, lt=1e6)]
Minutes = Annotated[float, Field(gt=0.0, le=1e7)]
Seconds = Annotated[float, Field(gt=0.0, le=7 * 24 * 3600.0)]


class _Settings(BaseModel):
    # Strict: text and truth values are no numbers.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    @field_validator("*")
    @classmethod
    def _of_a_size(cls, value: Any) -> Any:
        for number in _numbers(value):
            if not -MOST <= number <= MOST:
                raise ValueError(f"no amount; write one between -{MOST:.0e} and {MOST:.0e}")
        return value


def _numbers(value: Any) -> Iterator[float]:
    """The numbers in a setting, at any depth."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _numbers(each)
    elif isinstance(value, int | float):
        yield value


class Ingest(_Settings):
    """Where prompts come from."""

    sources: list[str] = Field(
        default_factory=list,
        description="Folders, files or s3:// prefixes; {day} is the key; empty with `pools_from` "
        "only",
    )
    files_per_batch: int | None = Field(
        None, ge=1, description="New files a batch takes at most, in name order; null takes all"
    )
    max_prompt_chars: int = Field(20_000, ge=1, description="Longer prompts go to quarantine")


class Sampler(_Settings):
    """One way to draw responses; a pool may mix several. What is null is as in `expand`."""

    weight: float = Field(1.0, gt=0.0, description="Share of the pool, relative to the others")
    model: str | None = Field(None, description="A prepared model's name, a folder or a hub id")
    temperature: float | None = Field(None, ge=0.01, description="Of its draws")
    top_p: float | None = Field(None, gt=0.0, le=1.0, description="Of its draws")
    system_prompt: str | None = Field(
        None, min_length=1, description="Put before the prompt, in the place of its own"
    )


class Server(_Settings):
    """An OpenAI-compatible server: a vLLM fleet, or a hosted model."""

    connection: str = Field("winnow_server", description="Airflow connection of the server")
    concurrency: int = Field(64, ge=1, le=4096, description="Requests in flight at most")
    responses_per_request: int = Field(
        1, ge=1, le=128, description="`n` of a request; more where a prompt's tokens cost money"
    )
    timeout_seconds: Seconds = Field(300.0, description="Wait for one answer this long")
    attempts: int = Field(
        8, ge=1, le=1000, description="Tries of one request before the task gives up"
    )


class AuditLimits(_Settings):
    """Means over prompts from which the pool audit warns; null: never. It blocks nothing.

    `vendi`, `vendi_share` and `language_match` are least values, all others greatest ones. The
    default of `vendi` suits sentence embeddings: by MiniLM the answers of 58 language models to one
    of 16 instructions had 2.3 to 8.9. It grows ever slower with the pool, so a limit of
    `vendi_share` must suit the size of the pools, and hidden states need another one of `vendi`.
    """

    duplicate_share: float | None = Field(0.3, description="Draws that repeat a text")
    near_duplicate_share: float | None = Field(0.3, description="Texts that nearly repeat another")
    self_bleu: float | None = Field(0.7, description="Likeness of a response to the others (BLEU)")
    vendi: float | None = Field(1.5, description="Wholly different responses (Vendi score)")
    vendi_share: float | None = Field(None, description="Vendi score over distinct texts")
    truncated: float | None = Field(0.5, description="Responses cut off at max_tokens")
    looping: float | None = Field(0.1, description="Responses that repeat themselves")
    refusal: float | None = Field(0.3, description="Responses that refuse")
    echo: float | None = Field(0.1, description="Responses that repeat the prompt")
    language_match: float | None = Field(0.8, description="Responses in the prompt's language")


class Expand(_Settings):
    """How candidate pools are generated."""

    engine: Literal["auto", "vllm", "transformers", "server"] = Field(
        "auto", description="What generates; auto: vLLM where it is installed, else transformers"
    )
    model: str = Field(description="A prepared model's name, a folder or a hub id")
    embedding_model: str = Field("all-MiniLM-L6-v2", description="Turns responses into features")
    features: Literal["embedding", "policy"] = Field(
        "embedding",
        description="What the reward sees: a sentence embedding, or the model's own hidden states",
    )
    pool_size: int = Field(50, ge=2, le=1000, description="Responses per prompt, at most")
    first_round: int | None = Field(
        None,
        ge=2,
        description="Adaptive pools: size after which a pool is first asked whether to double; "
        "null: every pool has pool_size",
    )
    usd_per_million_tokens: Price = Field(
        1.0,
        description="Adaptive pools: what tokens cost; a pool grows while more of them promise "
        "what would cost more in labels",
    )
    max_tokens: int = Field(512, ge=1, description="Tokens per response at most")
    max_model_len: int = Field(2048, ge=16, description="Context, tokens of prompt and response")
    temperature: float = Field(1.0, ge=0.01, description="A pool needs draws that differ")
    top_p: float = Field(
        0.95, gt=0.0, le=1.0, description="Tokens are drawn from the likeliest of this mass"
    )
    stop: list[str] = Field(default_factory=list, description="Strings that end a response")
    samplers: list[Sampler] = Field(
        default_factory=list, description="A mixture in one pool; empty: the settings above alone"
    )
    tokens_per_shard: int = Field(
        1_000_000, ge=1, description="Tokens, at most, that one GPU task is planned to generate"
    )
    responses_per_call: int = Field(
        1024,
        ge=1,
        description="Responses generated together, the unit that a resumed shard skips; a prompt's "
        "round is never split",
    )
    engine_args: dict[str, Any] = Field(
        default_factory=dict,
        description="Passed on to vLLM's LLM: tensor_parallel_size, quantization, dtype, ...",
    )
    lora: str | None = Field(None, description="Folder of a LoRA adapter of the model")
    chat_template: str | None = Field(None, description="File of a chat template, Jinja")
    server: Server = Field(default_factory=Server)
    audit: AuditLimits = Field(default_factory=AuditLimits)
    seed: int = Field(0, description="Response k of a prompt is drawn by it, the prompt and k")

    @property
    def shape(self) -> dict[str, Any]:
        """The settings that say what a pool holds; the others say where and how it is made."""
        how = {"engine", "server", "tokens_per_shard", "responses_per_call", "audit"}
        return self.model_dump(mode="json", exclude=how)

    @model_validator(mode="after")
    def _rounds_fit(self) -> Expand:
        if self.first_round is not None and self.first_round > self.pool_size:
            raise ValueError(f"first_round {self.first_round} exceeds pool_size {self.pool_size}")
        return self


class Select(_Settings):
    """Which pairs of a pool are worth a label."""

    strategy: Strategy = Field("decision_gain", description="The rule that scores pairs")
    pairs_per_prompt: int = Field(4, ge=1, description="Pairs per prompt on average")
    min_pairs_per_prompt: int | None = Field(
        None, ge=0, description="Pairs every prompt gets; null: the average"
    )
    max_pairs_per_prompt: int | None = Field(
        None, ge=1, description="Pairs no prompt exceeds; null: the average"
    )
    exploration: Share = Field(
        0.15, description="Share of pairs drawn uniformly, to check the model"
    )
    max_pairs_per_response: int | None = Field(
        2, ge=1, description="Pairs that one response may be in; null: any number"
    )
    floors: dict[str, int] = Field(
        default_factory=dict,
        description="Least pairs a batch holds of a stratum: language:de, dimension:correctness, "
        "tag:code, topic:3, failure:refusal or failure:truncated",
    )
    topics: int = Field(0, ge=0, le=1000, description="Clusters of prompts named topic:0, ...")
    kappa: float = Field(4.0, gt=0.0, description="Sharpness of the policy softmax(kappa reward)")
    residual_sd: float = Field(
        0.4, ge=0.0, description="Reward that features do not explain, logits, per response"
    )
    traditional_k: int | None = Field(
        None, ge=2, description="Responses compared by the strategy traditional; null: the pairs"
    )
    near_duplicate: float = Field(
        0.97, gt=0.0, le=1.0, description="Cosine of embeddings from which two responses are one"
    )
    head: Literal["laplace", "ensemble"] = Field(
        "laplace", description="Reward posterior: Gaussian, or an ensemble of small networks"
    )
    head_per_dimension: bool = Field(
        False, description="A reward per dimension, learnt from its own labels; false: one of all"
    )
    max_components: int = Field(64, ge=1, le=256, description="PCA dimensions kept of an embedding")
    prompts_per_shard: int = Field(64, ge=1, description="Prompts chosen on one posterior")
    seed: int = Field(0, description="Of exploration and of drawn strategies")

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
        return self

    @property
    def pair_limits(self) -> tuple[int, int]:
        """Least and most pairs of a prompt."""
        least, most = self.min_pairs_per_prompt, self.max_pairs_per_prompt
        average = self.pairs_per_prompt
        return (average if least is None else least, average if most is None else most)


class Label(_Settings):
    """Who labels, for how much, and how long to wait."""

    vendor: Vendor = Field("simulator", description="Who answers; one word")
    connection: str = Field("winnow_vendor", description="Airflow connection of the vendor")
    price_usd: Price = Field(0.10, description="Price of one annotation, dollars")
    budget_usd: Dollars = Field(description="Most that one batch may cost, dollars")
    approve_above_usd: Dollars | None = Field(
        None, description="A person must approve a dearer purchase in the Airflow UI"
    )
    rubric_version: str = Field(
        "helpfulness-1", description="Name of the instructions; another one makes other tasks"
    )
    instructions: str = Field(
        "Which response helps the person more? A tie is a fine answer.",
        description="What annotators read above the two responses",
    )
    rated_dimensions: list[str] = Field(
        default_factory=list, max_length=10, description="Rated 1 to 5 for both sides as well"
    )
    second_vote_share: Share = Field(0.15, description="Share of pairs that two annotators judge")
    third_votes: bool = Field(True, description="Where two disagree a third one is asked")
    repeat_share: Share = Field(
        0.0, description="Share of pairs shown to the same annotator again, sides swapped"
    )
    gold: str | None = Field(
        None, description="File of prompt, chosen, rejected: tasks with a known answer"
    )
    gold_share: Share = Field(0.05, description="Gold tasks, as a share of the batch's pairs")
    pii: Literal["scrub", "block", "send"] = Field(
        "scrub", description="Addresses, numbers and keys of people in what a vendor sees"
    )
    session_minutes: int | None = Field(
        None,
        ge=1,
        le=366 * 24 * 60,
        description="Longest stretch of one annotator, where the vendor can limit it",
    )
    deadline_minutes: Minutes = Field(7 * 24 * 60.0, description="Wait for answers this long")
    min_completion: Share = Field(
        0.8, description="Share of tasks that must be answered for the batch to go on"
    )
    unanswered: Literal["drop", "buy_again"] = Field(
        "drop", description="What becomes of tasks that nobody answered by the deadline"
    )
    aggregation: Aggregation = Field("majority", description="How votes become a preference")
    poll_seconds: Seconds = Field(60.0, description="First pause between looks at the vendor")
    max_poll_seconds: Seconds = Field(900.0, description="Longest pause; it grows to this")

    @field_validator("price_usd")
    @classmethod
    def _costs_something(cls, value: float) -> float:
        if value and not round(value * MICROS):
            raise ValueError("a price is 0 or at least a millionth of a dollar")
        return value

    @property
    def price(self) -> int:
        """Price of one annotation in micro-dollars."""
        return round(self.price_usd * MICROS)

    @property
    def budget(self) -> int:
        """Most that one batch may cost, in micro-dollars."""
        return round(self.budget_usd * MICROS)

    @property
    def approve_above(self) -> int | None:
        """What a batch may cost without a person's approval, in micro-dollars; None: anything."""
        return None if self.approve_above_usd is None else round(self.approve_above_usd * MICROS)


class Validate(_Settings):
    """The gate between labels and a published version: limits from which it warns or blocks.

    A null limit is never crossed. What is counted on few answers fails a limit only where its whole
    95 % interval does; of an annotator the interval allows for how many annotators are looked at.
    Faults in rows (an unknown id, a side shown wrongly) have no limit here: one is too many, and
    `row_faults` says what becomes of it.
    """

    row_faults: Literal["block", "quarantine"] = Field(
        "block",
        description="What a row that breaks a rule does: it blocks the batch, or goes to "
        "quarantine with its pair's votes and the batch is published without them",
    )

    min_agreement_warn: Share | None = Field(
        0.55, description="How often two annotators agree, upper bound"
    )
    min_agreement_block: Share | None = 0.45
    max_side_bias_warn: Share | None = Field(0.15, description="|share of first-shown wins - 1/2|")
    max_side_bias_block: Share | None = 0.35
    min_gold_accuracy_warn: Share | None = Field(0.7, description="Of gold tasks, upper bound")
    min_gold_accuracy_block: Share | None = 0.5
    max_tie_rate_warn: Share | None = Field(0.5, description="Votes that see no difference")
    max_tie_rate_block: Share | None = 0.9
    min_repeat_consistency_warn: Share | None = Field(
        0.5, description="Repeats answered as before, sides swapped"
    )
    min_repeat_consistency_block: Share | None = None
    max_speeding_warn: Share | None = Field(
        0.25, description="Answers that came faster than one can read"
    )
    max_speeding_block: Share | None = 0.75
    max_chars_per_second: float = Field(
        100.0, gt=0.0, description="Prompt and both responses read faster than this were not read"
    )
    max_longer_chosen_warn: Share | None = Field(
        0.8, description="Decided pairs whose longer response won"
    )
    max_longer_chosen_block: Share | None = None
    max_suspects_block: Share | None = Field(
        0.5, description="Votes of annotators that fail a limit of their own, which only warns"
    )
    max_cost_gap_warn: float | None = Field(
        0.02, ge=0.0, description="Charge against the prices of the annotations, of the charge"
    )
    max_cost_gap_block: float | None = Field(0.25, ge=0.0)
    annotator_answers: int = Field(
        12, ge=1, description="Answers from which an annotator is looked at"
    )
    min_annotator_gold_accuracy: Share | None = Field(
        0.5, description="An annotator below it is suspect"
    )
    min_annotator_agreement: Share | None = Field(
        0.4, description="With others on the same pairs; below it suspect"
    )
    min_annotator_consistency: Share | None = Field(0.4, description="On repeats; below it suspect")
    max_annotator_side_bias: Share | None = Field(
        0.3, description="|share of first-shown choices - 1/2|; above it suspect"
    )
    max_annotator_same_choice: Share | None = Field(
        0.8, description="Answers that are all the same choice as shown: straight-lining"
    )
    max_annotator_speeding: Share | None = Field(
        0.5, description="Share of answers faster than reading; above it suspect"
    )
    history_versions: int = Field(
        5, ge=1, description="Last versions whose mean a batch is held against, for drift"
    )
    max_agreement_drift_warn: Share | None = Field(0.15, description="Change beyond chance")
    max_tie_rate_drift_warn: Share | None = Field(0.2, description="Change beyond chance")
    max_length_drift_warn: float | None = Field(
        0.6, ge=0.0, description="Change of the mean length of labelled responses, of the length"
    )
    max_language_drift_warn: Share | None = Field(
        0.6, description="Share of prompts that moved to another language"
    )
    max_strategy_drift_warn: Share | None = Field(
        None, description="Share of pairs chosen otherwise; a fitted posterior changes it by itself"
    )
    max_selection_shift_warn: Share | None = Field(
        0.3, description="Change of a trait's share from the pool to the bought responses"
    )
    max_choice_shift_warn: Share | None = Field(
        0.2, description="Change of a trait's share from the bought to the chosen responses"
    )
    evaluation_prompts: str | None = Field(
        None, description="File of prompts, in any shape, that no batch may contain"
    )
    near_duplicate_prompt: float = Field(
        0.8, gt=0.0, le=1.0, description="Shared 8-letter pieces from which two prompts are one"
    )


class Publish(_Settings):
    """What is published, and under which name."""

    dataset: Name = Field(description="Name of the dataset; it belongs to this campaign alone")
    license: str = Field("other", description="Licence of the prompts and responses, for the card")
    min_p_chosen: Probability = Field(
        0.75, description="Pairs at least this certain after their votes enter the dpo view"
    )
    test_share: float = Field(
        0.05,
        ge=0.0,
        le=0.5,
        description="Share of prompts in the split test; a dataset keeps that of its first version",
    )


class Campaign(_Settings):
    """One campaign."""

    name: Name = Field(description="Names the campaign in the lake; small letters, digits, - and _")
    description: str = Field("", description="For the dataset card")
    pools_from: Name | None = Field(
        None,
        description="Another campaign of the lake: its prompts and pools are taken over, batch by "
        "batch of the same key, and nothing is generated",
    )
    annotations_from: list[Name] | None = Field(
        None,
        description="Campaigns over the same pools whose votes are taken over and not bought "
        "again; null: that of `pools_from`; empty: every label is bought",
    )
    ingest: Ingest = Field(default_factory=Ingest)
    expand: Expand
    select: Select = Field(default_factory=Select)
    label: Label
    validation: Validate = Field(default_factory=Validate)
    publish: Publish

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
        if self.name in (self.pools_from, *self.vote_campaigns):
            # A model that learnt from the votes it takes over would be tested on what it knows.
            raise ValueError("a campaign takes nothing over from itself; give it another name")
        return self

    @property
    def vote_campaigns(self) -> tuple[str, ...]:
        """Campaigns whose votes are taken over, in order of preference."""
        if self.annotations_from is None:
            return () if self.pools_from is None else (self.pools_from,)
        return tuple(dict.fromkeys(self.annotations_from))


def load_campaign(path: Path) -> Campaign:
    """Read a campaign from YAML; relative source folders are taken from the file's own folder.

    Raises:
        Fatal: The file is missing, is not YAML, or a setting is wrong (all of them are named) or
            stands twice.
    """
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), _Strict)
    except OSError as error:
        raise Fatal(f"Campaign {path} cannot be read: {error.strerror}.") from error
    except Exception as error:  # YAML's constructors raise what they like.
        raise Fatal(f"Campaign {path} is not valid YAML: {_yaml_fault(error)}.") from error
    if named := list(_secrets(settings)):
        raise Fatal(
            f"Campaign {path} holds a secret at {', '.join(named)}: it would lie in every batch. "
            "Keys and passwords belong into Airflow connections, or into the environment."
        )
    campaign = parse_campaign(settings, where=str(path))
    sources = [_from_folder(source, path.parent) for source in campaign.ingest.sources]
    ingest = campaign.ingest.model_copy(update={"sources": sources})
    gold = campaign.label.gold
    label = campaign.label.model_copy(
        update={"gold": None if gold is None else _from_folder(gold, path.parent)}
    )
    evaluation = campaign.validation.evaluation_prompts
    validation = campaign.validation.model_copy(
        update={
            "evaluation_prompts": None
            if evaluation is None
            else _from_folder(evaluation, path.parent)
        }
    )
    return campaign.model_copy(update={"ingest": ingest, "label": label, "validation": validation})


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
                    _refuse(f"{key.value} stands twice", key)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Strict.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _refuse(why: str, node: yaml.Node) -> NoReturn:
    raise yaml.constructor.ConstructorError(None, None, why, node.start_mark)


def parse_campaign(settings: Any, where: str) -> Campaign:
    """Check `settings` (parsed YAML or JSON) from `where`.

    Raises:
        Fatal: A setting is missing, unknown or out of range; the message lists each one.
    """
    try:
        return Campaign.model_validate(settings)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'campaign'}: {e['msg']}" for e in error.errors()
        )
        raise Fatal(f"Campaign {where} has wrong settings: {faults}.") from error


def _from_folder(source: str, folder: Path) -> str:
    if "://" in source:
        return source
    try:
        return str((folder / source).resolve())
    except (OSError, ValueError, RuntimeError) as error:
        raise Fatal(f"{source!a} is no path: {error}") from error
