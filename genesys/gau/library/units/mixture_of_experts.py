import torch
from torch import nn


class MixtureOfExperts(nn.Module):
    """A router picks `n_active` of `n_experts` channel mixers for each token and adds them by its probabilities.

    Every expert sees all tokens and a mask drops what was not picked, so shapes do not depend on data. Each expert
    also keeps a share `floor` of its probability on every token, so that none is without gradient.
    Shapes: X (B, L, D) -> Y (B, L, D). Complexity: `n_experts` times an expert's. Parameters: those of the experts
    and D `n_experts`.
    Source: Shazeer et al. 2017, "Outrageously Large Neural Networks"; Jiang et al. 2024, "Mixtral of Experts".
    """

    kind = "channel"
    slots = {"expert": {"doc": "expert[0..], each (B, L, D)", "accepts": ("channel",)}}
    writes = ("*",)

    def __init__(self, d: int, ctx, *, n_experts: int = 4, n_active: int = 2, floor: float = 0.02):
        super().__init__()
        self.n_active, self.floor = min(n_active, n_experts), floor
        self.router = nn.Linear(d, n_experts, bias=False)
        self.experts = ctx.children("expert", n_experts)

    def forward(self, X, Z):
        share_BLE = self.shares(X)
        Y, written = 0, {}
        for e, expert in enumerate(self.experts):
            y, dZ = expert(X, {**Z, **written})
            Y, written = Y + share_BLE[..., e : e + 1] * y, {**written, **dZ}
        return Y, written

    def shares(self, X):
        """What each expert contributes to each token; shape (B, L, E), rows sum to 1."""
        probability = torch.softmax(self.router(X), dim=-1)
        least = probability.topk(self.n_active, dim=-1).values[..., -1:]
        kept = torch.where(probability >= least, probability, self.floor * probability)
        return kept / kept.sum(-1, keepdim=True)


def test_shares_sum_to_one_and_few_dominate(make):
    shares = make(d=8, n_experts=4, n_active=2).shares(torch.randn(2, 5, 8))
    assert torch.allclose(shares.sum(-1), torch.ones(2, 5), atol=1e-6)
    assert (shares.topk(2, dim=-1).values.sum(-1) > 0.9).all()
