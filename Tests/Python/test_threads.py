"""One model in several threads: calls wait for each other, read one moment's state, and never wait for ever."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import plp
import pytest
from test_interrupt import interrupt


def digest(state):
    return b"".join(values.tobytes() for values in state.values())


@pytest.fixture
def fitting(small, synthetic):
    """A trainer whose fit goes on in another thread, and the states that its callback saw."""
    trainer = plp.Trainer(small, optimizer=plp.SGD(lr=0.05, momentum=0), batch_size=50)
    states, begun, enough = {digest(small.state_dict())}, threading.Event(), threading.Event()

    def callback(progress):
        states.add(digest(small.state_dict()))
        begun.set()
        return enough.is_set()

    with ThreadPoolExecutor(1) as pool:
        fit = pool.submit(trainer.fit, synthetic[0], epochs=10_000, callback=callback, progress=False)
        begun.wait()
        yield trainer, states
        enough.set()
        assert not fit.result().interrupted


def test_a_hundred_requests_at_once(small, synthetic):
    images = synthetic[1].images
    expected = small.logits(images[:3])
    with ThreadPoolExecutor(100) as pool:
        for logits in pool.map(lambda _: small.logits(images[:3]), range(300)):
            np.testing.assert_array_equal(logits, expected)


@pytest.mark.parametrize("what", ["model", "trainer"])
def test_evaluations_at_once(small, synthetic, what):
    measuring = {"model": small, "trainer": plp.Trainer(small)}[what]
    expected = measuring.evaluate(synthetic[1])
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: measuring.evaluate(synthetic[1]), range(24))) == {expected}


def test_what_is_read_during_a_fit_is_one_iteration_s(fitting, synthetic, tmp_path):
    trainer, states = fitting
    model, seen = trainer.model, []
    for _ in range(10):
        model.save(tmp_path / "model")
        seen += [model.state_dict(), plp.Model.load(tmp_path / "model").state_dict()]
        assert np.isfinite(model.logits(synthetic[1].images)).all()
        for metrics in (model.evaluate(synthetic[1]), trainer.evaluate(synthetic[1])):
            assert np.isfinite(metrics.loss)
        trainer.save(tmp_path / "checkpoint")
        again = plp.Trainer(
            plp.Model("resnet18", width=1 / 16, seed=1), optimizer=plp.SGD(lr=0.05, momentum=0), batch_size=50
        )
        again.restore(tmp_path / "checkpoint")
        seen.append(again.model.state_dict())
        assert trainer.history.epochs and trainer.profile.iterations
        assert trainer.best_model.parameter_count == model.parameter_count
    moments = {digest(state) for state in seen}
    assert moments <= states and len(moments) > 1


def test_gradients_are_those_of_the_call_s_own_mini_batch(small, synthetic):
    trainer = plp.Trainer(small, batch_size=4)
    parts = [(synthetic[0].images[place : place + 4], synthetic[0].labels[place : place + 4]) for place in (0, 4)]
    expected = [digest(trainer.gradients(*part)) for part in parts]
    with ThreadPoolExecutor(2) as pool:
        for place, found in enumerate(pool.map(lambda place: trainer.gradients(*parts[place % 2]), range(60))):
            assert digest(found) == expected[place % 2]


def test_what_is_set_during_a_fit_is_set_at_once(fitting):
    """All of it between two iterations, after which the fit goes on from there."""
    trainer, states = fitting
    state = {name: np.zeros_like(values) for name, values in trainer.model.state_dict().items()}
    trainer.model.load_state_dict(state)
    epochs = len(trainer.history.epochs)
    while len(trainer.history.epochs) == epochs:
        pass
    # Of zeros alone only the last bias moves: had any of the old weights stayed, others would.
    after = trainer.model.state_dict()
    assert not any(after[name].any() for name in after if "weight" in name or name.endswith("0.bias"))
    assert after["fc.bias"].any()


def test_a_model_in_a_fit_is_trained_by_nobody_else(fitting, synthetic, tmp_path):
    trainer, _ = fitting
    images, labels = synthetic[0].images[:2], synthetic[0].labels[:2]
    trainer.save(tmp_path / "checkpoint")
    for other in (trainer, plp.Trainer(trainer.model)):
        for train in (
            lambda: other.fit(synthetic[0], epochs=10_000, progress=False),  # noqa: B023
            lambda: other.step(images, labels),  # noqa: B023
            lambda: other.gradients(images, labels),  # noqa: B023
        ):
            with pytest.raises(ValueError, match="trainer: found one that a fit is under way on"):
                train()
    with pytest.raises(ValueError, match="a fit is under way"):
        trainer.restore(tmp_path / "checkpoint")


def test_records_are_of_one_moment_beside_a_restore(small, synthetic, tmp_path):
    trainer = plp.Trainer(small, batch_size=8, watch=plp.Watch())
    trainer.save(tmp_path / "start")
    trainer.fit(synthetic[0][:8], epochs=40, progress=False)  # of one iteration each
    trainer.save(tmp_path / "end")
    with ThreadPoolExecutor(1) as pool:
        restores = pool.submit(lambda: [trainer.restore(tmp_path / name) for name in ["start", "end"] * 30])
        while not restores.done():
            history, watched = trainer.history, trainer.watched
            assert (len(history), history.best_epoch) in ((0, None), (40, 40))
            assert (len(watched.iterations), len(watched.moves), len(watched.trajectories)) in ((0, 0, 0), (13, 13, 40))
        restores.result()


def test_callbacks_may_wait_for_threads_that_use_the_models_of_both(small, synthetic):
    models = [small, plp.Model("resnet18", width=1 / 16)]
    calls = []

    def use(model):
        model.load_state_dict(model.state_dict())
        calls.append(model.evaluate(synthetic[1]))

    def callback(progress):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(use, models, timeout=120))

    def fit(model):
        plp.Trainer(model, batch_size=200).fit(synthetic[0], callback=callback, progress=False)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(fit, models, timeout=120))
    assert len(calls) == 2 * 3 * 2  # of two fits, at three callbacks, at two models


WAITING = """
import os, sys, threading
import numpy as np, plp
test = plp.datasets.synthetic(1, 100)[1]
model = plp.Model("resnet18", width=1 / 2)
trainer = plp.Trainer(model)
images, logits = np.zeros((200_000, 3, 32, 32), np.uint8), np.zeros((200_000, 100), np.float32)
call = model._handle, images, plp._plp.UINT8, len(images), 1, logits  # minutes of computing
threading.Thread(target=plp._plp.model_logits, args=call, daemon=True).start()
while not logits.any():
    pass
print("training", flush=True)
try:
    {
        "logits": lambda: model.logits(test.images), "state_dict": model.state_dict, "history": lambda: trainer.history,
        "evaluate": lambda: trainer.evaluate(test), "save": lambda: model.save("model"),
    }[sys.argv[1]]()
except KeyboardInterrupt:
    print("usable", flush=True)
    os._exit(0)
"""


@pytest.mark.parametrize("call", ["logits", "state_dict", "history", "evaluate", "save"])
def test_ctrl_c_is_heard_while_waiting(call, tmp_path):
    assert interrupt(WAITING, tmp_path, call) < 30
    assert not list(tmp_path.iterdir())
