"""Checks of the machine that would otherwise end in a traceback deep inside an import, and what it should be told."""

import ctypes
import os
import sys
from importlib import metadata

_DEBIAN_PACKAGES = {  # system library (as the loader names it) -> Debian and Ubuntu package
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libSM.so.6": "libsm6",
    "libXext.so.6": "libxext6",
    "libxcb.so.1": "libxcb1",
}


def check_system() -> None:
    """End the process with one sentence and exit code 2 where OpenCV cannot be imported.

    Scripts call this before they import anything that needs OpenCV (ocatari, the preprocessing of the environments).
    """
    sentence = opencv_problem()
    if sentence is not None:
        print(f"error: {sentence}", file=sys.stderr)
        raise SystemExit(2)


def opencv_problem() -> str | None:
    """What keeps `import cv2` from working and how to mend it, or None when it works.

    ocatari requires `opencv-python`, the build with windows, which loads system libraries that slim images lack.
    From Python 3.13 on, where ocatari cannot be installed, this project takes the headless build, which does not.
    """
    package = "opencv-python-headless" if sys.version_info >= (3, 13) else "opencv-python"
    try:
        import cv2  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name == "cv2":
            return f"OpenCV is not installed: run `pip install {package}`."
        return f"OpenCV cannot be imported ({error}): run `pip install --force-reinstall {package}`."
    except ImportError as error:
        library = str(error).split(":")[0]
        if ".so" not in library:
            return f"OpenCV cannot be imported ({error}): run `pip install --force-reinstall {package}`."
        packages = dict.fromkeys(["libgl1", "libglib2.0-0", _DEBIAN_PACKAGES.get(library, "libgl1")])
        return (
            f"OpenCV needs the system library {library}, which is missing: install it"
            f" (Debian, Ubuntu: `apt-get install -y {' '.join(packages)}`), or, without root, take the build that does"
            f" not need it: `pip uninstall -y opencv-python && pip install {_headless_requirement()}`."
        )
    return None


def keep_freed_memory() -> None:
    """Let the C library keep what tensors free, up to 1 GiB, instead of returning it to the system at once.

    An update frees and asks for the same tens of megabytes again and again; new pages from the system cost up to a
    quarter of its time. Only glibc (Linux) has this setting; elsewhere nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # numbers of the parameters in malloc.h
        mallopt(mmap_threshold, 32 * 2**20)  # the most that glibc allows; larger blocks are mapped one by one
        mallopt(trim_threshold, 2**30)


def memory_of(device: str) -> int | None:
    """Bytes of memory of the machine (`cpu`) or of a GPU (`cuda`, `cuda:1`); None where it does not say."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_properties(device).total_memory
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not on every system
        return None


def _headless_requirement() -> str:
    """The headless build of the version that is installed; both builds are released under the same numbers."""
    try:
        return f"opencv-python-headless=={metadata.version('opencv-python')}"
    except metadata.PackageNotFoundError:
        return "opencv-python-headless"
