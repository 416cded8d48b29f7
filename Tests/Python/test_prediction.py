"""Prediction in loops of one's own: plp.Prediction behind somebody's optimizer, on NumPy's arrays."""

import io

import numpy as np
import plp
import pytest

PREDICTORS = [plp.PLP(), plp.PLP(step=2, period=5, start=2), plp.Lookahead(), plp.EMA(), plp.SWA(start=4, period=3)]
each_predictor = pytest.mark.parametrize("predictor", PREDICTORS, ids=str)


def start(shape=(40, 50)):
    return np.random.default_rng(1).standard_normal(shape, np.float32)


def step(theta):
    """Somebody's gradient descent, in place."""
    theta -= np.float32(0.05) * (theta + np.float32(0.1) * theta * theta)


@each_predictor
def test_it_is_the_rules_arithmetic(predictor):
    """In float64 from each step's float32 start: memory = a memory + b θ, then θ = c θ + d memory."""
    theta = start()
    prediction = plp.Prediction(predictor, theta)
    memory = theta.astype(float)
    for iteration in range(20):
        step(theta)
        a, b, c, d, replaces, _, is_average, _ = plp._plp.predictor_action(predictor._fields(), iteration)
        memory = (a * memory if a else 0) + b * theta
        expected = c * theta + d * memory
        assert prediction.after_step(theta) == replaces
        np.testing.assert_allclose(theta, expected, atol=2e-6)
        if is_average:
            np.testing.assert_allclose(prediction.average(), memory, atol=2e-6)
        else:
            with pytest.raises(ValueError, match=f"predictor: found .* after {iteration + 1} iterations"):
                prediction.average()


def test_the_papers_formula_to_the_bit():
    theta = start()
    prediction, iterates = plp.Prediction(plp.PLP(), theta), []
    for _ in range(3):
        step(theta)
        iterates.append(theta.copy())
        replaced = prediction.after_step(theta)
    assert replaced
    np.testing.assert_array_equal(theta, plp.predict(*iterates))


def test_an_average_begins_with_the_first_step():
    theta = start()
    prediction = plp.Prediction(plp.EMA(), theta)
    with pytest.raises(ValueError, match="predictor: found EMA after 0 iterations, expected one that has an average"):
        prediction.average()
    prediction.after_step(theta)
    assert prediction.average().shape == theta.shape


@each_predictor
def test_several_arrays_are_one_vector(predictor):
    theta = start((3, 100))
    parts = [theta[0].copy(), theta[1:].copy(), np.empty((0, 4), np.float32)]
    whole, several = plp.Prediction(predictor, theta), plp.Prediction(predictor, parts)
    for _ in range(10):
        step(theta)
        for part in parts:
            step(part)
        assert whole.after_step(theta) == several.after_step(parts)
        np.testing.assert_array_equal(theta, np.concatenate([parts[0][None], parts[1]]))
    if isinstance(predictor, plp.EMA | plp.SWA):
        np.testing.assert_array_equal(whole.average()[1:], several.average()[1])


@each_predictor
@pytest.mark.parametrize("done", range(7))
def test_a_state_goes_on_bit_for_bit(predictor, done):
    theta = [start(20), start((5, 3))]
    whole = plp.Prediction(predictor, theta)
    for iteration in range(12):
        if iteration == done:
            file = io.BytesIO()
            np.savez(file, **whole.state_dict())
            other = [array.copy() for array in theta]
            resumed = plp.Prediction(predictor, [np.zeros_like(array) for array in theta])
            resumed.load_state_dict(np.load(io.BytesIO(file.getvalue())))
        for arrays, prediction in [(theta, whole)] + ([(other, resumed)] if iteration >= done else []):
            for array in arrays:
                step(array)
            prediction.after_step(arrays)
    for ours, theirs in zip(theta, other):
        np.testing.assert_array_equal(ours, theirs)


def test_what_is_not_finite_is_passed_on():
    theta = np.float32([1, np.nan, np.inf])
    prediction = plp.Prediction(plp.PLP(), np.ones(3, np.float32))
    for _ in range(3):
        prediction.after_step(theta)
    assert theta[0] == 1 and np.isnan(theta[1]) and not np.isfinite(theta[2])


