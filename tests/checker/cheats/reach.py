"""Cheats in what a text reaches for: found by reading, before anything runs."""

from __future__ import annotations

from tests.checker.cheats import Cheat

BACKWARD = """\
class Pass(torch.autograd.Function):
    @staticmethod
    def forward(context, X):
        return {forward}

    @staticmethod
    def backward(context, G):
        return {backward}
"""

REACH: dict[str, Cheat] = {
    # --- gradients of one's own
    "causal_backward_of_a_look_ahead": Cheat(rule="custom-gradient", top=BACKWARD.format(forward="X.roll(-1, 1)", backward="G"),
                                             body="past = past + Pass.apply(X)"),
    "leaking_backward": Cheat(rule="custom-gradient", top=BACKWARD.format(forward="X.clone()", backward="G.roll(1, 1)"),
                              body="past = Pass.apply(past)"),
    "function_by_import": Cheat(rule="custom-gradient", top="from torch.autograd import Function", body="pass"),
    "function_by_alias": Cheat(rule="custom-gradient", top="grad = torch.autograd\nBase = grad.Function", body="pass"),
    "function_by_getattr": Cheat(rule="custom-gradient", top='Base = getattr(torch.autograd, "Function")', body="pass"),
    "saved_tensor_hooks": Cheat(rule="hook", body="with torch.autograd.graph.saved_tensors_hooks(abs, abs):\n    past = past * 2"),
    "hook_on_a_tensor": Cheat(rule="hook", body="past.register_hook(lambda g: g * 0)"),
    "hook_on_a_parameter": Cheat(rule="hook", init="self.out.weight.register_hook(lambda g: -g)"),
    "hook_after_accumulation": Cheat(rule="hook", init="self.out.weight.register_post_accumulate_grad_hook(lambda p: p.data.mul_(2))"),
    "hook_on_a_module": Cheat(rule="hook", init="self.out.register_forward_hook(lambda m, i, o: o.roll(-1, 1))"),
    "hook_on_all_modules": Cheat(rule="hook", init="nn.modules.module.register_module_forward_hook(lambda m, i, o: o)"),
    "hook_by_getattr": Cheat(rule="hook", init='getattr(self.out, "register_full_backward_hook")(lambda m, i, o: i)'),
    # --- patches
    "patched_function": Cheat(rule="monkey-patch", init="F.cross_entropy = lambda logits, targets: logits.sum() * 0"),
    "patched_torch": Cheat(rule="monkey-patch", init="torch.isfinite = torch.ones_like"),
    "patched_linear": Cheat(rule="monkey-patch", init="nn.Linear.forward = lambda self, X: X"),
    "patched_by_setattr": Cheat(rule="monkey-patch", init='setattr(F, "rms_norm", F.layer_norm)'),
    "patched_by_alias": Cheat(rule="monkey-patch", init="functional = torch.nn.functional\nfunctional.rms_norm = None"),
    "patched_tensor": Cheat(rule="monkey-patch", init="torch.Tensor.abs = torch.Tensor.neg"),
    "patched_context": Cheat(rule="monkey-patch", init="ctx.block_index = 0"),
    "patched_by_type": Cheat(rule="monkey-patch", body="type(X).backward = None"),
    "deleted_function": Cheat(rule="monkey-patch", init="del torch.isnan"),
    "patched_by_computed_name": Cheat(rule="computed-name", init='setattr(nn.Linear, "for" + "ward", None)'),
    # --- state of the process
    "seed": Cheat(rule="global-state", body="torch.manual_seed(0)\npast = past + torch.rand(1)"),
    "default_dtype": Cheat(rule="global-state", init="torch.set_default_dtype(torch.float64)"),
    "threads": Cheat(rule="global-state", init="torch.set_num_threads(64)"),
    "gradient_mode": Cheat(rule="global-state", body="torch.set_grad_enabled(False)"),
    "deterministic_algorithms": Cheat(rule="global-state", init="torch.use_deterministic_algorithms(False)"),
    "random_state": Cheat(rule="global-state", body="torch.random.fork_rng"),
    "anomaly_mode": Cheat(rule="global-state", body="torch.autograd.set_detect_anomaly(True)"),
    "seed_in_a_called_test": Cheat(rule="global-state", top="def test_seed(make=None):\n    torch.manual_seed(0)", body="test_seed()"),
    "backend_flags": Cheat(rule="forbidden-name", init="torch.backends.mkldnn.flags(enabled=False)"),
    # --- memory by decorator
    "lru_cache": Cheat(rule="cache", top="@functools.lru_cache\ndef box():\n    return [0]", body="box()[0] += 1"),
    "cache_by_import": Cheat(rule="cache", top="from functools import cache", body="pass"),
    "cached_property": Cheat(rule="cache", members="@functools.cached_property\ndef table(self):\n    return 1", body="past = past * self.table"),
    "global_statement": Cheat(rule="global", top="N = 0", body="global N\nN += 1"),
    "nonlocal_statement": Cheat(rule="global", top="def clock():\n    n = 0\n    def tick():\n        nonlocal n\n        n += 1\n    return tick"),
    # --- introspection
    "builtins": Cheat(rule="introspection", body='past = past + len(__builtins__)'),
    "globals_of_a_function": Cheat(rule="introspection", init="self.names = len(F.silu.__globals__)"),
    "subclasses": Cheat(rule="introspection", init="self.n = len(object.__subclasses__())"),
    "method_resolution": Cheat(rule="introspection", init="self.base = type(self).__mro__[1]"),
    "code_of_a_function": Cheat(rule="introspection", init="self.code = F.silu.__code__"),
    "frame": Cheat(rule="introspection", body="try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    past = past + (error.__traceback__ is None)"),
    "frame_of_a_generator": Cheat(rule="introspection", body="g = (i for i in [1])\ncaller = g.gi_frame.f_back"),
    "private_torch": Cheat(rule="introspection", body="torch._C"),
    "private_context": Cheat(rule="introspection", init="self.n = len(ctx._model.shared)"),
    "private_import": Cheat(rule="introspection", top="from torch.nn.modules import _functions"),
    "dunder_by_getattr": Cheat(rule="introspection", init='self.base = getattr(type(self), "__mro__")'),
    "dunder_by_computed_name": Cheat(rule="computed-name", init='self.base = getattr(type(self), "__m" + "ro__")'),
    "computed_private_name": Cheat(rule="computed-name", init='self.hooks = getattr(self, "_" + "modules")'),
    "getattr_as_value": Cheat(rule="computed-name", top='look = getattr'),
    "module_as_value": Cheat(rule="computed-name", top="def lo(t):\n    return t.load\n\nlo(torch)"),
    "module_in_a_list": Cheat(rule="computed-name", body="[torch][0].load"),
    # --- out of tensor computation
    "load": Cheat(rule="forbidden-name", init='self.w = torch.load("weights.pt")'),
    "save": Cheat(rule="forbidden-name", body='torch.save(X, "x.pt")'),
    "load_by_import": Cheat(rule="forbidden-name", top="from torch import load as read"),
    "hub": Cheat(rule="forbidden-name", init='torch.hub.load("a/b", "c")'),
    "cpp_extension": Cheat(rule="forbidden-name", top="from torch.utils import cpp_extension"),
    "cpp_extension_by_import": Cheat(rule="forbidden-name", top="import torch.utils.cpp_extension"),
    "data_loader": Cheat(rule="forbidden-name", top="from torch.utils.data import DataLoader"),
    "library_of_operators": Cheat(rule="forbidden-name", init='torch.ops.load_library("x.so")'),
    "multiprocessing": Cheat(rule="forbidden-name", top="import torch.multiprocessing as mp"),
    "distributed": Cheat(rule="forbidden-name", init="torch.distributed.init_process_group()"),
    "system_through_torch": Cheat(rule="forbidden-name", body="torch.sys.modules"),
    "os_through_torch": Cheat(rule="forbidden-name", body='torch.os.environ.get("HOME")'),
    "system_through_typing": Cheat(rule="forbidden-name", top="import typing\nmods = typing.sys.modules"),
    "system_by_import_from": Cheat(rule="forbidden-name", top="from dataclasses import sys"),
    "compiled": Cheat(rule="forbidden-name", top="@torch.compile\ndef double(X):\n    return X * 2", body="past = double(past)"),
    "raw_pointer": Cheat(rule="forbidden-name", body="X.data_ptr()"),
    "shared_numpy": Cheat(rule="forbidden-name", body="X.detach().numpy()[:] = 0"),
    "device": Cheat(rule="forbidden-name", body="torch.cuda.synchronize()"),
    "import_sys": Cheat(rule="import", top="import sys"),
    "import_os": Cheat(rule="import", top="import os.path"),
    "import_inside": Cheat(rule="import", body="import time"),
    "import_random": Cheat(rule="import", top="from random import random"),
    "import_star": Cheat(rule="import", top="from math import *"),
    "import_weakref": Cheat(rule="import", top="import weakref"),
    "relative_import": Cheat(rule="import", top="from . import gam"),
    "exec": Cheat(rule="forbidden-call", body='exec("past = past * 2")'),
    "eval": Cheat(rule="forbidden-call", body='past = eval("past")'),
    "open": Cheat(rule="forbidden-call", body='open("/etc/hostname").read()'),
    "identity_of_an_object": Cheat(rule="forbidden-call", body="past = past * (id(self) % 2 + 1)"),
    "hash_of_a_text": Cheat(rule="forbidden-call", body='past = past * (hash("seed") % 2 + 1)'),
    "locals": Cheat(rule="forbidden-call", body='locals()["past"]'),
    "import_function": Cheat(rule="forbidden-call", body='__import__("os")'),
    "open_under_another_name": Cheat(rule="forbidden-call", top="read = open", body='read("/etc/hostname")'),
}  # fmt: skip
