"""Drives a session: performs each effect that it yields and sends it what came of it.

Steps are numbered in the order of the yields, members of a `Gather` `k.0`, `k.1`, and run at once. What an effect gave
is remembered under its step, so that a session which is taken up again is told the same without its being done again;
answers of language models are remembered by the treasury's own books of calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from genesys.agents.retrieval import Retriever
from genesys.agents.workbench import Workbench
from genesys.errors import Finding, GenesysError, TransientError
from genesys.gau import UnitTree
from genesys.llm.calls import Remembered, StaleError, Treasury
from genesys.roles.brief import SessionOutcome
from genesys.roles.effects import (
    Ask,
    Check,
    Checked,
    Claim,
    Derive,
    Effect,
    Embed,
    Gather,
    Passage,
    Probe,
    Profile,
    Refusal,
    Search,
    Single,
    Tell,
    effect_hash,
)
from genesys.roles.prompt import Prompt

log = logging.getLogger(__name__)

T = TypeVar("T")
_RETRY_AFTER_S = (0.5, 5.0)

Session = Generator[Effect, Any, T]


class Answered(Protocol):
    """An answer of a role's model, as `genesys.llm.gateway` gives it."""

    @property
    def value(self) -> Any: ...
    @property
    def model(self) -> str: ...
    @property
    def cost_nano(self) -> int: ...
    @property
    def n_calls(self) -> int: ...


class Embedded(Protocol):
    """Vectors of texts, as `genesys.llm.gateway` gives them."""

    @property
    def vectors(self) -> tuple[Sequence[float], ...]: ...
    @property
    def cost_nano(self) -> int: ...
    @property
    def n_calls(self) -> int: ...


class Asking(Protocol):
    """What a conductor needs of a gateway."""

    async def ask(
        self, session: str, step: str, ask: Ask, *, seed: int, weights: Mapping[str, Mapping[str, float]]
    ) -> Answered | Refusal: ...

    async def embed(self, session: str, step: str, texts: Sequence[str]) -> Embedded | Refusal: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Conducted(Generic[T]):
    """What came of a session, and what it took.

    Attributes:
        outcome: The generator's own; a `SessionOutcome` with the cause `stale` where memory, or the books of calls that are
            replayed, hold another session than this, and `bug` where a mistake of ours ended it.
        cost_nano: Of all calls on its way, those of an earlier attempt included; a call that was lost with its process is not.
        models: By role, the model that answered most.
        n_calls: Requests, repairs and failed ones included.
    """

    outcome: T | SessionOutcome
    cost_nano: int
    models: Mapping[str, str]
    n_calls: int


async def conduct(
    session: Session[T],
    *,
    session_id: str,
    gateway: Asking,
    workbench: Workbench,
    retriever: Retriever,
    claim: Callable[[UnitTree], Awaitable[str]],
    treasury: Treasury,
    on_tell: Callable[[Tell], None] = lambda told: None,
    seed: int = 0,
    weights: Mapping[str, Mapping[str, float]] | None = None,
) -> Conducted[T]:
    """Conduct a session to its end.

    Args:
        claim: Claims a design for the run; gives the id of an equal one that exists, or "".
        treasury: Keeps what the session's effects gave; its calls are the gateway's matter.
        seed: Of the draws of models.
        weights: Of models by role, in place of the configured ones.

    Raises:
        TransientError: Infrastructure was away at every try; the session may be taken up again.
    """
    remembered = {entry.step: entry for entry in await treasury.memory(session_id)}
    conductor = _Conductor(
        session_id, gateway, workbench, retriever, claim, treasury, on_tell, seed, weights or {}, remembered
    )
    outcome = await conductor.run(session)
    models = {role: counts.most_common(1)[0][0] for role, counts in conductor.models.items()}
    return Conducted(outcome=outcome, cost_nano=conductor.cost_nano, models=models, n_calls=conductor.n_calls)


