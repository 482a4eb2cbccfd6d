"""docs/strategies.md: its code runs, as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

from genesys.config import load_config
from genesys.config.run import strategy
from genesys.evolution.promotion import PROMOTIONS, resolve_promotion
from genesys.evolution.selection import SELECTIONS, resolve_selection
from tests.evolution.test_plug_ins import install

PAGE = Path(__file__).parents[2] / "docs" / "strategies.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's files; the first line of a block names its file."""
    files: dict[str, str] = defaultdict(str)
    for name, text in re.findall(r"```\w+\n# ([\w.]+)(?:, continued)?\n(.*?)```", PAGE.read_text(), re.DOTALL):
        files[name] += text
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert {"my_strategies.py", "test_my_strategies.py", "run.yaml", "my_run.yaml", "pyproject.toml"} == files.keys()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_strategies", raising=False)
    return tmp_path


def test_its_strategies_pass_the_case(folder: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_strategies.py"]
    path = os.pathsep.join((str(PAGE.parents[1]), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=200, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 90


@pytest.mark.parametrize("name", ["run.yaml", "my_run.yaml"])
def test_its_configurations_are_read(folder: Path, name: str) -> None:
    config = load_config(folder / name)
    selection, promotion = strategy(config.selection), strategy(config.promotion)
    made = resolve_selection(selection.name, selection.options)
    assert made.rates.restart == 0.1  # type: ignore[attr-defined]
    assert callable(resolve_promotion(promotion.name, promotion.options).promote)


def test_its_entry_points_are_found(folder: Path) -> None:
    groups = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"]
    text = "\n".join(
        f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in names.items()) for group, names in groups.items()
    )
    install(folder, "my_strategies", text)
    assert type(resolve_selection("least_used", {"n_drawn": 5})).__name__ == "LeastUsed"
    assert type(resolve_promotion("optimist")).__name__ == "Optimist"


def test_it_names_every_built_in_strategy() -> None:
    page = PAGE.read_text()
    assert all(f"| `{name}` |" in page for name in SELECTIONS)
    for kind in (SELECTIONS, PROMOTIONS):
        assert not {"least_used", "optimist"} & set(kind)
