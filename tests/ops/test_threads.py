"""Ops hold no state: sixteen threads on the same inputs and the same caches give bitwise what one gives."""

import threading
from concurrent.futures import ThreadPoolExecutor

from proofs import identical
from table import CASES, OPS, ROWS

THREADS = 16


def test_sixteen_threads_forward_and_backward_bitwise_as_one() -> None:
    work = []
    for case in (case for name in OPS for case in ROWS[name][:4]):
        inputs = case.draw()
        out, cache = case.forward(inputs)
        u = case.upstream(out)
        work.append((case, inputs, u, cache, out, case.op.backward(u, cache), case.op.jvp(inputs, cache)))
    assert {case.op for case, *_ in work} == {case.op for case in CASES}
    together = threading.Barrier(THREADS)

    def run(offset: int) -> int:
        together.wait()
        for i in range(len(work)):
            case, inputs, u, cache, out, gradients, tangent = work[(i + 7 * offset) % len(work)]
            again, own_cache = case.forward(inputs)
            identical(again, out, f"output of {case}")
            identical(case.op.backward(u, cache), gradients, f"gradient of {case}, shared cache")
            identical(case.op.backward(u, own_cache), gradients, f"gradient of {case}")
            identical(case.op.jvp(inputs, cache), tangent, f"tangent of {case}")
        return len(work)

    with ThreadPoolExecutor(THREADS) as pool:
        assert set(pool.map(run, range(THREADS))) == {len(work)}
