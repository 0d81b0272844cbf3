"""Stands in for the training script in tests of sweep.py: the same words on the command line, the same files, no games.

It waits while the file `hold` exists, says `--fail`, logs -(x - 0.7)**2 or `--score`, and saves itself on SIGTERM.
Every start adds a line to calls.txt, every signal one to signals.txt.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


def note(file, text):
    with open(file, "a") as stream:
        stream.write(text + "\n")


def stop(number, frame):
    note("signals.txt", f"{os.getpid()}")
    if not Path("hold_save").exists():
        (folder / "resume.pt").touch()
    sys.exit(128 + number)


note("calls.txt", json.dumps(sys.argv[1:]))
if sys.argv[1:2] == ["--resume"]:
    folder = Path(sys.argv[2])
else:
    folder = Path("runs") / f"run{os.getpid()}"
    folder.mkdir(parents=True)
    (folder / "argv.json").write_text(json.dumps(sys.argv[1:]))
flags = dict(word.removeprefix("--").partition("=")[::2] for word in json.loads((folder / "argv.json").read_text()))
signal.signal(signal.SIGTERM, stop)
print(f"run folder: {folder}")
while Path("hold").exists():
    time.sleep(0.02)
if "fail" in flags and flags["fail"] in ("", flags.get("seed")):
    print("error: the disk of seed", flags.get("seed"), "is full")
    print(f"resume:     python training.py --resume {folder}")
    sys.exit(1)
if flags.get("fail") == "killed":
    print("so far, so good")
    os.kill(os.getpid(), signal.SIGKILL)
score = float(flags["score"]) * float(flags.get("seed", 1)) if "score" in flags else -((float(flags["x"]) - 0.7) ** 2)
writer = EventFileWriter(str(folder))
for step, value in ((0, -1000.0), (1, score)):
    for name in ("continual/average_performance", "continual/forgetting", "losses/entropy"):
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
        writer.add_event(Event(step=step, wall_time=time.time(), summary=summary))
writer.close()
print(f"run folder: {folder}")
