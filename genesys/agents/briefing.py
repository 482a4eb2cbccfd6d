"""What a session is told of the bounds: the checker's own figures, worded for `roles/prompts/common.md`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from genesys.checker import RULES, STAGES, EffectivenessPolicy
from genesys.checker.static import ALLOWED_MODULES
from genesys.ladder import Scale
from genesys.ladder.scale import DEPTH_RANGE

# Figures of checker modules that import torch, which who writes briefs need not; a test holds them equal.
LEAK_TOLERANCE: Mapping[str, float] = {"float64": 1e-10, "float32": 1e-5, "bfloat16": 0.1}
LONGEST_LOOK = 65
MAX_CHECKED_LENGTH = 256
MAX_SIZE_ERROR = 0.20
LARGE_INPUT = 1e3
N_STEPS, STEP_SIZE = 8, 0.025
MAX_BUFFER_SHARE = 0.25


def bounds(scales: Sequence[Scale], vocab_size: int) -> dict[str, str]:
    """The fields that `genesys.roles.wording.BOUNDS` names, for a ladder."""
    policy = EffectivenessPolicy()
    return {
        "causality": _causality(),
        "lengths": _lengths(scales),
        "growth": _growth(policy),
        "scales": "\n".join(("At each scale:", *_scales(scales, vocab_size))),
        "work": _work(policy),
        "training": _training(policy),
        "imports": ", ".join(sorted(ALLOWED_MODULES - {"__future__"})),
        "rules": "\n".join(_rules()),
    }


def _causality() -> str:
    tolerances = ", ".join(f"{size:g} in {dtype}" for dtype, size in LEAK_TOLERANCE.items())
    return (
        "Looked at by value, by gradient and by rows cut short, in train and in eval mode, before and after some steps of "
        f"training; a later input, or another row, may move an output by at most this share of what the inputs before it do: "
        f"{tolerances}."
    )


def _lengths(scales: Sequence[Scale]) -> str:
    contexts = sorted({min(scale.context, MAX_CHECKED_LENGTH) for scale in scales})
    return (
        f"Each design is tried at lengths from 1 to {LONGEST_LOOK}, odd and even, some drawn for it alone, and at "
        f"{', '.join(map(str, contexts))}; a row cut short gives the outputs that the full row gives up to there."
    )


def _growth(policy: EffectivenessPolicy) -> str:
    return (
        f"What each doubling of the length L adds to the FLOPs, and to the numbers written, may grow as L^{policy.max_growth:g} "
        f"at most, with a warning above L^{policy.warn_growth:g}; of 16 single steps in length at most {policy.max_rises} may "
        f"add operators, so that a loop over chunks takes at least 4 positions at once."
    )


def _scales(scales: Sequence[Scale], vocab_size: int) -> Iterator[str]:
    for scale in scales:
        shallow = max(1, scale.n_blocks - DEPTH_RANGE)
        lowest, highest = scale.widths(shallow)[0], scale.max_width
        yield (
            f"  - {scale.name}: {scale.target_block_params:,} parameters in all blocks, within {scale.size_tolerance:.0%} (an "
            f"error beyond {MAX_SIZE_ERROR:.0%}); {shallow} to {scale.n_blocks + DEPTH_RANGE} blocks, width {lowest} to "
            f"{highest} in steps of {scale.width_step}; rows of {scale.context} tokens, vocabulary {vocab_size:,}."
        )


def _work(policy: EffectivenessPolicy) -> str:
    return (
        f"A training step may take {policy.max_work:g} times the reference's FLOPs, and as many times its numbers written, with "
        f"a warning above {policy.warn_work:g} times; warnings above {policy.warn_time:g} times its time and "
        f"{policy.warn_memory:g} times the memory that it keeps for the backward pass. Buffers other than tables over the length "
        f"hold at most {MAX_BUFFER_SHARE:.0%} as many numbers as the blocks have parameters."
    )


def _training(policy: EffectivenessPolicy) -> str:
    return (
        f"Outputs stay finite for inputs of size {LARGE_INPUT:g}, and over {N_STEPS} steps that move every parameter by "
        f"{STEP_SIZE:g} against its gradient's sign, which must change the outputs. {policy.n_steps} steps of AdamW on text stay "
        f"finite and bring the loss to {policy.max_loss_share:.0%} of what it was, or less."
    )


def _rules() -> Iterator[str]:
    """Those of the stages that run on a design's code."""
    for rule in RULES.values():
        if rule.stage in STAGES and rule.stage != "semantic":
            warns = " (a warning)" if rule.severity == "warning" else ""
            yield f"- `{rule.id}`: {rule.means}{warns}"
