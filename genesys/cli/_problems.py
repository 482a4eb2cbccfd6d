"""The problems of `genesys bench-agents`, read and checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from genesys.agents.bench import Case, Problem
from genesys.agents.bench_results import BenchFlow
from genesys.cli._assignment import N_PARENTS
from genesys.config import load_design
from genesys.config.reader import read
from genesys.errors import ConfigError, suggest
from genesys.gau import UnitTree
from genesys.roles.wording import place_name


def read_problems(file: Path | None = None) -> list[Problem]:
    """Problems of a YAML file, ours by default.

    Raises:
        ConfigError: No such file, or it holds no problems; two of one name, or more or fewer parents than the mode takes.
    """
    try:
        text = (file or files("genesys.agents") / "problems.yaml").read_text(encoding="utf-8")
        data: Any = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"Cannot read problems from {str(file)!r}: {' '.join(str(error).split())}.") from None
    if not isinstance(data, list) or not data or not all(isinstance(entry, dict) for entry in data):
        raise ConfigError(f"Cannot read problems from {str(file)!r}: expected a list of mappings with name, mode, title and ask.")  # fmt: skip
    found = [read(Problem, entry, f"problems[{i}]") for i, entry in enumerate(data)]
    (name, count), *_ = Counter(problem.name for problem in found).most_common(1)
    if count > 1:
        raise ConfigError(f"Cannot use problem {name!r}: {count} have that name; expected one. Rename the others.")
    for problem in found:
        least, most = N_PARENTS[problem.mode]
        if not least <= len(problem.parents) <= most:
            raise ConfigError(
                f"Cannot use problem {problem.name!r}: a {problem.mode} of {len(problem.parents)} parents; expected "
                f"{least if least == most else f'{least} to {most}'}."
            )
    return found


def cases_of(problems: Sequence[Problem], models: Sequence[str], flows: Sequence[BenchFlow]) -> list[Case]:
    """Every problem in each flow by each of those who are compared, problem by problem.

    Raises:
        ConfigError: A parent that does not exist, or a mutation of a place that it has not.
    """
    return [
        Case(problem=problem, parents=parents, flow=flow, model=model)
        for problem, parents in ((problem, _parents(problem)) for problem in problems)
        for model in models
        for flow in flows
    ]


def _parents(problem: Problem) -> tuple[UnitTree, ...]:
    trees = tuple(map(load_design, problem.parents))
    if problem.mode == "mutation":
        places = [place_name(path) for path, _ in trees[0].walk()]
        if problem.target not in places:
            raise ConfigError(
                f"Cannot use problem {problem.name!r}: {problem.parents[0]} has no place {problem.target!r}; expected one of "
                f"{', '.join(places)}.{suggest(problem.target, places)}"
            )
    return trees
