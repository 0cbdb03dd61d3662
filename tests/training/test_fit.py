"""`fit`: the loop does what its parts say, is decided by its seed, and returns what it promises."""

import numpy as np
import pytest

import handgrad as hg


@pytest.fixture
def blobs():
    """Three clouds in a plane, 60 rows."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    return np.array([[0.0, 2.0], [2.0, -1.0], [-2.0, -1.0]])[y] + 0.3 * rng.standard_normal((60, 2)), y


def model():
    return hg.mlp([2, 8, 3])


def fit(data, **options):
    return hg.fit(model(), data, **{"epochs": 3, "batch_size": 16, "progress": False, **options})


def test_learns(blobs):
    result = fit(blobs, epochs=60, optimizer=hg.Adam(0.01))
    assert (result.predict(blobs[0]).argmax(1) == blobs[1]).mean() == 1
    losses = result.history.column("loss")
    assert losses[-1] < 0.2 * losses[0]
    assert result.stopped == "epochs"
    assert result.best_epoch == 60
    assert (result.engine, result.note) == ("compiled", "")


def test_equals_its_parts_done_by_hand(blobs):
    """The shuffling, the short last batch, L2, clipping and Adam, step by step."""
    X, y = blobs
    m, adam, l2 = model(), hg.Adam(0.01), hg.L2(0.003)
    result = fit(blobs, optimizer=adam, regularizer=l2, clip_norm=0.7, seed=5)
    params = m.init(5)
    state = adam.init(params.flat)
    means, norms = [], []
    for epoch in range(3):
        order = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(0, epoch))).permutation(60)
        total, norm_sum, parts = 0.0, 0.0, np.split(order, [16, 32, 48])
        assert [len(p) for p in parts] == [16, 16, 16, 12]
        for part in parts:
            value, gradient = hg.value_and_grad(m, "cross_entropy", params, X[part], y[part], regularizer=l2)
            norm = np.sqrt((gradient.flat**2).sum())
            state, update = adam.update(state, gradient.flat * min(1, 0.7 / norm))
            params = params.like(params.flat + update)
            total += value * len(part)
            norm_sum += norm
        means.append(total / 60)
        norms.append(norm_sum / 4)
    np.testing.assert_allclose(result.params.flat, params.flat, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(result.history.column("loss"), means, rtol=1e-12)
    np.testing.assert_allclose(result.history.column("gradient_norm"), norms, rtol=1e-12)


def test_the_seed_decides_all(blobs):
    m = hg.mlp([2, 8, 3], dropout=0.3)
    once, again, other = (
        hg.fit(m, blobs, epochs=2, seed=s, validation=0.2, progress=False).params.flat for s in (1, 1, 2)
    )
    assert (once == again).all()
    assert (once != other).any()


def test_global_random_state_is_left_alone(blobs):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    fit(blobs)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize(("given", "trained"), [("float32", "float32"), ("float64", "float64"), ("int64", "float64")])
def test_dtype_follows_the_data(blobs, given, trained):
    X, y = (10 * blobs[0]).astype(given), blobs[1]
    result = fit((X, y))
    assert result.params.flat.dtype == trained
    assert result.predict(X).dtype == trained


def test_given_params_are_the_start_and_stay_as_they_are(blobs):
    start = model().init(9)
    start.flat.flags.writeable = False
    before = start.flat.copy()
    result = fit(blobs, params=start, optimizer=hg.SGD(0.0))
    assert (result.params.flat == before).all()
    assert result.params.flat is not start.flat
    fit(blobs, params=start)
    assert (start.flat == before).all()


def test_read_only_data_and_lists(blobs):
    X, y = blobs
    X.flags.writeable = y.flags.writeable = False
    assert (fit((X, y)).params.flat == fit((X.tolist(), y.tolist())).params.flat).all()


def test_validation_and_metrics(blobs):
    X, y = blobs
    result = fit((X[:40], y[:40]), validation=(X[40:], y[40:]), metrics=["accuracy", lambda s, t: float(len(t))])
    row = result.history.rows[-1]
    scores = result.predict(X[40:])
    assert row["validation_loss"] == pytest.approx(float(hg.ops.cross_entropy(scores, y[40:])), rel=1e-12)
    assert row["validation_accuracy"] == (scores.argmax(1) == y[40:]).mean()
    assert row["validation_<lambda>"] == 20
    assert list(row)[:5] == ["epoch", "loss", "gradient_norm", "learning_rate", "seconds"]


def test_a_fraction_is_held_out(blobs):
    seen = []
    fit(blobs, validation=0.25, metrics=[lambda s, t: float(seen.append(len(t)) or 0)], epochs=1)
    assert seen == [15]


def test_sample_weights_of_0_leave_rows_out(blobs):
    """Full batches, so that the weighted mean of each step is the mean of the rows that count."""
    X, y = blobs
    keep = np.arange(60) < 45
    m, start = model(), model().init(3)
    options = {"optimizer": hg.SGD(0.1), "epochs": 5, "params": start, "progress": False}
    weighted = hg.fit(m, (X, y, keep.astype(float)), batch_size=60, **options)
    fewer = hg.fit(m, (X[:45], y[:45]), batch_size=45, **options)
    np.testing.assert_allclose(weighted.params.flat, fewer.params.flat, rtol=1e-12, atol=1e-14)


def test_early_stopping_restores_the_best_epoch(blobs):
    X, y = blobs
    shuffled = np.random.default_rng(0).permutation(y)  # nothing to learn: validation soon gets worse
    kept = {}
    result = hg.fit(
        hg.mlp([2, 64, 3]),
        (X[:30], shuffled[:30]),
        validation=(X[30:], shuffled[30:]),
        optimizer=hg.Adam(0.02),
        epochs=200,
        patience=4,
        progress=False,
        callbacks=[lambda end: kept.setdefault(end.row["epoch"], end.params.flat.copy()) is None],
    )
    losses = result.history.column("validation_loss")
    assert result.stopped == "patience"
    assert len(losses) == result.best_epoch + 4
    assert result.best_epoch == 1 + int(np.argmin(losses))
    assert (result.params.flat == kept[result.best_epoch]).all()


def test_patience_watches_what_it_is_told(blobs):
    result = fit(blobs, validation=0.3, metrics=["accuracy"], patience=3, monitor="validation_accuracy", epochs=100)
    scores = result.history.column("validation_accuracy")
    assert result.best_epoch == 1 + int(np.argmax(scores))
    assert result.stopped == "patience"


def test_min_delta(blobs):
    assert len(fit(blobs, patience=2, min_delta=1e9, epochs=50).history) == 3  # the first epoch is always the best


def test_callbacks_see_each_epoch_and_may_stop(blobs):
    seen = []

    def watch(end):
        seen.append((end.row["epoch"], end.params.flat.copy()))

    result = fit(blobs, epochs=10, callbacks=[lambda end: end.row["epoch"] == 2, watch])
    assert result.stopped == "callback"
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert (seen[-1][1] == result.params.flat).all()


def test_interruption_keeps_what_was_learnt(blobs):
    def interrupt(end):
        if end.row["epoch"] == 2:
            raise KeyboardInterrupt

    result = fit(blobs, epochs=10, callbacks=[interrupt])
    assert result.stopped == "interrupted"
    assert len(result.history) == 2
    assert (result.params.flat == fit(blobs, epochs=2).params.flat).all()


def test_interruption_within_an_epoch(blobs):
    class Slow(hg.Layer):
        steps = 0

        def forward(self, params, x, *, train=False, rng=None):
            Slow.steps += 1
            if Slow.steps == 3:
                raise KeyboardInterrupt
            return x, None

        def backward(self, dout, cache):
            return dout, {}

    m = hg.Sequential([hg.Linear(2, 3), Slow()])
    result = hg.fit(m, blobs, batch_size=16, epochs=5, progress=False)
    assert result.stopped == "interrupted"
    assert len(result.history) == 0
    assert (result.params.flat != m.init(0).flat).any()  # the two steps before count


def test_learning_rate_schedule_spans_the_whole_training(blobs):
    result = fit(blobs, optimizer=hg.SGD(hg.Cosine(0.1)), epochs=4)
    rates = result.history.column("learning_rate")
    expected = [0.05 * (1 + np.cos(np.pi * step / 16)) for step in (3, 7, 11, 15)]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


def test_adamw_leaves_biases_free(blobs):
    m = hg.mlp([2, 4, 3])
    start = m.init(0)
    start.flat[...] = 1.0
    frozen = hg.AdamW(0.1, epsilon=1e30, weight_decay=0.5)  # Adam's own part is nothing; only the decay is left
    result = hg.fit(m, blobs, params=start, optimizer=frozen, epochs=1, batch_size=60, progress=False)
    assert result.params["0.weight"] == pytest.approx(0.95)
    assert (result.params["0.bias"] == 1).all()


def test_a_layer_of_the_users_own_trains(blobs):
    class Doubled(hg.Layer):
        def forward(self, params, x, *, train=False, rng=None):
            return 2 * x, None

        def backward(self, dout, cache):
            return 2 * dout, {}

    m = hg.Sequential([hg.Linear(2, 8), hg.ReLU(), Doubled(), hg.Linear(8, 3)])
    result = hg.fit(m, blobs, epochs=60, progress=False)
    assert (result.predict(blobs[0]).argmax(1) == blobs[1]).mean() == 1


def test_regression_of_one_output_takes_y_as_a_vector(blobs):
    X = blobs[0]
    result = hg.fit(hg.mlp([2, 1]), (X, X @ [1.0, -2.0] + 3), loss="squared_error", optimizer=hg.Adam(0.1), epochs=100,
                    progress=False)  # fmt: skip
    assert result.params["0.weight"][:, 0] == pytest.approx([1, -2], abs=1e-3)
    assert result.params["0.bias"][0] == pytest.approx(3, abs=1e-3)


def test_torch_tensors_train_as_numpy_does(blobs):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    X, y = blobs
    ours = fit(blobs, metrics=["accuracy"], validation=0.2)
    theirs = fit((torch.tensor(X), torch.tensor(y)), metrics=["accuracy"], validation=0.2)
    assert isinstance(theirs.params.flat, torch.Tensor)
    np.testing.assert_allclose(theirs.params.flat.numpy(), ours.params.flat, rtol=1e-9, atol=1e-12)


def test_history_draws(blobs):
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="needs matplotlib: pip install handgrad[plot]")
    pyplot.switch_backend("Agg")
    axes = fit(blobs, validation=0.2).history.plot()
    assert [line.get_label() for line in axes.lines] == ["training loss", "validation loss"]
    pyplot.close("all")


@pytest.mark.parametrize("batch_size", [1, 7, 60])
def test_sample_weights_count_over_all_batches(batch_size):
    """A bias fitted by squared error comes to the weighted mean of y, however the rows fall into batches."""
    rng = np.random.default_rng(0)
    y = np.repeat([0.0, 1.0], [50, 10])
    weight = np.where(y == 1, 5.0, 1.0)
    data = (rng.permuted(np.zeros((60, 1))), y, weight)
    rate = hg.Cosine(0.2 * batch_size / 60)
    result = hg.fit(hg.mlp([1, 1]), data, loss="squared_error", optimizer=hg.SGD(rate), batch_size=batch_size,
                    epochs=80, progress=False)  # fmt: skip
    assert result.params["0.bias"][0] == pytest.approx(0.5, abs=0.02)


def test_training_and_validation_loss_are_one_measure(blobs):
    weight = np.arange(60.0)  # the first batch may weigh nothing at all
    data = (*blobs, weight)
    row = fit(data, validation=data, optimizer=hg.SGD(0.0), batch_size=4, epochs=1).history.rows[0]
    assert row["loss"] == pytest.approx(row["validation_loss"], rel=1e-12)


def test_a_batch_of_weight_0_changes_nothing(blobs):
    weight = np.zeros(60)
    weight[0] = 1
    result = fit((*blobs, weight), batch_size=1, epochs=1, optimizer=hg.SGD(0.1))
    alone = hg.fit(model(), (*blobs, weight), batch_size=60, epochs=1, optimizer=hg.SGD(60 * 0.1), progress=False)
    np.testing.assert_allclose(result.params.flat, alone.params.flat, rtol=1e-12)


def test_integers_are_not_copied_whole(blobs):
    import tracemalloc

    X = np.zeros((200_000, 50), np.uint8)
    X[:, 0] = np.arange(200_000) % 3
    hg.fit(hg.mlp([50, 3]), (X[:9], X[:9, 0]), epochs=1, progress=False)  # kernels take memory of their own
    tracemalloc.start()
    result = hg.fit(hg.mlp([50, 3]), (X, X[:, 0]), epochs=1, batch_size=1000, progress=False)
    result.predict(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # as float64 X alone takes 80 MB


def test_a_callback_cannot_change_the_training(blobs):
    def meddle(end):
        end.row["loss"] = 0.0
        with pytest.raises(ValueError, match="read-only"):
            end.params.flat[0] = 1.0
        return np.True_

    result = fit(blobs, callbacks=meddle)
    assert result.stopped == "callback"
    assert result.history.rows[0]["loss"] > 0


def test_accuracy_of_yes_or_no_answers():
    X = np.array([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
    identity = {"0.weight": 5 * np.eye(2), "0.bias": np.zeros(2)}
    data = (X, np.array([[1, 0], [0, 1], [1, 0], [0, 0]]))
    result = hg.fit(hg.mlp([2, 2]), data, loss="binary_cross_entropy", optimizer=hg.SGD(0.0), epochs=1, params=identity,
                    validation=data, metrics="accuracy", progress=False)  # fmt: skip
    assert result.history.rows[0]["validation_accuracy"] == 7 / 8


def test_streams_of_random_numbers_are_apart():
    """First values, shuffling, dropout and the held-out part of one seed share no bits."""
    from handgrad.training.data import DROPOUT, SHUFFLE, SPLIT, stream

    rngs = [np.random.default_rng(5)] + [stream(5, *k) for k in ((SHUFFLE, 0), (SHUFFLE, 1), (DROPOUT, 0), (SPLIT,))]
    assert len({rng.random() for rng in rngs}) == len(rngs)
