"""Briefs, evidence and answers for the tests of roles, and a driver that plays the world for a session."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

from genesys.evolution.evidence import Evidence, Known, Measured
from genesys.gau.library import seed_design
from genesys.roles.answers import DirectTurn, ProposerTurn, ReviewerTurn
from genesys.roles.brief import Brief, SessionLimits
from genesys.roles.effects import Ask, Check, Checked, Claim, Effect, Embed, Gather, Passage, Search, Single
from genesys.roles.wording import BOUNDS

GPT, RETNET = seed_design("gpt"), seed_design("retnet")
FIGURES = {name: f"<{name}, with the checker's figures>" for name in BOUNDS}

EVIDENCE = Evidence(
    parents=(
        Known(
            design=GPT.design_id, name="gpt", title="The reference transformer", outcome="verified",
            abstract="Pre-norm attention with rotary positions and SwiGLU.",
            measured=(
                Measured(scale="14M", fitness=0.4321, interval=(0.4011, 0.4633), families={"blimp": 0.6543, "recall": 0.9512},
                         test_bpb=1.2345),
                Measured(scale="31M", fitness=0.5017, interval=(0.4702, 0.5333)),
            ),
            deltas={"mixer": (0.2101, 0.1502, 0.2703), "mixer.position": (0.0101, -0.0203, 0.0402)},
        ),
    ),
    siblings=(
        Known(design="5" * 64, name="gpt-3", title="Gated heads", outcome="verified", operator="mutation", detail="mixer",
              abstract="A sigmoid gate on each head.", measured=(Measured(scale="14M", fitness=0.4477, interval=(0.41, 0.48)),)),
    ),
    failures=(
        Known(design="", name="proposal-7", title="Reversed scan", outcome="proposal-failed", cause="rated 1.5: it looks ahead",
              abstract="Runs the recurrence from the end."),
        Known(design="f" * 64, name="gpt-9", title="Unbounded gate", outcome="rejected", cause="[unstable] Gate: inf after 3 steps"),
    ),
    leaders=(Known(design="1" * 64, name="retnet-2", title="Learnt decay", outcome="verified",
                   measured=(Measured(scale="70M", fitness=0.6113, interval=(0.58, 0.64)),)),),
    lessons="- Gates on heads help a little [555555555555].",
)  # fmt: skip

PROPOSAL = ProposerTurn(
    action="propose", query="", title="Two-rate attention", target="mixer",
    abstract="Attention whose scores fade at a learnt rate in half of the heads.",
    motivation="Gated heads rose by .0156 within their interval.",
    mathematics="s_ts = q_t . k_s / sqrt(d) - r_h (t - s)", algorithm="scaled dot product with a bias (H, L, L); O(B L^2 D)",
    risks="Rates may collapse to zero.",
)  # fmt: skip
REVIEW = ReviewerTurn(
    action="review", query="", novelty=3.5, soundness=4.5, feasibility=5.0, effect=4.0, cost=4.5, rating=4.0,
    review="Close to ALiBi, but learnt.", suggestions="Say how rates start.",
)  # fmt: skip
DIRECT = DirectTurn(
    title="Half a transformer", abstract="Attention where the channel mixer was.", units=(),
    tree='{"unit": "PreNormBlock", "slots": {"norm_mixer": "RMSNorm", "mixer": {"unit": "Attention", "slots": {"position": '
    '"Rotary"}}, "norm_channel": "RMSNorm", "channel": "GeGLU"}}',
)  # fmt: skip


def brief(operator: Any = "mutation", **limits: Any) -> Brief:
    parents = {"mutation": (GPT,), "crossover": (GPT, RETNET), "scratch": ()}[operator]
    evidence = replace(EVIDENCE, parents=EVIDENCE.parents[: len(parents)])
    return Brief(session="session-4", operator=operator, parents=parents, evidence=evidence, bounds=FIGURES,
                 limits=SessionLimits(**limits))  # fmt: skip


def passage(similarity: float, *, title: str = "Fading heads", text: str = "Heads fade.") -> Passage:
    return Passage(source="design", name="9" * 12, title=title, text=text, similarity=similarity)


@dataclass(frozen=True)
class Played:
    """A session's outcome, and every single effect that it yielded."""

    outcome: Any
    effects: tuple[Single, ...]

    def asked(self, role: str) -> list[Ask]:
        return [effect for effect in self.effects if isinstance(effect, Ask) and effect.role == role]

    def searches(self) -> list[Search]:
        return [effect for effect in self.effects if isinstance(effect, Search)]


def play(session: Generator[Effect, Any, Any], world: Callable[[Single], Any], *, most: int = 5000) -> Played:
    """Perform a session's effects until it ends; a session that yields more than `most` fails."""
    effects: list[Single] = []

    def perform(effect: Single) -> Any:
        effects.append(effect)
        assert len(effects) <= most, "the session goes on and on"
        return world(effect)

    told: Any = None
    while True:
        try:
            effect = session.send(told)
        except StopIteration as end:
            return Played(end.value, tuple(effects))
        told = tuple(map(perform, effect.effects)) if isinstance(effect, Gather) else perform(effect)


def world(
    *, near: tuple[Passage, ...] = (), embed: Callable[[tuple[str, ...]], Any] | None = None, **answers: list[Any]
) -> Callable[[Single], Any]:
    """A world in which each role gives its answers in order, the last one ever after, and every check passes."""
    left = {role: list(given) for role, given in answers.items()}

    def reply(effect: Single) -> Any:
        match effect:
            case Ask(role=role):
                return left[role].pop(0) if len(left[role]) > 1 else left[role][0]
            case Search():
                return near
            case Embed(texts=texts):
                return embed(texts) if embed else ()
            case Check():
                return Checked(findings=())
            case Claim():
                return ""
        return None

    return reply
