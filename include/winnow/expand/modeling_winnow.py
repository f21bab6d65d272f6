"""A reward model of Winnow as Transformers loads it: a sentence model, figures of style, a line.

An exported folder carries this file (`winnow.expand.reward_folder`). The ids that it reads are
bytes, so that figures of style are of the very text; the sentence model has its own tokenizer,
which is kept among the weights. It is for inference alone: no gradient reaches the sentence model,
nothing drops out, and all is reckoned in single precision whatever else runs in less.

Shapes: n texts, t bytes, h columns of an embedding.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers import PreTrainedTokenizerFast as FastTokenizer
from transformers.modeling_outputs import SequenceClassifierOutput

from winnow.expand.networks import read_sentences
from winnow.style import style_figures, style_names

CHAT_TEMPLATE = """\
{%- macro said(turn) -%}
    {%- set parts = namespace(all=[]) -%}
    {%- if turn.content is string -%}
        {%- set parts.all = [turn.content] -%}
    {%- else -%}
        {%- for part in turn.content or [] -%}
            {%- set parts.all = parts.all + [part.text or ""] -%}
        {%- endfor -%}
    {%- endif -%}
    {%- for call in turn.tool_calls or [] -%}
        {%- set given = call.function.arguments -%}
        {%- set given = given if given is string else given | tojson(sort_keys=true) -%}
        {%- set called = '{"name": ' ~ call.function.name | tojson -%}
        {%- set parts.all = parts.all + [called ~ ', "arguments": ' ~ given ~ '}'] -%}
    {%- endfor -%}
    {{- parts.all | select | join("\\n") -}}
{%- endmacro -%}
{%- set at = namespace(last=-1) -%}
{%- for turn in messages -%}
    {%- if turn.role == "assistant" -%}{%- set at.last = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- if at.last < 0 -%}
    {{- raise_exception("A reward is of the assistant's last turn, and there is none.") -}}
{%- endif -%}
{%- set response = said(messages[at.last]) -%}
{{- response | length }} characters of response{{ "\\n" }}{{ response -}}
{%- for turn in messages[:at.last] -%}
    {{- "" if loop.first else "\\n" }}{{ said(turn) -}}
{%- endfor -%}
"""
"""A talk as the model reads it: the length of the assistant's last turn, that turn, all before it.

A length needs no mark that could stand in a text. Calls are lines of JSON at the end of their turn,
as Winnow stores them.
"""

_HEAD = re.compile(r"([0-9]+) characters of response\n")
_N_BYTES = 256


class WinnowRewardConfig(PretrainedConfig):  # type: ignore[misc]
    """What the network is: the settings of its sentence model, and how long the tokenizer is."""

    model_type = "winnow_reward"

    def __init__(
        self, sentence_model: dict[str, Any] | None = None, tokenizer_bytes: int = 0, **rest: Any
    ) -> None:
        self.sentence_model = sentence_model or {}
        self.tokenizer_bytes = tokenizer_bytes
        super().__init__(**rest)


class WinnowReward(PreTrainedModel):  # type: ignore[misc]
    """Rewards of responses, in logits; those of one prompt can be compared, and no others."""

    config_class = WinnowRewardConfig
    _keep_in_fp32_modules_strict = ("sentence_model", "head")

    def __init__(self, config: WinnowRewardConfig) -> None:
        super().__init__(config)
        self.sentence_model = AutoModel.from_config(AutoConfig.for_model(**config.sentence_model))
        n_columns = self.sentence_model.config.hidden_size + len(style_names())
        self.head = torch.nn.Linear(n_columns, 1)
        words = torch.zeros(config.tokenizer_bytes, dtype=torch.uint8)
        self.register_buffer("words", words)
        self._tokenizer: Any = None
        self.post_init()

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **unread: Any
    ) -> SequenceClassifierOutput:
        """Rewards (n, 1) of talks as the folder's tokenizer renders them.

        Args:
            input_ids: Bytes (n, t), any number above them being padding.
            attention_mask: 0 of padding (n, t), on either side.
            unread: What other models take besides.

        Raises:
            ValueError: A text is not rendered by the folder's chat template.
        """
        read_nt = input_ids < _N_BYTES
        if attention_mask is not None:
            read_nt = read_nt & (attention_mask > 0)
        rows = zip(input_ids.cpu().numpy(), read_nt.cpu().numpy(), strict=True)
        talks = [_talk(bytes(ids_t[read_t].tolist()).decode()) for ids_t, read_t in rows]
        with torch.autocast(self.device.type, enabled=False):
            logits = self.head(torch.from_numpy(self._columns(talks)).to(self.device))
        return SequenceClassifierOutput(logits=logits)

    def _columns(self, talks: list[tuple[str, str]]) -> Any:
        """Embeddings and style (n, h + m) of responses, each with its prompt."""
        if self._tokenizer is None:
            from tokenizers import Tokenizer

            stored = Tokenizer.from_str(bytes(self.words.tolist()).decode())
            self._tokenizer = FastTokenizer(tokenizer_object=stored)
        embedding_nh = read_sentences(
            self.sentence_model.eval(), self._tokenizer, [response for _, response in talks]
        )
        style = [style_figures(prompt, response) for prompt, response in talks]
        return np.hstack([embedding_nh, np.stack(style)])


def _talk(text: str) -> tuple[str, str]:
    """Prompt and response of a rendered talk."""
    head = _HEAD.match(text)
    if head is None:
        raise ValueError(
            "A text is not rendered by this reward model's own chat template, without which nobody "
            "knows where the response begins: give it conversational data, lists of turns."
        )
    end = head.end() + int(head[1])
    return text[end:], text[head.end() : end]
