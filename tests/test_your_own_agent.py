"""The examples of docs/your-own-agent.md run as they stand there, in a project that has nothing but them."""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

PAGE = ROOT / "docs" / "your-own-agent.md"
EXAMPLES = re.findall(r"^## (.+?)$(?:(?!^## ).)*?^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
LAST_LINE = {
    "The environments alone": r"trained under \['all_black_cars', 'all_red_cars stop_random_car'\]",
    "Stable-Baselines3": r"stop_random_car: \d+\.\d ± \d+\.\d",
}


@pytest.mark.parametrize(("heading", "code"), EXAMPLES, ids=[heading for heading, _ in EXAMPLES])
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
    assert [heading for heading, _ in EXAMPLES] == list(LAST_LINE)
