"""Cheats and failures that show in numbers: gradients, training, size, width, shape."""

from __future__ import annotations

from tests.checker.cheats import Cheat

LEARNING: dict[str, Cheat] = {
    # --- gradients
    "detached_output": Cheat(rule="gradient", body="past = past.detach()"),
    "detached_by_data": Cheat(rule="gradient", body="past = past.data"),
    "no_grad": Cheat(rule="gradient", body="with torch.no_grad():\n    past = self.out(X.cumsum(1)) / torch.arange(1, L + 1, dtype=X.dtype)[:, None]"),  # noqa: E501
    "times_zero": Cheat(rule="gradient", init="self.extra = nn.Linear(d, d)", body="past = past + 0 * self.extra(X)"),
    "rounded": Cheat(rule="gradient", body="past = torch.round(past * 8) / 8"),
    "unused_parameter": Cheat(rule="gradient", init="self.extra = nn.Parameter(torch.ones(d))"),
    "used_in_eval_mode_only": Cheat(rule="gradient", init="self.extra = nn.Linear(d, d)",
                                    body="past = past if self.training else past + self.extra(past)"),
    "dead_relu": Cheat(rule="gradient", init="self.extra = nn.Linear(d, d)", body="past = past + F.relu(self.extra(X).clamp(max=0) - 1e-9)"),
    "saturated": Cheat(rule="gradient", init="self.extra = nn.Linear(d, d)", body="past = past + self.extra(X).clamp(-1e-9, -1e-10)"),
    "nan_gradient": Cheat(rule="gradient", init="self.extra = ctx.own_init(nn.Parameter(torch.zeros(d)))",
                          body="past = past + torch.sqrt((self.extra - self.extra).abs())"),
    "infinite_gradient": Cheat(rule="gradient", init="self.extra = nn.Linear(d, 1)", body="""\
flat = self.extra(X).clamp(0, 0)
past = past + torch.where(flat > 0, flat.sqrt(), flat * 1e38 * 1e38 if X.dtype == torch.float64 else flat.sqrt())"""),
    # --- nothing computed
    "identity": Cheat(rule="identity", alone=True, body="past = X + 0 * past"),
    "identity_but_for_rounding": Cheat(rule="identity", alone=True, body="past = X + 1e-9 * past"),
    "zero_mixer_alone": Cheat(rule="identity", alone=True, body="past = X.clone()"),
    "pointwise_only": Cheat(rule="context", body="past = self.out(X)"),
    "context_of_one": Cheat(rule="context", body="past = self.out(X).view(B * L, 1, D).cumsum(1).view_as(X)"),
    "constant_output": Cheat(rule="constant", alone=True, body="past = self.out.weight.sum(0).expand(B, L, D) * 1.0"),
    "position_only": Cheat(rule="constant", alone=True, body="past = torch.arange(L, dtype=X.dtype)[None, :, None] * self.out.weight[0] + 0 * X"),
    # --- numbers
    "division_by_zero": Cheat(rule="finite", body="past = past / 0"),
    "logarithm": Cheat(rule="finite", body="past = torch.log(past)"),
    "empty_row_of_softmax": Cheat(rule="finite", body="past = past + torch.full((L, L), -torch.inf, dtype=X.dtype).softmax(-1) @ X"),
    "variance_of_one": Cheat(rule="finite", body="past = past / torch.stack([X[:, : t + 1].std(1) for t in range(L)], 1)"),
    "exponential": Cheat(rule="finite", alone=True, body="past = X + past.exp()"),
    "exponential_growth_with_length": Cheat(rule="finite", alone=True, body="past = X + torch.cumprod(1 + X.abs(), 1)"),
    "square_of_square": Cheat(rule="finite", alone=True, body="past = X + past**16"),
    "exponential_of_scores": Cheat(rule="finite", alone=True, body="""\
scores = (X @ self.out(X).transpose(1, 2)).exp().tril()
past = X + (scores / scores.sum(-1, keepdim=True)) @ X"""),
    "unstable_when_trained": Cheat(rule="unstable", body="past = past * torch.sqrt(0.0885 - self.out.weight.detach().std())"),
    # --- shapes and widths
    "another_width": Cheat(rule="run-error", init="assert d == 64"),
    "width_fixed_inside": Cheat(rule="run-error", init="self.extra = nn.Parameter(torch.randn(64, 64) / 8)", body="past = past + X @ self.extra"),
    "one_position_lost": Cheat(rule="run-error", body="past = past[:, 1:]"),
    "length_fixed_inside": Cheat(rule="run-error", init="self.extra = nn.Parameter(torch.zeros(32, d))", body="past = past + self.extra"),
    "even_lengths_only": Cheat(rule="run-error", body="past = past.view(B, L // 2, 2, D).flatten(1, 2)"),
    "batch_of_two_only": Cheat(rule="run-error", body="past = past.view(2, L, D)"),
    "longer_alone": Cheat(rule="shape", alone=True, body="past = torch.cat([X + past, past[:, :1]], 1)"),
    "float32_output_in_bfloat16": Cheat(rule="run-error", body="past = past.float() @ self.out.weight", alone=True),
}  # fmt: skip
