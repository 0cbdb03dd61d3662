"""The rivals of `benchmarks.inference`: each takes rows as a NumPy array and gives scores, or labels, as one."""

from __future__ import annotations

import statistics
import time
from abc import ABC, abstractmethod
from itertools import pairwise

import numpy as np

import benchmarks.trainers as trainers
from handgrad.cli.bench.configurations import Configuration
from handgrad.cli.bench.rivals import Entry, own, pytorch, scikit

GROUP = 2e-3  # seconds of calls that are timed as one
CHECKED_ROWS = 64


class Predictor(ABC):
    """Predicts the rows of a configuration's one batch, with its first weights."""

    gives_scores = True

    def __init__(self, configuration: Configuration, threads: int):
        self.configuration, self.threads = configuration, threads
        self.x, _ = configuration.data()
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Load the model."""

    @abstractmethod
    def call(self, x: np.ndarray) -> np.ndarray:
        """The scores of rows, or their labels where it gives no scores."""

    def check(self) -> dict[str, list]:
        """What all must agree on: labels, and scores where it gives them."""
        given = np.asarray(self.call(self.x))[:CHECKED_ROWS]
        if not self.gives_scores:
            return {"labels": given.tolist()}
        return {"labels": given.argmax(1).tolist(), "scores": given.ravel().tolist()}

    def round(self, seconds: float) -> dict[str, float]:
        """The median seconds of a call over about `seconds` seconds, calls in groups that a clock can time."""
        self.call(self.x)
        began = time.perf_counter()
        self.call(self.x)
        count = max(1, round(GROUP / (time.perf_counter() - began)))
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < 3 or time.perf_counter() < end:
            began = time.perf_counter()
            for _ in range(count):
                self.call(self.x)
            times.append((time.perf_counter() - began) / count)
        return {"seconds": statistics.median(times), "epochs": len(times)}


class Handgrad(Predictor):
    """`handgrad.predict`."""

    def prepare(self):
        import handgrad as hg

        self.predict, self.model = hg.predict, own.model_of(self.configuration)
        self.params = self.model.init(0, np.float32)  # in memory as `fit` and `load` give it
        for name, values in own.params_of(self.model, self.configuration).items():
            self.params[name][...] = values
        self.predictor = hg.Predictor(self.model, self.params, threads=self.threads)
        self.predictor(self.x[:1])  # compiles the kernels, which predict by itself does for large work alone

    def call(self, x):
        return self.predict(self.model, self.params, x)


class HandgradPredictor(Handgrad):
    """`handgrad.Predictor`, which keeps the parameters packed."""

    def call(self, x):
        return self.predictor(x)


class Onnx(Predictor):
    """ONNX Runtime, on a graph of Gemm and Relu."""

    def prepare(self):
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads, settings.inter_op_num_threads = self.threads, 1
        graph = onnx_model(self.configuration).SerializeToString()
        self.session = onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])

    def call(self, x):
        return self.session.run(None, {"x": x})[0]


class Torch(Predictor):
    """PyTorch in inference mode."""

    def prepare(self):
        import torch

        torch.set_num_threads(self.threads)
        self.torch, self.model = torch, pytorch.model_of(self.configuration).eval()
        pytorch.load(self.model, self.configuration)

    def call(self, x):
        with self.torch.inference_mode():
            return self.model(self.torch.from_numpy(x)).numpy()


class Jax(Predictor):
    """jax.jit of the forward pass."""

    def prepare(self):
        import jax

        blocks = self.configuration.blocks
        self.params = jax.device_put(self.configuration.weights())
        self.run = jax.jit(lambda params, x: trainers.forward(blocks, params, x))

    def call(self, x):
        return np.asarray(self.run(self.params, x))


class Sklearn(Predictor):
    """MLPClassifier.predict, which gives labels alone."""

    gives_scores = False

    def prepare(self):
        self.estimator, n_out = scikit.estimator(self.configuration), self.configuration.blocks[-1].n_out
        rows = np.random.default_rng(0).standard_normal((n_out, self.x.shape[1]), np.float32)
        self.estimator.set_params(batch_size=n_out).fit(rows, np.arange(n_out))  # predict needs one that was fitted
        scikit.start_from(self.estimator, self.configuration)

    def call(self, x):
        return self.estimator.predict(x)


class Numpy(Predictor):
    """The forward pass by hand."""

    def prepare(self):
        self.weights = self.configuration.weights()

    def call(self, x):
        for block, (w, b) in zip(self.configuration.blocks, self.weights, strict=True):
            x = x @ w
            x += b
            if block.kind == "relu":
                np.maximum(x, 0, out=x)
        return x


def onnx_model(configuration: Configuration):
    """The configuration as an ONNX model of input "x"."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, values = [], []
    names = ["x", *(f"layer {i}" for i in range(len(configuration.blocks)))]
    for (before, after), block, (w, b) in zip(
        pairwise(names), configuration.blocks, configuration.weights(), strict=True
    ):
        values += [numpy_helper.from_array(w, f"{after}, weight"), numpy_helper.from_array(b, f"{after}, bias")]
        linear = f"{after}, sum" if block.kind == "relu" else after
        nodes.append(helper.make_node("Gemm", [before, f"{after}, weight", f"{after}, bias"], [linear]))
        if block.kind == "relu":
            nodes.append(helper.make_node("Relu", [linear], [after]))
    rows = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])
        for name, width in (("x", configuration.blocks[0].n_in), (names[-1], configuration.blocks[-1].n_out))
    ]
    graph = helper.make_graph(nodes, "mlp", rows[:1], rows[1:], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


ALL = {
    "handgrad": Entry("handgrad.predict", "benchmarks.predictors:Handgrad", ours=True),
    "predictor": Entry("handgrad.Predictor", "benchmarks.predictors:HandgradPredictor", ours=True),
    "onnx": Entry("ONNX Runtime", "benchmarks.predictors:Onnx", ("onnx", "onnxruntime")),
    "torch": Entry("PyTorch inference mode", "benchmarks.predictors:Torch", ("torch",)),
    "jax": Entry("JAX jit", "benchmarks.predictors:Jax", ("jax",)),
    "sklearn": Entry("scikit-learn", "benchmarks.predictors:Sklearn", ("sklearn",)),
    "numpy": Entry("NumPy by hand", "benchmarks.predictors:Numpy"),
}
