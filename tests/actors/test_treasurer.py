"""The keeper of the money behind a mailbox: conformance, and a restart under askers that live on."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any, cast

import pytest
import ray

from actors.handles import ServiceHandle
from actors.treasurer import Treasurer, TreasurerActor, TreasurerSettings
from genesys.llm.calls import Denied, Granted, Known, MoneyError, Treasury
from genesys.llm.settings import AgentsConfig, ModelConfig, MoneyCaps
from genesys.testing.treasury import CENT, USAGE, OpenTreasury, TreasuryTestCase, call, granted


def settings(folder: Path, caps: MoneyCaps, requests_per_minute: float | None = None) -> TreasurerSettings:
    models = {"default": (ModelConfig(name="m", requests_per_minute=requests_per_minute),)}
    return TreasurerSettings(
        path=folder / "calls.sqlite", agents=AgentsConfig(models=models, caps=caps), prices={"m": {"input": 1}}
    )


class TestTreasurer(TreasuryTestCase):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> OpenTreasury:
        return lambda caps, requests_per_minute=None: Treasurer(settings(tmp_path, caps, requests_per_minute))


async def test_calls_of_one_message_are_served_together(tmp_path: Path) -> None:
    treasurer = Treasurer(settings(tmp_path, MoneyCaps(run=0.03)))
    answers = await treasurer.many(tuple(("reserve", (call(f"c{i}"),)) for i in range(5)))
    assert [type(value) for _, value in answers] == [Granted] * 3 + [Denied] * 2
    ends = await treasurer.many(
        (("commit", (1, {}, USAGE, CENT + 1)), ("commit", (2, {}, USAGE, 1)), ("totals", ()), ("prices", ()))
    )
    assert [succeeded for succeeded, _ in ends] == [False, True, True, True]
    assert isinstance(pickle.loads(pickle.dumps(ends[0][1])), MoneyError)
    assert ends[2][1].run.booked_nano == CENT + 1 + 1 + CENT and ends[3][1] == {"m": {"input": 1}}


@pytest.mark.ray
@pytest.mark.slow
async def test_a_restarted_treasurer_takes_the_ends_of_calls_that_lived_on(ray_cluster: None, tmp_path: Path) -> None:
    actor = TreasurerActor.options(name="Treasurer-test", num_cpus=0, max_restarts=-1, max_concurrency=64).remote(
        settings(tmp_path, MoneyCaps(run=0.05))
    )
    handle = ServiceHandle(actor, "Treasurer-test")
    treasury = cast(Treasury, handle)
    try:
        token = await granted(treasury, call())
        lost = await granted(treasury, call("lost"))
        ray.kill(actor, no_restart=False)
        await treasury.commit(token, {"text": "came"}, USAGE, 5)
        assert await treasury.reserve(call()) == Known(response={"text": "came"}, usage=USAGE, cost_nano=5)
        again = await granted(treasury, call("lost"))
        assert again > lost
        answers: list[Any] = await asyncio.gather(*(treasury.reserve(call(f"c{i}")) for i in range(20)))
        assert sum(isinstance(answer, Granted) for answer in answers) == 2
        totals = await handle.call("totals")
        assert totals.run.booked_nano == 5 + 4 * CENT and totals.run.unsure_nano == 4 * CENT
    finally:
        ray.kill(actor)
