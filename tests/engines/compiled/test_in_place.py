"""Rows of the data that the matrix unit reads where they lie, without a copy of each batch: the same bits as of one.

So it is where each thread's part of a product, however even, would go to the unit of a copy too.
"""

import numpy as np
import pytest

from engines.compiled.trainings import COLUMNWISE, OF_THE_UNITS_SIZE, TERMWISE
from handgrad.engines.compiled.kernels import program as p
from handgrad.engines.compiled.kernels.vectors import available
from handgrad.layers import Dropout, LayerNorm, Linear, ReLU, SwiGLU, Tanh
from handgrad.models import Residual, Sequential

pytestmark = pytest.mark.skipif("amx" not in available(), reason="this processor has no AMX")

LARGER = OF_THE_UNITS_SIZE.but(rows=530, batch_size=260)
TRAININGS = {
    "linear": LARGER,
    "gated": LARGER.but(model=Sequential([SwiGLU(110, 130), Linear(130, 5)])),
    "columns shared": COLUMNWISE.but(model=Sequential([Linear(60, 190), Tanh(), Linear(190, 210)])),
    "sums shared": TERMWISE,
    "part of the rows at a time": LARGER.but(model=Linear(1200, 130), sample=(1200,), outputs=130),
    "part of the gradient at a time": LARGER.but(batch_size=2000, rows=2100),
}
NEVER = {
    "layer norm": [LayerNorm(110), Linear(110, 5)],
    "dropout": [Dropout(0.5), Linear(110, 5)],
    "residual": [Residual(Sequential([Linear(110, 120), ReLU(), Linear(120, 110)])), Linear(110, 5)],
}


def run(training, gathered=False):
    """(bits of the curve and the parameters, whether rows were gathered); `gathered`: whether they have to be."""
    engine = training.compiled()
    code = engine.program.code
    if gathered:
        code[:, p.IN_PLACE] = 0
    engine._tell()
    place = code[0, p.C]
    inputs = engine._work[place : place + training.sample[0] * 4]
    inputs[:] = 0x55
    curve, params = training.run(engine)
    return curve.tobytes() + params.flat.tobytes(), not (inputs == 0x55).all()


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", TRAININGS)
def test_the_bits_of_a_copy(name, threads):
    training = TRAININGS[name].but(threads=threads, dtype=np.float32, epochs=3)
    assert run(training)[0] == run(training, gathered=True)[0]
    # a short batch is gathered: so only where there is none is the memory for it left alone
    whole = training.but(rows=training.rows // training.batch_size * training.batch_size)
    (found, copied), (expected, must) = run(whole), run(whole, gathered=True)
    assert found == expected
    assert must
    assert not copied


@pytest.mark.parametrize("name", NEVER)
def test_where_others_need_the_inputs(name):
    training = LARGER.but(model=Sequential(NEVER[name]), dtype=np.float32, epochs=1)
    assert not training.compiled().program.code[:, p.IN_PLACE].any()
    assert run(training)[1]


@pytest.mark.parametrize(("first", "gathered"), [(Linear(110, 256), False), (SwiGLU(110, 256), True)], ids=str)
def test_few_rows_for_each_thread(first, gathered):
    """Columns of a linear layer's product are shared, and all rows are each thread's; of a gate's, rows."""
    training = LARGER.but(model=Sequential([first, Linear(256, 5)]), rows=140, batch_size=70, threads=2, epochs=1)
    assert run(training.but(dtype=np.float32))[1] == gathered


def test_small_batches_and_other_numbers():
    small = LARGER.but(batch_size=16, dtype=np.float32, epochs=1)
    assert not small.compiled().program.code[:, p.IN_PLACE].any()
    assert run(small)[1]
    assert not LARGER.compiled().program.code[:, p.IN_PLACE].any()
