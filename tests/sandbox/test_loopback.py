"""Jobs whose processes talk to each other: by TCP in a network of their own, and to nobody else."""

import socket
from dataclasses import asdict
from pathlib import Path

import pytest

from genesys.errors import JobFailed
from genesys.sandbox import ForkCage, Policy
from genesys.train.data.shards import Shards
from genesys.verification import verify
from tests.sandbox.entries import __name__ as ENTRIES
from tests.train.data import small_shards
from tests.verification.conftest import SCALE, make_request

pytestmark = pytest.mark.asyncio(loop_scope="session")
LOOPBACK = Policy(deadline_s=30, loopback=True)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return small_shards(tmp_path_factory.mktemp("shards"))


async def test_a_job_may_talk_to_itself_and_to_nobody_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as outside:
        request = {"outside": outside.getsockname()[1]}
        async with ForkCage(preload=(ENTRIES,), scratch=tmp_path) as cage:
            assert await cage.run(f"{ENTRIES}:talk", request, LOOPBACK) == {
                "to itself": "hello", "to the host": "ConnectionRefusedError",
                "unix": "PermissionError", "ipv6": "PermissionError", "netlink": "PermissionError", "raw": "PermissionError",
            }  # fmt: skip
            closed = await cage.run(f"{ENTRIES}:talk", request, Policy(deadline_s=30))
            assert set(closed.values()) == {"PermissionError"}


async def test_without_a_network_of_its_own_no_job_may(tmp_path: Path) -> None:
    async with ForkCage(preload=(ENTRIES,), scratch=tmp_path, without=("net-namespace",), require="none") as cage:
        with pytest.raises(JobFailed, match="need a network namespace") as caught:
            await cage.run(f"{ENTRIES}:talk", {"outside": 1}, LOOPBACK)
    assert caught.value.cause == "infrastructure"


async def test_two_processes_train_one_model_in_the_cage(shards: Shards, tmp_path: Path) -> None:
    async with ForkCage() as cage:
        reports = [
            await verify(make_request(shards, tmp_path / f"{n}", scale=asdict(SCALE), n_processes=n), cage)
            for n in (1, 2)
        ]
    one, two = reports
    assert two.details["train"]["n_processes"] == 2 and two.n_tokens == one.n_tokens
    assert two.metrics["val_loss_nats"] == pytest.approx(one.metrics["val_loss_nats"], abs=1e-4)
