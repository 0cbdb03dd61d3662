"""Trains on handwritten digits and draws what was learnt: loss, gradient norm, and the digits it is least sure of.

python examples/digits.py [picture.png]
"""

import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import handgrad as hg

INK, BLUE, ORANGE = "#22262b", "#2b6cb0", "#c05621"


def train():
    """(X, y) of the test part, and the result of training on the rest."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.25, stratify=y, random_state=0)
    model = hg.mlp([64, 128, 64, 10], dropout=0.1)
    result = hg.fit(model, (X_train, y_train), epochs=40, validation=(X_test, y_test), metrics=["accuracy"])
    return X_test, y_test, result


def draw(X, y, result):
    """A figure of three parts: curves of loss and of gradient norm, and the test digits with the least margin."""
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "text.color": INK})
    figure = plt.figure(figsize=(9, 2.9), layout="constrained")
    curves, norms, digits = figure.subfigures(1, 3, width_ratios=[1, 1, 1.25])
    rows = result.history
    epochs = rows.column("epoch")

    axes = curves.subplots()
    axes.plot(epochs, rows.column("loss"), color=BLUE, label="training")
    axes.plot(epochs, rows.column("validation_loss"), color=ORANGE, label="test")
    axes.set(yscale="log", xlabel="epoch", title="Cross-entropy")
    axes.legend(frameon=False)

    axes = norms.subplots()
    axes.plot(epochs, rows.column("gradient_norm"), color=INK)
    axes.set(yscale="log", xlabel="epoch", title="Norm of the gradient")

    scores = result.predict(X)
    best = np.sort(scores, axis=1)
    unsure = np.argsort(best[:, -1] - best[:, -2])[:12]
    accuracy = np.mean(scores.argmax(1) == y)
    digits.suptitle(f"{accuracy:.1%} right; the 12 test digits it is least sure of", fontsize=9)
    for axes, i in zip(digits.subplots(3, 4).flat, unsure, strict=True):
        axes.imshow(X[i].reshape(8, 8), cmap="Greys")
        guess = scores[i].argmax()
        right = guess == y[i]
        axes.set_title(
            f"{guess}" if right else f"{guess}, is {y[i]}", color=INK if right else ORANGE, fontsize=8, pad=2
        )
        axes.axis("off")
    return figure


if __name__ == "__main__":
    mpl.use("Agg")
    path = sys.argv[1] if len(sys.argv) > 1 else "digits.png"
    draw(*train()).savefig(path, dpi=130)
    print(f"wrote {path}")
