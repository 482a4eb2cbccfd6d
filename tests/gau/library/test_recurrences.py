"""The chunked mixers of the seeds and baselines against their token-by-token forms, in float64.

Shapes: B batch, L length, D width, H heads, K key width, V value width, N state width.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genesys.gau.library import shipped_design, unit_named
from genesys.model.unit_tests import make_unit

torch.set_num_threads(1)
LENGTHS = (1, 15, 64, 77)


def build(name: str, seed_name: str, path: str, *, d: int = 32) -> nn.Module:
    """A unit with the children it has in a seed, in float64, all weights off their initial values."""
    tree = shipped_design(seed_name).at(path)
    assert tree.unit == unit_named(name)
    unit = make_unit(tree.unit, d, 1, 2, dict(tree.children)).double()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in unit.parameters():
            p.add_(torch.randn(p.shape, generator=generator, dtype=p.dtype) * 0.05)
    return unit


def inputs(L: int, d: int = 32) -> Tensor:
    return torch.randn(2, L, d, dtype=torch.float64, generator=torch.Generator().manual_seed(L))


def agree(unit: nn.Module, expected: Tensor, x: Tensor) -> None:
    torch.testing.assert_close(unit(x, {})[0], expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("L", LENGTHS)
def test_retention_equals_its_recurrence(L: int) -> None:
    unit, x = build("Retention", "retnet", "mixer"), inputs(L)
    B, _, D = x.shape
    q, k, v, g = unit.qkvg(x).split((D, D, 2 * D, 2 * D), dim=-1)
    q, k, v = (t.view(B, L, unit.n_heads, -1).transpose(1, 2) for t in (q, k, v))
    q, k = (unit.position(t.flatten(0, 1), {})[0].view_as(t) for t in (q, k))
    rate = 1 - 2.0 ** (-5 - torch.arange(unit.n_heads, dtype=torch.float64))
    S, out = torch.zeros(B, unit.n_heads, q.shape[-1], v.shape[-1], dtype=x.dtype), []
    for t in range(L):
        S = rate[:, None, None] * S + k[:, :, t, :, None] * v[:, :, t, None]
        out.append((q[:, :, t, None] @ S)[:, :, 0] / q.shape[-1] ** 0.5)
    y = unit.norm(torch.stack(out, 1).flatten(2), {})[0]
    agree(unit, unit.out(y * F.silu(g)), x)


@pytest.mark.parametrize("L", LENGTHS)
def test_ssd_equals_its_recurrence(L: int) -> None:
    tree = shipped_design("mamba2").at("mixer").set("", "head_width", 16)
    unit = make_unit(tree.unit, 32, 0, 2, dict(tree.children), **dict(tree.hyperparameters)).double()
    x = inputs(L)
    gate, mixed, dt = unit.into(x).split(unit.widths, dim=-1)
    values, keys, queries = F.silu(unit.conv(mixed, {})[0]).split((64, 64, 64), dim=-1)
    values, dt = values.view(2, L, 4, 16), F.softplus(dt + unit.dt_bias)
    S, out = torch.zeros(2, 4, 64, 16, dtype=x.dtype), []
    for t in range(L):
        fade = torch.exp(-unit.A_log.exp() * dt[:, t])[..., None, None]
        S = fade * S + keys[:, t, None, :, None] * (dt[:, t, :, None] * values[:, t])[:, :, None]
        out.append((queries[:, t, None, None] @ S)[:, :, 0] + unit.skip * values[:, t])
    y = torch.stack(out, 1).flatten(2)
    agree(unit, unit.out(unit.norm(y * F.silu(gate), {})[0]), x)


@pytest.mark.parametrize("L", LENGTHS)
@pytest.mark.parametrize("shift", (0.0, 6.0))
def test_rwkv6_equals_its_recurrence(L: int, shift: float) -> None:
    unit, x = build("RWKV6TimeMix", "rwkv6", "mixer"), inputs(L)
    with torch.no_grad():
        unit.decay += shift
    w, k, v, r, g = (lerp(x, {})[0] for lerp in unit.lerps)
    w = torch.exp(-torch.exp((unit.decay + unit.decay_up(torch.tanh(unit.decay_down(w)))).clamp(max=5.0)))
    r, k, v, w = (t.view(2, L, 4, -1) for t in (unit.receptance(r), unit.key(k), unit.value(v), w))
    bonus = unit.bonus.view(4, -1, 1)
    S, out = torch.zeros(2, 4, k.shape[-1], v.shape[-1], dtype=x.dtype), []
    for t in range(L):
        kv = k[:, t, :, :, None] * v[:, t, :, None]
        out.append((r[:, t, :, None] @ (S + bonus * kv))[:, :, 0])
        S = w[:, t, :, :, None] * S + kv
    y = unit.norm(torch.stack(out, 1).flatten(2), {})[0]
    agree(unit, unit.out(y * F.silu(unit.gate(g))), x)


@pytest.mark.parametrize("L", LENGTHS)
@pytest.mark.parametrize("block_index", (0, 1))
def test_rwkv7_equals_its_recurrence(L: int, block_index: int) -> None:
    """Peng et al. 2025, eq. 3-17, one token after the other; two heads of 16, values blended with the first block's."""
    unit = make_unit(unit_named("RWKV7TimeMix"), 32, block_index, 2, head_width=16).double()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in unit.parameters():
            p.add_(torch.randn(p.shape, generator=generator, dtype=p.dtype) * 0.2)
    x, first = inputs(L), inputs(L, 32).flip(0)
    before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
    r, w, k, v, a, g = (x + (before - x) * share for share in unit.shares)
    w = torch.exp(-torch.exp(-F.softplus(-unit.decay(w)) - 0.5)).view(2, L, 2, 16)
    r, k, a, own = unit.receptance(r), unit.key(k), torch.sigmoid(unit.rate(a)), unit.value(v)
    v = own if block_index == 0 else own + (first - own) * torch.sigmoid(unit.blend(v))
    kk = F.normalize((k * unit.unlearn).view(2, L, 2, 16), dim=-1)
    k = (k * (1 + (a - 1) * unit.replace)).view(2, L, 2, 16)
    r, v, a = (t.view(2, L, 2, 16) for t in (r, v, a))
    S, out = torch.zeros(2, 2, 16, 16, dtype=x.dtype), []  # values down, keys across
    for t in range(L):
        drop = torch.diag_embed(w[:, t]) - kk[:, t, :, :, None] * (a[:, t] * kk[:, t])[:, :, None]
        S = S @ drop + v[:, t, :, :, None] * k[:, t, :, None]
        y = F.layer_norm((S @ r[:, t, :, :, None])[..., 0], (16,), eps=64e-5) * unit.scale.view(2, 16)
        out.append(y + unit.shift.view(2, 16) + (r * k * unit.bonus.view(2, 16)).sum(-1, keepdim=True)[:, t] * v[:, t])
    y, written = unit(x, {"v_first": first})
    torch.testing.assert_close(y, unit.out(torch.stack(out, 1).flatten(2) * unit.gate(g)), atol=1e-6, rtol=1e-6)
    assert set(written) == (set() if block_index else {"v_first"})
    assert block_index or torch.allclose(written["v_first"], own)


