"""The examples of docs/your-own-agent.md run as they stand there, in a project that has nothing but them."""

import os
import re
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from pages import blocks, section

from continual_hackatari.agents import make_agent

PAGE = ROOT / "docs" / "your-own-agent.md"
SCRIPT = "In this project's training"
NETWORK = "Your own network in PPO"
FOUND = re.findall(r"^## (.+?)$(?:(?!^## ).)*?^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
EXAMPLES = [(heading, code) for heading, code in FOUND if heading not in (SCRIPT, NETWORK)]
LAST_LINE = {
    "The environments alone": r"trained under \['all_black_cars', 'all_red_cars stop_random_car'\]",
    "Stable-Baselines3": r"stop_random_car: \d+\.\d ± \d+\.\d",
}


def test_the_network_can_be_trained(tmp_path, monkeypatch):
    (tmp_path / "my_net.py").write_text(dict(FOUND)[NETWORK])
    monkeypatch.syspath_prepend(tmp_path)
    agent = make_agent("my_net:MyNet", (4, 84, 84), 3, generator=torch.Generator().manual_seed(1))
    seen = torch.randint(256, (2, 4, 84, 84), dtype=torch.uint8)
    _, log_prob, _, value = agent.get_action_and_value(seen, torch.tensor([0, 2]))
    (log_prob.sum() + value.sum()).backward()
    assert all(weights.grad.abs().sum() > 0 for weights in agent.parameters())


@pytest.mark.slow  # they train for thousands of steps
@pytest.mark.parametrize(("heading", "code"), [pytest.param(*example, id=example[0]) for example in EXAMPLES])
def test_an_example_runs(heading, code, tmp_path):
    if "stable_baselines3" in code:
        pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed")
    (tmp_path / "example.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(LAST_LINE[heading], done.stdout.strip().splitlines()[-1])


def test_every_example_is_tried():
    assert [heading for heading, _ in FOUND] == [*LAST_LINE, NETWORK, SCRIPT]


def test_the_script_is_shown_from_its_first_to_its_last_line():
    shown = "".join(blocks("python", section(SCRIPT, PAGE.name)))
    script = (ROOT / "tests" / "q_learner.py").read_text()
    assert [line for line in shown.splitlines() if line] == [line for line in script.splitlines() if line]
    assert len(script.splitlines()) < 220
