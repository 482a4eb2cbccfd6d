"""Ranks as processes: whoever fails ends the training with its cause, and leaves nobody behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from genesys.errors import JobFailed
from genesys.sandbox import ForkCage, Policy
from genesys.train.ranks import run_ranks
from genesys.train.world import Rank
from tests.train.test_job import request, unit


def tell(folder: Path, rank: Rank) -> None:
    (folder / f"{rank.index}.pid").write_text(str(os.getpid()))


def is_alive(folder: Path, index: int) -> bool:
    try:
        os.kill(int((folder / f"{index}.pid").read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def test_the_first_ones_answer_is_the_trainings(tmp_path: Path) -> None:
    answer = run_ranks(
        lambda rank: {"index": rank.index, "count": rank.count, "text": "x" * 10**6}, 3, tmp_path / "store"
    )
    assert (answer["index"], answer["count"], len(answer["text"])) == (0, 3, 10**6)


@pytest.mark.parametrize(("how", "cause"), [("raises", "spike"), ("forbidden", "infrastructure"), ("dies", "killed")])
def test_one_failure_ends_all(tmp_path: Path, how: str, cause: str) -> None:
    def work(rank: Rank) -> dict[str, Any]:
        tell(tmp_path, rank)
        if rank.index == 1:
            if how == "raises":
                raise JobFailed("spike", "the loss ran away")
            if how == "forbidden":
                raise PermissionError("the folder is not ours")
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)
        return {}

    with pytest.raises(JobFailed) as caught:
        run_ranks(work, 2, tmp_path / "store")
    assert caught.value.cause == cause
    assert not is_alive(tmp_path, 0) and not is_alive(tmp_path, 1)


def test_the_one_to_blame_is_named_not_the_one_who_noticed(tmp_path: Path) -> None:
    def work(rank: Rank) -> dict[str, Any]:
        if rank.index == 0:
            raise RuntimeError("[/pytorch/third_party/gloo/pair.cc] Connection closed by peer [127.0.0.1]:4")
        time.sleep(0.3)
        raise JobFailed("out-of-memory", "too large")

    with pytest.raises(JobFailed, match="too large"):
        run_ranks(work, 2, tmp_path / "store")


STUCK = """
import time
self.n += 1
if self.n > 5:
    if torch.distributed.get_rank():
        raise MemoryError("too large")
    time.sleep(60)
return X * self.weight, {}
""".strip()


@pytest.mark.asyncio(loop_scope="session")
async def test_in_a_cage_where_no_process_may_end_another_the_cause_is_still_the_designs(tmp_path: Path) -> None:
    """One process fails and the other hangs in its forward pass."""
    ask = request(tmp_path, "out", tree=unit(STUCK), n_processes=2)
    out = Path(ask["out"])
    out.mkdir()
    shards = tuple(str(path) for path in Path(ask["shards"]).glob("*"))
    policy = Policy(deadline_s=60, loopback=True, readable=shards, writable=(str(out),))
    async with ForkCage(preload=("deepspeed", "genesys.train.job")) as cage:
        with pytest.raises(JobFailed, match="MemoryError: too large") as caught:
            await cage.run("genesys.train.job:train", ask, policy)
    assert caught.value.cause == "out-of-memory"
