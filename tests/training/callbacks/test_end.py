"""A callback with `end` is given the result once, however the training ended."""

import numpy as np
import pytest

import handgrad as hg

X = np.random.default_rng(0).standard_normal((40, 3))
Y = (X[:, 0] > 0).astype(int)


class Told:
    def __init__(self, answer=None):
        self.results, self.answer = [], answer

    def __call__(self, end):
        if isinstance(self.answer, type):
            raise self.answer
        return self.answer

    def end(self, result):
        self.results.append(result)


def train(callback, **options):
    given = {"epochs": 3, "progress": False, "engine": "eager"} | options
    return hg.fit(hg.mlp([3, 4, 2]), (X, Y), callbacks=[callback, lambda end: None], **given)


@pytest.mark.parametrize(
    ("answer", "stopped"), [(None, "epochs"), (True, "callback"), (KeyboardInterrupt, "interrupted")]
)
def test_the_result_is_the_one_returned(answer, stopped):
    told = Told(answer)
    result = train(told)
    assert told.results == [result]
    assert result.stopped == stopped


def test_a_training_that_diverges():
    told = Told()
    with pytest.raises(hg.errors.DivergenceError) as caught:
        train(told, optimizer=hg.SGD(1e300))
    assert told.results == [caught.value.result]
    assert told.results[0].stopped == "diverged"
