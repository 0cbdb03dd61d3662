"""What derive is tested by: functions as textbooks have them, complex steps, and expressions of every kind."""

import numpy as np
from scipy.special import erfc

import handgrad as hg
from handgrad.explain.derive import derive

STEP = 1e-30
LENGTHS = {"m": 5, "n": 3, "k": 4, "p": 2, "h": 6, "w": 7}


def by_real_part(a, b):
    return np.where(np.real(a) >= np.real(b), a, b)


def logistic(x):
    return 1 / (1 + np.exp(-x))


def largest(x, axis=None, keepdims=False):
    at = np.expand_dims(np.argmax(np.real(x.reshape(-1) if axis is None else x), axis=0 if axis is None else axis), -1)
    if axis is None:
        return x.reshape(-1)[at[0]]
    out = np.take_along_axis(x, np.expand_dims(at[..., 0], axis), axis)
    return out if keepdims else np.squeeze(out, axis)


def exponentials(x, axis=-1):
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def scaled(x, epsilon=1e-5):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + epsilon)


# The functions of expressions as textbooks have them, of real and of complex numbers: nothing here is the library's.
TEXTBOOK = {
    "identity": lambda x: x,
    "sigmoid": logistic,
    "tanh": np.tanh,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "relu": lambda x: by_real_part(x, 0 * x),
    "leaky_relu": lambda x, alpha=0.01: np.where(np.real(x) > 0, x, alpha * x),
    "swish": lambda x, beta=1.0: x * logistic(beta * x),
    "gelu": lambda x, approximate="none": (
        x * 0.5 * erfc(-x / np.sqrt(2))
        if approximate == "none"
        else x * logistic(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    ),
    "maximum": by_real_part,
    "sum": lambda x, axis=None, keepdims=False: x.sum(axis=axis, keepdims=keepdims),
    "mean": lambda x, axis=None, keepdims=False: x.mean(axis=axis, keepdims=keepdims),
    "max": largest,
    "softmax": lambda x, temperature=1.0, axis=-1: exponentials(x / temperature, axis),
    "normalize": scaled,
    "layer_norm": lambda x, scale, shift: scaled(x) * scale + shift,
    "glu": lambda x, v, w, b=0, c=0: (x @ v + b) * logistic(x @ w + c),
    "swiglu": lambda x, v, w, b=0, c=0: (x @ v + b) * (x @ w + c) * logistic(x @ w + c),
    "flatten": lambda x: x.reshape(len(x), -1),
    "l2": lambda w, strength=1.0: strength * (w * w).sum(),
}


def textbook(expression, arrays):
    """The last value of an expression, worked out by Python itself."""
    names = dict(TEXTBOOK) | dict(arrays)
    *first, last = [part.strip() for part in expression.split(";")]
    for statement in first:
        exec(statement, names)
    return np.asarray(eval(last.split(" = ", 1)[-1] if " = " in last else last, names))


def steps(f, arrays, name, upstream):
    """The gradient of <upstream, f> by one array, entry by entry."""
    z = {key: np.asarray(value, dtype=complex) for key, value in arrays.items()}
    gradient = np.empty(np.shape(arrays[name]))
    for at in np.ndindex(gradient.shape):
        moved = z[name].copy()
        moved[at] += 1j * STEP
        gradient[at] = np.sum(upstream * np.imag(f({**z, name: moved}))) / STEP
    return gradient


def ran(derivation, arrays, upstream):
    """(output, gradients by name) of a derivation's NumPy code."""
    namespace = {}
    exec(derivation.code, namespace)
    out, cache = namespace["forward"](*(arrays[name] for name in derivation.program.inputs))
    found = namespace["backward"](upstream, cache)
    wanted = derivation.program.wanted
    return out, dict(zip(wanted, found if len(wanted) > 1 else (found,), strict=True))


def prove(expression, shapes, seed=0, positive=False):
    """derive(expression).code is right, in value and in each gradient."""
    rng = np.random.default_rng(seed)
    derivation = derive(expression, **shapes)
    sizes = {name: [LENGTHS[n] if n in LENGTHS else int(n) for n in shape.split()] for name, shape in shapes.items()}
    arrays = {name: rng.uniform(0.5, 1.5, s) if positive else rng.standard_normal(s) for name, s in sizes.items()}
    value = textbook(expression, arrays)
    assert np.all(np.isfinite(value))
    upstream = rng.standard_normal(value.shape)
    out, gradients = ran(derivation, arrays, upstream)
    np.testing.assert_allclose(out, value, rtol=1e-11, atol=1e-12)
    for name, gradient in gradients.items():
        expected = steps(lambda z: textbook(expression, z), arrays, name, upstream)
        assert np.shape(gradient) == expected.shape
        scale = max(1.0, np.max(np.abs(expected)))
        np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-11 * scale)
    return derivation


