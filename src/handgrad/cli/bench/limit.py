"""What this machine can do at most, measured: multiply-adds out of registers, and a streaming pass like Adam's.

A matrix unit such as AMX, which is none of multiply-adds, may pass it (docs/matrix_unit.md).
Both loops are compiled here, so that no library's quality is in the limit. They run like a rival: in a worker, in turn.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import handgrad.pages as pages
from handgrad.cli.bench.configurations import ADAM_BYTES, Configuration

FMA_STEPS = 20_000  # of the register loop in a call: tens of microseconds
STREAMED = 2**18  # elements that a call of the streaming loop passes over at least
FEWEST_CALLS = 5


class Limit:
    """Measures the peak and the bandwidth of the pinned cores, and with them the limit of a step."""

    def __init__(self, configuration: Configuration, threads: int):
        self.configuration = configuration
        self.threads = threads
        lanes, accumulators = shape_of_registers()
        self._fma = fma_loop(lanes, accumulators)
        self._flops = 2 * lanes * accumulators * FMA_STEPS
        self._stream = stream_loop()
        share = max(1, configuration.parameters // threads)
        self._arrays = [[pages.copy(np.ones(share, np.float32)) for _ in range(4)] for _ in range(threads)]
        self._passes = max(1, STREAMED // share)
        self._bytes = ADAM_BYTES * share * self._passes
        self._fma(1, np.float32(0.5))  # both are compiled here
        self._stream(1, *self._arrays[0])

    def check(self) -> dict[str, list[float]]:
        """Nothing that others would have to agree with."""
        return {}

    def round(self, seconds: float) -> dict[str, float]:
        """The best rates in half of the seconds each, of all threads together, and the limit of a step at them.

        "usual": the limit at the median rates, which are what a shared machine had to give at the time.
        """
        half = np.float32(0.5)
        peak, usual_peak = self._rates(self._flops, seconds / 2, lambda thread: self._fma(FMA_STEPS, half))
        bandwidth, usual_bandwidth = self._rates(self._bytes, seconds / 2, self._pass)
        limit = self.configuration.limit
        return {
            "seconds": limit(peak, bandwidth),
            "usual": limit(usual_peak, usual_bandwidth),
            "peak": peak,
            "bandwidth": bandwidth,
        }

    def _pass(self, thread: int) -> None:
        self._stream(self._passes, *self._arrays[thread])

    def _rates(self, amount: int, seconds: float, call: Callable[[int], object]) -> tuple[float, float]:
        """The sums over threads, which run at once, of `amount` by the seconds of the best, and of the median call."""
        best, usual = [0.0] * self.threads, [0.0] * self.threads
        gate = threading.Barrier(self.threads)

        def work(thread: int) -> None:
            gate.wait()
            times: list[float] = []
            end = time.perf_counter() + seconds
            while len(times) < FEWEST_CALLS or time.perf_counter() < end:
                began = time.perf_counter()
                call(thread)
                times.append(time.perf_counter() - began)
            best[thread], usual[thread] = amount / min(times), amount / statistics.median(times)

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(self.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(best), sum(usual)


def shape_of_registers() -> tuple[int, int]:
    """(float32 lanes of a vector, how many accumulators hide the latency and still stay in registers)."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 16, 24
    if features.get("avx"):
        return 8, 12
    return 4, 24 if "aarch64" in binding.get_default_triple() or "arm64" in binding.get_default_triple() else 12


def fma_loop(lanes: int, accumulators: int) -> Any:
    """A compiled f(steps, x): independent vectors a, each a = a x + x at every step; the sum of all."""
    from llvmlite import ir
    from numba import njit, types
    from numba.core import cgutils
    from numba.extending import intrinsic

    def registers(typing: Any, steps: Any, x: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            steps, x = arguments
            number = ir.FloatType()
            vector, i32 = ir.VectorType(number, lanes), ir.IntType(32)

            def intrinsic_of(name: str, result: Any, *of: Any) -> Any:
                return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, of), name)

            fma = intrinsic_of(f"llvm.fma.v{lanes}f32", vector, vector, vector, vector)
            total_of = intrinsic_of(f"llvm.vector.reduce.fadd.v{lanes}f32", number, number, vector)
            spread = builder.insert_element(ir.Constant(vector, ir.Undefined), x, i32(0))
            zeros = ir.Constant(ir.VectorType(i32, lanes), [0] * lanes)
            spread = builder.shuffle_vector(spread, ir.Constant(vector, ir.Undefined), zeros)

            before, loop = builder.block, builder.append_basic_block("loop")
            after = builder.append_basic_block("after")
            builder.branch(loop)
            builder.position_at_end(loop)
            step = builder.phi(steps.type)
            step.add_incoming(steps.type(0), before)
            sums = []
            for i in range(accumulators):
                phi = builder.phi(vector)
                phi.add_incoming(ir.Constant(vector, [float(i)] * lanes), before)  # differ, or LLVM keeps but one
                sums.append(phi)
            news = [builder.call(fma, [phi, spread, spread]) for phi in sums]
            for phi, new in zip(sums, news, strict=True):
                phi.add_incoming(new, loop)
            following = builder.add(step, steps.type(1))
            step.add_incoming(following, loop)
            builder.cbranch(builder.icmp_signed("<", following, steps), loop, after)

            builder.position_at_end(after)
            total = ir.Constant(number, 0.0)
            for new in news:
                total = builder.call(total_of, [total, new])
            return total

        return types.float32(types.intp, types.float32), codegen

    run: Any = intrinsic(registers)

    @njit(nogil=True)
    def loop(steps: int, x: float) -> float:
        return run(steps, x)

    return loop


def stream_loop() -> Any:
    """A compiled f(passes, g, m, v, p): reads all four vectors and writes the last three, as a step of Adam does.

    The arithmetic is what is left of Adam's without its square root and quotient, and ones stay ones. LLVM vectorises
    and unrolls it.
    """
    from numba import njit

    @njit(nogil=True)
    def loop(passes: int, g: Any, m: Any, v: Any, p: Any) -> None:
        half = np.float32(0.5)
        for _ in range(passes):
            for i in range(g.size):
                m_i = half * (m[i] + g[i])
                v_i = half * (v[i] + g[i])
                p[i] = p[i] + (m_i - v_i)
                m[i] = m_i
                v[i] = v_i

    return loop
