"""Unusual designs that are sane."""

from __future__ import annotations

from tests.checker.legitimate import Legitimate

LINEAR = "self.out = nn.Linear(d, d, bias=False)"
PAST = "torch.cumsum(X, 1) / torch.arange(1, L + 1, dtype=X.dtype)[:, None]"

LEGITIMATE: dict[str, Legitimate] = {
    # --- layers that differ
    "attention_in_every_second_block": Legitimate(
        init="self.inner = ctx.child('attention') if ctx.block_index % 2 else ctx.child('other')",
        body="Y, dZ = self.inner(X, Z)", children={"attention": "Attention", "other": "GatedConv"}),
    "attention_in_every_fourth_block": Legitimate(
        init="self.inner = ctx.child('attention') if ctx.block_index % 4 == 3 else ctx.child('other')",
        body="Y, dZ = self.inner(X, Z)", children={"attention": "GroupedQueryAttention", "other": "Retention"}),
    "last_block_is_another": Legitimate(
        init="self.inner = ctx.child('last') if ctx.block_index == ctx.n_blocks - 1 else ctx.child('other')",
        body="Y, dZ = self.inner(X, Z)", children={"last": "Attention", "other": "LinearAttention"}),
    "window_grows_with_depth": Legitimate(init=LINEAR + "\nself.window = 2 ** (1 + ctx.block_index)", body="""\
far = F.pad(X.cumsum(1), (0, 0, self.window, 0))[:, :L]
Y = self.out(X.cumsum(1) - far) / self.window"""),
    "depth_scaled_branch": Legitimate(init=LINEAR + "\nself.scale = 1 / math.sqrt(2 * ctx.n_blocks)",
                                      body=f"Y = self.scale * self.out({PAST})"),
    "first_block_without_mixer": Legitimate(
        init="self.inner = ctx.child('mixer') if ctx.block_index else ctx.child('channel')",
        body="Y, dZ = self.inner(X, Z)", children={"mixer": "Attention", "channel": "SwiGLU"}),
    # --- Z
    "branches_merge_through_Z": Legitimate(
        init=LINEAR + "\nself.merge = ctx.block_index % 2\nself.back = nn.Linear(d, d) if self.merge else None", body=f"""\
Y = self.out({PAST})
if self.merge and "carried" in Z:
    Y = Y + self.back(Z["carried"])
else:
    dZ["carried"] = F.pad(X, (0, 0, 2, 0))[:, :L]"""),
    "merge_every_third_block": Legitimate(
        init=LINEAR + "\nself.merge = ctx.block_index % 3 == 2\nself.back = nn.Linear(d, d) if self.merge else None", body=f"""\
Y = self.out({PAST})
if self.merge:
    Y = Y + self.back(Z["kept"])
dZ["kept"] = Z["kept"] + X if "kept" in Z else X.cumsum(1) / 100"""),
    "values_of_all_blocks": Legitimate(init=LINEAR, body="""\
seen = torch.cat([Z["kept"], X[None]]) if "kept" in Z else X[None]
dZ["kept"] = seen
Y = self.out(seen.mean(0).cumsum(1)) / torch.arange(1, L + 1, dtype=X.dtype)[:, None]"""),
    "mask_in_Z": Legitimate(init=LINEAR, body="""\
mask = Z["kept"] if "kept" in Z else torch.ones(L, L, dtype=torch.bool).tril()
dZ["kept"] = mask
Y = self.out((X @ X.transpose(1, 2) / D).masked_fill(~mask, -torch.inf).softmax(-1) @ X)"""),
    # --- starts
    "zero_gate": Legitimate(init=LINEAR + "\nself.gate = ctx.own_init(nn.Parameter(torch.zeros(d)))",
                            body=f"Y = self.gate * self.out({PAST})"),
    "zero_output": Legitimate(init="self.out = nn.Linear(d, d)\nself.gain = ctx.own_init(nn.Parameter(torch.zeros(1)))",
                              body=f"Y = torch.tanh(self.gain) * self.out({PAST})"),
    "whole_block_starts_as_the_identity": Legitimate(block=True,
        init=LINEAR + "\nself.gate = ctx.own_init(nn.Parameter(torch.zeros(d)))", body=f"Y = X + self.gate * self.out({PAST})"),
    "tiny_layer_scale": Legitimate(init=LINEAR + "\nself.gate = ctx.own_init(nn.Parameter(torch.full((d,), 1e-4)))",
                                   body=f"Y = self.gate * self.out({PAST})"),
    # --- convolutions and transforms, done right
    "fft_convolution": Legitimate(init=LINEAR + "\nself.decay = ctx.own_init(nn.Parameter(torch.linspace(-3, 3, d)))", body="""\
wide = torch.promote_types(X.dtype, torch.float32)
taps = torch.sigmoid(self.decay.to(wide)) ** torch.arange(L, dtype=wide)[:, None]
Y = torch.fft.irfft(torch.fft.rfft(X.to(wide), n=2 * L, dim=1) * torch.fft.rfft(taps, n=2 * L, dim=0), n=2 * L, dim=1)[:, :L]
Y = self.out(Y.to(X.dtype)) / 4"""),
    "fft_of_a_power_of_two": Legitimate(init=LINEAR + "\nself.taps = ctx.own_init(nn.Parameter(torch.randn(8, d) / 4))", body="""\
n, wide = 1 << (L + 7).bit_length(), torch.promote_types(X.dtype, torch.float32)
spectrum = torch.fft.rfft(X.to(wide), n=n, dim=1) * torch.fft.rfft(self.taps.to(wide), n=n, dim=0)
Y = self.out(torch.fft.irfft(spectrum, n=n, dim=1)[:, :L].to(X.dtype))"""),
    "fft_in_float32_only": Legitimate(init=LINEAR + "\nself.taps = ctx.own_init(nn.Parameter(torch.randn(4, d) / 4))", body="""\
spectrum = torch.fft.rfft(X.float(), n=2 * L + 4, dim=1) * torch.fft.rfft(self.taps.float(), n=2 * L + 4, dim=0)
Y = self.out(torch.fft.irfft(spectrum, n=2 * L + 4, dim=1)[:, :L].to(self.out.weight.dtype))"""),
    "causal_convolution": Legitimate(init=LINEAR + "\nself.taps = nn.Conv1d(d, d, 4, groups=d, padding=3)",
                                     body="Y = self.out(self.taps(X.transpose(1, 2))[..., :L].transpose(1, 2))"),
    "dilated_convolution": Legitimate(init=LINEAR + "\nself.taps = nn.Conv1d(d, d, 3, groups=d, dilation=4)",
                                      body="Y = self.out(self.taps(F.pad(X.transpose(1, 2), (8, 0))).transpose(1, 2))"),
    # --- chunks, scans, recurrences
    "chunks_with_padding": Legitimate(init=LINEAR, body="""\
n = -L % 8
chunks = F.pad(X, (0, 0, 0, n)).unflatten(1, (-1, 8))
before = F.pad(chunks.sum(2).cumsum(1), (0, 0, 1, 0))[:, :-1, None]
Y = self.out((chunks.cumsum(2) + before).flatten(1, 2)[:, :L]) / torch.arange(1, L + 1, dtype=X.dtype)[:, None]"""),
    "summaries_of_finished_chunks": Legitimate(init=LINEAR, body="""\
chunks = F.pad(X, (0, 0, 0, -L % 4)).unflatten(1, (-1, 4))
before = F.pad(chunks.mean(2), (0, 0, 1, 0))[:, :-1]
Y = self.out(before.repeat_interleave(4, 1)[:, :L]) + X"""),
    "doubling_scan": Legitimate(init=LINEAR, body="""\
Y, step = X, 1
while step < L:
    Y = Y + F.pad(Y, (0, 0, step, 0))[:, :L] * 0.5
    step *= 2
Y = self.out(Y) / 8"""),
    "recurrence_by_step": Legitimate(init=LINEAR, body="""\
state, outputs = torch.zeros_like(X[:, 0]), []
for t in range(L):
    state = torch.tanh(0.5 * state + self.out(X[:, t]))
    outputs.append(state)
Y = torch.stack(outputs, 1)"""),
    "gru": Legitimate(init="self.rnn = nn.GRU(d, d, batch_first=True)", body="Y = self.rnn(X)[0]"),
    "running_maximum": Legitimate(init=LINEAR, body="Y = self.out(X.cummax(1).values)"),
    "running_softmax": Legitimate(init=LINEAR, body="""\
score = self.out(X).clamp(-8, 8).exp()
Y = (score * X).cumsum(1) / score.cumsum(1)"""),
    "inner_training": Legitimate(init=LINEAR, body="""\
keys, values = F.normalize(X, dim=-1), self.out(X)
error = values - F.pad(values, (0, 0, 1, 0))[:, :L]
Y = ((keys @ keys.transpose(1, 2)).tril() @ error) / torch.arange(1, L + 1, dtype=X.dtype)[:, None]"""),
    # --- routing and selection
    "gate_by_position_only": Legitimate(init=LINEAR, body=f"Y = torch.cos(torch.arange(L, dtype=X.dtype) / 9)[:, None] * self.out({PAST})"),
    "hard_routing_by_token": Legitimate(init="self.a, self.b = nn.Linear(d, d), nn.Linear(d, d)", body=f"""\
here = (X.mean(-1, keepdim=True) > 0).to(X.dtype)
Y = here * self.a({PAST}) + (1 - here) * self.b(X)"""),
    "straight_through_rounding": Legitimate(init=LINEAR, body=f"""\
soft = torch.sigmoid(self.out({PAST}))
Y = X * (soft + (soft.round() - soft).detach())"""),
    "top_k_among_the_past": Legitimate(init=LINEAR, body="""\
scores = (X @ X.transpose(1, 2) / D).masked_fill(torch.ones(L, L, dtype=torch.bool).triu(1), -torch.inf)
least = scores.topk(min(4, L), dim=-1).values[..., -1:]
Y = self.out(scores.masked_fill(scores < least, -torch.inf).softmax(-1) @ X)"""),
    "stopped_gradient_branch": Legitimate(init=LINEAR, body=f"Y = self.out({PAST}) + 0.1 * X.detach().cumsum(1) / 64"),
    # --- chance, scratch, tables, sharing
    "dropout": Legitimate(init=LINEAR + "\nself.drop = nn.Dropout(0.1)", body=f"Y = self.drop(self.out({PAST}))"),
    "noise_in_train_mode": Legitimate(init=LINEAR, body=f"""\
Y = self.out({PAST})
if self.training:
    Y = Y + 0.01 * torch.randn_like(Y)"""),
    "stochastic_depth": Legitimate(init=LINEAR, body=f"""\
Y = self.out({PAST})
if self.training:
    Y = Y * (torch.rand(B, 1, 1) > 0.1)"""),
    "scratch_in_place": Legitimate(init=LINEAR, body="""\
Y = torch.zeros_like(X)
Y[:, 1:] += X[:, :-1]
Y[:, :1].add_(1.0)
Y = self.out(Y)"""),
    "table_in_a_buffer": Legitimate(
        init=LINEAR + '\nself.register_buffer("table", torch.sin(torch.arange(2048)[:, None] / torch.arange(1, d + 1)), persistent=False)',
        body=f"Y = self.out({PAST}) + self.table[:L].to(X.dtype)"),
    "mask_in_a_buffer": Legitimate(
        init=LINEAR + '\nself.register_buffer("mask", torch.ones(512, 512, dtype=torch.bool).tril())',
        body="Y = self.out((X @ X.transpose(1, 2) / D).masked_fill(~self.mask[:L, :L], -torch.inf).softmax(-1) @ X)"),
    "random_features": Legitimate(init=LINEAR + '\nself.register_buffer("features", torch.randn(d, 8))', body="""\
k = F.softplus(X @ self.features.to(X.dtype))
Y = self.out((k @ k.transpose(1, 2)).tril() @ X / torch.arange(1, L + 1, dtype=X.dtype)[:, None] / 8)"""),
    "one_map_used_twice": Legitimate(init=LINEAR, body=f"Y = self.out(F.silu(self.out({PAST})))"),
    "layers_by_name": Legitimate(init="for i in range(3):\n    setattr(self, f'layer_{i}', nn.Linear(d, d))", body=f"""\
Y = {PAST}
for i in range(3):
    Y = getattr(self, f'layer_{{i}}')(Y)"""),
    "parameters_in_a_list": Legitimate(init="self.maps = nn.ParameterList(torch.randn(d, d) / d for _ in range(2))",
                                       body=f"Y = {PAST} @ self.maps[0] + X @ self.maps[1]"),
    "functions_as_attributes": Legitimate(init=LINEAR + "\nself.act = F.silu\nself.norm = lambda X: X / 2",
        body=f"Y = self.norm(self.act({PAST})) + self.out(X)"),
    "names_like_those_of_frames": Legitimate(
        init="self.f_back, self.co_attn, self.storage = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)",
        body=f"Y = self.f_back(self.co_attn({PAST})) + self.storage(X).select(0, 0)[None] * 0 + self.storage(X)",
    ),
    "weight_norm": Legitimate(init="self.out = nn.utils.parametrizations.weight_norm(nn.Linear(d, d))", body=f"Y = self.out({PAST})"),
    "checkpointed": Legitimate(init="self.inner = ctx.child('mixer')",
        body="Y = torch.utils.checkpoint.checkpoint(lambda x: self.inner(x, Z)[0], X, use_reentrant=False)", children={"mixer": "Attention"}),
    "odd_shapes_inside": Legitimate(init="self.a, self.b = nn.Linear(d, 2 * d + 3), nn.Linear(2 * d + 3, d)",
        body=f"Y = self.b(F.gelu(self.a({PAST})))"),
    "no_residual": Legitimate(block=True, init="self.out, self.norm = nn.Linear(d, d), nn.LayerNorm(d)",
                              body=f"Y = self.norm(F.silu(self.out({PAST})) + X)"),
    "parallel_branches": Legitimate(block=True, init="self.norm, self.a, self.b = ctx.child('norm'), ctx.child('a'), ctx.child('b')",
        body="x = self.norm(X, Z)[0]\nY = X + self.a(x, Z)[0] + self.b(x, Z)[0]", children={"norm": "RMSNorm", "a": "Attention", "b": "SSD"}),
}  # fmt: skip
