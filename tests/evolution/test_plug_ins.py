"""Strategies of other installed packages: found by name, and a sentence for each thing that may be wrong with them."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import pytest

from genesys.errors import ConfigError
from genesys.evolution.policy import Offer, offers
from genesys.evolution.promotion import PROMOTIONS, resolve_promotion
from genesys.evolution.selection import SELECTIONS, resolve_selection, validate_selection
from genesys.testing import make_population

MODULE = """
from genesys.evolution.promotion import RandomPromotion
from genesys.evolution.selection import RandomSelection

class ByLot(RandomSelection):
    pass

class Upwards(RandomPromotion):
    pass

NOT_A_CLASS = 3
"""


def install(folder: Path, package: str, entry_points: str, **modules: str) -> None:
    """What `pip install` leaves of a package with these entry points."""
    info = folder / f"{package}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(entry_points)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("plugged_in", "plugged_too", "plugged_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_a_name_from_another_package_is_found(site: Path) -> None:
    text = "[genesys.selection]\nlottery = plugged_in:ByLot\n[genesys.promotion]\nupwards = plugged_in:Upwards\n"
    install(site, "lotteries", text, plugged_in=MODULE)
    strategy = resolve_selection("lottery", {"rates": {"restart": 0.5}})
    assert type(strategy).__name__ == "ByLot" and strategy.rates.restart == 0.5  # type: ignore[attr-defined]
    population = make_population(12)
    validate_selection(strategy.select(population, rng=Random(0)), population)
    assert type(resolve_promotion("upwards")).__name__ == "Upwards"
    assert Offer(name="lottery", package="lotteries 1.2") in offers(SELECTIONS, "select")
    assert Offer(name="upwards", package="lotteries 1.2") in offers(PROMOTIONS, "promote")


def test_a_name_there_is_none_of_is_looked_for_among_those_too(site: Path) -> None:
    install(site, "lotteries", "[genesys.selection]\nlottery = plugged_in:ByLot\n", plugged_in=MODULE)
    with pytest.raises(ConfigError, match=r"islands, lottery, map_elites.*Did you mean 'lottery'"):
        resolve_selection("lotery")


def test_two_packages_of_one_name_are_told_apart_by_the_user(site: Path) -> None:
    install(site, "lotteries", "[genesys.selection]\nlottery = plugged_in:ByLot\n", plugged_in=MODULE)
    install(site, "raffles", "[genesys.selection]\nlottery = plugged_too:ByLot\n", plugged_too=MODULE)
    with pytest.raises(
        ConfigError, match=r"lotteries 1.2 and raffles 1.2 both offer one.*Say which, such as 'plugged_"
    ):
        resolve_selection("lottery")
    problems = [o.problem for o in offers(SELECTIONS, "select") if o.name == "lottery"]
    assert len(problems) == 2 and all("both offer" in problem for problem in problems)


def test_the_same_package_found_twice_is_one(site: Path, tmp_path: Path) -> None:
    install(site, "lotteries", "[genesys.selection]\nlottery = plugged_in:ByLot\n", plugged_in=MODULE)
    install(site, "lotteries_again", "[genesys.selection]\nlottery = plugged_in:ByLot\n")
    assert type(resolve_selection("lottery")).__name__ == "ByLot"


def test_a_built_in_name_stays_what_it_was(site: Path) -> None:
    install(site, "lotteries", "[genesys.selection]\nquadrant = plugged_in:ByLot\n", plugged_in=MODULE)
    assert type(resolve_selection("quadrant")) is SELECTIONS["quadrant"]
    (clash,) = [offer for offer in offers(SELECTIONS, "select") if offer.package]
    assert clash.problem == "its name is that of a built-in one, which is taken"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("plugged_nowhere:ByLot", "ModuleNotFoundError: No module named 'plugged_nowhere'"),
        ("plugged_in:Missing", "has no attribute 'Missing'"),
        ("plugged_broken:ByLot", "ZeroDivisionError: division by zero"),
        ("plugged_in:NOT_A_CLASS", "it is a int; expected a class"),
    ],
)
def test_a_broken_one_is_named_in_a_sentence(site: Path, target: str, message: str) -> None:
    install(site, "lotteries", f"[genesys.selection]\nlottery = {target}\n", plugged_in=MODULE, plugged_broken="1 / 0")
    with pytest.raises(
        ConfigError, match=rf"Cannot use selection strategy 'lottery': .*{message}.*offered by lotteries 1.2"
    ):
        resolve_selection("lottery")
    (broken,) = [offer for offer in offers(SELECTIONS, "select") if offer.package]
    assert message in broken.problem
    assert resolve_selection("greedy"), "the others are there all the same"


def test_doctor_lists_them(site: Path) -> None:
    from genesys.cli.doctor import _strategies, _strategy_lines

    text = "[genesys.selection]\nlottery = plugged_in:ByLot\nlost = plugged_nowhere:X\n"
    install(site, "lotteries", text, plugged_in=MODULE)
    listed = _strategies()
    assert {"name": "lottery", "package": "lotteries 1.2", "problem": ""} in listed["selection"]
    out = "\n".join(_strategy_lines(listed))
    assert (
        "lottery (lotteries 1.2)" in out
        and "lost of lotteries 1.2 cannot be used: Cannot use selection strategy 'lost'" in out
    )
