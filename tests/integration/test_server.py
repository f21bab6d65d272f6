"""The engine `server` over the real `vllm serve` with the shipped model.

Needs the generation environment; about a minute and a half on two busy cores, most of it the start
of the server.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from winnow.campaign import Expand
from winnow.errors import Fatal
from winnow.expand.engine import Draw, Refusal, Sampling, ServerAddress
from winnow.expand.engines import open_engine
from winnow.expand.manifests import ShardManifest, shard_path
from winnow.expand.models import INSTRUCT_MODEL, prepare_model
from winnow.lake import FolderLake
from winnow.stages.expand.pool_tables import merge_calls
from winnow.stages.generate import SERVER_KEY, SERVER_URL

from .generation import events_of, settings_of, spec_of, start
from .vllm_server import SERVED_CONTEXT, vllm_server

pytest.importorskip("torch", reason="runs in the generation environment; `make test` does")
pytestmark = pytest.mark.engine

MODELS = Path(__file__).parents[2] / ".winnow" / "models"
"""Where the set-up has put the shipped model."""

KEY = "a-key-of-the-tests"
QUESTIONS = ["What is rain?", "Name three fruits.", "ما هي عاصمة فرنسا؟", "为什么天是蓝的?"]
SAMPLING = Sampling(max_tokens=12, temperature=1.0, top_p=0.95)
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


def draw(text: str, n: int = 4, seed: int = 0, sampling: Sampling = SAMPLING) -> Draw:
    return Draw([{"role": "user", "content": text}], None, seed, n, sampling)


def settings(context: int = SERVED_CONTEXT, model: str = INSTRUCT_MODEL, **server) -> Expand:
    return Expand(engine="server", model=model, max_model_len=context, server=server)


@pytest.fixture(scope="module")
def address():
    with vllm_server(Path(prepare_model(INSTRUCT_MODEL, MODELS)), KEY) as url:
        yield ServerAddress(url, KEY)


@pytest.fixture(scope="module", params=[1, 4], ids=["1 a request", "4 a request"])
def engine(request, address):
    asked = settings(responses_per_request=request.param, concurrency=8)
    return open_engine(asked, INSTRUCT_MODEL, address, lambda event: None)


def test_a_pool_has_its_seeds_lengths_and_log_probabilities(engine):
    pools = engine.generate([draw(q, n=6, seed=10 * i) for i, q in enumerate(QUESTIONS)])
    for place, pool in enumerate(pools):
        assert [r.seed for r in pool] == [10 * place + i for i in range(6)]
        assert len({r.text for r in pool}) > 1
        for response in pool:
            assert 0 < response.n_tokens <= SAMPLING.max_tokens
            assert response.finish_reason in ("stop", "length")
            assert -12.0 * response.n_tokens < response.logprob < 0.0


def test_the_same_seeds_give_the_same_texts(engine):
    (first,) = engine.generate([draw(QUESTIONS[0])])
    (again,) = engine.generate([draw(QUESTIONS[0])])
    (shifted,) = engine.generate([draw(QUESTIONS[0], seed=1)])
    assert [r.text for r in again] == [r.text for r in first]
    assert [r.text for r in shifted[:-1]] == [r.text for r in first[1:]]


def test_calls_come_back_whole(engine):
    calls = [(q, [draw(q), draw(q, seed=50)]) for q in QUESTIONS]
    found = dict(engine.generate_each(iter(calls)))
    assert set(found) == set(QUESTIONS)
    for drawn in found.values():
        assert [[r.seed for r in pool] for pool in drawn] == [[0, 1, 2, 3], [50, 51, 52, 53]]


def test_a_stop_string_ends_a_response(engine):
    sampling = Sampling(max_tokens=40, temperature=1.0, top_p=0.95, stop=("e",))
    (pool,) = engine.generate([draw(QUESTIONS[0], sampling=sampling)])
    assert all("e" not in r.text for r in pool)
    assert any(r.finish_reason == "stop" for r in pool)


def test_a_system_prompt_and_tools_are_taken(engine):
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTIONS[0]}]
    (pool,) = engine.generate([Draw(chat, json.dumps([TOOL]), 0, 4, SAMPLING)])
    (plain,) = engine.generate([draw(QUESTIONS[0])])
    assert len(pool) == 4
    assert [r.logprob for r in pool] != [r.logprob for r in plain]


@pytest.mark.parametrize("words", [480, 600])
def test_a_prompt_that_leaves_no_room_is_refused(engine, words):
    """One fits the server alone, but not with the response; the other does not fit at all."""
    refused, pool = engine.generate([draw("rain " * words), draw(QUESTIONS[0])])
    assert isinstance(refused, Refusal) and refused.reason == "prompt_too_long"
    assert str(SERVED_CONTEXT) in refused.detail
    assert len(pool) == 4


def test_tools_that_the_server_cannot_read_are_refused(engine):
    (refused,) = engine.generate([Draw([*draw("hi").messages], '[{"type": 1}]', 0, 2, SAMPLING)])
    assert isinstance(refused, Refusal) and refused.reason == "server_refused"


def test_what_the_server_cannot_do_is_fatal_when_it_is_opened(address):
    wrong = [
        (settings(), "another-model", address, "expand.model"),
        (settings(context=4096), INSTRUCT_MODEL, address, "max_model_len"),
        (settings(), INSTRUCT_MODEL, ServerAddress(address.url, "wrong"), "set its key"),
        (settings(), INSTRUCT_MODEL, ServerAddress(f"{address.url}/v1", KEY), "before /v1"),
    ]
    for asked, model, where, what in wrong:
        with pytest.raises(Fatal, match=what):
            open_engine(asked, model, where, lambda event: None)


def test_the_server_and_the_engine_in_this_host_fill_a_lake_alike(address, tmp_path, monkeypatch):
    """The whole generation process on both: the same draws, in tables of the same schema."""
    monkeypatch.setenv(SERVER_URL, address.url)
    monkeypatch.setenv(SERVER_KEY, address.key)
    questions = [*QUESTIONS, "word " * 600]
    found = {}
    for engine in ("vllm", "server"):
        root = tmp_path / engine
        asked = settings_of(engine, first_round=2, usd_per_million_tokens=0.0)
        spec = spec_of(root, MODELS, asked, questions)
        with start(spec) as process:
            events = list(events_of(process))
        assert events[-1]["event"] == "done", events[-1]
        lake = FolderLake(root)
        shard = ShardManifest.from_bytes(lake.read(shard_path("expand", spec.shard.shard_id)))
        part = merge_calls(lake, shard.calls)
        found[engine] = part, part.pools, part.responses.schema
    (one, one_pools, one_schema), (other, other_pools, other_schema) = found.values()
    assert one_schema == other_schema
    assert one.sampled == other.sampled == len(QUESTIONS) * 4
    assert one.refused == other.refused == 1
    assert (one.engines, other.engines) != (other.engines, one.engines)
    assert [p.prompt_id for p in one_pools] == [p.prompt_id for p in other_pools]
    seeds = [{row["seed"] for p in pools for row in p.drawn} for pools in (one_pools, other_pools)]
    assert len(seeds[0] & seeds[1]) > len(QUESTIONS) * 3
