"""Each kind of vector that this processor has gives what the eager engine gives."""

import json
import os
import subprocess
import sys

import llvmlite.binding as llvm
import numpy as np
import pytest

from engines.compiled.trainings import OF_THE_UNITS_SIZE, Training, assert_agree
from handgrad.engines.compiled.kernels.vectors import KINDS, available, detected, vectors
from handgrad.errors import ValueRangeError
from handgrad.layers import L2, Dropout, LayerNorm, Linear, Poisson, ReLU, Softmax, SquaredError, SwiGLU, Tanh
from handgrad.models import Residual, Sequential, mlp
from handgrad.optim import SGD, AdamW, RMSprop
from soak import FACTOR

OTHERS = available()[1:]
SHARED = Linear(17, 17)
TRAININGS = {
    "one linear": Training(Linear(20, 5)),
    "relu": Training(mlp([20, 33, 40, 5])),
    "no bias": Training(mlp([20, 33, 40, 5], "gelu", bias=False, layout="out_in"), clip_norm=0.3),
    "widths": Training(mlp([7, 1, 15, 16, 17, 31, 32, 65, 3], "tanh"), sample=(7,), outputs=3),
    "all layers": Training(
        Sequential(
            [
                Linear(20, 17),
                Dropout(0.2),
                Residual(Sequential([LayerNorm(17), SwiGLU(17, 33), Linear(33, 17)])),
                SHARED,
                ReLU(),
                SHARED,
                Softmax(2.0),
                Linear(17, 19),
                Tanh(),
            ]
        ),
        outputs=19,
        loss=SquaredError(),
        weights="some zero",
        optimizer=AdamW(0.01),
    ),
    "rmsprop": Training(mlp([20, 40, 6], "swish"), outputs=6, loss=Poisson(), optimizer=RMSprop(1e-3)),
    "momentum": Training(mlp([20, 40, 5]), optimizer=SGD(0.03, momentum=0.9), regularizer=L2(0.01)),
    "long batch": Training(mlp([20, 33, 5]), rows=150, batch_size=140, epochs=5),
    "products of the matrix unit's size": OF_THE_UNITS_SIZE.but(clip_norm=2.0, epochs=25),
    "batch of one": Training(mlp([20, 33, 5], "tanh"), rows=9, batch_size=1, epochs=2),
}


@pytest.fixture(autouse=True)
def no_choice_from_outside(monkeypatch):
    monkeypatch.delenv("HANDGRAD_VECTORS", raising=False)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.parametrize("kind", OTHERS)
def test_narrower_vectors(kind, name, threads, monkeypatch):
    monkeypatch.setenv("HANDGRAD_VECTORS", kind)
    # of AVX-512 in float64 the next test is, where there is AMX
    training = TRAININGS[name].but(threads=threads, dtype=np.float32 if kind == "avx512" else np.float64)
    assert training.compiled().layout.kind == KINDS[kind]
    assert_agree(training)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", TRAININGS)
def test_the_widest_vectors(name, threads, dtype):
    assert_agree(TRAININGS[name].but(threads=threads, dtype=dtype))


def test_the_kind_is_taken_when_an_engine_is_made(monkeypatch):
    training = TRAININGS["relu"].but(epochs=2)
    first = training.compiled()
    expected = vectors(np.float64)
    monkeypatch.setenv("HANDGRAD_VECTORS", "dot")
    second = training.compiled()
    results = [training.run(engine)[1].flat for engine in (first, second)]
    assert first.layout.kind == expected
    assert second.layout.kind == KINDS["dot"]
    np.testing.assert_allclose(*results, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["avx", "AVX512 ", ""])
def test_unknown_kinds_are_refused_with_the_known_ones(name, monkeypatch):
    monkeypatch.setenv("HANDGRAD_VECTORS", name)
    with pytest.raises(ValueRangeError, match=r"HANDGRAD_VECTORS.*avx512.*avx2.*dot"):
        TRAININGS["relu"].compiled()


