"""Import weight and direction: what is light must stay light."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

HEAVY = ("torch", "ray", "numpy", "deepspeed", "yaml", "rich", "typer", "pydantic")
PURE = ("genesys", "genesys.errors", "genesys.gau", "genesys.gau.library", "genesys.ladder", "genesys.evolution",
        "genesys.evolution.operators", "genesys.evolution.selection", "genesys.evolution.promotion",
        "genesys.roles", "genesys.roles.session")  # fmt: skip
DOMAIN_FREE = ("genesys.evolution.tree", "genesys.evolution.population", "genesys.evolution.selection",
               "genesys.evolution.promotion", "genesys.ladder", "genesys.storage.sqlite_journal")  # fmt: skip
ABOUT_LANGUAGE_MODELS = (
    "genesys.gau",
    "genesys.model",
    "genesys.evolution.fitness",
    "genesys.evolution.operators",
    "torch",
)


def modules_after(statement: str) -> set[str]:
    code = f"{statement}; import sys, json; print(json.dumps(sorted(sys.modules)))"
    return set(json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout))


def quickest(command: list[str], repeats: int = 5) -> float:
    """CPU seconds of the quickest of some runs, less those of an empty Python: the machine is shared."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def once(arguments: list[str]) -> float:
        before = used()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        return used() - before

    return min(once(command) for _ in range(repeats)) - min(once(["-c", "pass"]) for _ in range(repeats))


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_need_the_standard_library_only(module: str) -> None:
    loaded = modules_after(f"import {module}")
    assert not loaded.intersection(HEAVY)
    foreign = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"genesys"}
    assert not {name for name in foreign if not name.startswith(("_", "__editable__", "sitecustomize"))} - {
        "distutils-precedence", "usercustomize", "mpl_toolkits", "google",
    }  # fmt: skip


@pytest.mark.parametrize("module", DOMAIN_FREE)
def test_books_and_strategies_import_nothing_about_language_models(module: str) -> None:
    loaded = modules_after(f"import {module}")
    assert not [name for name in loaded if name.startswith(ABOUT_LANGUAGE_MODELS)]


def test_a_replay_needs_no_ray() -> None:
    assert modules_after("import genesys.cli._replaying").isdisjoint({"ray", "actors", "torch"})


def test_importing_genesys_is_quick() -> None:
    assert quickest(["-c", "import genesys"]) < 0.3


def test_help_is_quick_and_light() -> None:
    assert quickest(["-m", "genesys", "--help"]) < 0.5
    assert not modules_after("import genesys.cli").intersection({"torch", "ray", "numpy", "deepspeed"})


def test_every_public_name_is_there() -> None:
    import genesys

    for name in genesys.__all__:
        assert getattr(genesys, name) is not None
