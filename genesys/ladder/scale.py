"""Scales and the ladder they form: sizes, recipes and quotas.

A scale is one fidelity of verification: what it costs, and the recipe under which every design is compared there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Literal, get_args

from genesys.errors import ConfigError, suggest

Probe = Literal[
    "recall", "copy", "induction", "fuzzy_recall", "noisy_recall", "compression", "memorisation", "length_generalisation",
]  # fmt: skip
PROBES: tuple[Probe, ...] = get_args(Probe)
ASPECT_RANGE = 2.0  # d_model / n_blocks of a design may leave the scale's own by this factor
DEPTH_RANGE = 3  # and its n_blocks by so many


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One rung: the same real tokens, batch and learning rate for every design verified there.

    Attributes:
        d_model, n_blocks: Starting point of the size search; the GPT seed at this size sets the target.
        width_step: The search moves `d_model` in steps of this.
        size_tolerance: Allowed relative error of the non-embedding parameters.
        context: Tokens in a training row.
        batch_tokens: Tokens in an optimizer step.
        n_tokens: Real tokens of a whole pre-training.
        peak_lr: Peak of the cosine schedule.
        lr_grid: Multipliers of the peak learning rate. Every design is trained in full at each of them and keeps the
            one with the lowest validation loss: one verification, at equal cost for all. One entry is no search.
        suite: Name of the lm-eval task suite (`genesys/evaluate/suites`); "" for none.
        probes: Synthetic tasks that designs are tried on there; the lowest rungs take few.
        embedding_std: Of the initial token embedding; small models learn much faster from a larger one.
    """

    name: str
    d_model: int
    n_blocks: int
    context: int
    batch_tokens: int
    n_tokens: int
    peak_lr: float
    width_step: int = 32
    size_tolerance: float = 0.05
    embedding_std: float = 0.02
    lr_grid: tuple[float, ...] = (1.0,)
    suite: str = ""
    probes: tuple[Probe, ...] = PROBES

    def __post_init__(self) -> None:
        object.__setattr__(self, "probes", tuple(self.probes))  # JSON knows lists only
        object.__setattr__(self, "lr_grid", tuple(self.lr_grid))
        for field in ("d_model", "n_blocks", "context", "batch_tokens", "n_tokens", "width_step"):
            value = getattr(self, field)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(
                    f"Cannot use scale {self.name!r}: {field} is {value!r}; expected a whole number from 1."
                )
        if not 0 < self.peak_lr < 1:
            raise ConfigError(f"Cannot use scale {self.name!r}: peak_lr is {self.peak_lr}; expected between 0 and 1.")
        if not self.lr_grid or not all(0 < factor <= 100 for factor in self.lr_grid):
            raise ConfigError(
                f"Cannot use scale {self.name!r}: lr_grid is {list(self.lr_grid)}; expected multipliers above 0, at most 100."
            )
        if not self.peak_lr * max(self.lr_grid) < 1:
            raise ConfigError(
                f"Cannot use scale {self.name!r}: peak_lr times the largest of lr_grid is "
                f"{self.peak_lr * max(self.lr_grid):g}; expected below 1."
            )
        if not 0 < self.embedding_std <= 10:
            raise ConfigError(
                f"Cannot use scale {self.name!r}: embedding_std is {self.embedding_std}; expected above 0, at most 10."
            )
        if self.batch_tokens % self.context:
            raise ConfigError(
                f"Cannot use scale {self.name!r}: batch_tokens {self.batch_tokens} is no multiple of context "
                f"{self.context}. Set batch_tokens to rows x context."
            )

    @property
    def n_steps(self) -> int:
        """Optimizer steps of a whole pre-training, at least one."""
        return max(1, self.n_tokens // self.batch_tokens)

    @property
    def grid_tokens(self) -> int:
        """Tokens that one verification trains on, over every learning rate of the grid."""
        return self.n_steps * self.batch_tokens * len(self.lr_grid)

    @property
    def target_block_params(self) -> int:
        """Parameters that a design's blocks are to have: those of the GPT seed at this width and depth.

        A block of it holds two norms, four square maps, and three maps to and from a hidden width of 8/3, which is
        rounded up to a multiple of 8.
        """
        d, hidden = self.d_model, 8 * -(-int(2.6667 * self.d_model) // 8)
        return self.n_blocks * (2 * d + 4 * d * d + 3 * d * hidden)

    def widths(self, n_blocks: int) -> tuple[int, int]:
        """The smallest and the largest `d_model` that the size search may give a design of that depth."""
        step, aspect = self.width_step, self.d_model / self.n_blocks
        lowest = max(step, step * ceil(aspect / ASPECT_RANGE * n_blocks / step))
        return lowest, max(lowest, step * floor(aspect * ASPECT_RANGE * n_blocks / step))

    @property
    def max_width(self) -> int:
        """The largest `d_model` that the size search may give a design, at whatever depth."""
        return self.widths(self.n_blocks + DEPTH_RANGE)[1]


@dataclass(frozen=True, slots=True)
class Ladder:
    """Scales from the bottom up, each with its quota of designs."""

    scales: tuple[Scale, ...]
    quotas: tuple[int, ...]

    def __post_init__(self) -> None:
        names = [s.name for s in self.scales]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"Cannot use a ladder of scales {names}; expected at least one, with different names.")
        if len(self.quotas) != len(names):
            raise ConfigError(f"Cannot use {len(self.quotas)} quotas for {len(names)} scales; give one for each.")
        for name, quota, below in zip(names, self.quotas, (None, *self.quotas), strict=False):
            if quota < 0:
                raise ConfigError(f"Cannot use quota {quota} at scale {name!r}; expected 0 or more.")
            if below is not None and quota > below:
                raise ConfigError(
                    f"Cannot use quota {quota} at scale {name!r}: only {below} designs are verified on the rung below. "
                    f"Lower it to at most {below}, or raise the one below."
                )

    def __iter__(self) -> Iterator[tuple[Scale, int]]:
        return iter(zip(self.scales, self.quotas, strict=True))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(scale.name for scale in self.scales)

    def scale(self, name: str) -> Scale:
        """The scale of that name.

        Raises:
            ConfigError: No such scale in the ladder.
        """
        for scale in self.scales:
            if scale.name == name:
                return scale
        raise ConfigError(
            f"Cannot find scale {name!r}; the ladder has {', '.join(self.names)}.{suggest(name, self.names)}"
        )

    def quota_by_scale(self) -> Mapping[str, int]:
        return dict(zip(self.names, self.quotas, strict=True))


def quotas_for_target(n_scales: int, n_target: int, ratio: Fraction = Fraction(1, 4)) -> tuple[int, ...]:
    """Quotas from the bottom up when only the number of designs at the top is given.

    Source: published implementation: `ceil(n_target / ratio^j)`, j rungs below the top.
    """
    return tuple(ceil(n_target / ratio**j) for j in reversed(range(n_scales)))
