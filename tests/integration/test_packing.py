"""A corpus packed by Ray tasks is the one that processes pack, and what a task says is said as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.packing import map_in_cluster, prepare_corpus
from genesys.config import RunConfig
from genesys.errors import ConfigError
from genesys.train.data.shards import prepare_shards
from tests.train.data import sentences

pytestmark = pytest.mark.ray


def double(n: int) -> int:
    if n == 3:
        raise ConfigError("Cannot double 3: it is odd. Take 2.")
    return 2 * n


@pytest.mark.usefixtures("ray_cluster")
def test_tasks_give_their_results_and_their_errors() -> None:
    assert sorted(map_in_cluster(double, [0, 1, 2])) == [0, 2, 4]
    with pytest.raises(ConfigError) as caught:
        list(map_in_cluster(double, [1, 3, 5]))
    assert str(caught.value) == "Cannot double 3: it is odd. Take 2."


@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_packs_what_a_process_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genesys.train.data.files.PART_BYTES", 1)
    for i in range(3):
        (tmp_path / f"{i}.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in sentences(200, seed=i)))
    config = RunConfig(corpus=f"text:{tmp_path}", tokenizer="bpe:290")
    found = prepare_corpus(config, tmp_path / "cluster")
    assert found.hash == prepare_shards(config.corpus, tmp_path / "here", config.tokenizer, map_parts=map).hash
