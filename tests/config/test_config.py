"""Configurations: what is read, and what is refused with one clear sentence."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from genesys.config import RunConfig, config_from_mapping, load_config, load_design
from genesys.errors import ConfigError
from genesys.gau import compose
from genesys.gau.library import seed_design, unit_named

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("configs/*.yaml"), *ROOT.glob("examples/*.yaml")]), ids=lambda p: p.name
)
def test_what_we_ship_can_be_read(path: Path) -> None:
    assert load_config(path).resolved_ladder().quotas[0] > 0


def test_defaults_make_a_run() -> None:
    assert config_from_mapping({}) == RunConfig()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"verifers": {}}, r"Cannot use key 'verifers'.*Did you mean 'verifiers'"),
        ({"verifiers": {"thread": 2}}, r"Cannot use key 'verifiers.thread'.*Did you mean 'threads'"),
        ({"verifiers": {"n": "two"}}, r"verifiers\.n = 'two': expected a whole number"),
        ({"verifiers": {"n": 0}}, r"verifiers\.n = 0: expected at least 1"),
        ({"verifiers": {"threads": 0}}, r"verifiers\.threads = 0: expected at least 1"),
        ({"designers": {"ahead": 0}}, r"designers\.ahead = 0: expected at least 1"),
        ({"fitness": "papper"}, r"fitness = 'papper'.*Did you mean 'paper'"),
        ({"verifiers": 3}, r"verifiers = 3: expected a mapping"),
        ({"seeds": ["gtp"]}, r"seed 'gtp'.*Did you mean 'gpt'"),
        ({"ladder": "paler"}, r"ladder 'paler'.*Did you mean 'paper'"),
        ({"quotas": [4, 8, 2]}, r"Cannot use quota 8 at scale 'cpu-2': only 4 designs"),
        ({"quotas": [4]}, r"Cannot use 1 quotas for 3 scales"),
        ({"quotas": [-1, -1, -1]}, r"quota -1 at scale 'cpu-1'"),
        ({"ladder": [{"name": "a", "d_model": 8}]}, r"Cannot do without key 'ladder\[0\]\.n_blocks'"),
        ({"selection": {"name": "random", "option": {}}}, r"'selection.option'.*Did you mean 'options'"),
        ([1, 2], r"holds list; expected keys and values"),
        ({"selection": ["ucb"]}, r"selection = \['ucb'\]: expected a text or a mapping\.$"),
        ({"ladder": [{"name": "a", "d_modl": 3}]}, r"'ladder\[0\].d_modl'"),
        ({"ladder": 3}, r"ladder = 3: expected a text or a list"),
        ({"seeds": ["gpt", "gpt"]}, r"seed 'gpt' 2 times; expected once"),
        ({"training_seeds": {"cpu-1": True}}, r"Cannot train with True seeds"),
        ({"training_seeds": {"cpu1": 3}}, r"scale 'cpu1': the ladder has .* Did you mean 'cpu-1'"),
        ({"operators": {"crossover_from": -5}}, r"crossover_from -5; expected a whole number from 0"),
        ({"quotas": [0, 0, 0]}, r"Cannot run with quota 0 at cpu-1; expected at least 1\.$"),
        ({"budget": {"runs": 0}}, r"the cap of 0 runs .* which may take 1 run\. Raise budget.runs to 1 or more\.$"),
        ({"budget": {"tokens": 10}}, r"which may take 143,360 tokens\. Raise budget.tokens to 143,360 or more\.$"),
        ({"designers": {"kinds": {"lllm": 1}}}, r"designers\.kinds\.lllm: expected .* Did you mean 'llm'"),
        ({"designers": {"kinds": {"rules": 0}}}, r"no weight above 0"),
        ({"designers": {"kinds": {"rules": -1}}}, r"designers\.kinds\.rules = -1: expected a number from 0 up"),
        ({"designers": {"kinds": {"llm": 1}}}, r"without a language model\. Name one under agents\.models\.default"),
        ({"designers": {"sessions": 0}}, r"designers\.sessions = 0: expected at least 1"),
        ({"designers": {"refine": -1}}, r"Cannot refine a design -1 times"),
        ({"agents": {"models": {"coda": [{"name": "a/b"}]}}}, r"agents\.models\.coda.* Did you mean 'coder'"),
        (
            {"agents": {"models": {"coder": [{"name": "a/b"}]}}},
            r"without a model for the proposer\. Add agents\.models",
        ),
        ({"agents": {"models": {"default": []}}}, r"agents\.models\.default has no model with a weight above 0"),
        (
            {"agents": {"models": {"default": [{"nam": "a/b"}]}}},
            r"'agents\.models\.default\[0\]\.nam'.*Did you mean 'name'",
        ),
        (
            {"agents": {"models": {"default": [{"name": "a/b", "output_usd": 2}]}}},
            r"Cannot ask 'a/b' without a cap: it costs money\. Set agents\.caps\.run",
        ),
        ({"agents": {"models": {"default": [{"name": "a/b", "input_usd": -2}]}}}, r"a/b\.input_usd = -2\.0: expected"),
        ({"agents": {"caps": {"day": -1}}}, r"agents\.caps\.day = -1\.0: expected a number from 0 up"),
        ({"agents": {"caps": {"roles": {"coda": 1}}}}, r"agents\.caps\.roles\.coda.*Did you mean 'coder'"),
        ({"agents": {"limits": {"beam": 0}}}, r"agents\.limits\.beam = 0: expected at least 1"),
        ({"agents": {"limits": {"proposal_bar": 6}}}, r"agents\.limits\.proposal_bar = 6\.0: expected 0 to 5"),
        ({"agents": {"planted": 2}}, r"planted = 2\.0: expected"),
        (
            {"agents": {"models": {"default": [{"name": "openai/a"}]}, "limits": {"judge": True}}},
            r"Cannot judge by a model of the family 'openai': the reviewer's is, too",
        ),
        (
            {"budget": {"gpu_hours": 0.1}, "verifiers": {"gpus_per_verification": 1}},
            r"which may take 0.5 GPU-hours \(verifiers.deadline_s on 1 GPUs\)\. Raise the cap, or lower",
        ),
    ],
)
def test_a_mistake_gets_one_sentence(data: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_mapping(data)


def test_numbers_that_yaml_reads_as_text_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    scale = "{name: a, d_model: 8, n_blocks: 1, context: 8, batch_tokens: 16, n_tokens: 160, peak_lr: 1e-3}"
    path.write_text(f"ladder: [{scale}]\nquotas: [3]\n")
    assert load_config(path).resolved_ladder().scales[0].peak_lr == 1e-3


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"there is no such file\. Did you mean 'quickstart.yaml'"):
        load_config(tmp_path / "quickstrat.yaml")
    with pytest.raises(ConfigError, match="it is not YAML"):
        load_config(tmp_path / "quickstart.yaml")


def test_designs_are_read_from_every_form(tmp_path: Path) -> None:
    gpt = seed_design("gpt")
    (tmp_path / "composed.py").write_text(compose(gpt))
    (tmp_path / "mixer.py").write_text(unit_named("Attention").source)
    (tmp_path / "design.yaml").write_text(
        "unit: PreNormBlock\nslots:\n  norm_mixer: RMSNorm\n  mixer: {unit: mixer.py, slots: {position: Rotary}}\n"
        "  norm_channel: RMSNorm\n  channel: SwiGLU\n"
    )
    import json

    (tmp_path / "record.json").write_text(json.dumps(gpt.to_json()))
    for name in ("composed.py", "design.yaml", "record.json"):
        assert load_design(str(tmp_path / name)) == gpt
    assert load_design(str(tmp_path / "mixer.py")).open_slots() == ("position",)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("absent.py", None, "neither a file nor a seed"),
        ("unit.py", "x = 1", "unit classes: none"),
        ("design.yaml", "unit: Attenion", "Did you mean 'Attention'"),
        ("design.yaml", "unit: Attention\nslots: {position: SwiGLU}", "it accepts position"),
        ("design.yaml", "unit: missing.py", "Cannot find unit file 'missing.py'"),
        ("design.yaml", "[1]", "no mapping with a key `unit`"),
        ("design.yaml", "slots: {}", "there is no key 'unit'"),
    ],
)
def test_what_is_no_design_is_said(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_design(str(tmp_path / name))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: {suite: cpuu}", "Cannot find suite 'cpuu'.* Did you mean 'cpu'"),
        ("tasks: {data: /nowhere}", "Cannot find the benchmarks' data '/nowhere'"),
    ],
)
def test_benchmarks_that_are_not_there_are_found_at_the_door(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "run.yaml")
    recorded = {"tasks": {"suite": "gone.yaml", "data": "/nowhere"}}  # by a run that this machine only reads
    assert config_from_mapping(recorded).tasks.data == "/nowhere"


def test_models_are_read_by_role_and_slots_follow_the_kinds() -> None:
    models = {"default": [{"name": "openai/a"}], "judge": [{"name": "anthropic/b", "weight": 2}]}
    agents = {"models": models, "caps": {"run": 5, "roles": {"coder": 3}}, "limits": {"judge": True, "beam": 3}}
    config = config_from_mapping({"designers": {"n": 2, "kinds": {"llm": 1, "rules": 3}}, "agents": agents})
    assert [model.weight for model in config.agents.models["judge"]] == [2.0]
    assert (config.agents.limits.beam, config.agents.caps.roles) == (3, {"coder": 3})
    assert (config.designers.slots, config.designers.resolved_ahead) == (8, 18)
    assert (RunConfig().designers.slots, RunConfig().designers.resolved_ahead) == (1, 3)


def test_a_password_in_an_address_is_refused_and_not_told() -> None:
    agents = {"models": {"default": [{"name": "openai/a", "api_base": "http://me:hunter2@host:8000/v1"}]}}
    with pytest.raises(ConfigError, match="holds a user's name or password") as refused:
        config_from_mapping({"agents": agents})
    assert "hunter2" not in str(refused.value)


def test_a_call_that_has_no_time_is_refused() -> None:
    """Each would be booked in full, for nobody knows whether it is charged."""
    agents = {"models": {"default": [{"name": "openai/a", "timeout_s": 0}]}}
    with pytest.raises(ConfigError, match=r"timeout_s = 0\.0: expected a number above 0"):
        config_from_mapping({"agents": agents})


def test_a_run_s_own_record_is_read_back(tmp_path: Path) -> None:
    """What `genesys evolve` writes into a run's folder."""
    from cluster.planning import plain

    agents = {"models": {"default": [{"name": "openai/a", "api_key_env": "MY_KEY"}]}, "caps": {"run": 5}}
    config = config_from_mapping({"designers": {"kinds": {"hybrid": 1}}, "agents": agents})
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(plain(asdict(config))), encoding="utf-8")
    assert load_config(path) == config


def test_the_models_of_the_paper_s_run_have_prices() -> None:
    from genesys.llm.prices import PriceList

    config = load_config(ROOT / "configs" / "paper.yaml")
    assert all(price.input and price.output for price in PriceList.of(config.agents).prices.values())
    assert config.agents.caps.run and config.agents.caps.day is None, "a day's cap stops it until somebody resumes it"
