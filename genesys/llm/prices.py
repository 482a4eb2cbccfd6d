"""What calls cost: prices of a run's models, fixed when it starts, and bounds on what a request can be charged for.

Sums are whole nano-dollars; a call's cost is rounded up, once.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any

from genesys.errors import ConfigError
from genesys.llm.calls import NANO_PER_USD, Usage
from genesys.llm.settings import AgentsConfig, ModelConfig
from genesys.roles.prompt import Message

_MTOK = 1_000_000
_COLUMNS = {
    "input": ("input_cost_per_token",),
    "output": ("output_cost_per_token",),
    "reasoning": ("output_cost_per_reasoning_token",),
    "cached": ("cache_read_input_token_cost", "input_cost_per_token_cache_hit"),
    "written": ("cache_creation_input_token_cost",),
}
_PER_MESSAGE = 16
_PER_REQUEST = 1024
"""Tokens that a chat template, or a provider's own instructions for structured answers, may add."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One model's prices, in nano-dollars for a million tokens.

    Attributes:
        cached: Of input tokens that the provider had in its cache.
        written: Of input tokens that it put there; only some charge more for these.
        context_tokens: The longest prompt for which these prices hold and the endpoint answers; None when nobody says.
        source: Where they come from.
    """

    input: int
    output: int
    cached: int
    written: int
    context_tokens: int | None = None
    source: str = "configuration"

    def cost(self, usage: Usage) -> int:
        """What a call cost, in nano-dollars."""
        n_plain = usage.n_input - usage.n_cached - usage.n_written
        priced = n_plain * self.input + usage.n_cached * self.cached + usage.n_written * self.written
        return -(-(priced + usage.n_output * self.output) // _MTOK)

    def bound(self, n_input: int, n_output: int) -> int:
        """The most that so many tokens can cost, in nano-dollars."""
        dearest = max(self.input, self.cached, self.written)
        return -(-(n_input * dearest + n_output * self.output) // _MTOK)


@dataclass(frozen=True, slots=True)
class PriceList:
    """Prices by the name of the model, as they were when the run started."""

    prices: Mapping[str, Price]

    def __getitem__(self, model: str) -> Price:
        if model not in self.prices:
            raise ConfigError(
                f"Cannot price {model!r}: the run's prices, fixed when it started, do not hold it; expected one of "
                f"{', '.join(sorted(self.prices)) or 'none'}. Start a new run to use other models."
            )
        return self.prices[model]

    def to_json(self) -> dict[str, Any]:
        return {name: asdict(price) for name, price in sorted(self.prices.items())}

    @classmethod
    def from_json(cls, data: Mapping[str, Mapping[str, Any]]) -> PriceList:
        return cls({name: Price(**price) for name, price in data.items()})

    @classmethod
    def of(cls, agents: AgentsConfig) -> PriceList:
        """Prices of all models that a run names.

        Raises:
            ConfigError: A model without a price, or one with two.
        """
        return cls.of_models(model for models in agents.models.values() for model in models)

    @classmethod
    def of_models(cls, models: Iterable[ModelConfig]) -> PriceList:
        prices: dict[str, Price] = {}
        for model in models:
            price = price_of(model)
            if prices.setdefault(model.name, price) != price:
                raise ConfigError(
                    f"Cannot price {model.name!r}: two entries give it different prices or contexts; expected one. "
                    "Give all its entries the same input_usd, cached_usd, output_usd and context_tokens."
                )
        return cls(prices)


def price_of(model: ModelConfig) -> Price:
    """A model's prices: its own figures, else LiteLLM's table, in which a price that is not given is not zero.

    Where the table has other prices for long prompts, the context ends where they begin.

    Raises:
        ConfigError: Neither knows them.
    """
    row = _table_row(model.name)
    table = {name: _per_mtok(row, *columns) for name, columns in _COLUMNS.items()}
    given = {"input": model.input_usd, "output": model.output_usd, "cached": model.cached_usd}
    own = {name: round(usd * NANO_PER_USD) for name, usd in given.items() if usd is not None}
    found = table | own
    if found["input"] is None or found["output"] is None:
        raise ConfigError(
            f"Cannot price {model.name!r}: its entry gives no price and LiteLLM's table has none for it; expected input_usd and "
            "output_usd, in dollars for a million tokens. Set both in the model's entry (0 for a server of your own)."
        )
    if "input" in own:  # the table's other figures belong to its own
        table["cached"], table["written"] = None, -(-own["input"] * 5 // 4) if caches_on_request(model.name) else None
    tier = None if "input" in own else _tier(row)
    limits = [tokens for tokens in (model.context_tokens, row.get("max_input_tokens"), tier) if tokens]
    return Price(
        input=found["input"],
        output=max(found["output"], 0 if "output" in own else table["reasoning"] or 0),
        cached=own.get("cached", table["cached"] or found["input"]),
        written=table["written"] or found["input"],
        context_tokens=min(limits, default=None),
        source="configuration" if {"input", "output"} <= own.keys() else "LiteLLM's table",
    )


def caches_on_request(model: str) -> bool:
    """Whether a provider caches a prompt's start only where it is marked, and charges for that."""
    return "claude" in model


def bound_input(messages: Sequence[Message], n_extra: int = 0) -> int:
    """The most input tokens that messages can count, for any tokenizer whose tokens stand for at least one byte.

    Every vocabulary of bytes or characters in use is one; those that normalise the text first may lengthen it, hence NFKD.
    It is about four times the real count of English.

    Args:
        n_extra: Bytes that are sent besides, such as a schema.
    """
    return sum(_bytes(message.text) + _PER_MESSAGE for message in messages) + n_extra + _PER_REQUEST


def bound_texts(texts: Sequence[str]) -> int:
    """The same for texts to embed."""
    return sum(_bytes(text) + _PER_MESSAGE for text in texts)


def _bytes(text: str) -> int:
    if text.isascii():
        return len(text)
    plain = text.encode("utf-8", "replace")
    return max(len(plain), len(unicodedata.normalize("NFKD", text).encode("utf-8", "replace")))


def _per_mtok(row: Mapping[str, Any], *columns: str) -> int | None:
    """The first column that a row has, in nano-dollars for a million tokens."""
    usd = next((row[column] for column in columns if row.get(column) is not None), None)
    return None if usd is None else round(usd * _MTOK * NANO_PER_USD)


def _tier(row: Mapping[str, Any]) -> int | None:
    """The least prompt length, in tokens, from which a row of the table has prices of its own."""
    marks = (key.removeprefix("input_cost_per_token_above_") for key in row)
    sizes = [int(mark.removesuffix("k_tokens")) for mark in marks if mark.removesuffix("k_tokens").isdigit()]
    return min(sizes) * 1000 if sizes else None


def _table_row(name: str) -> Mapping[str, Any]:
    if name in _table():
        return _table()[name]
    provider, _, rest = name.partition("/")
    row = _table().get(rest, {})  # those of OpenAI and Anthropic stand there without a provider
    return row if row.get("litellm_provider", "").startswith(provider) else {}


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    """LiteLLM's table of prices, read without importing it: its own look-up gives models that it does not know a price of 0."""
    spec = util.find_spec("litellm")
    if spec is None or spec.origin is None:
        return {}
    path = Path(spec.origin).with_name("model_prices_and_context_window_backup.json")
    table: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return table
