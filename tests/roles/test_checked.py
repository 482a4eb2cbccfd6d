"""The implementation stage with the real checker, run in this process: the code is the library's."""

from __future__ import annotations

from typing import Any

from genesys.checker import CHEAP_STAGES, check_request, check_static
from genesys.checker.job import check
from genesys.errors import Finding
from genesys.gau.library import unit_named
from genesys.ladder.presets import CPU_SCALES
from genesys.roles.answers import PlannerTurn
from genesys.roles.effects import Ask, Check
from genesys.roles.implementing import implement
from tests.roles.briefs import FIGURES, brief
from tests.roles.worlds import World, asked_slot, coder, proposal


def really_checked(asked: Check) -> tuple[Finding, ...]:
    if asked.depth == "static":
        return tuple(found for found in check_static(asked.tree) if found.rule != "open-slot")
    stages = CHEAP_STAGES if asked.depth == "full" else ("static", "shape", "unit-tests")
    report = check(check_request(asked.tree, CPU_SCALES[:1], 512, stages=stages, partial=asked.partial))
    return tuple(Finding(**found) for found in report["findings"])


def renamed(name: str) -> str:
    """A unit of the library under another name, without its tests."""
    return unit_named(name).source.replace(f"class {name}(", f"class New{name}(").partition("\n\ndef test_")[0]


def test_a_block_grows_under_the_real_checks_and_what_looks_ahead_is_told_so() -> None:
    looked_ahead = iter([renamed("Attention").replace("is_causal=True", "is_causal=False")])

    def code(ask: Ask) -> Any:
        match asked_slot(ask):
            case "":
                return coder(renamed("PreNormBlock"))
            case "mixer":
                return coder(next(looked_ahead, renamed("Attention")))
            case _:
                return coder(renamed("SwiGLU"))

    def plan(ask: Ask) -> Any:
        slots = ask.prompt.messages[1].text.partition("Open slots:\n")[2]
        slot = slots.removeprefix("- ").partition(";")[0]
        reuse = {"norm_mixer": "RMSNorm", "norm_channel": "RMSNorm", "mixer.position": "Rotary"}
        return PlannerTurn(slot=slot, specification="As in the transformer.", reuse=reuse.get(slot, ""))

    world = World(code, plan=plan, check=really_checked)
    done = world.run(implement(brief("scratch", beam=1, samples=1), proposal(), FIGURES))
    assert done.tree is not None
    assert [place.unit.name for _, place in done.tree.walk()] == [
        "NewPreNormBlock", "NewSwiGLU", "NewAttention", "Rotary", "RMSNorm", "RMSNorm",
    ]  # fmt: skip
    told = [ask.prompt.messages[1].text.partition("# The last attempt")[2] for ask in world.asks("coder")]
    assert len(told) == 4 and "[causality]" in told[2]
