"""`genesys bench-agents` against a model that follows a script, over real HTTP and in the real cage."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from genesys.agents.bench_results import FLOWS, read_results
from genesys.cli import app
from genesys.errors import ConfigError
from genesys.testing.scripted_model import Script, ScriptedModel

PRICED = ("--input-usd", "1", "--output-usd", "4", "--cap-usd", "2")
MODEL = ("--model", "m", "--input-usd", "0", "--output-usd", "0")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench-agents", *arguments])


def problem(**said: object) -> dict[str, object]:
    return {"name": "a", "mode": "scratch", "title": "t", "ask": "do it"} | said


@pytest.mark.parametrize(
    ("problems", "arguments", "message"),
    [
        (None, (), "without a language model: expected --model"),
        (None, (*MODEL, "--flow", "unit"), "--flow 'unit': expected direct, units, beam. Did you mean 'units'"),
        (None, ("--model", "openai/gpt-4o"), "it costs money and no cap is set"),
        (None, (*MODEL, "--api-base", "http://127.0.0.1:9/v1"), "Cannot reach the endpoint"),
        ([], MODEL, "expected a list of mappings"),
        ([problem(), problem()], MODEL, "Cannot use problem 'a': 2 have that name"),
        ([problem(mode="crossover", parents=["gpt"])], MODEL, "a crossover of 1 parents; expected 2 to 5"),
        ([problem(aks="x")], MODEL, r"problems\[0\].aks.*Did you mean 'ask'"),
        ([problem(mode="mutation", parents=["gpd"])], MODEL, "Cannot find design 'gpd'"),
        (
            [problem(mode="mutation", parents=["gpt"], target="mixxer")],
            MODEL,
            "gpt has no place 'mixxer'.*Did you mean 'mixer'",
        ),
        ([problem(mode="mutate")], MODEL, "expected one of mutation, crossover, scratch"),
    ],
)
def test_a_mistake_is_one_sentence_and_begins_nothing(
    problems: list[object] | None, arguments: tuple[str, ...], message: str
) -> None:
    if problems is not None:
        Path("mine.yaml").write_text(yaml.safe_dump(problems))
        arguments = (*arguments, "--problems", "mine.yaml")
    found = bench(*arguments)
    assert isinstance(found.exception, ConfigError), found.output
    with pytest.raises(ConfigError, match=message):
        raise found.exception
    assert not Path("runs").exists()


def test_a_direct_bench_is_paid_once_and_goes_on_with_more() -> None:
    with ScriptedModel(Script(cached_usd=1.0)) as server:
        at = ("--model", "scripted", "--api-base", server.url, *PRICED, "--out", "b")
        first = bench(*at, "--n", "1", "--flow", "direct", "--json")
        assert first.exit_code == 0, first.output
        (row,) = json.loads(first.stdout)["rates"]
        assert (row["flow"], row["n"], row["n_valid"], row["model"]) == ("direct", 1, 1, "openai/scripted")
        assert round(row["usd"] * 1e9) == server.charged.nano > 0
        n_requests = server.charged.n_requests
        again = bench(*at, "--n", "1", "--flow", "direct")
        assert again.exit_code == 0 and server.charged.n_requests == n_requests
        assert "1 of 1 were done before" in again.output and "1 of 1" in again.output and "straight: " in again.output

        Path("narrow.yaml").write_text(yaml.safe_dump([problem(name="gpt-sine-gate")]))
        other = bench(*at, "--problems", "narrow.yaml")
        assert isinstance(other.exception, ConfigError) and "begun with other problems" in str(other.exception)
        Path("more.yaml").write_text(yaml.safe_dump([problem(name="more")]))
        before = set(json.loads(Path("b/bench.json").read_text())["problems"])
        assert bench(*at[:-4], "--cap-usd", "0.0000001", "--out", "b", "--problems", "more.yaml").exit_code == 2
        assert set(json.loads(Path("b/bench.json").read_text())["problems"]) == before | {"more"}


def test_out_of_money_is_said() -> None:
    with ScriptedModel() as server:
        poor = bench("--model", "scripted", "--api-base", server.url, *PRICED[:-1], "0.0001", "--n", "1", "--out", "b")
        assert poor.exit_code == 2 and "Stopped: " in poor.output and "Go on with the same command" in poor.output
        assert not server.charged.n_requests


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_interrupted_by_hand_it_goes_on() -> None:
    """Ctrl-C, then the same command: every flow of every problem has one result, and the server's count is ours."""
    with ScriptedModel(Script(cached_usd=1.0, latency_s=0.2, p_bad_code=0.2, p_malformed=0.1)) as server:
        command = [
            sys.executable, "-m", "genesys", "bench-agents", "--model", "scripted", "--api-base", server.url, *PRICED,
            "--n", "3", "--at-once", "3", "--out", "b",
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        while not read_results(Path("b")):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 130 and "Go on with the same command and --out b" in " ".join(said.split())
        done = read_results(Path("b"))
        whole = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=600, check=True)
        results = read_results(Path("b"))
        assert results[: len(done)] == done and len(results) == 9 == len({result.key for result in results})
        rates = json.loads(whole.stdout)["rates"]
        assert [row["flow"] for row in rates] == list(FLOWS)
        assert round(sum(row["usd"] for row in rates) * 1e9) >= server.charged.nano
