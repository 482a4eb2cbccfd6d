"""One session in a folder of its own, outside any run and without Ray."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from genesys.agents.conductor import Conducted, conduct
from genesys.agents.retrieval import Bm25Retriever, Document
from genesys.agents.workbench import Workbench
from genesys.errors import ConfigError
from genesys.gau import UnitTree
from genesys.gau.library import SEED_NAMES, seed_design
from genesys.gau.normal_form import normal_form
from genesys.llm.book import CallBook
from genesys.llm.calls import CALLS_FILE
from genesys.llm.client import LiteLLMClient
from genesys.llm.gateway import Gateway
from genesys.llm.limits import paces
from genesys.llm.local_treasury import LocalTreasury
from genesys.llm.prices import PriceList
from genesys.llm.served import endpoint
from genesys.llm.settings import AgentsConfig, ModelConfig
from genesys.llm.spending import Totals
from genesys.roles.brief import Brief, SessionOutcome
from genesys.roles.effects import Tell
from genesys.roles.session import design_session

_REACH_S = 5.0
_USUAL_KEYS: Mapping[str, tuple[str, ...]] = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "openrouter": ("OPENROUTER_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "groq": ("GROQ_API_KEY",),
}
"""Where the key of a provider is looked for, any of them; a provider that is not named here says itself what it lacks."""


async def design_alone(
    brief: Brief,
    *,
    agents: AgentsConfig,
    folder: Path,
    workbench: Workbench,
    documents: Iterable[Document],
    on_tell: Callable[[Tell], None],
) -> tuple[Conducted[SessionOutcome], Totals]:
    """Conduct a session, or go on with the one that was begun in this folder; with what its calls cost by now.

    Raises:
        TransientError: Infrastructure was away; the session may be taken up again.
    """
    book = CallBook(folder / CALLS_FILE, agents.caps, PriceList.of(agents).to_json())
    try:
        treasury, client = LocalTreasury(book, paces(agents.models)), LiteLLMClient()
        conducted = await conduct(
            design_session(brief), session_id=brief.session,
            gateway=Gateway(agents, PriceList.from_json(book.prices), treasury, client),
            workbench=workbench, retriever=Bm25Retriever(documents), claim=claim_beside(brief.parents),
            treasury=treasury, on_tell=on_tell, seed=brief.seed,
        )  # fmt: skip
        await client.close()
        return conducted, book.totals()
    finally:
        book.close()


def claim_beside(parents: Sequence[UnitTree]) -> Callable[[UnitTree], Awaitable[str]]:
    """Claims everything but the parents and the seeds, under whatever names and settings they come."""
    known = {normal_form(tree): tree.design_id for tree in (*parents, *map(seed_design, SEED_NAMES))}

    async def claim(tree: UnitTree) -> str:
        return known.get(normal_form(tree), "")

    return claim


async def check_reach(agents: AgentsConfig) -> None:
    """Find what would keep calls from being answered, before any is made.

    Raises:
        ConfigError: LiteLLM is missing, a model has no price, no money may be spent on one that costs some, a key is not set,
            or nothing listens at an endpoint.
    """
    if find_spec("litellm") is None:
        raise ConfigError(
            "Cannot ask language models: LiteLLM is not installed. Install it with: pip install 'genesys-evolution[llm]'"
        )
    prices = PriceList.of(agents)
    models = list(dict.fromkeys(model for listed in agents.models.values() for model in listed))
    for model in models:
        price = prices[model.name]
        if (price.input or price.output) and not agents.caps.run:
            so = "no cap is set" if agents.caps.run is None else "the cap is 0 USD"
            raise ConfigError(
                f"Cannot ask {model.name!r}: it costs money and {so}; expected the most that may be spent. Set "
                f"agents.caps.run, or --cap-usd where the command takes it."
            )
        _check_key(model)
    await asyncio.gather(*(_check_endpoint(endpoint(url)) for url in {model.api_base for model in models} - {""}))


def _check_key(model: ModelConfig) -> None:
    provider = model.name.partition("/")[0]
    names = (model.api_key_env,) if model.api_key_env else () if model.api_base else _USUAL_KEYS.get(provider, ())
    if names and not any(os.environ.get(name) for name in names):
        raise ConfigError(
            f"Cannot ask {model.name!r}: no key is set; expected it in the environment variable {' or '.join(names)}. Export "
            f"it, name another variable in the model's api_key_env, or for a server of your own its URL in api_base."
        )


async def _check_endpoint(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"Cannot ask the endpoint {url!r}: it is no URL; expected such as http://localhost:8000/v1.")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        _, writer = await asyncio.wait_for(asyncio.open_connection(parts.hostname, port), _REACH_S)
    except (OSError, ValueError, TimeoutError) as error:
        raise ConfigError(
            f"Cannot reach the endpoint {url}: {error or 'it does not answer'}. Start its server, or correct the address."
        ) from None
    writer.close()
