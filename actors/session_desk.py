"""Which of the tree's tasks go to language models: draws kinds of designers, makes sessions' tasks, knows who has which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal

from genesys.evolution import EvolutionTree
from genesys.evolution.arms import arm_weights
from genesys.evolution.events import LESSONS, SessionStarted
from genesys.evolution.evidence import evidence
from genesys.evolution.selection import Selection
from genesys.evolution.sessions import SessionTask, Weights, is_lessons_due, new_session_id, next_to_refine
from genesys.evolution.tree import POISON_AFTER
from genesys.storage.ablations import unit_deltas

Kind = Literal["rules", "llm", "hybrid", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """What the keeper of the books is told of language models.

    Attributes:
        kinds, refine: See `genesys.config.DesignersConfig`.
        limits, bounds: Of every session, see `genesys.roles.brief.Brief`.
        models: By role, the configured weights of its models.
        adaptive, lessons_every, planted: See `genesys.llm.settings.AgentsConfig`.
        ablations: Folder in which `genesys ablate` leaves what units are worth.
    """

    kinds: Mapping[str, float] = field(default_factory=lambda: {"rules": 1.0})
    refine: int = 0
    limits: Mapping[str, Any] = field(default_factory=dict)
    bounds: Mapping[str, str] = field(default_factory=dict)
    models: Weights = field(default_factory=dict)
    adaptive: bool = False
    lessons_every: int = 0
    planted: float = 0.0
    ablations: Path | None = None


class SessionDesk:
    """The tree's memory of sessions beside the books: lost with its process, and not missed."""

    def __init__(self, settings: SessionSettings, tree: EvolutionTree) -> None:
        self._settings, self._tree = settings, tree
        self._holders: dict[str, str] = {}  # of open sessions, by session
        self._n_taken: Counter[str] = Counter()
        self._refined: Counter[str] = Counter()  # children by rules that were asked for, by design
        self._weights = {kind: weight for kind, weight in settings.kinds.items() if weight > 0}
        self._uses_models = self._weights.keys() != {"rules"}

    def draw(self, rng: Random) -> tuple[Kind, str]:
        """A kind of designer, and for `hybrid` the design that rules should vary next; "" for a session.

        `none` when only language models design here, and their money is spent.
        """
        if not self._uses_models:
            return "rules", ""
        refined = self._to_refine() if "hybrid" in self._weights else ""
        possible = {
            kind: weight
            for kind, weight in self._weights.items()
            if not self._tree.out_of_money or kind == "rules" or (kind == "hybrid" and refined)
        }
        if not possible:
            return "none", ""
        (kind,) = rng.choices(list(possible), list(possible.values()))
        if kind == "rules":
            return "rules", ""
        if kind == "hybrid" and refined:
            self._refined[refined] += 1
            return "hybrid", refined
        return ("hybrid" if kind == "hybrid" else "llm"), ""

    def _to_refine(self) -> str:
        return next_to_refine(self._tree, self._settings.refine, self._refined)

    @property
    def is_lessons_due(self) -> bool:
        return not self._tree.out_of_money and is_lessons_due(self._tree, self._settings.lessons_every)

    def left_behind(self, designer: str) -> SessionStarted | None:
        """The first open session that nobody has in hand.

        An actor's slots die together: one that has a session on its last chance is given no second such, so that the
        guilty one does not have its neighbours given up.
        """
        if not self._uses_models or self._tree.out_of_money:
            return None
        actor = designer.partition(".")[0]
        held = [session for session, by in self._holders.items() if by.partition(".")[0] == actor]
        on_trial = any(self._n_taken[session] == POISON_AFTER for session in held)
        for session, event in self._tree.open_sessions.items():
            if session not in self._holders and not (on_trial and self._n_taken[session] == POISON_AFTER - 1):
                return event
        return None

    @property
    def holders(self) -> Collection[str]:
        """Who has a session in hand."""
        return self._holders.values()

    def holder(self, session: str) -> str:
        """Who has a session in hand; "" for nobody."""
        return self._holders.get(session, "")

    def take(self, session: str, designer: str) -> None:
        """Note who has a session in hand."""
        self._holders[session] = designer
        self._n_taken[session] += 1

    def is_poison(self, session: str) -> bool:
        """Whether designers keep dying of a session, or with it."""
        return self._n_taken[session] >= POISON_AFTER

    def forget(self, designer: str) -> None:
        """Free the session that a designer had in hand."""
        self._holders = {session: holder for session, holder in self._holders.items() if holder != designer}

    def new_task(self, selection: Selection | None, seed: int) -> SessionTask:
        """The task of a session that builds on a selection; without one, of a session that writes lessons."""
        settings, tree = self._settings, self._tree
        parents = selection.parents if selection else ()
        return SessionTask(
            session=new_session_id(tree),
            operator=selection.operator if selection else LESSONS,
            parents=parents,
            references=selection.references if selection else (),
            reason=selection.reason if selection else "",
            odds={str(operator): odds for operator, odds in selection.odds.items()} if selection else {},
            seed=seed,
            evidence=self._evidence(parents, for_lessons=selection is None),
            bounds=settings.bounds,
            limits=settings.limits,
            weights={
                **settings.models,
                **(arm_weights(tree, settings.models, Random(seed)) if settings.adaptive else {}),
            },
            planted=settings.planted,
            n_designs=len(tree),
        )

    def _evidence(self, parents: Sequence[str], *, for_lessons: bool) -> Any:
        folder = self._settings.ablations
        if for_lessons:
            return evidence(self._tree, (), n_failures=16, n_leaders=16)
        if folder is None:
            return evidence(self._tree, parents)
        return evidence(self._tree, parents, deltas=lambda design: unit_deltas(folder, design))
