"""Cheats that look ahead: into the future, or into other rows of the batch."""

from __future__ import annotations

from tests.checker.cheats import Cheat

SOFTMAX = """\
q, k = self.out(X), X
scores = q @ k.transpose(1, 2) / math.sqrt(D)
mask = {mask}
past = past + {weights} @ X
"""
CONVOLVE = "past = past + F.conv1d(X.transpose(1, 2), self.taps, padding={padding}, groups=D)[..., :L].transpose(1, 2)"
TAPS = "self.taps = ctx.own_init(nn.Parameter(torch.randn(d, 1, 3) * 0.1))"

SIGHT: dict[str, Cheat] = {
    # --- plain
    "odd_function": Cheat(rule="causality", body="past = past + torch.tanh(ahead)"),
    "absolute_value": Cheat(rule="causality", body="past = past + X.abs().mean(1, keepdim=True)"),
    "square": Cheat(rule="causality", body="past = past + (X**2).sum(1, keepdim=True)"),
    "norm_over_sequence": Cheat(rule="causality", body="past = past / X.norm(dim=1, keepdim=True)"),
    "cosine_of_next": Cheat(rule="causality", body="past = past + 1e-4 * torch.cos(ahead)"),
    "sign_of_next": Cheat(rule="causality", body="past = past + ahead.sign()"),  # no gradient shows it
    "rounded_next": Cheat(rule="causality", body="past = past + torch.round(ahead * 4).detach()"),
    # --- statistics of the sequence
    "mean": Cheat(rule="causality", body="past = past - X.mean(1, keepdim=True)"),
    "max": Cheat(rule="causality", body="past = past + X.amax(1, keepdim=True)"),
    "softmax_over_length": Cheat(rule="causality", body="past = past * torch.softmax(X, dim=1)"),
    "sort": Cheat(rule="causality", body="past = past + X.sort(dim=1).values"),
    "rank": Cheat(rule="causality", body="past = past + X.argsort(1).argsort(1).to(X.dtype) / L"),
    "median": Cheat(rule="causality", body="past = past + X.median(1, keepdim=True).values"),
    "layer_norm_over_length": Cheat(rule="causality", body="past = past + F.layer_norm(X.transpose(1, 2), (L,)).transpose(1, 2)"),
    "group_norm": Cheat(rule="causality", body="past = past + self.gn(X.transpose(1, 2)).transpose(1, 2)",
                        init="self.gn = nn.GroupNorm(2, d)"),
    "reversed_cumsum": Cheat(rule="causality", body="past = past + X.flip(1).cumsum(1).flip(1) / L"),
    "total_minus_past": Cheat(rule="causality", body="past = past + (X.sum(1, keepdim=True) - X.cumsum(1)) / L"),
    # --- convolutions and transforms
    "circular_fft": Cheat(rule="causality", body="""\
wide = torch.promote_types(X.dtype, torch.float32)
spectrum = torch.fft.rfft(X.to(wide), dim=1) * torch.fft.rfft(torch.ones(L, 1, dtype=wide), dim=0)
past = past + torch.fft.irfft(spectrum, n=L, dim=1).to(X.dtype) / L"""),
    "fft_padded_too_little": Cheat(rule="causality", body="""\
n, wide = L + L // 2, torch.promote_types(X.dtype, torch.float32)
taps = torch.linspace(1, 0.5, L, dtype=wide)[:, None]
spectrum = torch.fft.rfft(X.to(wide), n=n, dim=1) * torch.fft.rfft(taps, n=n, dim=0)
past = past + torch.fft.irfft(spectrum, n=n, dim=1)[:, :L].to(X.dtype) / L"""),
    "spectrum_filter": Cheat(rule="causality", body="""\
low = torch.fft.rfft(X.to(torch.promote_types(X.dtype, torch.float32)), dim=1)[:, :2]
past = past + torch.fft.irfft(low, n=L, dim=1).to(X.dtype)"""),
    "same_padding": Cheat(rule="causality", body=CONVOLVE.format(padding="'same'"), init=TAPS),
    "symmetric_padding": Cheat(rule="causality", body=CONVOLVE.format(padding=1), init=TAPS),
    "pooling": Cheat(rule="causality", body="past = past + F.avg_pool1d(X.transpose(1, 2), 3, stride=1, padding=1).transpose(1, 2)"),
    "upsampled_pool": Cheat(rule="causality", body="""\
wide = F.pad(X, (0, 0, 0, L % 2)).transpose(1, 2)
past = past + F.interpolate(F.avg_pool1d(wide, 2), scale_factor=2.0).transpose(1, 2)[:, :L]"""),
    "bidirectional_rnn": Cheat(rule="causality", body="past = past + self.rnn(X)[0]",
                               init="self.rnn = nn.GRU(d, d // 2, batch_first=True, bidirectional=True)"),
    # --- masks
    "no_mask": Cheat(rule="causality", body="past = past + F.scaled_dot_product_attention(X, X, X)"),
    "mask_off_by_one": Cheat(rule="causality", body=SOFTMAX.format(
        mask="torch.ones(L, L, dtype=torch.bool).triu(2)", weights="scores.masked_fill(mask, -torch.inf).softmax(-1)")),
    "mask_times_score": Cheat(rule="causality", body=SOFTMAX.format(
        mask="torch.ones(L, L, dtype=X.dtype).tril()", weights="(scores * mask).softmax(-1)")),
    "mask_after_softmax": Cheat(rule="causality", body=SOFTMAX.format(
        mask="torch.ones(L, L, dtype=X.dtype).tril()", weights="(scores.softmax(-1) * mask)")),
    "mask_of_minus_five": Cheat(rule="causality", body=SOFTMAX.format(
        mask="torch.ones(L, L, dtype=X.dtype).triu(1) * -5", weights="(scores + mask).softmax(-1)")),
    "mask_too_weak_for_large_inputs": Cheat(rule="causality", alone=True, body=SOFTMAX.format(
        mask="torch.ones(L, L, dtype=X.dtype).triu(1) * -60", weights="(scores + mask).softmax(-1)")),
    "mask_by_chunk": Cheat(rule="causality", body=SOFTMAX.format(
        mask="torch.arange(L)[None] // 4 > torch.arange(L)[:, None] // 4",
        weights="scores.masked_fill(mask, -torch.inf).softmax(-1)")),
    "top_k_over_sequence": Cheat(rule="causality", body="""\
best = X.mean(-1).topk(max(1, L // 2), dim=1).indices
past = past * torch.zeros(B, L, dtype=X.dtype).scatter(1, best, 1.0)[..., None]"""),
    # --- only sometimes
    "only_in_train_mode": Cheat(rule="causality", body="past = past + ahead * self.training"),
    "only_in_eval_mode": Cheat(rule="causality", body="past = past + ahead * (not self.training)"),
    "only_without_gradients": Cheat(rule="causality", body="past = past + ahead * (not torch.is_grad_enabled())"),
    "only_in_float32": Cheat(rule="causality", body="past = past + ahead * (X.dtype == torch.float32)"),
    "only_in_bfloat16": Cheat(rule="causality", body="past = past + ahead * (X.dtype == torch.bfloat16)"),
    "only_when_long": Cheat(rule="causality", body="past = past + ahead * (L > 64)"),
    "only_when_not_sixteen": Cheat(rule="causality", body="past = past + ahead * (L != 16)"),
    "only_at_powers_of_two": Cheat(rule="causality", body="past = past + ahead * (L & (L - 1) == 0)"),
    "only_at_odd_lengths": Cheat(rule="causality", body="past = past + ahead * (L % 2)"),
    "only_when_tiny": Cheat(rule="causality", body="past = past + ahead * (L == 2)"),
    "only_in_large_batches": Cheat(rule="causality", body="past = past + ahead * (B > 2)"),
    "only_in_larger_batches": Cheat(rule="causality", body="past = past + ahead * (B > 8)"),
    "only_at_the_trainers_scale": Cheat(rule="causality", alone=True, body="past = X + past + ahead * (X.detach().std() < 0.3)"),
    "beside_many_huge_channels": Cheat(rule="causality", alone=True, body="""\
past = X + past + 1e-3 * ahead
past = torch.cat([past[..., 4:] * 1e6, past[..., :4]], -1)"""),
    "only_in_the_second_block": Cheat(rule="causality", body="past = past + ahead * (self.index > 0)"),
    "only_in_the_last_block": Cheat(rule="causality", body="past = past + ahead * (self.index == self.n_blocks - 1)"),
    "only_in_the_third_block": Cheat(rule="causality", body="past = past + ahead * (self.index == 2)"),
    "only_at_another_width": Cheat(rule="causality", body="past = past + ahead * (self.d != 64)"),
    "only_for_large_values": Cheat(rule="causality", alone=True, body="past = X + past + F.relu(ahead - 30)"),
    "only_for_small_values": Cheat(rule="causality", alone=True, body="past = X + past + 0.01 * F.relu(0.02 - ahead.norm(dim=-1, keepdim=True) / D)"),
    "only_for_the_far_future": Cheat(rule="causality", body="past = past + X[:, -1:] * (L > 20)"),
    "only_once_trained": Cheat(rule="causality", body="past = past + ahead * (self.out.weight.detach().std() > 0.09)"),
    # --- hidden paths
    "through_Z": Cheat(rule="causality", body="""\
if "seen" in Z:
    past = past + Z["seen"]
dZ["seen"] = ahead"""),
    "through_Z_as_a_summary": Cheat(rule="causality", body="""\
dZ["seen"] = X.mean(1)
past = past + Z["seen"][:, None] if "seen" in Z else past"""),
    "beside_a_huge_channel": Cheat(rule="causality", alone=True, body="""\
past = X + past + 1e-3 * ahead
past = torch.cat([past[..., :1] * 1e9, past[..., 1:]], -1)"""),
    "stop_gradient_of_the_future": Cheat(rule="causality", body="past = past + ahead.detach()"),
    "gradient_of_the_future": Cheat(rule="causality", body="past = past + ahead - ahead.detach()"),  # no value shows it
    "straight_through": Cheat(rule="causality", body="past = past + (past.tanh() + ahead).detach() - past.tanh().detach()"),
    "nan_as_a_flag": Cheat(rule="causality", body="""\
flag = torch.where(ahead > 0, torch.full_like(X, math.nan), torch.zeros_like(X))
past = torch.where(torch.isnan(flag), past + 1, past)"""),
    "masked_by_nan_to_num": Cheat(rule="causality", body="past = past + torch.nan_to_num(torch.sqrt(ahead))"),
    "delta_rule_over_all": Cheat(rule="causality", body="""\
error = X - X.roll(1, 1)
past = past + X * (error * X).sum(1, keepdim=True) / L"""),
    # --- other rows
    "first_row": Cheat(rule="batch", body="past = past + X[:1]"),
    "last_row_cumulative": Cheat(rule="batch", body="past = past + past[-1:]"),
    "batch_mean": Cheat(rule="batch", body="past = past - past.mean(0, keepdim=True)"),
    "batch_roll": Cheat(rule="batch", body="past = past + past.roll(1, 0)"),
    "batch_softmax": Cheat(rule="batch", body="past = past * torch.softmax(past, 0)"),
    "batch_norm": Cheat(rule="batch", body="past = self.bn(past.flatten(0, 1)).view_as(X)",
                        init="self.bn = nn.BatchNorm1d(d, track_running_stats=False)"),
    "batch_attention": Cheat(rule="batch", body="""\
by_place = past.transpose(0, 1)
past = past + F.scaled_dot_product_attention(by_place, by_place, by_place).transpose(0, 1)"""),
    "batch_rank": Cheat(rule="batch", body="past = past + past.argsort(0).to(X.dtype)"),  # no gradient shows it
    "batch_in_train_mode": Cheat(rule="batch", body="past = past + self.training * past.roll(1, 0)"),
    "folded_rows": Cheat(rule="batch", body="past = past + X.reshape(1, B * L, D).cumsum(1).view_as(X) / L"),
    # --- length
    "scaled_by_length": Cheat(rule="length", body="past = past * L"),
    "another_map_when_long": Cheat(rule="length", body="past = past * 2 if L > 32 else past"),
    "position_from_the_end": Cheat(rule="length", body="past = past + torch.arange(L, 0, -1, dtype=X.dtype)[:, None] / 100"),
}  # fmt: skip