@pytest.mark.parametrize("L", LENGTHS)
def test_ttt_equals_explicit_gradient_steps(L: int) -> None:
    """Each place takes autograd's gradients of the tokens up to it, at the mini-batch's first weights."""
    unit, x = build("TTTLinear", "ttt", "mixer"), inputs(L)
    H, P, C = unit.W.shape[0], unit.W.shape[1], unit.mini_batch
    rows = [torch.cat([_ttt_head(unit, x[b], h, P, C) for h in range(H)], -1) for b in range(2)]
    agree(unit, unit.out(unit.norm(torch.stack(rows), {})[0]), x)


def _ttt_head(unit: nn.Module, x_LD: Tensor, h: int, P: int, C: int) -> Tensor:
    scale, shift = unit.scale[h, 0], unit.shift[h, 0]
    q, k, v = (t[:, h * P : (h + 1) * P] for t in unit.qkv(x_LD).chunk(3, dim=-1))
    rate = torch.sigmoid(unit.rate(x_LD))[:, h] / P
    W, b, out = unit.W[h], unit.b[h, 0], []
    for start in range(0, len(x_LD), C):
        part = slice(start, start + C)
        Q, K = (unit.position(t[None, part], {})[0][0] for t in (q, k))
        steps: list[tuple[Tensor, Tensor]] = []
        for i in range(len(Q)):
            w0, b0 = W.detach().requires_grad_(), b.detach().requires_grad_()
            guess = F.layer_norm(K[i] @ w0 + b0, (P,), eps=1e-6) * scale + shift
            loss = rate[part][i].detach() * 0.5 * (K[i] + guess - v[part][i]).square().sum()
            steps.append(torch.autograd.grad(loss, (w0, b0)))
            share = (1 / (i + 1) + unit.place[i]).clamp(min=0)
            w1 = W - share * sum(s[0] for s in steps)
            b1 = b - share * sum(s[1] for s in steps)
            out.append(Q[i] + F.layer_norm(Q[i] @ w1 + b1, (P,), eps=1e-6) * scale + shift)
        W, b = w1.detach(), b1.detach()
    return torch.stack(out)


def test_rwkv6_survives_any_decay_in_float32() -> None:
    unit = build("RWKV6TimeMix", "rwkv6", "mixer").float()
    x = inputs(70).float().requires_grad_()
    for shift in (-30.0, 40.0):
        unit.decay.data += shift
        y, _ = unit(x, {})
        y.square().sum().backward()
        assert y.isfinite().all() and x.grad is not None and x.grad.isfinite().all()


@pytest.mark.parametrize(
    ("seed_name", "path"), [("retnet", "mixer"), ("mamba2", "mixer"), ("rwkv6", "mixer"), ("rwkv7", "mixer")]
)
def test_chunk_size_changes_nothing(seed_name: str, path: str) -> None:
    tree, x = shipped_design(seed_name).at(path), inputs(50)
    outputs = [
        make_unit(tree.unit, 32, 0, 2, dict(tree.children), chunk=chunk).double()(x, {})[0] for chunk in (5, 16, 64)
    ]
    for y in outputs[1:]:
        torch.testing.assert_close(y, outputs[0], atol=1e-9, rtol=1e-9)
