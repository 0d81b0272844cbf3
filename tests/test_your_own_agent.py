"""The examples of docs/your-own-agent.md run as they stand there, in a project that has nothing but them."""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from pages import blocks, section

PAGE = ROOT / "docs" / "your-own-agent.md"
SCRIPT = "In this project's training"
FOUND = re.findall(r"^## (.+?)$(?:(?!^## ).)*?^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
EXAMPLES = [(heading, code) for heading, code in FOUND if heading != SCRIPT]
LAST_LINE = {
    "The environments alone": r"trained under \['all_black_cars', 'all_red_cars stop_random_car'\]",
    "Stable-Baselines3": r"stop_random_car: \d+\.\d ± \d+\.\d",
}


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
    assert [heading for heading, _ in FOUND] == [*LAST_LINE, SCRIPT]


def test_the_script_is_shown_from_its_first_to_its_last_line():
    shown = "".join(blocks("python", section(SCRIPT, PAGE.name)))
    script = (ROOT / "tests" / "q_learner.py").read_text()
    assert [line for line in shown.splitlines() if line] == [line for line in script.splitlines() if line]
    assert len(script.splitlines()) < 220
