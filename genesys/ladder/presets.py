"""The ladders that ship: the paper's, the scales beyond it, and one that a two-core laptop climbs in minutes."""

from __future__ import annotations

from genesys.ladder.scale import Ladder, Probe, Scale


def _paper(
    name: str, d_model: int, n_blocks: int, peak_lr: float, n_tokens: int, suite: str, batch_tokens: int = 524_288
) -> Scale:
    return Scale(
        name=name, d_model=d_model, n_blocks=n_blocks, context=2048, batch_tokens=batch_tokens, n_tokens=n_tokens,
        peak_lr=peak_lr, suite=suite,
    )  # fmt: skip


PAPER_SCALES = (
    # reference parameters x tokens per parameter, Cheng et al. 2025; every design gets the same tokens
    _paper("14M", 128, 6, 1e-3, 5_280_384 * 50, "cheap"),
    _paper("31M", 256, 6, 1e-3, 12_920_064 * 40, "cheap"),
    _paper("70M", 512, 6, 1e-3, 35_277_312 * 30, "informative9"),
    _paper("125M", 768, 12, 6e-4, 109_566_720 * 20, "informative9"),
    _paper("350M", 1024, 24, 3e-4, 334_906_368 * 20, "paper29"),
    _paper("760M", 1536, 24, 2.5e-4, 728_851_968 * 20, "paper29"),
    _paper("1300M", 2048, 24, 2e-4, 1_273_792_512 * 20, "paper29", 1_048_576),
)


def _cpu(
    name: str, d_model: int, n_blocks: int, context: int, batch_tokens: int, n_steps: int, peak_lr: float,
    probes: tuple[Probe, ...] = ("recall", "copy", "induction"),
) -> Scale:  # fmt: skip
    # With so few tokens, small batches and a larger embedding decide: at 64 x 2 and 164k tokens a batch of 2,048 and a
    # deviation of .02 end at 3.16 nats, which is the unigram model; 512 and .1 end at 2.02.
    return Scale(
        name=name, d_model=d_model, n_blocks=n_blocks, context=context, batch_tokens=batch_tokens,
        n_tokens=n_steps * batch_tokens, peak_lr=peak_lr, width_step=8, size_tolerance=0.10, embedding_std=0.1, probes=probes,
    )  # fmt: skip


CPU_SCALES = (
    _cpu("cpu-1", 64, 2, 64, 512, 280, 6e-3, probes=("recall",)),
    _cpu("cpu-2", 96, 3, 64, 512, 380, 4e-3),
    _cpu("cpu-3", 128, 4, 128, 1024, 260, 3e-3),
)

LADDERS = {
    "paper": Ladder(PAPER_SCALES[:5], (1000, 400, 150, 40, 5)),
    "large": Ladder(PAPER_SCALES[5:], (6, 3)),
    "cpu": Ladder(CPU_SCALES, (16, 5, 2)),
}
