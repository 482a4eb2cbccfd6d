"""`genesys data prepare`: says what it does, goes on after a kill, and checks what is there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genesys.cli import main
from tests.train.data import hub_folder, sentences

Prepare = Callable[..., tuple[int, str, str]]


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Prepare:
    """The command in this process: what it ends with, and what it says on both streams."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(config: Path, *options: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["genesys", "data", "prepare", str(config), *options])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def test_a_corpus_is_prepared_once_and_checked_afterwards(tmp_path: Path, prepare: Prepare) -> None:
    (tmp_path / "text.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in sentences(600)))
    config = tmp_path / "run.yaml"
    config.write_text(f"corpus: 'text:{tmp_path / 'text.jsonl'}'\ntokenizer: bpe:300\n")
    status, out, err = prepare(config)
    assert status == 0 and out.startswith("Packed in 0:"), err
    assert "1 part, about" in err and "free on disk" in err and "100%  1 of 1 part," in err and " left" not in err
    _, out, err = prepare(config, "--json")
    found = json.loads(out)
    assert found["was_there"] and found["vocab_size"] == 300 and found["tokenizer"] == "bpe:300"
    assert sum(found["n_documents"].values()) == 600 and err == ""
    assert prepare(config)[1].startswith("There, and whole: ")
    broken = Path(found["path"]) / "train-00000.bin"
    np.zeros(found["n_tokens"]["train"], dtype="<u2").tofile(broken)
    status, _, err = prepare(config)
    assert status == 2 and len(err.splitlines()) == 1
    assert "train-00000.bin does not have the content" in err and "Delete it" in err


def test_a_data_set_in_a_configuration_is_prepared(tmp_path: Path, prepare: Prepare) -> None:
    hub = hub_folder(tmp_path / "hub")
    config = tmp_path / "run.yaml"
    text = "corpus: {{dataset: {0}, subsets: {{stories: 3, maths: 1}}, splits: {{train: train, eval: eval}}, tokens: 4.0e+4{1}}}\n"
    config.write_text(text.format(hub, ""))
    found = json.loads(prepare(config, "--json")[1])
    assert not found["was_there"] and 40_000 <= found["n_tokens"]["train"] < 44_000
    for wrong, message in {
        ", columns: text": "Cannot use key 'corpus.columns'",
        ", text: body": "it has no column 'body', but text, id. Set corpus.text",
        ", tokens: 9.0e+13": "it takes about 182 TB; expected at most",
    }.items():
        config.write_text(text.format(hub, wrong))
        status, _, err = prepare(config)
        assert status == 2 and message in err.splitlines()[-1]
    left = [f.name for f in (tmp_path / ".cache" / "genesys" / "shards").iterdir() if f.name.startswith(".")]
    assert left == [], "what is refused leaves nothing"


@pytest.mark.slow
def test_interrupted_it_goes_on(tmp_path: Path, prepare: Prepare) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(3):  # parts of their own: larger than what is read together
        text = "\n".join(json.dumps({"text": text * 40}) for text in sentences(1500, seed=i))
        (folder / f"{i}.jsonl").write_text(text)
    config = tmp_path / "run.yaml"
    config.write_text(f"corpus: 'text:{folder}'\n")
    command = [sys.executable, "-m", "genesys", "data", "prepare", str(config)]
    env = os.environ | {"HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as process:
        assert process.stderr is not None
        while "parts, about" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130 and said.splitlines()[-1] == "Interrupted. The same command goes on from here."
    status, out, _ = prepare(config, "--json")
    assert status == 0 and not json.loads(out)["was_there"]
    assert not list((tmp_path / ".cache" / "genesys" / "shards").glob(".building-*"))
