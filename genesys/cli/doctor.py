"""`genesys doctor`: what this machine offers, and what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from textwrap import fill
from typing import Any

import typer

from genesys.cli._output import AsJson, make_console, print_json

_EXTRAS = {
    "llm": "litellm",
    "knowledge": "qdrant_client",
    "eval": "lm_eval",
    "export": "pyarrow",
    "postgres": "psycopg",
    "vllm": "vllm",
}


def command(as_json: AsJson = False) -> None:
    """Show what a run would find here. Software, cores, cards, isolation."""
    import asyncio

    import psutil
    import torch

    from genesys.sandbox import open_cage
    from genesys.sandbox.layers import reached

    layers = asyncio.run(open_cage("none"))
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in ("torch", "ray", "deepspeed", "numpy")},
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "extras": {extra: importlib.util.find_spec(module) is not None for extra, module in _EXTRAS.items()},
        "strategies": _strategies(),
        "sandbox": {"level": reached(name for name, reason in layers.items() if not reason), "layers": layers},
    }
    if as_json:
        print_json(facts)
        return
    width = make_console().width
    for line in _lines(facts):
        typer.echo(fill(line, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False))


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    from genesys.sandbox.layers import OPENS

    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    yield f"Python {facts['python']} with {packages}"
    yield f"{facts['cores']} cores, {facts['memory_gb']} GB of memory, GPUs: {', '.join(facts['gpus']) or 'none'}"
    absent = [extra for extra, present in facts["extras"].items() if not present]
    yield f"Optional parts not installed: {', '.join(absent) or 'none'}"
    if absent:
        yield f"  To install: pip install 'genesys-evolution[{','.join(absent)}]'"
    yield from _strategy_lines(facts["strategies"])
    yield f"Sandbox for designs' code: level {facts['sandbox']['level']!r}"
    for layer, reason in facts["sandbox"]["layers"].items():
        yield f"  {layer:18} " + ("in force" if not reason else f"off: {reason}. Open: {OPENS[layer]}.")


def _strategies() -> dict[str, list[dict[str, str]]]:
    """The strategies that a config can name, those of other packages with what is wrong with them."""
    from genesys.evolution.policy import offers
    from genesys.evolution.promotion import PROMOTIONS
    from genesys.evolution.selection import SELECTIONS

    found = {"selection": offers(SELECTIONS, "select"), "promotion": offers(PROMOTIONS, "promote")}
    return {kind: [asdict(offer) for offer in offered] for kind, offered in found.items()}


def _strategy_lines(strategies: dict[str, list[dict[str, str]]]) -> Iterator[str]:
    for kind, found in strategies.items():
        names = [f"{s['name']} ({s['package']})" if s["package"] else s["name"] for s in found if not s["problem"]]
        yield f"Strategies for {kind}: {', '.join(names)}"
        for s in found:
            if s["problem"]:
                yield f"  {s['name']} of {s['package']} cannot be used: {s['problem']}"
