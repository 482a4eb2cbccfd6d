"""One fork server and one honest training, shared by the tests of this folder; and a cage whose jobs lie."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from genesys.gau import UnitTree
from genesys.gau.library import seed_design
from genesys.ladder import Scale
from genesys.sandbox import ForkCage, Policy
from genesys.sandbox.layers import Layer
from genesys.train.data.shards import Shards
from genesys.verification import VerificationReport, VerificationRequest, verify
from tests.train.data import small_shards

SCALE = Scale(
    name="tiny",
    d_model=16,
    n_blocks=1,
    context=32,
    batch_tokens=128,
    n_tokens=128 * 40,
    peak_lr=1e-2,
    embedding_std=0.1,
)
TRAIN, STATES, PROBE = "genesys.train.job:train", "genesys.evaluate.job:states", "genesys.evaluate.job:probe"

Lie = Callable[[dict[str, Any], Path], None]
"""Changes a job's answer, or the files in the folder that it may write to."""


@dataclass
class Liar:
    """A cage whose jobs do their work and then lie; keeps what it was asked."""

    cage: ForkCage
    lies: Mapping[str, Lie] = field(default_factory=dict)
    entries: list[str] = field(default_factory=list)
    policies: list[Policy] = field(default_factory=list)

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        self.entries.append(entry)
        self.policies.append(policy)
        answer = await self.cage.run(entry, request, policy)
        if entry in self.lies:
            self.lies[entry](answer, Path(policy.writable[0]))
        return answer

    async def layers(self) -> Mapping[Layer, str]:
        return await self.cage.layers()


@dataclass(frozen=True)
class Honest:
    """An honest verification of GPT: its request, its report, and its folder."""

    request: VerificationRequest
    report: VerificationReport

    def again(self, folder: Path, **changes: Any) -> VerificationRequest:
        """The same request in a copy of the folder, where the training has ended already."""
        shutil.copytree(self.request.out, folder / "out")
        return replace(self.request, out=str(folder / "out"), **changes)


def make_request(shards: Shards, folder: Path, tree: UnitTree | None = None, **changes: Any) -> VerificationRequest:
    made = VerificationRequest(
        tree=(tree or seed_design("gpt")).to_json(),
        shape={"vocab_size": 257, "d_model": 16, "n_blocks": 1},
        scale=asdict(SCALE),
        shards=str(shards.path),
        seed=1,
        out=str(folder / "out"),
        probes=False,
        deadline_s=100.0,
    )
    return replace(made, **changes)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return small_shards(tmp_path_factory.mktemp("shards"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cage() -> AsyncIterator[ForkCage]:
    async with ForkCage(require="none") as cage:
        yield cage


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def honest(cage: ForkCage, shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> Honest:
    request = make_request(shards, tmp_path_factory.mktemp("honest"))
    return Honest(request, await verify(request, cage))