def test_auto_is_the_widest(monkeypatch):
    monkeypatch.setenv("HANDGRAD_VECTORS", "auto")
    assert vectors() == detected()


AVX512 = dict.fromkeys(("avx2", "fma", "avx512f", "avx512vl", "avx512bw"), True)
FEATURES = {
    "nothing": ({}, "dot"),
    "avx": ({"avx": True}, "dot"),
    "avx2 without fma": ({"avx2": True, "fma": False}, "dot"),
    "fma without avx2": ({"avx2": False, "fma": True}, "dot"),
    "avx2": ({"avx2": True, "fma": True}, "avx2"),
    "the first avx-512": ({"avx2": True, "fma": True, "avx512f": True}, "avx2"),
    "avx-512 that is off": ({"avx2": True, "fma": True, "avx512f": False, "avx512vl": False}, "avx2"),
    "avx-512": ({"avx2": True, "fma": True, "avx512f": True, "avx512vl": True}, "avx512"),
    "amx without bfloat16": (AVX512 | {"amx-tile": True, "amx-int8": True}, "avx512"),
    "amx": (AVX512 | {"amx-tile": True, "amx-bf16": True}, "amx"),
}


@pytest.mark.parametrize(("features", "kind"), FEATURES.values(), ids=FEATURES)
def test_the_kind_follows_what_the_processor_has(features, kind, monkeypatch):
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: features)
    monkeypatch.setattr("handgrad.engines.compiled.kernels.vectors._tiles_allowed", lambda: True)
    assert available.__wrapped__()[0] == kind


def test_a_processor_that_is_not_known_has_none(monkeypatch):
    def unknown():
        raise RuntimeError("failed to get host cpu features")

    monkeypatch.setattr(llvm, "get_host_cpu_features", unknown)
    assert available.__wrapped__() == ("dot",)


def test_each_kind_has_its_own_kernels(monkeypatch):
    """In one process, where the environment changes between two engines."""
    training = TRAININGS["relu"].but(dtype=np.float32)  # which all kinds have kernels of their own for
    kernels = {detected().name: training.compiled()._kernel}
    for kind in OTHERS:
        monkeypatch.setenv("HANDGRAD_VECTORS", kind)
        kernels[kind] = training.compiled()._kernel
    assert len(set(map(id, kernels.values()))) == len(kernels)


ON_ANOTHER = """
import json, sys
from engines.compiled.test_vectors import TRAININGS
from engines.compiled.trainings import differences
found = {}
for name in ("all layers", "relu"):
    training = TRAININGS[name].but(threads=2)
    engine = training.compiled()
    found[name] = max(differences(training.run(training.eager()), training.run(engine)))
print(json.dumps([engine.layout.kind.name, found]))
"""


if FACTOR > 1 and OTHERS:  # it compiles anew, which takes longer than all else here

    @pytest.mark.parametrize("kind", ["avx2", "dot"])
    def test_a_processor_with_avx2_alone(kind, tmp_path):
        """Numba is told to compile for one, so that no instruction of AVX-512 can come in."""
        kept = (
            "avx2 avx bmi bmi2 cx16 f16c fma fxsr lzcnt mmx movbe pclmul popcnt sse sse2 sse3 sse4.1 sse4.2 ssse3 xsave"
        )
        features = [f"+{name}" for name in kept.split()]
        features += [f"-{name}" for name in llvm.get_host_cpu_features() if name.startswith("avx512")]
        environment = {
            "NUMBA_CPU_NAME": "haswell",
            "NUMBA_CPU_FEATURES": ",".join(features),
            "HANDGRAD_VECTORS": kind,
            "HANDGRAD_CACHE_DIR": str(tmp_path),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        run = subprocess.run(
            [sys.executable, "-c", ON_ANOTHER],
            capture_output=True,
            text=True,
            timeout=600,
            env=os.environ | environment,
        )
        assert run.returncode == 0, run.stderr
        used, found = json.loads(run.stdout)
        assert used == kind
        assert max(found.values()) <= 1e-12
