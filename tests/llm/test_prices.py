"""Prices: whole nano-dollars, fixed with the run, never guessed to be zero; and bounds that hold for any tokenizer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesys.errors import ConfigError
from genesys.llm.calls import Usage
from genesys.llm.prices import Price, PriceList, bound_input, bound_texts, price_of
from genesys.llm.settings import AgentsConfig, ModelConfig
from genesys.roles.prompt import Message

OWN = ModelConfig(name="hosted_vllm/m", input_usd=0.25, cached_usd=0.025, output_usd=1.5, context_tokens=4096)


def test_own_figures_are_dollars_for_a_million_tokens() -> None:
    price = price_of(OWN)
    assert price == Price(
        input=250_000_000, output=1_500_000_000, cached=25_000_000, written=250_000_000, context_tokens=4096
    )
    assert price.cost(Usage(n_input=1000, n_output=100, n_cached=400)) == 600 * 250 + 400 * 25 + 100 * 1500
    assert price.cost(Usage(n_input=0, n_output=0)) == 0


def test_a_cost_below_a_nano_dollar_is_rounded_up_once() -> None:
    price = Price(input=1, output=0, cached=1, written=1)
    assert price.cost(Usage(n_input=1_000_001, n_output=0)) == 2


@pytest.mark.parametrize(
    ("name", "input_nano", "output_nano"),
    [
        ("gpt-5", 1250, 10_000),
        ("openai/gpt-5", 1250, 10_000),
        ("anthropic/claude-sonnet-4-5", 3000, 15_000),
        ("gemini/gemini-2.5-pro", 1250, 10_000),
    ],
)
def test_prices_are_taken_from_the_table_that_litellm_ships(name: str, input_nano: int, output_nano: int) -> None:
    price = price_of(ModelConfig(name=name))
    assert (price.input, price.output) == (input_nano * 10**6, output_nano * 10**6)
    assert price.source == "LiteLLM's table" and 0 < price.cached < price.input <= price.written


def test_a_context_ends_where_other_prices_begin() -> None:
    assert price_of(ModelConfig(name="gemini/gemini-2.5-pro")).context_tokens == 200_000
    assert price_of(ModelConfig(name="gemini/gemini-2.5-pro", context_tokens=50_000)).context_tokens == 50_000
    dearer = ModelConfig(name="gemini/gemini-2.5-pro", input_usd=2.5, output_usd=15.0)
    assert price_of(dearer).context_tokens == 1_048_576


def test_own_figures_go_before_the_tables_one_by_one() -> None:
    price = price_of(ModelConfig(name="openai/gpt-5", input_usd=2.0))
    assert (price.input, price.cached, price.output) == (2 * 10**9, 2 * 10**9, 10**10)


def test_claude_writes_its_cache_at_a_higher_price() -> None:
    assert price_of(ModelConfig(name="anthropic/claude-x", input_usd=4.0, output_usd=8.0)).written == 5 * 10**9
    assert price_of(ModelConfig(name="anthropic/claude-sonnet-4-5")).written == 3_750_000_000


@pytest.mark.parametrize(
    "name", ["claude-opus-4-1", "anthropic/claude-unheard-of", "hosted_vllm/gpt-5", "openrouter/gpt-5"]
)
def test_a_model_that_the_table_does_not_hold_is_refused_not_free(name: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"Cannot price '{name}'.*input_usd and output_usd.*0 for a server of your own"
    ):
        price_of(ModelConfig(name=name))
    assert price_of(ModelConfig(name=name, input_usd=0.0, output_usd=0.0)).bound(10**9, 10**9) == 0


def test_one_price_is_not_enough() -> None:
    with pytest.raises(ConfigError, match="Cannot price"):
        price_of(ModelConfig(name="hosted_vllm/m", input_usd=1.0))


def test_a_list_is_plain_data_and_back() -> None:
    agents = AgentsConfig(models={"default": (OWN,), "coder": (ModelConfig(name="gpt-5"), OWN)})
    prices = PriceList.of(agents)
    assert PriceList.from_json(json.loads(json.dumps(prices.to_json()))) == prices
    with pytest.raises(
        ConfigError, match=r"Cannot price 'gpt-9'.*do not hold it; expected one of gpt-5, hosted_vllm/m"
    ):
        _ = prices["gpt-9"]


def test_one_name_has_one_price() -> None:
    with pytest.raises(ConfigError, match="two entries give it different prices"):
        PriceList.of_models([OWN, ModelConfig(name=OWN.name, input_usd=1.0, output_usd=1.0)])


@given(
    st.builds(Price, input=st.integers(0, 10**11), output=st.integers(0, 10**11), cached=st.integers(0, 10**11), written=st.integers(0, 10**11)),
    st.integers(0, 10**6), st.integers(0, 10**5), st.data(),
)  # fmt: skip
def test_no_usage_within_the_bounds_costs_more_than_the_bound(
    price: Price, n_input: int, n_output: int, data: st.DataObject
) -> None:
    used = data.draw(st.integers(0, n_input))
    cached = data.draw(st.integers(0, used))
    written = data.draw(st.integers(0, used - cached))
    usage = Usage(n_input=used, n_output=data.draw(st.integers(0, n_output)), n_cached=cached, n_written=written)
    assert 0 <= price.cost(usage) <= price.bound(n_input, n_output)


@given(st.lists(st.text(), max_size=4))
def test_the_bound_of_a_prompt_is_at_least_its_bytes(texts: list[str]) -> None:
    messages = [Message(author="user", text=text) for text in texts]
    n_bytes = sum(len(text.encode()) for text in texts)
    assert bound_input(messages) >= n_bytes and bound_texts(texts) >= n_bytes
    assert bound_input(messages, 50) == bound_input(messages) + 50


def test_a_character_that_tokenizers_take_apart_counts_as_its_parts() -> None:
    assert bound_texts(["\ufdfa"]) >= 33  # one character of three bytes; NFKC makes it eighteen


def test_real_tokenizers_stay_below_the_bound() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    trained = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True))
    trained.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=260, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()
    )
    trained.train_from_iterator(["a small text"], trainer)
    for text in ["class Gate(nn.Module):\n\tpass", "ÄÖ 漢字 🙂 \ufdfa", "\n\n\n   \t", "{}" * 50]:
        assert len(trained.encode(text).ids) <= bound_texts([text])
