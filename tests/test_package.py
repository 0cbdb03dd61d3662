"""The house itself: what an import costs, which names are public, which floor imports from which, how it is kept."""

import ast
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import handgrad

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "handgrad"
MODULES = sorted(SOURCE.rglob("*.py"))
TESTS = [path for folder in ("tests", "benchmarks", "examples") for path in sorted((ROOT / folder).rglob("*.py"))]
STUB = ast.parse((SOURCE / "__init__.pyi").read_text())

# A wing stands over the floors 1 to 3: it imports from them, and what is above may import it.
WING = 3.5
FLOORS: dict[str, float] = {
    "errors": 0,
    "pages": 0,
    "threads": 0,
    "checks": 0.5,
    "ops": 1,
    "initializers": 1,
    "layers": 2,
    "models": 3,
    "optim": 3,
    "check": WING,
    "explain": WING + 0.1,  # shows what checks prove, and writes files
    "formats": WING,
    "engines": 4,
    "training": 5,
    "estimators": 6,
    "scale": 6,
    "cli": 7,
}


def name_of(path):
    return str(path.relative_to(ROOT))


def unit_of(path):
    """The folder or module of the house a file belongs to."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imports_of(path):
    """The names "handgrad.…" that a file imports, at the top and within functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(SOURCE.parent).parts[:-1]
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names if module == "handgrad")


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


HEAVY = ("scipy", "sklearn", "torch", "numba", "rich", "typer", "duckdb", "pyarrow", "matplotlib", "onnx", "ray")


def test_import_needs_numpy_alone():
    loaded = run("import sys, handgrad; print(*sorted({name.split('.')[0] for name in sys.modules}))").split()
    assert "handgrad" in loaded
    assert not set(HEAVY) & set(loaded)
    assert "handgrad.ops" not in run("import sys, handgrad; print(*sys.modules)").split()


def test_a_training_step_loads_nothing_heavy():
    code = """
import sys, numpy as np, handgrad
model = handgrad.mlp([3, 4, 2])
params = model.init(0)
value, grads = handgrad.value_and_grad(model, "cross_entropy", params, np.ones((5, 3)), np.zeros(5, int))
print(*sorted({name.split('.')[0] for name in sys.modules}))
"""
    assert not set(HEAVY) & set(run(code).split())


def public_names():
    for node in STUB.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.module, alias.name, alias.asname


@pytest.mark.parametrize(("module", "name", "public"), list(public_names()), ids=lambda part: str(part))
def test_every_public_name_is_there(module, name, public):
    assert public == name, "a stub exports what is imported `as` itself"
    found = getattr(handgrad, public)
    source = importlib.import_module("handgrad" if module is None else f"handgrad.{module}")
    assert found is getattr(source, name)
    assert public in dir(handgrad)
    assert public in handgrad.__all__
    assert found.__doc__


def test_only_what_is_imported_stands_in_the_stub():
    version, *imports = STUB.body
    assert ast.unparse(version) == "__version__: str"
    assert all(isinstance(node, ast.ImportFrom) and node.level == 1 for node in imports)


def test_every_layer_is_public():
    from handgrad import layers

    assert {name for name in layers.__all__ if name[0].isupper()} <= set(handgrad.__all__)


def test_names_that_are_not_there_are_refused():
    with pytest.raises(AttributeError, match="Sequentail"):
        _ = handgrad.Sequentail


def test_typed_and_numbered():
    assert (SOURCE / "py.typed").exists()
    assert f'version = "{handgrad.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_every_module_has_a_floor():
    unknown = {unit_of(path) for path in MODULES} - FLOORS.keys() - {"__init__", "__main__"}
    assert not unknown, f"give {sorted(unknown)} a floor in the table above, and in the design"


@pytest.mark.parametrize("path", [path for path in MODULES if unit_of(path) in FLOORS], ids=name_of)
def test_a_module_imports_only_from_floors_below_its_own(path):
    unit = unit_of(path)
    for imported in imports_of(path):
        top, _, rest = imported.partition(".")
        if top != "handgrad":
            continue
        assert rest or path.name == "__init__.py", f"{imported}: import the module, not the whole house"
        below = rest.split(".")[0]
        if below and below not in (unit, "__version__"):
            assert FLOORS[below] < FLOORS[unit], f"{unit} (floor {FLOORS[unit]}) imports {imported}"


def test_floors_are_seen():
    """The parser above finds imports, or the test of floors would pass for nothing."""
    assert "handgrad.layers" in imports_of(SOURCE / "engines" / "eager.py")
    assert "handgrad.ops" in imports_of(SOURCE / "layers" / "linear.py")


@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="no checkout of git")
def test_git_ignores_no_module():
    """What it ignores is not in the wheel, is not checked, and is not there in another checkout."""
    names = "\n".join(map(str, MODULES))
    ran = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"], cwd=ROOT, input=names, capture_output=True, text=True
    )
    assert not ran.stdout
    assert ran.returncode == 1, ran.stderr


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=name_of)
def test_no_file_is_longer_than_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_what_is_public_says_what_it_is(path):
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
    silent = [node.name for node in public if not ast.get_docstring(node)]
    assert ast.get_docstring(tree), "the module has no docstring"
    assert not silent
