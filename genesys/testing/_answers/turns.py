"""One answer of each role, from the lines that its prompt is sure to hold."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from random import Random
from typing import Any, Literal

from genesys.gau.library import library
from genesys.roles import answers as forms
from genesys.testing._answers.units import FLAWS, class_name, leaf_names, write_unit

_REASONS = (
    "Small outputs keep the residual stream from growing with depth.",
    "A ripple near zero adds curvature where most activations lie.",
    "Large values saturate, so that rare tokens cannot dominate a sum.",
    "Gradients stay above a floor everywhere, which helps deep stacks.",
    "It costs one multiplication for each channel and no weights.",
    "Odd symmetry leaves the mean of every feature where it was.",
    "Early training sees nearly the same unit as before, late training another.",
    "Noise of low precision is pressed together at both ends.",
    "Copies of a pattern at several strengths become distinguishable.",
    "Interference between stored associations shrinks.",
    "Decay over time follows the content rather than the distance.",
    "Nearby words are weighed before far ones.",
    "Frequencies that a filter lets pass come back as harmonics.",
    "Keys that agree in sign reinforce one another.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How often the scripted model does what, from 0 to 1.

    Attributes:
        p_bad_code: A unit that looks ahead, is no Python, changes the shape, is no unit, or has a dead parameter.
        p_low_rating: A reviewer or observer is below the bar that the prompt states.
        p_search: A proposer or reviewer reads more before the first answer of a conversation.
        p_tool: A coder uses a tool before the first unit of a conversation.
        p_reuse: A planner names a unit of the library.
    """

    p_bad_code: float = 0.0
    p_low_rating: float = 0.0
    p_search: float = 0.2
    p_tool: float = 0.2
    p_reuse: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as the answers see it.

    Attributes:
        text: Of the first message from the user, which states the task.
        is_first: Whether nothing was answered in this conversation yet.
    """

    text: str
    is_first: bool
    rates: Rates
    rng: Random


def answer(form: str, schema: dict[str, Any], text: str, *, is_first: bool, rates: Rates, rng: Random) -> str:
    """The answer to a prompt as JSON.

    Args:
        form: Name of the answer's form, such as `CoderTurn`; of another, anything that its schema allows is given.
    """
    if form in _TURNS:
        asked = Asked(text=text, is_first=is_first, rates=rates, rng=rng)
        return json.dumps(asdict(_TURNS[form](asked)))
    return json.dumps(_anything(schema))


def _proposer(asked: Asked) -> forms.ProposerTurn:
    rng = asked.rng
    parents = re.findall(r"^- (\S+): (\w+) \((\w+)\)", _block(asked.text, "Places of parent 1:"), re.MULTILINE)
    places = [(path, unit, kind) for path, unit, kind in parents if leaf_names((kind,))] or parents
    path, unit, kind = rng.choice(places) if places else ("(root)", "nothing", "block")
    is_mutation = "Mode: mutation" in asked.text
    manner = rng.choice(("Damped", "Bounded", "Rippled", "Squashed", "Bent", "Eased"))
    title = f"{manner} {kind} {rng.randrange(10**6):06d}"
    reasons = " ".join(rng.sample(_REASONS, 5))
    said = {
        "abstract": f"A {manner.lower()} {kind} in the place of {unit}. {reasons}",
        "motivation": f"{reasons} The parents lack it.",
        "mathematics": "y = f(x); Y = y + c sin(y), elementwise, thus causal; the recurrence is that of f.",
        "algorithm": "y = unit(X)  # (B, L, D)\nreturn y + c * sin(y)  # O(B L D)",
        "risks": "Too large a constant hurts the gradients.",
    }
    if _may(asked, "search") and rng.random() < asked.rates.p_search:
        return forms.ProposerTurn(action="search", query=f"{manner.lower()} {kind}", title="", target="",
                                  **dict.fromkeys(said, ""))  # fmt: skip
    target = ("" if path == "(root)" else path) if is_mutation else ""
    return forms.ProposerTurn(action="propose", query="", title=title, target=target, **said)


def _reviewer(asked: Asked) -> forms.ReviewerTurn:
    rng = asked.rng
    if _may(asked, "search") and rng.random() < asked.rates.p_search:
        scores = dict.fromkeys(("novelty", "soundness", "feasibility", "effect", "cost", "rating"), 0.0)
        return forms.ReviewerTurn(action="search", query="bounded output", review="", suggestions="", **scores)
    rating = _rating(asked)
    scores = {name: _near(rating, rng) for name in ("novelty", "soundness", "feasibility", "effect", "cost")}
    return forms.ReviewerTurn(
        action="review", query="", rating=rating, review="The map is elementwise, so causality holds.",
        suggestions="Say how the constant is chosen.", **scores,
    )  # fmt: skip


def _planner(asked: Asked) -> forms.PlannerTurn:
    listed = re.findall(r"^- (\S+); accepts: ([\w, ]+);", _block(asked.text, "Open slots:"), re.MULTILINE)
    slot, accepts = asked.rng.choice(listed) if listed else ("", "any")
    fitting = leaf_names(_kinds(accepts))
    reuse = asked.rng.choice(fitting) if fitting and asked.rng.random() < asked.rates.p_reuse else ""
    return forms.PlannerTurn(
        slot="" if slot == "(root)" else slot, reuse=reuse,
        specification=f"A unit of kind {accepts} whose output goes through a smooth bounded map, (B, L, D) to (B, L, D).",
    )  # fmt: skip


def _coder(asked: Asked) -> forms.CoderTurn:
    rng = asked.rng
    found = re.search(r"^Slot: (\S+); accepts: ([\w, ]+)", asked.text, re.MULTILINE)
    path, accepts = found.groups() if found else ("(root)", "any")
    depth = 0 if path == "(root)" else 1 + path.count(".")
    flaw = rng.choice(FLAWS) if rng.random() < asked.rates.p_bad_code else ""
    code = write_unit(_kinds(accepts), depth, rng, flaw=flaw)
    said = {"explanation": "The library's unit with a smooth bounded map of its output.", "query": ""}
    if _may(asked, "use") and rng.random() < asked.rates.p_tool:
        match rng.randrange(5):
            case 0:
                return forms.CoderTurn(action="check", code=code, **said)
            case 1:
                return forms.CoderTurn(action="profile", code=code, **said)
            case 2:
                return forms.CoderTurn(action="read_unit", code="", **said | {"query": rng.choice(sorted(library()))})
            case 3:
                return forms.CoderTurn(action="search", code="", **said | {"query": "bounded output"})
            case _:
                program = "import sympy\nx = sympy.Symbol('x')\nprint(sympy.diff(sympy.tanh(x), x))"
                return forms.CoderTurn(action="derive", code=program, **said)
    return forms.CoderTurn(action="submit", code=code, **said)


def _observer(asked: Asked) -> forms.ObserverTurn:
    rating = _rating(asked)
    scores = {name: _near(rating, asked.rng) for name in ("fidelity", "quality", "novelty")}
    return forms.ObserverTurn(rating=rating, review="It does what was specified.", suggestions="None.", **scores)


def _direct(asked: Asked) -> forms.DirectTurn:
    rng = asked.rng
    kinds = {"norm_mixer": "norm", "mixer": "mixer", "norm_channel": "norm", "channel": "channel"}
    flawed = rng.choice(tuple(kinds)) if rng.random() < asked.rates.p_bad_code else ""
    units = {
        slot: write_unit((kind,), 2, rng, flaw=rng.choice(("looks-ahead", "syntax", "shape")) if slot == flawed else "")
        for slot, kind in kinds.items()
    }
    tree = {"unit": "PreNormBlock", "slots": {slot: class_name(source) for slot, source in units.items()}}
    return forms.DirectTurn(
        title=f"Bounded block {rng.randrange(10**6):06d}", abstract="A pre-norm block whose units are bounded.",
        units=tuple(units.values()), tree=json.dumps(tree),
    )  # fmt: skip


def _lessons(asked: Asked) -> forms.LessonsTurn:
    designs = list(dict.fromkeys(re.findall(r"\b[0-9a-f]{12,64}\b", asked.text)))[:5]
    return forms.LessonsTurn(lessons="\n".join(f"- Bounded outputs trained well [{design}]." for design in designs))


_TURNS: dict[str, Callable[[Asked], Any]] = {
    "ProposerTurn": _proposer,
    "ReviewerTurn": _reviewer,
    "PlannerTurn": _planner,
    "CoderTurn": _coder,
    "ObserverTurn": _observer,
    "DirectTurn": _direct,
    "LessonsTurn": _lessons,
}


def form_of(name: str, schema: dict[str, Any], text: str) -> str:
    """Which form a request asks for: by its name, else by the fields that its schema or its text names."""
    if name or not text:
        return name
    named = set(schema.get("properties", ())) or set(re.findall(r'"(\w+)"', text))
    fitting = [form for form in _TURNS if {f.name for f in fields(getattr(forms, form))} <= named]
    return max(fitting, key=lambda form: len(fields(getattr(forms, form))), default="")


def _rating(asked: Asked) -> float:
    """At or above the bar that the prompt states last, or below it."""
    bars = re.findall(r"The bar is ([\d.]+) of 5\.", asked.text)
    bar = float(bars[-1]) if bars else 3.0
    if asked.rng.random() < asked.rates.p_low_rating:
        return round(asked.rng.uniform(0, max(0.0, bar - 0.5)), 1)
    return round(asked.rng.uniform(bar, 5), 1)


def _may(asked: Asked, verb: Literal["search", "use"]) -> bool:
    """Whether a conversation starts here in which the prompt lets the model do that."""
    return asked.is_first and f"You may {verb} 0 " not in asked.text


def _near(rating: float, rng: Random) -> float:
    return round(min(5.0, max(0.0, rating + rng.uniform(-0.5, 0.5))), 1)


def _kinds(accepts: str) -> Sequence[str]:
    return () if accepts.strip() == "any" else [kind.strip() for kind in accepts.split(",")]


def _block(text: str, heading: str) -> str:
    """The list below a heading."""
    _, found, rest = text.partition(heading)
    lines = rest.lstrip("\n").splitlines() if found else []
    end = next((i for i, line in enumerate(lines) if not line.startswith("- ")), len(lines))
    return "\n".join(lines[:end])


def _anything(schema: dict[str, Any]) -> Any:
    """The least that a JSON schema allows."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            return {name: _anything(part) for name, part in properties.items()}
        case "array":
            return []
        case "number" | "integer":
            return schema.get("minimum", 0)
        case "boolean":
            return False
        case _:
            return ""
