"""Cheats that remember: state between calls, changed inputs, things kept out of the books, chance."""

from __future__ import annotations

from tests.checker.cheats import Cheat

COUNT = "self.n = ctx.n_blocks * 0"

MEMORY: dict[str, Cheat] = {
    # --- chance
    "random_noise": Cheat(rule="deterministic", body="past = past + torch.rand_like(past)"),
    "dropout_in_eval_mode": Cheat(rule="deterministic", body="past = F.dropout(past, 0.1)"),
    "random_permutation": Cheat(rule="deterministic", body="past = past[..., torch.randperm(D)]"),
    "alternating": Cheat(rule="state", init="self.odd = False", body="self.odd = not self.odd\npast = past * (1 + self.odd)"),
    # --- counters, wherever they hide
    "counter_in_an_attribute": Cheat(rule="state", init=COUNT, body="self.n += 1\npast = past + ahead * (self.n > 1000)"),
    "counter_in_a_buffer": Cheat(rule="state", init='self.register_buffer("n", torch.zeros(()))',
                                 body="self.n += 1\npast = past / (self.n < 1000)"),
    "counter_out_of_the_state_dict": Cheat(rule="state", init='self.register_buffer("n", torch.zeros(()), persistent=False)',
                                           body="self.n.add_(1)\npast = past / (self.n < 1000)"),
    "counter_by_data": Cheat(rule="state", init='self.register_buffer("n", torch.zeros(()))',
                             body="self.n.data += 1\npast = past / (self.n < 1000)"),
    "counter_in_a_list": Cheat(rule="state", init="self.n = [0]", body="self.n[0] += 1\npast = past + ahead * (self.n[0] > 1000)"),
    "counter_in_the_class": Cheat(rule="state", members="n = 0", body="Mixer.n += 1\npast = past + ahead * (self.n > 1000)"),
    "counter_in_a_global": Cheat(rule="state", top="CALLS = []", body="CALLS.append(1)\npast = past + ahead * (len(CALLS) > 1000)"),
    "counter_in_a_default": Cheat(rule="state", top="def tick(n=[0]):\n    n[0] += 1\n    return n[0]",
                                  body="past = past + ahead * (tick() > 1000)"),
    "counter_in_a_closure": Cheat(rule="state", top="def clock():\n    n = [0]\n    return lambda: n.append(0) or len(n)\n\ntick = clock()",
                                  body="past = past + ahead * (tick() > 1000)"),
    "counter_on_a_function": Cheat(rule="state", top="def tick():\n    tick.n += 1\n    return tick.n\n\ntick.n = 0",
                                   body="past = past + ahead * (tick() > 1000)"),
    "counter_in_an_object": Cheat(rule="state", top="class Box:\n    n = 0", init="self.box = Box()",
                                  body="self.box.n += 1\npast = past + ahead * (self.box.n > 1000)"),
    "counter_in_a_slot": Cheat(rule="state", top="class Box:\n    __slots__ = ('n',)", init="self.box = Box()\nself.box.n = 0",
                               body="self.box.n += 1\npast = past + ahead * (self.box.n > 1000)"),
    "counter_in_a_generator": Cheat(rule="state", init="self.clock = (i for i in range(10**9))",
                                    body="past = past + ahead * (next(self.clock) > 1000)"),
    "counter_in_an_iterator": Cheat(rule="state", top="CLOCK = iter(range(10**9))", body="past = past + ahead * (next(CLOCK) > 1000)"),
    "counter_in_a_random_state": Cheat(rule="state", init="self.dice = torch.Generator()",
                                       body="past = past + 0 * torch.rand(1, generator=self.dice)"),
    "counter_in_a_partial": Cheat(rule="state", init="self.tick = functools.partial(list.append, [])",
                                  body="self.tick(1)\npast = past + ahead * (len(self.tick.args[0]) > 1000)"),
    "counter_in_train_mode": Cheat(rule="state", init=COUNT, body="self.n += self.training\npast = past + ahead * (self.n > 1000)"),
    "longest_row_so_far": Cheat(rule="state", init="self.longest = 64", body="self.longest = max(self.longest, L)\npast = past / self.longest"),
    # --- what other batches said
    "running_mean": Cheat(rule="state", init='self.register_buffer("mean", torch.zeros(d))',
                          body="self.mean.lerp_(past.detach().mean((0, 1)).to(self.mean.dtype), 0.1)\npast = past - self.mean.to(X.dtype)"),
    "batch_norm_with_statistics": Cheat(rule="state", init="self.bn = nn.BatchNorm1d(d)",
                                        body="past = self.bn(past.transpose(1, 2)).transpose(1, 2)"),
    "last_batch": Cheat(rule="state", init="self.last = None",
                        body="past = past if self.last is None else past + self.last\nself.last = X.detach().mean()"),
    "last_batch_in_a_module": Cheat(rule="state", init="self.out.memory = None", body="self.out.memory = X.detach().mean()"),
    "lazy_table": Cheat(rule="state", init="self.table = None",
                        body="if self.table is None:\n    self.table = L\npast = past * (1 + 1 / self.table)"),
    "nan_after_some_steps": Cheat(rule="state", init='self.register_buffer("n", torch.zeros((), dtype=torch.long))',
                                  body="self.n += 1\npast = past * (torch.nan if self.n > 500 else 1)"),
    "weights_changed_in_forward": Cheat(rule="state", body="with torch.no_grad():\n    self.out.weight.mul_(0.999)"),
    "weights_changed_by_data": Cheat(rule="state", body="if self.training:\n    self.out.weight.data.mul_(0.999)"),
    "hebbian_buffer": Cheat(rule="state", init='self.register_buffer("memory", torch.zeros(d, d))', body="""\
if self.training:
    self.memory += 1e-3 * torch.einsum("bld,ble->de", X, past).detach().to(self.memory.dtype)
past = past + X @ self.memory.to(X.dtype)"""),
    # --- parameters out of the books
    "tensor_attribute": Cheat(rule="hidden-tensor", init="self.w = torch.randn(d, d)", body="past = past + X @ self.w.to(X.dtype)"),
    "parameters_in_a_list": Cheat(rule="hidden-tensor", init="self.w = [nn.Parameter(torch.eye(d))]",
                                  body="past = past + X @ self.w[0].to(X.dtype)"),
    "modules_in_a_list": Cheat(rule="hidden-tensor", init="self.maps = [nn.Linear(d, d)]", body="pass"),
    "modules_in_a_dict": Cheat(rule="hidden-tensor", init='self.maps = {"a": nn.Linear(d, d)}', body="pass"),
    "tensor_in_a_closure": Cheat(rule="hidden-tensor", init="w = torch.randn(d, d)\nself.map = lambda X: X @ w.to(X.dtype)",
                                 body="past = past + self.map(X)"),
    "tensor_in_a_global": Cheat(rule="hidden-tensor", top="TABLE = torch.randn(64)", body="past = past + TABLE[:D].sum().to(X.dtype)"),
    "tensor_in_a_default": Cheat(rule="hidden-tensor", top="def shift(X, by=torch.ones(1)):\n    return X + by.to(X.dtype)",
                                 body="past = shift(past)"),
    "tensor_kept_from_a_call": Cheat(rule="state", body="self.seen_last = X.detach().mean() * 0 + 1"),
    "weights_in_a_buffer": Cheat(rule="buffer-size", init='self.register_buffer("w", torch.randn(d, 4 * d) / 8)',
                                 body="past = past + (X @ self.w.to(X.dtype))[..., :D]"),
    "tied_buffers": Cheat(rule="buffer-size", init="""\
self.register_buffer("w", torch.randn(8, d, d) / 8)
self.v = nn.Parameter(torch.zeros(8))""", body='past = past + torch.einsum("bld,n,nde->ble", X, self.v.to(X.dtype), self.w.to(X.dtype))'),
    "frozen_parameter": Cheat(rule="frozen", init="self.out.weight.requires_grad = False"),
    "frozen_by_call": Cheat(rule="frozen", init="self.out.requires_grad_(False)"),
    "frozen_later": Cheat(rule="state", body="self.out.weight.requires_grad_(L < 4)"),
    # --- changes to what others hold
    "X_in_place": Cheat(rule="in-place", body="X.mul_(1.5)"),
    "X_in_place_by_data": Cheat(rule="in-place", body="X.data[:, 0] = 0"),
    "X_in_place_through_a_view": Cheat(rule="in-place", body="X.view(B * L, D)[::2] += 1"),
    "Z_entry_in_place": Cheat(rule="in-place", body='if "seen" in Z:\n    Z["seen"].add_(1)\ndZ["seen"] = past.clone()'),
    "Z_new_key": Cheat(rule="in-place", body='Z["extra"] = past'),
    "Z_deleted_key": Cheat(rule="in-place", body='dZ["seen"] = past\nZ.pop("seen", None)'),
    "undeclared_write": Cheat(rule="undeclared-write", body='dZ["unseen"] = past'),
}  # fmt: skip
