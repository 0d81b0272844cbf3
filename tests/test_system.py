"""The check for OpenCV, with a stand-in for `cv2` that fails as on a slim image."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

PACKAGE = "opencv-python-headless" if sys.version_info >= (3, 13) else "opencv-python"
REPOSITORY = Path(__file__).resolve().parents[1]


def run_check(folder: Path, cv2_source: str | None) -> subprocess.CompletedProcess:
    if cv2_source is not None:
        (folder / "cv2.py").write_text(cv2_source)
    path = os.pathsep.join([str(folder), str(REPOSITORY)])
    code = "from continual_hackatari.training.system import check_system; check_system(); print('fine')"
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, cwd=folder, capture_output=True, text=True
    )


def test_a_working_opencv_passes_in_silence(tmp_path):
    done = run_check(tmp_path, None)
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the headless build needs no such library")
@pytest.mark.parametrize(("library", "package"), [("libGL.so.1", "libgl1"), ("libxcb.so.1", "libxcb1")])
def test_missing_system_library_is_one_sentence_with_both_remedies(tmp_path, library, package):
    message = f"{library}: cannot open shared object file: No such file or directory"
    done = run_check(tmp_path, f"raise ImportError({message!r})")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: OpenCV needs the system library {library}, ")
    assert done.stderr.count("\n") == 1
    assert "apt-get install -y libgl1 libglib2.0-0" in done.stderr
    assert package in done.stderr
    assert f"opencv-python-headless=={metadata.version('opencv-python')}" in done.stderr


def test_missing_and_broken_packages_name_the_pip_line(tmp_path):
    absent = run_check(tmp_path, "raise ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')")
    assert (absent.returncode, absent.stderr) == (
        2,
        f"error: OpenCV is not installed: run `pip install {PACKAGE}`.\n",
    )
    broken = run_check(tmp_path, "raise ImportError('numpy.core.multiarray failed to import')")
    assert broken.returncode == 2
    assert "multiarray" in broken.stderr
    assert f"pip install --force-reinstall {PACKAGE}" in broken.stderr


def test_the_check_imports_nothing_heavy():
    heavy = ("torch", "numpy", "cv2")
    code = f"import sys, continual_hackatari.training.system; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout == "[]\n"
