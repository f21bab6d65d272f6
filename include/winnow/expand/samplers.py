"""The samplers of a campaign: which of a pool's responses each one draws.

A pool of n responses is the first n of one fixed sequence of samplers, so that a pool that grows
keeps what it has, and every beginning of the sequence holds each sampler in about its share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from winnow.campaign import Expand, Sampler
from winnow.expand.engine import Messages, Sampling
from winnow.ids import canonical_json, seed_from


@dataclass(frozen=True, slots=True)
class PoolSampler:
    """One sampler with nothing left open; `place` is its number in the campaign."""

    place: int
    weight: float
    model: str
    sampling: Sampling
    system_prompt: str | None

    @property
    def as_json(self) -> str:
        """What the `sampling` column of its responses says, JSON."""
        how = {**asdict(self.sampling), "stop": list(self.sampling.stop)}
        if self.system_prompt is not None:
            how["system_prompt"] = self.system_prompt
        return canonical_json(how).decode()

    def seed(self, campaign: str, settings: Expand, prompt_id: str) -> int:
        """Seed of its first response to a prompt; the k-th has this seed plus k."""
        return seed_from("expand", campaign, settings.seed, prompt_id, self.place)

    def messages(self, prompt: Messages) -> Messages:
        """The prompt's messages, under this sampler's system prompt if it has one."""
        if self.system_prompt is None:
            return prompt
        others = [message for message in prompt if message["role"] != "system"]
        return [{"role": "system", "content": self.system_prompt}, *others]


def samplers_of(settings: Expand) -> list[PoolSampler]:
    """The samplers of a campaign, in its order; the settings themselves where it names none.

    Raises:
        Fatal: A temperature is too low to draw different responses.
    """
    named: Sequence[Sampler | None] = settings.samplers or [None]
    return [
        PoolSampler(
            place=place,
            weight=each.weight if each else 1.0,
            model=(each and each.model) or settings.model,
            sampling=Sampling(
                max_tokens=settings.max_tokens,
                temperature=(each and each.temperature) or settings.temperature,
                top_p=(each and each.top_p) or settings.top_p,
                stop=tuple(settings.stop),
            ),
            system_prompt=each.system_prompt if each else None,
        )
        for place, each in enumerate(named)
    ]


def models_of(settings: Expand) -> list[str]:
    """The models that a pool mixes, each once, in the order of their samplers."""
    return list(dict.fromkeys(sampler.model for sampler in samplers_of(settings)))


def shares(samplers: Sequence[PoolSampler], n: int) -> list[int]:
    """How many of a pool's first `n` responses each sampler draws.

    Each next response goes to the sampler that is furthest behind its share.
    """
    total = sum(sampler.weight for sampler in samplers)
    drawn = [0] * len(samplers)
    for position in range(1, n + 1):
        behind = [
            sampler.weight * position / total - count
            for sampler, count in zip(samplers, drawn, strict=True)
        ]
        drawn[behind.index(max(behind))] += 1
    return drawn
