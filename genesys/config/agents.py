"""What must hold of `agents` and `designers.kinds` before a run starts: mistakes in them cost money."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import get_args

from genesys.errors import ConfigError, suggest
from genesys.evolution.operators.mutation import EDITS
from genesys.gau.library import unit_named
from genesys.llm.settings import EMBEDDING, AgentsConfig, ModelConfig
from genesys.roles.effects import Role

KINDS = ("rules", "llm", "hybrid")
ROLES = (*get_args(Role), "default")
_NAMED = (*ROLES, EMBEDDING)
_CAPPED = (*ROLES[:-1], EMBEDDING)
_LEAST = {
    "beam": 1, "samples": 1, "max_proposals": 1, "max_attempts": 1, "max_turns": 1, "max_units": 1, "max_searches": 0,
    "max_failed_units": 0, "retrieval_tokens": 0,
}  # fmt: skip


def check_kinds(kinds: Mapping[str, float], agents: AgentsConfig) -> None:
    """Refuse weights that draw nothing, and language models of which none is named.

    Raises:
        ConfigError: With what to set.
    """
    for kind, weight in kinds.items():
        if kind not in KINDS:
            raise ConfigError(f"Cannot use designers.kinds.{kind}: expected {', '.join(KINDS)}.{suggest(kind, KINDS)}")
        _require_number(f"designers.kinds.{kind}", weight)
    if not sum(kinds.values()) > 0:
        raise ConfigError("Cannot draw a designer: designers.kinds has no weight above 0. Give one of them some.")
    if uses_models(kinds) and not agents.models:
        raise ConfigError(
            "Cannot use designers.kinds llm or hybrid without a language model. Name one under agents.models.default, or "
            "set designers.kinds to {rules: 1}."
        )


def check_rules(units: Sequence[str], edits: Mapping[str, float], *, adaptive: bool) -> None:
    """Refuse units and edits that there are none of, and weights that adapting would put aside.

    Raises:
        ConfigError: With what to set.
    """
    for name in units:
        unit_named(name)
    known = [edit.__name__ for edit, _ in EDITS]
    for name, weight in edits.items():
        if name not in known:
            raise ConfigError(f"Cannot use designers.edits.{name}: expected {', '.join(known)}.{suggest(name, known)}")
        _require_number(f"designers.edits.{name}", weight)
    if edits and not sum(edits.values()) > 0:
        raise ConfigError("Cannot draw an edit: designers.edits has no weight above 0. Give one of them some.")
    if adaptive and (units or edits):
        raise ConfigError(
            "Cannot adapt the weights of edits that designers.units or designers.edits settle. Drop them, or set "
            "designers.adaptive to false."
        )


def uses_models(kinds: Mapping[str, float]) -> bool:
    """Whether language models design in such a pool."""
    return any(kinds.get(kind, 0) > 0 for kind in ("llm", "hybrid"))


def check_agents(agents: AgentsConfig) -> None:
    """Refuse what no session could work with.

    Raises:
        ConfigError: With what to set.
    """
    _check_models(agents.models)
    _check_caps(agents)
    _check_limits(agents)
    if agents.n_retries < 0 or agents.lessons_every < 0 or not 0 <= agents.planted <= 1:
        raise ConfigError(
            f"Cannot use agents with n_retries = {agents.n_retries}, lessons_every = {agents.lessons_every}, planted = "
            f"{agents.planted}: expected 0 or more, and a share from 0 to 1."
        )
    if agents.limits.judge and agents.models:
        _check_judge(agents)


def models_of(agents: AgentsConfig, role: str) -> tuple[ModelConfig, ...]:
    """The models that play a role."""
    return agents.models.get(role, agents.models.get("default", ()))


def family_of(model: ModelConfig) -> str:
    """Who trained it, as far as the configuration tells."""
    return model.family or model.name.partition("/")[0]


def _check_models(models: Mapping[str, Sequence[ModelConfig]]) -> None:
    for role, listed in models.items():
        if role not in _NAMED:
            raise ConfigError(f"Cannot use agents.models.{role}: expected {', '.join(_NAMED)}.{suggest(role, _NAMED)}")
        if not any(model.weight > 0 for model in listed):
            raise ConfigError(f"Cannot ask the {role}: agents.models.{role} has no model with a weight above 0.")
        for model in listed:
            _check_model(f"agents.models.{role}: {model.name}", model)
    if models and "default" not in models and (missing := [r for r in ROLES[:-1] if r not in models]):
        raise ConfigError(
            f"Cannot do without a model for the {missing[0]}. Add agents.models.{missing[0]}, or agents.models.default for "
            f"all roles that are not named."
        )


def _check_model(where: str, model: ModelConfig) -> None:
    _check_address(where, model.api_base)
    for name in ("weight", "input_usd", "cached_usd", "output_usd", "timeout_s", "temperature"):
        if (value := getattr(model, name)) is not None:
            _require_number(f"{where}.{name}", value)
    for name in ("max_tokens", "context_tokens", "requests_per_minute", "tokens_per_minute", "timeout_s"):
        value = getattr(model, name)
        if value is not None and not value > 0:
            raise ConfigError(f"Cannot use {where}.{name} = {value}: expected a number above 0.")


def _check_address(where: str, address: str) -> None:
    """Refuse a password in an address: settings stand in the journal and in the run's folder."""
    if "@" in address.partition("://")[2].partition("/")[0]:
        raise ConfigError(
            f"Cannot use {where}.api_base: it holds a user's name or password, which would stand in the journal; expected none. "
            "Name the environment variable that holds the key in api_key_env."
        )


