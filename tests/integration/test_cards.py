"""Verifiers wait for the accelerators they are to be reserved on, and then use them. The cards are fakes of Ray's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SCRIPT = """
import asyncio, tempfile, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from actors.evolution_tree import TreeSettings
from actors.verifier import Data, VerifierSettings
from cluster.planning import make_plan
from cluster.spawn import spawn_tree, spawn_verifier
from genesys.config import RunConfig, VerifiersConfig
from genesys.storage import RunStore

folder = Path(tempfile.mkdtemp(dir='/tmp'))
cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 2, 'object_store_memory': 100_000_000})
ray.init(address=cluster.address, namespace='cards', log_to_driver=False)
plan = make_plan(RunConfig(), RunStore(folder / 'run'))
tree = spawn_tree(TreeSettings(run_folder=folder / 'run', selection=plan.selection))
settings = VerifierSettings(run_folder=folder / 'run', cache_folder=folder / 'cache')
(folder / 'cache' / 'shards' / 'null').mkdir(parents=True)
config = VerifiersConfig(n=3, gpus_per_verification=0.5, accelerator_type='H100')

async def main():
    pool = [spawn_verifier(f'Verifier-{i}', tree, config, settings, Data(hash='null', files={})) for i in range(3)]
    waits = [asyncio.create_task(member.handle.ready()) for member in pool]
    done, _ = await asyncio.wait(waits, timeout=3)
    assert not done, 'a verifier started without a card'
    h100 = {'num_cpus': 2, 'num_gpus': 1, 'resources': {'accelerator_type:H100': 1}, 'object_store_memory': 100_000_000}
    cluster.add_node(num_cpus=2, num_gpus=1, resources={'accelerator_type:A100': 1}, object_store_memory=100_000_000)
    done, _ = await asyncio.wait(waits, timeout=3)
    assert not done, 'a verifier took a card of another type'
    cluster.add_node(**h100)
    deadline = time.monotonic() + 60
    while sum(w.done() for w in waits) < 2 and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    await asyncio.sleep(3)
    n_ready = sum(w.done() for w in waits)
    assert n_ready == 2, f'{n_ready} verifiers share one card by halves'
    assert ray.available_resources().get('accelerator_type:A100') == 1
    cluster.add_node(**h100)
    await asyncio.wait_for(asyncio.gather(*waits), 60)

asyncio.run(main())
ray.shutdown()
cluster.shutdown()
print('cards were reserved')
"""


def test_verifiers_wait_for_reserved_cards_and_then_use_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=200, cwd=Path(__file__).parents[2]
    )
    assert "cards were reserved" in done.stdout, done.stdout[-2000:] + done.stderr[-3000:]
