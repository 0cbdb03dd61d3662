"""Trainings that are killed with SIGKILL at random moments, again and again, until each has come to its end.

python kills.py KILLS SEED FOLDER. This process loads the library once and forks a child for each attempt, so that a
kill costs milliseconds. It prints one line of JSON: the kills, the trainings, and whatever was not as it must be.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from handgrad.engines.compiled import engine as compiled
from handgrad.errors import HandgradError
from handgrad.formats.checkpoint import read_checkpoint
from training.trainings import TRAININGS, kept, train

EVERY = ["1 step", "3 steps", "0.002 seconds", 1]
CASES = [
    (name, engine, dtype)
    for name in TRAININGS
    for engine in ("eager", "compiled")
    for dtype in ("float32", "float64")
    if (name, engine) != ("private", "compiled")
]


def outcome(folder, case, every):
    """What came of a training, to the bit, without what a clock gives."""
    name, engine, dtype = case
    result = train(name, dtype, engine=engine, checkpoint=folder, resume=True, every=every, epochs=6)
    return result.params.flat.tobytes().hex(), result.stopped, result.best_epoch, kept(folder)


def attempt(folder, case, every, report):
    """In a child: go on to the end, and write what came of it. It never returns."""
    code = 1
    try:
        warnings.simplefilter("error")  # not one file may be found damaged
        report.write_text(repr(outcome(folder, case, every)))
        code = 0
    except BaseException:
        report.with_suffix(".error").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def run(kills, seed, root):
    """(kills done, trainings done, faults)."""
    draw, done, faults = random.Random(seed), 0, []
    expected, seconds = {}, {}
    trainings = 0
    while done < kills:
        case, every = CASES[trainings % len(CASES)], EVERY[draw.randrange(len(EVERY))]
        folder, report = root / f"{trainings}", root / f"{trainings}.result"
        if case not in expected:
            outcome(root / "warm", case, 1)  # kernels are compiled, or read, once
            remove(root / "warm")
            began = time.perf_counter()
            expected[case] = repr(outcome(root / "whole", case, "1 step"))
            seconds[case] = time.perf_counter() - began
            remove(root / "whole")
        trainings += 1
        while True:
            child = os.fork()
            if child == 0:
                attempt(folder, case, every, report)
            time.sleep(draw.uniform(0, 0.7 * seconds[case]) if done < kills else 0)
            if done < kills:
                os.kill(child, signal.SIGKILL)  # a child that has ended already is a zombie, which takes no harm
            _, status = os.waitpid(child, 0)
            faults += unreadable(folder, trainings)
            if os.WIFEXITED(status):
                break
            done += 1
        if os.WEXITSTATUS(status):
            faults.append(f"training {trainings}, {case}: {report.with_suffix('.error').read_text()}")
        elif report.read_text() != expected[case]:
            faults.append(f"training {trainings}, {case}: it is not the one that was never stopped")
        remove(folder)
    return done, trainings, faults


def unreadable(folder, number):
    """What is wrong with the files that a killed training has left."""
    found = []
    for path in folder.glob("step-*") if folder.exists() else ():
        try:
            read_checkpoint(path)
        except (HandgradError, OSError) as error:
            found.append(f"training {number}: {error}")
    return found


def remove(folder):
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


if __name__ == "__main__":
    compiled.PART_SECONDS, compiled.FIRST_STEPS = 1e-9, 1  # so that there are steps to be killed between
    done, trainings, faults = run(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    print(json.dumps({"kills": done, "trainings": trainings, "faults": faults}))
