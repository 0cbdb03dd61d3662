"""No module of the library reads or writes what runs code when it is opened, such as pickle."""

import ast
from pathlib import Path

import handgrad

ROOT = Path(handgrad.__file__).parent
RUN_CODE = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"}
LOADERS = {("np", "load"), ("numpy", "load"), ("torch", "load"), ("torch", "save"), ("np", "save")}
MACHINE_CODE = "engines/compiled/kernels/cache.py"  # kernels, which are code: of this user alone, with a digest


def names(tree):
    """What a module imports, and what it calls of others."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.value.id, node.attr
        elif isinstance(node, ast.Constant) and node.value in RUN_CODE:  # import_module("pickle")
            yield node.value


def test_none_is_used():
    found = {path.relative_to(ROOT).as_posix(): {*names(ast.parse(path.read_text()))} for path in ROOT.rglob("*.py")}
    used = {path: each & (RUN_CODE | LOADERS) for path, each in found.items() if each & (RUN_CODE | LOADERS)}
    assert used == {MACHINE_CODE: {"pickle"}}
