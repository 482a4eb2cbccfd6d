"""`genesys design`: one session against a model that follows a script, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from genesys.agents.alone import check_reach
from genesys.cli import app
from genesys.cli._assignment import Assignment, agents_of, new_assignment
from genesys.cli.design import _Display, tree_lines
from genesys.config import load_design
from genesys.errors import ConfigError
from genesys.gau.library import seed_design
from genesys.ladder import LADDERS
from genesys.llm.book import CallBook
from genesys.llm.calls import CALLS_FILE
from genesys.llm.settings import AgentsConfig, ModelConfig
from genesys.llm.spending import Totals
from genesys.roles.effects import Tell
from genesys.testing.scripted_model import Script, ScriptedModel
from tests.single_run import write_run
from tests.verification.reports import make_report

SCALES = LADDERS["cpu"].scales
FREE = ("--input-usd", "0", "--output-usd", "0")
PRICED = ("--input-usd", "1", "--output-usd", "4", "--cap-usd", "2")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def server() -> Iterator[ScriptedModel]:
    with ScriptedModel(Script(cached_usd=1.0)) as server:
        yield server


def design(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["design", *arguments])


def at(server: ScriptedModel) -> tuple[str, ...]:
    return ("--model", "scripted", "--api-base", server.url)


def session_folder() -> Path:
    (folder,) = Path("runs/designs").iterdir()
    return folder


def booked(folder: Path) -> Totals:
    with closing(CallBook(folder / CALLS_FILE, mode="reader")) as book:
        return book.totals()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "without a language model: expected --model"),
        (("--input-usd", "1"), "Cannot use --input-usd without a model"),
        (("--model", "openai/gpt-4o"), "'openai/gpt-4o': it costs money and no cap is set; .* Set agents.caps.run"),
        (("--model", "openai/gpt-4o", "--cap-usd", "0"), "it costs money and the cap is 0 USD"),
        (("--model", "openai/gpt-4o", "--cap-usd", "-1"), "agents.caps.run = -1.0: expected a number from 0 up"),
        (("--model", "openai/gpt-4o", "--cap-usd", "1"), "no key is set; .* OPENAI_API_KEY"),
        (("--model", "openai/nosuch", "--cap-usd", "1"), "Cannot price 'openai/nosuch'.*input_usd and output_usd"),
        (("--model", "m", "--api-base", "http://127.0.0.1:9/v1", *FREE), "Cannot reach the endpoint http://127.0.0.1:9/v1"),
        (("--model", "m", "--api-base", "127.0.0.1:9", *FREE), "'127.0.0.1:9': it is no URL"),
        (("--model", "m", "--api-base", "http://127.0.0.1:9/v1", "--api-key-env", "NO_SUCH", *FREE), "variable NO_SUCH"),
        (("--model", "m", *FREE, "--mode", "mutatoin"), "Did you mean 'mutation'"),
        (("--model", "m", *FREE, "--mode", "crossover", "--parent", "gpt"), "crossover from 1 parents: expected 2 to 5"),
        (("--model", "m", *FREE, "--mode", "scratch", "--parent", "gpt"), "scratch from 1 parents: expected 0"),
        (("--model", "m", *FREE, "--parent", "gpd"), "Cannot find design 'gpd'.* Did you mean 'gpt'"),
        (("--model", "m", *FREE, "--flow", "straight"), "limits.flow = 'straight': expected one of units, direct"),
        (("--model", "m", *FREE, "--beam", "0"), "limits.beam = 0"),
        (("--model", "m", *FREE, "--ladder", "cpv"), "Cannot find ladder 'cpv'"),
        (("--model", "m", "--config", "nosuch.yaml"), "nosuch.yaml"),
        (("--resume", "nosuch"), "Cannot resume from 'nosuch': it holds no session"),
        (("--resume", "nosuch", "--mode", "scratch"), "Cannot use --mode with --resume"),
        (("--resume", "nosuch", "--input-usd", "0"), "Cannot use --input-usd with --resume"),
        (("--resume", "nosuch", "--seed", "1"), "Cannot use --seed with --resume"),
        (("--model", "m", *FREE, "--out", "no/such.json"), "Cannot write to 'no/such.json': there is no such folder"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_and_begins_nothing(arguments: tuple[str, ...], message: str) -> None:
    result = design(*arguments)
    assert isinstance(result.exception, ConfigError), result.output
    with pytest.raises(ConfigError, match=message):
        raise result.exception
    assert not Path("runs").exists()


def test_a_name_at_two_endpoints_is_looked_at_twice() -> None:
    free: dict[str, Any] = {"name": "openai/m", "input_usd": 0.0, "output_usd": 0.0}
    keyed, away = ModelConfig(**free, api_key_env="NO_SUCH"), ModelConfig(**free, api_base="http://127.0.0.1:9/v1")
    for models in ((keyed, away), (away, keyed)):
        with pytest.raises(ConfigError, match=r"no key is set; .* NO_SUCH"):
            asyncio.run(check_reach(AgentsConfig(models={"default": models})))


def test_a_design_is_paid_for_written_and_checked_once(server: ScriptedModel) -> None:
    poor = design("--flow", "direct", *at(server), *PRICED[:-1], "0.0001")
    assert poor.exit_code == 2 and "No design: money" in poor.output and not server.charged.n_requests

    folder = session_folder()
    worse = design("--resume", str(folder), "--cap-usd", "nan")
    assert isinstance(worse.exception, ConfigError) and "agents.caps.run = nan" in str(worse.exception)
    richer = design("--resume", str(folder), "--cap-usd", "1", "--out", "mine.json")
    assert richer.exit_code == 0, richer.output
    made = load_design(str(folder / "design.json"))
    assert load_design("mine.json") == made != seed_design("gpt")
    for said in ("code     a block of", "check    passed", "Checked by every stage: sane", "Cost: "):
        assert said in richer.output
    account = json.loads((folder / "account.json").read_text())
    assert account["design"] == made.design_id and account["models"] == {"coder": "openai/scripted"}
    assert booked(folder).run.booked_nano == server.charged.nano > 0

    n_requests = server.charged.n_requests
    again = design("--resume", str(folder), "--json")
    assert again.exit_code == 0 and server.charged.n_requests == n_requests
    report = json.loads(again.stdout)
    assert report["design"] == made.design_id and report["check"]["verdict"] == "sane"
    assert report["cost_usd"] == account["cost_usd"] == server.charged.nano / 1e9


def test_no_design_is_told_from_no_answer(server: ScriptedModel) -> None:
    server.script = Script(p_refusal=1.0)
    refused = design(*at(server), *FREE)
    assert refused.exit_code == 1 and "No design: refused." in refused.output
    server.script = Script(key="another")
    away = design(*at(server), *FREE)
    assert away.exit_code == 2 and "Incorrect API key" in away.output


def test_an_assignment_is_read_back(tmp_path: Path) -> None:
    given = agents_of(
        AgentsConfig(), ["a", "hosted_vllm/b"], {"api_base": "http://x/v1", "input_usd": 0.0, "output_usd": 0.0},
        {"beam": 3, "flow": None}, 0.5,
    )  # fmt: skip
    assert [model.name for model in given.models["default"]] == ["openai/a", "hosted_vllm/b"]
    assert (given.limits.beam, given.limits.flow, given.caps.run) == (3, "units", 0.5)
    made = new_assignment("crossover", ["gpt", "mamba2"], given, SCALES, 257, session="s", seed=3)
    made.save(tmp_path / "s")
    assert Assignment.load(tmp_path / "s") == made
    (tmp_path / "s" / "session.json").write_text('{"session": "s"}')
    with pytest.raises(ConfigError, match="Cannot resume"):
        Assignment.load(tmp_path / "s")


def test_what_a_run_measured_of_the_parents_is_told(tmp_path: Path) -> None:
    write_run(Path("runs/one"), make_report(tmp_path, weights="").to_json())
    agents = agents_of(AgentsConfig(), ["m"], {"input_usd": 0.0, "output_usd": 0.0}, {}, None)
    brief = new_assignment("mutation", ["one/gpt"], agents, SCALES, 257, session="s", seed=0).brief
    assert brief.parents == (seed_design("gpt"),)
    assert [measured.scale for measured in brief.evidence.parents[0].measured] == ["cpu-1"]
    plain = new_assignment("mutation", ["gpt"], agents, SCALES, 257, session="s", seed=0).brief
    assert plain.evidence.parents[0].name == "gpt" and not plain.evidence.parents[0].measured
    mixed = new_assignment("crossover", ["mamba2", "one/gpt"], agents, SCALES, 257, session="s", seed=0).brief
    assert mixed.parents == (seed_design("mamba2"), seed_design("gpt"))
    assert [bool(known.measured) for known in mixed.evidence.parents] == [False, True]
    with pytest.raises(ConfigError, match="parents of several runs \\(one, two\\)"):
        new_assignment("crossover", ["one/gpt", "two/gpt"], agents, SCALES, 257, session="s", seed=0)


def test_what_models_say_cannot_steer_the_terminal(tmp_path: Path) -> None:
    tree = seed_design("gpt").prune("mixer.position")
    with (tmp_path / "out").open("w+") as file:
        with _Display(Console(file=file, width=60)) as display:
            display.show(Tell(stage="plan", text="a\x1b[2J [bold]b[/bold]\nc" + " long" * 40, tree=tree))
            display.show(Tell(stage="code", text="d", tree=tree))
        file.seek(0)
        shown = file.read()
    assert "\x1b" not in shown and "[bold]b[/bold] c long" in shown
    assert shown.count("position: (open)") == 1
    assert [len(line) > 60 for line in shown.splitlines()].count(True) == 1, "a line for each thing told"
    assert tree_lines(tree)[:3] == ["  block: PreNormBlock", "    channel: SwiGLU", "    mixer: Attention"]


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "genesys", "design", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_session_goes_on_and_pays_only_what_was_in_flight(server: ScriptedModel, ending: int) -> None:
    server.script = Script(seed=3, cached_usd=1.0, latency_s=0.5, p_bad_code=0.3, p_malformed=0.1)
    process = start("--mode", "scratch", *at(server), *PRICED)
    deadline = time.monotonic() + 300
    while server.charged.n_charged < 6 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(ending)
    said, _ = process.communicate(timeout=120)
    folder = session_folder()
    if ending == signal.SIGINT:
        assert process.returncode == 130 and f"genesys design --resume {folder}" in said
    n_before = server.charged.n_charged
    assert n_before >= 6
    resumed = start("--resume", str(folder))
    said, _ = resumed.communicate(timeout=600)
    assert resumed.returncode in (0, 1), said
    spent, charged = booked(folder).run, server.charged
    assert spent.booked_nano >= charged.nano
    assert spent.booked_nano - spent.unsure_nano <= charged.nano
    assert charged.n_charged - spent.n_answered <= 4, (
        "only what was in flight is paid again: 2 codings for each of 2 trees"
    )

    whole = start("--resume", str(folder))
    again, _ = whole.communicate(timeout=600)
    assert whole.returncode == resumed.returncode, again
    assert server.charged == charged
