"""What `genesys design` was asked for, kept in its folder so that it can be taken up again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from genesys.agents.briefing import bounds
from genesys.config import load_design
from genesys.config.agents import check_agents
from genesys.config.reader import read
from genesys.errors import ConfigError, suggest
from genesys.evolution.evidence import Evidence, Known, evidence, evidence_from_json, evidence_to_json
from genesys.gau import UnitTree
from genesys.ladder import Scale
from genesys.llm.settings import AgentsConfig, ModelConfig
from genesys.roles.brief import Brief, SessionLimits

_FILE = "session.json"
_PROVIDERS_OF_SERVERS = ("openai/", "hosted_vllm/")
N_PARENTS = {"mutation": (1, 1), "crossover": (2, 5), "scratch": (0, 0)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One session's task, and who works on it."""

    brief: Brief
    agents: AgentsConfig
    scales: tuple[Scale, ...]
    vocab_size: int

    def save(self, folder: Path) -> None:
        brief = self.brief
        data = {
            "session": brief.session, "operator": brief.operator, "seed": brief.seed, "bounds": dict(brief.bounds),
            "parents": [parent.to_json() for parent in brief.parents], "evidence": evidence_to_json(brief.evidence),
            "agents": asdict(self.agents), "scales": [asdict(scale) for scale in self.scales],
            "vocab_size": self.vocab_size,
        }  # fmt: skip
        folder.mkdir(parents=True)
        (folder / _FILE).write_text(json.dumps(data, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Assignment:
        """Read what `save` wrote.

        Raises:
            ConfigError: No session was begun there, or by another version.
        """
        try:
            data = json.loads((folder / _FILE).read_text(encoding="utf-8"))
            agents = read(AgentsConfig, data["agents"], "agents")
            brief = Brief(
                session=data["session"], operator=data["operator"], seed=data["seed"], bounds=data["bounds"],
                parents=tuple(map(UnitTree.from_json, data["parents"])), limits=agents.limits,
                evidence=evidence_from_json(data["evidence"]), planted=agents.planted,
            )  # fmt: skip
            scales = tuple(Scale(**scale) for scale in data["scales"])
            return cls(brief=brief, agents=agents, scales=scales, vocab_size=data["vocab_size"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"Cannot resume from {str(folder)!r}: it holds no session that this version can read ({error}). Begin a new "
                f"one without --resume."
            ) from None


def new_assignment(
    mode: str, parents: Sequence[str], agents: AgentsConfig, scales: tuple[Scale, ...], vocab_size: int, *, session: str, seed: int
) -> Assignment:  # fmt: skip
    """An assignment on parents by reference: seeds, files, or `RUN/DESIGN`, of which what the run measured is told.

    Raises:
        ConfigError: No such mode or parent, too few or too many for the mode, or designs of several runs.
    """
    if mode not in N_PARENTS:
        raise ConfigError(f"Cannot design by {mode!r}: expected {', '.join(N_PARENTS)}.{suggest(mode, N_PARENTS)}")
    least, most = N_PARENTS[mode]
    if not least <= len(parents) <= most:
        expected = str(most) if least == most else f"{least} to {most}"
        raise ConfigError(
            f"Cannot design by {mode} from {len(parents)} parents: expected {expected}. Give --parent once for each."
        )
    trees, found = _read(parents)
    brief = Brief(
        session=session, operator=cast(Any, mode), parents=trees, evidence=found, bounds=bounds(scales, vocab_size),
        limits=agents.limits, seed=seed, planted=agents.planted,
    )  # fmt: skip
    return Assignment(brief=brief, agents=agents, scales=scales, vocab_size=vocab_size)


def agents_of(
    agents: AgentsConfig, names: Sequence[str], model: dict[str, Any], limits: dict[str, Any], cap_usd: float | None
) -> AgentsConfig:
    """A configuration with what the command line says in its place; settings that are None leave it as it is.

    Raises:
        ConfigError: No model is named, or a setting cannot be.
    """
    given = {name: value for name, value in model.items() if value is not None}
    if names:
        models = tuple(ModelConfig(name=_full_name(name, given.get("api_base", "")), **given) for name in names)
        agents = replace(agents, models={"default": models})
    elif given:
        raise ConfigError(f"Cannot use --{min(given).replace('_', '-')} without a model; expected --model beside it.")
    if not agents.models:
        raise ConfigError(
            "Cannot design without a language model: expected --model, such as openai/gpt-5, or --config with a file that "
            "names some under agents.models."
        )
    said = {name: value for name, value in limits.items() if value is not None}
    caps = agents.caps if cap_usd is None else replace(agents.caps, run=cap_usd)
    agents = replace(agents, limits=read(SessionLimits, asdict(agents.limits) | said, "agents.limits"), caps=caps)
    check_agents(agents)
    return agents


def _full_name(name: str, api_base: str) -> str:
    """LiteLLM's name; what a server of one's own serves is spoken to as OpenAI's are."""
    return f"openai/{name}" if api_base and not name.startswith(_PROVIDERS_OF_SERVERS) else name


def _read(references: Sequence[str]) -> tuple[tuple[UnitTree, ...], Evidence]:
    """The parents, and what is known of them; seeds and files may stand beside designs of one run."""
    from genesys.api import open_run

    runs = {name: run for name in references if (run := name.rpartition("/")[0]) and not Path(name).exists()}
    if len({*runs.values()}) > 1:
        raise ConfigError(
            f"Cannot design from parents of several runs ({', '.join(dict.fromkeys(runs.values()))}): what different runs "
            f"measured cannot be compared; expected designs of one run. Save the others as files, `genesys show RUN/DESIGN "
            f"--json`, and give those."
        )
    trees = {name: load_design(name) for name in references if name not in runs}
    known = {name: Known(design=tree.design_id, name=Path(name).stem) for name, tree in trees.items()}
    found = Evidence()
    if runs:
        opened = open_run(min(runs.values()))
        ids = {name: opened.record(name.rpartition("/")[2]).id for name in runs}
        found = evidence(opened.tree, list(ids.values()))
        trees |= {name: opened.design(design).tree for name, design in ids.items()}
        known |= zip(ids, found.parents, strict=True)
    return tuple(trees[name] for name in references), replace(found, parents=tuple(known[name] for name in references))
