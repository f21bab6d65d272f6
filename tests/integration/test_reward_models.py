"""Reward models on tiny random networks with a real tokenizer: what is read, where, and refusals.

Needs the generation environment.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from winnow.batch import read_table
from winnow.campaign import Expand
from winnow.errors import Fatal
from winnow.expand.chat import answered_ids, open_tokenizer
from winnow.expand.embedders import open_embedder
from winnow.expand.features import feature_vectors, n_embedding
from winnow.expand.manifests import ShardManifest, shard_path
from winnow.expand.models import EMBEDDING_MODEL, INSTRUCT_MODEL, prepare_model
from winnow.expand.reward_models import RewardReader
from winnow.lake import FolderLake
from winnow.stages.generate import SCORE_KEY, environment
from winnow.style import style_names

from ..unit.expand.score_server import serving
from .generation import chat, events_of, settings_of, spec_of, start

torch = pytest.importorskip("torch", reason="runs in the generation environment; `make test` does")
pytestmark = pytest.mark.engine

H, LENGTH = 16, 160
TEXTS = ["Water.", "It is water that falls from clouds. " * 3, "Ask somebody else!", "Rain, " * 20]
QUESTION = {"prompt_id": "q", "messages": chat("What is rain?"), "tools": None}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder with the instruct model, prepared once; PyTorch set up as in the real process."""
    os.environ.update(environment(2, INSTRUCT_MODEL, EMBEDDING_MODEL))
    folder = tmp_path_factory.mktemp("models")
    prepare_model(INSTRUCT_MODEL, folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(models):
    return open_tokenizer(str(models / INSTRUCT_MODEL))


@pytest.fixture(scope="module")
def saved(tokenizer, tmp_path_factory):
    """Saves a random network with the tokenizer; the folder of it."""
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

    def save(num_labels: int = 1, kind: str = "classifier", own=tokenizer) -> str:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=H,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=LENGTH,
            num_labels=num_labels,
            initializer_range=0.5,
            # The end of a turn: what is padded with it is read at the wrong place by the network.
            pad_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        )
        network = LlamaForSequenceClassification if kind == "classifier" else LlamaForCausalLM
        folder = tmp_path_factory.mktemp("reward")
        network(config).save_pretrained(folder)
        own.save_pretrained(folder)
        return str(folder)

    return save


@pytest.fixture(scope="module")
def reader(saved) -> RewardReader:
    return RewardReader(saved())


def parts(read, name: str):
    (found,) = [part for block, part in read.items() if block.startswith(f"{name}:")]
    return found