def _check_caps(agents: AgentsConfig) -> None:
    caps = agents.caps
    for name, value in _each_cap(agents):
        if value is not None:
            _require_number(f"agents.caps.{name}", value)
    if unknown := [role for role in caps.roles if role not in _CAPPED]:
        raise ConfigError(
            f"Cannot use agents.caps.roles.{unknown[0]}: expected {', '.join(_CAPPED)}.{suggest(unknown[0], _CAPPED)}"
        )
    priced = [m.name for models in agents.models.values() for m in models if _has_price(m)]
    if priced and caps.run is None:
        raise ConfigError(
            f"Cannot ask {priced[0]!r} without a cap: it costs money. Set agents.caps.run to the most that this run may spend, "
            "in USD."
        )


def _each_cap(agents: AgentsConfig) -> Iterator[tuple[str, float | None]]:
    for name in ("run", "day", "session", "call"):
        yield name, getattr(agents.caps, name)
    yield from ((f"roles.{role}", cap) for role, cap in agents.caps.roles.items())


def _check_limits(agents: AgentsConfig) -> None:
    limits = agents.limits
    for name in ("proposal_bar", "unit_bar"):
        if not 0 <= getattr(limits, name) <= 5:
            raise ConfigError(f"Cannot use agents.limits.{name} = {getattr(limits, name)}: expected 0 to 5.")
    for name, least in _LEAST.items():
        if getattr(limits, name) < least:
            raise ConfigError(f"Cannot use agents.limits.{name} = {getattr(limits, name)}: expected at least {least}.")


def _check_judge(agents: AgentsConfig) -> None:
    """A second opinion of the same family is the first one again."""
    reviewing = {family_of(model) for model in models_of(agents, "reviewer")}
    if shared := sorted(reviewing & {family_of(model) for model in models_of(agents, "judge")}):
        raise ConfigError(
            f"Cannot judge by a model of the family {shared[0]!r}: the reviewer's is, too. Set agents.models.judge to "
            f"another family's, or agents.limits.judge to false."
        )


def _has_price(model: ModelConfig) -> bool:
    return any(price is not None and price > 0 for price in (model.input_usd, model.cached_usd, model.output_usd))


def _require_number(where: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
        raise ConfigError(f"Cannot use {where} = {value}: expected a number from 0 up.")
