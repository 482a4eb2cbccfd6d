"""Hardware: what it could do, what it does, what it holds and what it costs, read from a data file with sources.

Figures measured on one's own machines may replace any of them. Standard library only.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from itertools import pairwise
from math import log2
from pathlib import Path
from typing import Any, Literal

from genesys.errors import ConfigError, suggest
from genesys.ladder.cost import forward_flops_per_token
from genesys.ladder.scale import Scale

_POSITIVE = ("memory_gb", "peak_tflops", "mfu", "tokens_per_s", "slowdown", "questions_per_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One device: a card, or a core of a CPU.

    Attributes:
        peak_tflops: Dense, in bf16 on a card, in float32 on a CPU.
        mfu: Share of the peak that pre-training reaches, by the width of the model; between two widths it is
            interpolated over their logarithm, beyond them it stays.
        tokens_per_s: Of pre-training, by the name of the scale; goes before `mfu`.
        slowdown: What designs cost on average over the GPT seed.
        start_s: Of a verification: processes, checks, compilation, weights.
        probe_s: Of one probe, asked once a design.
        questions_per_s: Of evaluation, on top of its FLOPs; None leaves evaluation out.
        sources: Where the figures come from, by their name.
    """

    name: str
    what: str
    unit: Literal["card", "core"]
    memory_gb: float
    peak_tflops: float
    usd_per_hour: float
    mfu: Mapping[int, float]
    tokens_per_s: Mapping[str, float] = field(default_factory=dict)
    slowdown: float = 1.0
    start_s: float = 0.0
    probe_s: float = 0.0
    questions_per_s: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    def pretraining_tokens_per_s(self, scale: Scale, vocab_size: int) -> float:
        """Tokens of the GPT seed that one device trains on in a second."""
        if scale.name in self.tokens_per_s:
            return self.tokens_per_s[scale.name]
        flops = self.peak_tflops * 1e12 * self.mfu_at(scale.d_model)
        return flops / (3 * forward_flops_per_token(scale, vocab_size))

    def mfu_at(self, d_model: int) -> float:
        """The share of the peak at a width."""
        widths = sorted(self.mfu)
        i = bisect_left(widths, d_model)
        if i in (0, len(widths)):
            return self.mfu[widths[min(i, len(widths) - 1)]]
        low, high = tuple(pairwise(widths))[i - 1]
        share = log2(d_model / low) / log2(high / low)
        return self.mfu[low] + share * (self.mfu[high] - self.mfu[low])


def load_hardware(measured: Path | None = None) -> dict[str, Hardware]:
    """Every hardware on record, by name.

    Args:
        measured: A JSON file of the same form; its figures go before ours, and it may add hardware of its own.

    Raises:
        ConfigError: The file cannot be read, or holds something else.
    """
    shipped = (resources.files("genesys.ladder") / "hardware.json").read_text(encoding="utf-8")
    entries: dict[str, dict[str, Any]] = json.loads(shipped)
    if measured is None:
        return {name: _hardware(name, entry) for name, entry in entries.items()}
    for name, entry in _read_measured(measured).items():
        entries[name] = entries.get(name, {}) | entry
    return {name: _hardware(name, entry) for name, entry in entries.items()}


def _read_measured(path: Path) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = "there is no such file"
    except OSError as error:
        what = f"it cannot be opened ({error.strerror})"
    except ValueError as error:
        what = f"it is no JSON ({error})"
    else:
        odd = [name for name, entry in found.items() if not isinstance(entry, dict)] if isinstance(found, dict) else []
        if isinstance(found, dict) and not odd:
            return found
        what = f"{odd[0]!r} holds {found[odd[0]]!r}" if odd else f"it holds a {type(found).__name__}"
    raise ConfigError(
        f"Cannot read measured figures {str(path)!r}: {what}; expected a JSON object such as "
        '{"H100": {"tokens_per_s": {"14M": 2.1e6}}}. See docs/plan.md, \'Figures of one\'s own\'.'
    )


def _hardware(name: str, entry: Mapping[str, Any]) -> Hardware:
    known = {f.name: f for f in fields(Hardware) if f.name not in ("name", "sources")}
    sources = {key.removesuffix("_source"): text for key, text in entry.items() if key.endswith("_source")}
    figures = {key: value for key, value in entry.items() if not key.endswith("_source")}
    for key in figures:
        if key not in known:
            raise ConfigError(f"Cannot use hardware {name!r}: there is no figure {key!r}.{suggest(key, known)}")
    lacking = [key for key in ("what", "unit", "memory_gb", "peak_tflops", "usd_per_hour", "mfu") if key not in figures]
    if lacking:
        raise ConfigError(f"Cannot use hardware {name!r}: it lacks {', '.join(lacking)}. Add what is missing.")
    mfu, speeds = figures["mfu"], figures.get("tokens_per_s", {})
    if not isinstance(mfu, dict) or not mfu or not all(width.isdigit() for width in mfu):
        raise ConfigError(
            f"Cannot use hardware {name!r}: mfu is {mfu!r}; expected shares by width, such as {{'128': 0.3}}."
        )
    for key, value in figures.items():
        values = value.values() if isinstance(value, dict) and key in ("mfu", "tokens_per_s") else (value,)
        if key in ("what", "unit") or (key, value) == ("questions_per_s", None):
            continue
        if not all(_is_number(v, key) for v in values):
            least = "above 0" if key in _POSITIVE else "from 0 up"
            raise ConfigError(f"Cannot use hardware {name!r}: {key} is {value!r}; expected numbers {least}.")
    if not isinstance(speeds, dict) or figures["unit"] not in ("card", "core"):
        raise ConfigError(
            f"Cannot use hardware {name!r}: tokens_per_s is {speeds!r} and unit {figures['unit']!r}; expected tokens_per_s by "
            "the name of the scale, and a unit of card or core."
        )
    return Hardware(name=name, sources=sources, **figures | {"mfu": {int(width): mfu[width] for width in mfu}})


def _is_number(value: Any, key: str) -> bool:
    return type(value) in (int, float) and (value > 0 if key in _POSITIVE else value >= 0)
