"""The command, run in this process in a folder of its own, and tables to run it on."""

import re
from dataclasses import dataclass

import numpy as np
import pytest
from typer.testing import CliRunner

from handgrad.cli.app import app


@dataclass
class Ran:
    code: int
    out: str
    err: str
    exception: BaseException | None


@pytest.fixture
def handgrad(tmp_path, monkeypatch):
    """handgrad("train", "x.csv", ...) -> its exit code, stdout and stderr; anything but an exit is raised."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr, result.exception)

    return run


@pytest.fixture
def refused(handgrad, tmp_path):
    """refused("train", ..., saying="..."): the command fails in one line that says so, and writes nothing."""

    def check(*arguments, saying, code=1):
        before = contents(tmp_path)
        ran = handgrad(*arguments)
        assert ran.code == code
        ran.err = ran.err.removeprefix("compiling kernels (first run only)\n")
        assert ran.err.startswith("error: "), ran.err
        assert ran.err.count("\n") == 1, ran.err
        assert re.search(saying, ran.err), ran.err
        assert "Traceback" not in ran.err
        assert contents(tmp_path) == before
        return ran

    return check


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def flowers(tmp_path):
    """A CSV of 120 rows: numbers with gaps, text with gaps, a constant, an id, row numbers, and three classes."""
    rng = np.random.default_rng(0)
    lines = ["row,id,length,width,colour,site,kind"]
    for row in range(120):
        kind = row // 40
        length = "" if row % 17 == 0 else f"{kind + rng.normal(0, 0.3):.3f}"
        width = f"{2 - kind + rng.normal(0, 0.3):.3f}"
        colour = "" if row % 13 == 0 else ["red", "blue", "green, dark"][(kind + (rng.random() < 0.2)) % 3]
        quoted = f'"{colour}"' if "," in colour else colour
        lines.append(f"{row},f-{row},{length},{width},{quoted},here,{['ash', 'bay', 'elm'][kind]}")
    path = tmp_path / "flowers.csv"
    path.write_text("\n".join(lines) + "\n")
    return path
