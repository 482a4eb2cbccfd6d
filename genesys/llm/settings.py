"""The `agents:` part of a configuration: which models play which role, and what they may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from genesys.roles.brief import SessionLimits

EMBEDDING = "embedding"
"""The key of `AgentsConfig.models` for models that compare proposals by their meaning; no role falls back on them."""

Structured = Literal["auto", "json_schema", "json_object", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One model at one endpoint.

    Attributes:
        name: LiteLLM's name, such as `openai/gpt-5`, `anthropic/claude-opus-4`, `gemini/gemini-3-pro`, `hosted_vllm/NAME`.
        weight: How often it is drawn, relative to the role's other models.
        api_base: Of an OpenAI-compatible server; `served:NAME` for one that `genesys serve` keeps.
        api_key_env: Name of the environment variable that holds the key; the provider's usual one by default.
        structured: How answers are held to their form: by JSON schema, as any JSON object, or by asking for it alone.
        input_usd, cached_usd, output_usd: Dollars for a million tokens; LiteLLM's table by default.
        context_tokens: What prompt and answer may fill together; LiteLLM's table by default.
        max_tokens: The most that an answer may take.
        requests_per_minute, tokens_per_minute: Of all designers together; None for no limit.
        family: Who trained it; a judge is of another family than its reviewer. The name's first part by default.
    """

    name: str
    weight: float = 1.0
    api_base: str = ""
    api_key_env: str = ""
    structured: Structured = "auto"
    input_usd: float | None = None
    cached_usd: float | None = None
    output_usd: float | None = None
    context_tokens: int | None = None
    max_tokens: int = 8192
    temperature: float | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout_s: float = 600.0
    family: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyCaps:
    """The most that agents may spend, in USD; None for no cap. It is set aside before a call is sent, and never passed.

    Attributes:
        run: Of the whole run; needed as soon as a model costs anything.
        day: In any 24 hours.
        session, call: Of each.
        roles: By role, over the whole run.
    """

    run: float | None = None
    day: float | None = None
    session: float | None = None
    call: float | None = None
    roles: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentsConfig:
    """Designers that are language models.

    Attributes:
        models: By role, or `default` for roles not named. The first under `embedding`, if any, compares proposals with those
            before them by their meaning.
        caps: Money.
        limits: How far a session may go.
        n_retries: Further tries of a call that met a rate limit or an endpoint that was away, before another model.
        adaptive: Whether a role's models are drawn by what they earned for their dollars.
        lessons_every: Designs after which the lessons are rewritten; 0 for never.
        planted: Share of reviews that are given a proposal known to be bad, to see whether it passes.
    """

    models: Mapping[str, tuple[ModelConfig, ...]] = field(default_factory=dict)
    caps: MoneyCaps = field(default_factory=MoneyCaps)
    limits: SessionLimits = field(default_factory=SessionLimits)
    n_retries: int = 4
    adaptive: bool = False
    lessons_every: int = 0
    planted: float = 0.0