EXPRESSIONS = [
    ("Z = X @ W + b", {"X": "m n", "W": "n k", "b": "k"}),
    ("Z = X @ W.T + b", {"X": "m n", "W": "k n", "b": "k"}),
    ("Z = X.T @ W", {"X": "n m", "W": "n k"}),
    ("Z = X.T @ W.T", {"X": "n m", "W": "k n"}),
    ("z = x @ W + b", {"x": "n", "W": "n k", "b": "k"}),
    ("z = W @ x + b", {"x": "n", "W": "k n", "b": "k"}),
    ("z = W.T @ x", {"x": "n", "W": "n k"}),
    ("z = x @ W.T", {"x": "n", "W": "k n"}),
    ("s = x @ w", {"x": "n", "w": "n"}),
    ("Z = X @ W + b", {"X": "p m n", "W": "n k", "b": "k"}),
    ("Z = X @ W.T", {"X": "p m n", "W": "k n"}),
    ("Z = W @ X", {"X": "p m n", "W": "k m"}),
    ("Z = X @ Y", {"X": "p m n", "Y": "p n k"}),
    ("Z = X.mT @ Y", {"X": "p n m", "Y": "1 n k"}),
    ("z = X @ w", {"X": "p m n", "w": "n"}),
    ("z = x @ Y", {"x": "n", "Y": "p n k"}),
    ("z = x @ Y.mT", {"x": "n", "Y": "p k n"}),
    ("G = X.T @ X", {"X": "m n"}),
    ("f = (x + y) * z", {"x": "", "y": "", "z": ""}),
    ("Z = b + X @ W", {"X": "m n", "W": "n k", "b": "k"}),
    ("Z = X @ W + C", {"X": "m n", "W": "n 1", "C": "m k"}),
    ("Z = X @ W + Y @ V", {"X": "m n", "W": "n k", "Y": "m p", "V": "p k"}),
    ("Z = X @ W + 1", {"X": "m n", "W": "n k"}),
    ("H = relu(X @ W1 + b1); Z = H @ W2 + b2", {"X": "m n", "W1": "n h", "b1": "h", "W2": "h k", "b2": "k"}),
    ("Y = X + X * X", {"X": "m n"}),
    ("Y = x * Y1 * v", {"x": "m 1", "Y1": "m n", "v": "n"}),
    ("X - y", {"X": "m n", "y": "n"}),
    ("X / y", {"X": "m n", "y": "m 1"}),
    ("2 / X - -X", {"X": "m n"}),
    ("maximum(X, y)", {"X": "m n", "y": "n"}),
    ("sum(X, axis=(0, 2)) * v", {"X": "m n k", "v": "n"}),
    ("mean(X)", {"X": "m n k"}),
    ("max(X)", {"X": "m n"}),
    ("max(X, axis=1, keepdims=True) * X", {"X": "m n"}),
    ("softmax(X, temperature=0.5, axis=0)", {"X": "m n"}),
    ("softmax(x)", {"x": "n"}),
    ("layer_norm(X, g, b)", {"X": "m n", "g": "n", "b": "n"}),
    ("normalize(X, epsilon=0.1)", {"X": "p m n"}),
    ("glu(X, V, W)", {"X": "m n", "V": "n k", "W": "n k"}),
    ("swiglu(tanh(X), V, W, b, c)", {"X": "m n", "V": "n k", "W": "n k", "b": "k", "c": "k"}),
    ("flatten(X) @ W", {"X": "m 2 3", "W": "6 k"}),
    ("flatten(X) @ W", {"X": "m h w", "W": "h*w k"}),
    ("r = sum(X**2) + l2(W, 0.3)", {"X": "m n", "W": "n k"}),
    ("Y = X; Z = Y * Y", {"X": "m n"}),
    ("a = 1 - sigmoid(x)", {"x": ""}),
    ("Y = (A + B) + C", {"A": "m n", "B": "m n", "C": "m n"}),
    ("Y = A + B + c", {"A": "m n", "B": "m n", "c": "n"}),
]
LENGTHS["h*w"] = LENGTHS["h"] * LENGTHS["w"]

LOSSES = [
    hg.Hinge(),
    hg.Hinge(0.5),
    hg.CrossEntropy(),
    hg.CrossEntropy(0.1),
    hg.BinaryCrossEntropy(),
    hg.SquaredError(),
    hg.Huber(0.5),
    hg.Poisson(),
    hg.Quantile(0.3),
]
