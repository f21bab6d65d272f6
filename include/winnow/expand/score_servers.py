"""Scores from a server: vLLM's `/classify` of a reward model, or OpenRLHF's `/get_reward`.

An answer counts only when it is one number a response; one that is not finite costs its response
alone. What passes is tried again; what a person must mend is not.

Shapes: n texts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from winnow.addresses import holds_secret
from winnow.calls import Bounds, Calls, is_callable, is_sendable, retry_after, why
from winnow.chat_server import server_words
from winnow.controls import without_controls
from winnow.errors import Fatal, Retryable
from winnow.expand.chat import answered_text, one_turn, open_tokenizer
from winnow.expand.engine import ServerAddress
from winnow.expand.features import Row
from winnow.reward.blocks import SCORE

_BOUNDS = Bounds(seconds=300.0, silence=300.0)
_IN_FLIGHT, _PER_REQUEST = 16, 32
_ATTEMPTS, _LONGEST_WAIT = 6, 60.0

Chat = list[dict[str, str]]


def open_score_server(
    model: str, url: str, key: str, sleep: Callable[[float], None] = time.sleep
) -> ScoreServer:
    """A reward model by its name on the server whose route is `url`.

    Raises:
        Fatal: The address or the key is wrong, or a tokenizer that is needed does not load.
    """
    if not is_callable(url) or holds_secret(url):
        raise Fatal("The address of a scoring server must be a URL without a password.")
    if key and not is_sendable(key):
        raise Fatal("WINNOW_SCORE_KEY holds characters that no header carries.")
    kind = Classify if reads_chats(url) else GetReward
    return ScoreServer(kind(model), model, ServerAddress(url, key), sleep)


def reads_chats(url: str) -> bool:
    """Whether a route takes turns, and not texts in the model's chat format."""
    return url.endswith("/classify")


class Classify:
    """vLLM: a request a conversation, which the server brings into the model's chat format."""

    per_request = 1

    def __init__(self, model: str) -> None:
        self._model = model

    def body(self, chats: Sequence[Chat]) -> dict[str, Any]:
        """The JSON of a request; of a text too long for the model its end is read."""
        (messages,) = chats
        return {
            "model": self._model,
            "messages": messages,
            "use_activation": False,
            "truncate_prompt_tokens": -1,
            # Not the tokenizer's: most cut off the end, where the score is read.
            "truncation_side": "left",
        }

    def scores(self, content: bytes) -> list[float]:
        """What an answer says.

        Raises:
            ValidationError: It has another shape.
            Fatal: The model gives several labels.
        """
        data = _Classified.model_validate_json(content).data
        if any(len(each.probs) != 1 for each in data):
            raise Fatal(
                f"The scoring server gives {len(data[0].probs)} labels of {self._model}, not one "
                "score; serve a reward model with --runner pooling --convert classify."
            )
        return [each.probs[0] for each in data]


class GetReward:
    """OpenRLHF: texts in the chat format of the model, which is made here."""

    per_request = _PER_REQUEST

    def __init__(self, model: str) -> None:
        self._model, self._tokenizer = model, open_tokenizer(model)

    def body(self, chats: Sequence[Chat]) -> dict[str, Any]:
        """The JSON of a request."""
        return {"query": [self._text(chat) for chat in chats]}

    def _text(self, chat: Chat) -> str:
        try:
            return answered_text(self._tokenizer, chat)
        except ValueError:
            pass
        try:
            return answered_text(self._tokenizer, _in_one_turn(chat))
        except ValueError as error:
            raise Fatal(f"Reward model {self._model} takes no prompt: {error}") from error

    def scores(self, content: bytes) -> list[float]:
        """What an answer says; raises ValidationError where it has another shape."""
        return _Rewarded.model_validate_json(content).rewards


class _Labelled(BaseModel):
    probs: list[float]


class _Classified(BaseModel):
    data: list[_Labelled]


class _Rewarded(BaseModel):
    rewards: list[float]


class ScoreServer:
    """Asks for the scores of responses, several requests at once."""

    def __init__(
        self,
        kind: Classify | GetReward,
        model: str,
        address: ServerAddress,
        sleep: Callable[[float], None],
    ) -> None:
        self._kind, self._name, self._address, self._sleep = kind, model, address, sleep
        headers = {"Authorization": f"Bearer {address.key}"} if address.key else {}
        self._http = Calls(f"The scoring server at {address.url}", "", headers, _BOUNDS)

    def __call__(
        self, prompts: Sequence[Row], texts: Sequence[str]
    ) -> Mapping[str, NDArray[np.float32]]:
        """The score (n, 1) of `texts`, each after its prompt.

        Raises:
            Retryable: The server did not answer in several tries.
            Fatal: A person must act.
        """
        chats = [_chat(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
        most = self._kind.per_request
        requests = [chats[start : start + most] for start in range(0, len(chats), most)]
        with ThreadPoolExecutor(_IN_FLIGHT, "scores") as pool:
            scores = [score for some in pool.map(self._scored, requests) for score in some]
        return {f"{SCORE}:{self._name}": np.array(scores, np.float32).reshape(-1, 1)}

    def _scored(self, chats: Sequence[Chat]) -> list[float]:
        fault, asked_to_wait = "", None
        for attempt in range(_ATTEMPTS):
            if attempt:
                wait = 2.0 ** (attempt - 1) if asked_to_wait is None else asked_to_wait
                self._sleep(min(wait, _LONGEST_WAIT) * random.uniform(0.8, 1.2))
            try:
                response = self._http.send("POST", self._address.url, self._kind.body(chats))
            except httpx.RequestError as error:
                fault, asked_to_wait = f"the connection failed ({why(error)})", None
                continue
            status = response.status_code
            if status == 200:
                scores = self._read(response.content, len(chats))
                if isinstance(scores, list):
                    return scores
                fault, asked_to_wait = scores, None
                continue
            words = server_words(response, self._address)
            if status == 400 and chats != (shorter := [_in_one_turn(chat) for chat in chats]):
                # Its chat template refuses a system prompt, or a tool's turn.
                chats, fault, asked_to_wait = shorter, f"it refuses the turns: {words}", 0.0
                continue
            if not (status in (408, 409, 425, 429) or status >= 500):
                raise Fatal(
                    f"The scoring server at {self._address.url} answered HTTP {status} ({words}); "
                    f"{_mend(status)}."
                )
            fault, asked_to_wait = f"it answered HTTP {status}: {words}", retry_after(response)
        raise Retryable(
            f"The scoring server at {self._address.url} failed {_ATTEMPTS} times; at last {fault}."
        )

    def _read(self, content: bytes, n: int) -> list[float] | str:
        """The scores of an answer to `n` texts, or what is wrong with it."""
        try:
            scores = self._kind.scores(content)
        except ValidationError:
            return "its answer has no scores where they should be"
        if len(scores) != n:
            return f"it gave {len(scores)} scores of {n} texts"
        return scores


def _chat(prompt: Row, text: str) -> Chat:
    """The turns of a prompt and the response; no text of them may be a control token there."""
    turns = [*prompt["messages"], {"role": "assistant", "content": text}]
    return [{**turn, "content": without_controls(turn["content"])} for turn in turns]


def _in_one_turn(chat: Chat) -> Chat:
    return [*one_turn(chat[:-1]), chat[-1]]


def _mend(status: int) -> str:
    if status in (401, 403):
        return "set its key as WINNOW_SCORE_KEY"
    if status == 404:
        return "check `server` and `reward_model` of expand.features"
    return "see what it refuses, and correct expand.features"