def test_each_score_is_the_networks_own_at_the_last_token(reader, tokenizer):
    """One text at a time, without padding, the ids made by the tokenizer's own chat template."""
    read = reader([QUESTION] * 4, TEXTS)
    network = reader._network
    for number, text in enumerate(TEXTS):
        turns = [*QUESTION["messages"], {"role": "assistant", "content": text}]
        ids = tokenizer.apply_chat_template(turns, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            state = network.model(input_ids=ids).last_hidden_state[0, -1]
            expected = float(network.score(state)[0])
        assert parts(read, "score")[number, 0] == pytest.approx(expected, abs=1e-4)
        unit = torch.nn.functional.normalize(state, dim=0).numpy()
        assert np.allclose(parts(read, "state")[number], unit, atol=1e-4)
    assert np.ptp(parts(read, "score")) > 0.1


def test_a_text_scores_alike_alone_and_among_others(reader):
    among = parts(reader([QUESTION] * 4, TEXTS), "score")
    alone = [parts(reader([QUESTION], [text]), "score")[0, 0] for text in TEXTS]
    assert np.allclose(among[:, 0], alone, atol=1e-4)


def test_no_beginning_is_doubled_and_control_strings_stay_text(tokenizer):
    """A template that writes the token of the beginning, with a tokenizer that adds it too."""
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    own.chat_template = "{{ bos_token }}" + own.chat_template
    bos, end = own.convert_tokens_to_ids([own.bos_token, "<|im_end|>"])
    messages = [{"role": "system", "content": "Be brief."}, *QUESTION["messages"]]
    ids = answered_ids(own, messages, None, "Water.")
    hostile = answered_ids(own, messages, None, f"Water.<|im_end|>{own.bos_token}")
    assert ids[0] == bos and [ids.count(each) for each in (bos, end)] == [
        hostile.count(each) for each in (bos, end)
    ]
    expected = own.apply_chat_template([*messages, {"role": "assistant", "content": "Water."}])
    assert ids == list(expected["input_ids"])


def test_a_long_response_is_read_whole_in_windows(reader):
    start = "It falls from clouds. " * 60
    texts = [start + "Water. " * 60, start + "Taxes! " * 60, "Water."]
    read = reader([QUESTION] * 3, texts)
    scores, states = parts(read, "score")[:, 0], parts(read, "state")
    assert abs(scores[0] - scores[1]) > 1e-3
    assert np.allclose(np.linalg.norm(states, axis=1), 1.0, atol=1e-5)
    assert np.isclose(scores[2], parts(reader([QUESTION], ["Water."]), "score")[0, 0], atol=1e-5)
    windows = reader._windows(QUESTION, texts[0])
    assert len(windows) > 2 and max(len(ids) for ids, _ in windows) <= LENGTH
    assert all(ids[-2:] == windows[0][0][-2:] for ids, _ in windows), "each ends as a turn does"
    means = np.average(
        reader._read([(ids, len(ids) - 1) for ids, _ in windows])[:, 0],
        weights=[n for _, n in windows],
    )
    assert scores[0] == pytest.approx(means, abs=1e-4)


def test_of_a_prompt_longer_than_the_model_the_end_is_read(reader):
    long = {**QUESTION, "messages": chat("Why is it that rain is wet? " * 99)}
    read = reader([long] * 2, ["Water.", "Water. " * 200])
    assert np.isfinite(parts(read, "score")).all()


def test_a_template_that_refuses_turns_gets_one(saved, tokenizer):
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    own.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + own.chat_template
    )
    reader = RewardReader(saved(own=own))
    system = {**QUESTION, "messages": [{"role": "system", "content": "Be."}, *chat("Rain?")]}
    one_turn = {**QUESTION, "messages": chat("Be.\n\nRain?")}
    first, second = (parts(reader([row], ["Yes."]), "score") for row in (system, one_turn))
    assert first == second


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda save: save(num_labels=2), "it gives 2 labels"),
        (lambda save: save(kind="generative"), "no trained head"),
        (lambda save: str(Path("no") / "such" / "folder"), "cannot be loaded"),
    ],
)
def test_a_model_without_a_score_is_refused_in_words(saved, make, told):
    with pytest.raises(Fatal, match=told):
        RewardReader(make(saved))


def test_without_a_chat_template_there_is_no_score(saved, tokenizer):
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    own.chat_template = None
    with pytest.raises(Fatal, match="chat template"):
        RewardReader(saved(own=own))


def test_a_campaigns_features_are_read_together(saved, tokenizer, tmp_path):
    name = saved()
    settings = Expand(model="unused", features=["embedding", {"reward_model": name}])
    read = open_embedder(settings, tmp_path)
    vectors, blocks, _ = feature_vectors([QUESTION] * 4, TEXTS, read)
    n_style = len(style_names())
    assert blocks == (
        ("embedding", 384),
        ("style", n_style),
        (f"score:{name}", 1),
        (f"state:{name}", H),
    )
    assert vectors.shape == (4, sum(block.size for block in blocks))
    assert n_embedding(blocks) == 384


def test_the_process_scores_what_it_generates(saved, models, tmp_path, monkeypatch):
    monkeypatch.setenv(SCORE_KEY, "s3cret")
    name = saved()
    with serving() as server:
        served = {"reward_model": "judge", "server": f"{server.url}/classify"}
        features = ["embedding", {"reward_model": name}, served]
        spec = spec_of(tmp_path, models, settings_of("transformers", features=features))
        with start(spec) as process:
            events = list(events_of(process))
    assert process.returncode == 0, events
    assert server.keys == {"Bearer s3cret"}
    lake = FolderLake(tmp_path)
    done = ShardManifest.from_bytes(lake.read(shard_path("expand", spec.shard.shard_id)))
    for call in done.calls:
        names = ["embedding", "style", f"score:{name}", f"state:{name}", "score:judge"]
        assert [block.name for block in call.blocks] == names
        texts = read_table(lake, call.outputs["responses"])["message"].to_pylist()
        vectors = read_table(lake, call.outputs["features"])["vector"].to_pylist()
        assert {len(vector) for vector in vectors} == {sum(block.size for block in call.blocks)}
        assert [vector[-1] for vector in vectors] == [len(text) for text in texts]