@dataclass(slots=True)
class _Conductor:
    """One session under way."""

    session: str
    gateway: Asking
    workbench: Workbench
    retriever: Retriever
    claim: Callable[[UnitTree], Awaitable[str]]
    treasury: Treasury
    on_tell: Callable[[Tell], None]
    seed: int
    weights: Mapping[str, Mapping[str, float]]
    remembered: dict[str, Remembered]
    cost_nano: int = 0
    n_calls: int = 0
    models: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    async def run(self, session: Session[T]) -> T | SessionOutcome:
        step, result = 0, None
        try:
            while True:
                effect = session.send(result)
                if isinstance(effect, Gather):
                    result = await self._all(step, effect)
                else:
                    result = await self._one(str(step), effect)
                step += 1
        except StopIteration as end:
            outcome: T = end.value
            return outcome
        except StaleError as stale:
            return SessionOutcome(tree=None, cause="stale", reason=str(stale))
        except GenesysError:
            raise
        except Exception as error:  # a mistake of ours ends this session, whose cost counts; a run has others
            log.exception("%s ended by a mistake in Genesys", self.session)
            return SessionOutcome(tree=None, cause="bug", reason=f"{type(error).__name__}: {error}")
        finally:
            session.close()

    async def _all(self, step: int, gather: Gather) -> tuple[Any, ...]:
        """Every member's result; when one raises, the others are ended before it goes on."""
        tasks = [asyncio.create_task(self._one(f"{step}.{i}", e)) for i, e in enumerate(gather.effects)]
        try:
            return tuple(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, step: str, effect: Single) -> Any:
        known, name = self.remembered.get(step), "" if isinstance(effect, Ask | Embed | Tell) else effect_hash(effect)
        if known is not None and known.effect != name:
            raise self._stale(f"at step {step} it did something else before")
        if isinstance(effect, Ask):
            return await self._ask(step, effect)
        if isinstance(effect, Embed):
            return await self._embed(step, effect)
        if isinstance(effect, Tell):
            return self.on_tell(effect)
        if known is not None and not (isinstance(effect, Claim) and not known.result):
            return _restored(effect, known.result)  # but for a claim that held: it went with whoever made it
        result = await _persistently(lambda: self._performed(effect))
        await self._remember(Remembered(step=step, effect=name, result=_plain(result)))
        return result

    async def _ask(self, step: str, ask: Ask) -> Any:
        await self._pin(ask.prompt)
        answer = await self.gateway.ask(self.session, step, ask, seed=self.seed, weights=self.weights)
        self.cost_nano += answer.cost_nano
        self.n_calls += answer.n_calls
        if isinstance(answer, Refusal):
            return answer
        self.models[ask.role][answer.model] += 1
        return answer.value

    async def _embed(self, step: str, effect: Embed) -> tuple[Sequence[float], ...]:
        embedded = await self.gateway.embed(self.session, step, effect.texts)
        self.cost_nano += embedded.cost_nano
        self.n_calls += embedded.n_calls
        return () if isinstance(embedded, Refusal) else embedded.vectors

    async def _performed(self, effect: Single) -> Any:
        match effect:
            case Claim(tree=tree):
                return await self.claim(tree)
            case Check():
                return await self.workbench.check(effect)
            case Probe(tree=tree):
                return await self.workbench.probe(tree)
            case Profile(tree=tree):
                return await self.workbench.profile(tree)
            case Derive(program=program):
                return await self.workbench.derive(program)
            case Search():
                return await self.retriever.search(effect)
        raise AssertionError(f"no effect of a session: {effect!r}")

    async def _pin(self, prompt: Prompt) -> None:
        """Hold a session to the prompts that it began with: under others each question would be new, and paid again."""
        step = f"prompt {prompt.template}"
        known = self.remembered.get(step)
        if known is None:
            self.remembered[step] = entry = Remembered(step=step, effect=prompt.version, result=None)
            await self._remember(entry)
        elif known.effect != prompt.version:
            raise self._stale(f"it was asked by version {known.effect} of {prompt.template}.md before")

    async def _remember(self, entry: Remembered) -> None:
        await _persistently(lambda: self.treasury.remember(self.session, entry))

    def _stale(self, why: str) -> StaleError:
        return StaleError(
            f"Cannot take session {self.session!r} up again: {why}. It was begun with other prompts, another version of Genesys "
            f"or another task; start a new one."
        )


async def _persistently(work: Callable[[], Awaitable[T]]) -> T:
    """Do some work, again after a while when infrastructure is away."""
    for wait_s in _RETRY_AFTER_S:
        try:
            return await work()
        except TransientError:
            await asyncio.sleep(wait_s)
    return await work()


def _plain(result: Any) -> Any:
    """An effect's result as plain data."""
    match result:
        case Checked():
            return {"findings": [finding.to_json() for finding in result.findings], "report": dict(result.report)}
        case tuple():
            return [asdict(passage) for passage in result]
    return result


def _restored(effect: Single, plain: Any) -> Any:
    """What `_plain` was given."""
    match effect:
        case Check():
            return Checked(findings=tuple(Finding(**finding) for finding in plain["findings"]), report=plain["report"])
        case Search():
            return tuple(Passage(**passage) for passage in plain)
    return plain