READ_ONLY = np.zeros((2, 3), np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (np.zeros((3, 2), np.float32), r"theta\[0\] is float32 \[3, 2\], expected .*float32 \[2, 3\], as at the start"),
        (np.zeros((2, 3)), r"theta\[0\] is float64 \[2, 3\], expected"),
        (np.zeros((3, 2), np.float32).T, r"theta\[0\] is non-contiguous float32"),
        (READ_ONLY, r"theta\[0\] is read-only float32"),
        ([np.zeros((2, 3), np.float32)], "theta is a list of 1, expected an array, as at the start"),
        (np.zeros((2, 3), ">f4"), r"theta\[0\] is >f4"),
        (None, "theta is None"),
    ],
    ids=str,
)
def test_arrays_that_are_not_as_at_the_start(theta, message):
    prediction = plp.Prediction(plp.PLP(), np.zeros((2, 3), np.float32))
    before = prediction.state_dict()
    with pytest.raises(ValueError, match=message):
        prediction.after_step(theta)
    np.testing.assert_array_equal(prediction.state_dict()["state0"], before["state0"])


def test_one_array_of_a_list_that_does_not_fit_changes_none():
    theta = [np.ones(3, np.float32), np.ones(4, np.float32)]
    prediction = plp.Prediction(plp.EMA(decay=0.5), theta)
    prediction.after_step(theta)
    before = prediction.average()
    with pytest.raises(ValueError, match=r"theta\[1\] is float32 \[5\]"):
        prediction.after_step([np.zeros(3, np.float32), np.zeros(5, np.float32)])
    np.testing.assert_array_equal(prediction.average()[0], before[0])
    other = plp.Prediction(plp.EMA(decay=0.5), [np.zeros(3, np.float32), np.zeros(5, np.float32)])
    with pytest.raises(ValueError, match="state1: found one of 5 values, expected 4"):
        prediction.load_state_dict(other.state_dict())
    for ours, theirs in zip(prediction.average(), before):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("predictor", "theta", "message"),
    [
        ("plp", np.zeros(3, np.float32), "predictor is 'plp', expected PLP, Lookahead, EMA or SWA"),
        (None, np.zeros(3, np.float32), "predictor is None"),
        (plp.PLP(period=2), np.zeros(3, np.float32), "period"),
        (plp.PLP(), np.zeros(3), r"theta\[0\] is float64 \[3\], expected contiguous float32"),
        (plp.PLP(), [1.0, 2.0], r"theta\[0\] is a float, expected a NumPy array"),
    ],
    ids=str,
)
def test_a_start_that_makes_no_sense(predictor, theta, message):
    with pytest.raises(ValueError, match=message):
        plp.Prediction(predictor, theta)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "state has , expected state0"),
        ({0: np.zeros(80, np.uint8)}, "state has 0, expected state0"),
        (None, "state is None, expected arrays by name"),
        ({"state0": np.zeros(80, np.uint8)}, "state0: found 80 bytes of another kind, expected a prediction's"),
        ({"state0": np.zeros(80)}, r"state0 is float64 \[80\], expected uint8"),
        ({"state0": None}, r"state0 is object \[\], expected uint8"),
        (
            plp.Prediction(plp.EMA(), np.zeros(3, np.float32)).state_dict(),
            "state0: found one of EMA .*expected one of PLP",
        ),
    ],
    ids=["empty", "number", "none", "zeros", "floats", "no array", "EMA"],
)
def test_states_of_others(state, message):
    prediction = plp.Prediction(plp.PLP(), np.zeros(3, np.float32))
    with pytest.raises(ValueError, match=message):
        prediction.load_state_dict(state)


@pytest.mark.parametrize("second", ["nothing", "Ctrl-C"])
def test_a_state_is_taken_whole_or_not_at_all(second, monkeypatch):
    theta = [np.ones(3, np.float32), np.ones(4, np.float32)]
    prediction, other = plp.Prediction(plp.EMA(), theta), plp.Prediction(plp.EMA(), theta)
    other.after_step(theta)
    before, state, calls, take = prediction.state_dict(), other.state_dict(), [], plp._plp.predictor_set_state

    def interrupted(handle, values):
        calls.append(values)
        if len(calls) == 2:
            raise KeyboardInterrupt
        take(handle, values)

    if second == "nothing":
        state["state1"] = None
    else:
        monkeypatch.setattr(plp._plp, "predictor_set_state", interrupted)
    with pytest.raises((ValueError, KeyboardInterrupt)):
        prediction.load_state_dict(state)
    for name, values in prediction.state_dict().items():
        np.testing.assert_array_equal(values, before[name])
