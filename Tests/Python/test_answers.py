"""Answers: their numbers beside SciPy's, how often they are right, and what they say."""

from dataclasses import replace

import numpy as np
import plp
import pytest
from plp.studies import statistics
from scipy import stats
from test_study import made_up


def study_of(differences, methods=("plp",), other_error=0.45):
    """A study in which each method's test accuracy differs from SGD's by so many points, seed by seed."""
    study = made_up()
    run = study.runs[0]
    study.methods = {"sgd": plp.PAPER, **{method: replace(plp.PAPER, predictor=plp.EMA()) for method in methods}}
    study.runs = [
        replace(run, method=method, seed=seed, history=replace(run.history, test=plp.Metrics(2.0, error, 0.2)))
        for seed, points in enumerate(differences)
        for method, error in [("sgd", other_error), *((m, other_error - points / 100) for m in methods)]
    ]
    return study


def by(study, measure, model="optimal", **options):
    (answer,) = [a for a in study.answers(**options) if (a.measure, a.model) == (measure, model)]
    return answer


def test_intervals_and_p_values_are_scipys():
    random = np.random.default_rng(0)
    for pairs in (2, 3, 10, 40):
        one, other = random.normal(size=(2, pairs))
        theirs = stats.ttest_rel(one, other)
        assert statistics.paired_p(list(one - other)) == pytest.approx(theirs.pvalue, rel=1e-9)
        assert statistics.interval(list(one - other)) == pytest.approx(tuple(theirs.confidence_interval()), rel=1e-9)


def test_the_numbers_of_an_answer_are_scipys():
    points = [0.3, 1.1, 0.7, 0.2, 0.9]
    answer = by(study_of(points), "accuracy")
    theirs = stats.ttest_1samp(points, 0)
    assert answer.seeds == (0, 1, 2, 3, 4) and answer.differences == pytest.approx(points)
    assert answer.p == answer.corrected_p == pytest.approx(theirs.pvalue)
    assert answer.interval == pytest.approx(tuple(theirs.confidence_interval()))


def test_holm():
    """An example worked out by hand: the least times four, the next times three, never below the one before."""
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.5, 0.9]) == [1.0, 1.0] and statistics.holm([]) == []


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_the_pairs_that_an_effect_needs(effect, pairs):
    """In standard deviations of the differences; those of G*Power 3.1 for a power of 0.8 at the level 0.05."""
    assert statistics.pairs_needed(effect, 1.0) == pairs


def test_power_is_the_share_of_studies_that_find_the_effect():
    samples = np.random.default_rng(1).normal(0.8, 1.0, (2000, 12))
    found = np.mean([statistics.paired_p(list(sample)) < 0.05 for sample in samples])
    assert found == pytest.approx(statistics.power(12, 0.8, 1.0), abs=0.03)  # three standard errors


@pytest.mark.parametrize("pairs", [2, 4, 10])
def test_intervals_hold_the_truth_nineteen_times_of_twenty(pairs):
    samples = np.random.default_rng(2).normal(0.4, 1.3, (3000, pairs))
    limits = np.array([statistics.interval(list(sample)) for sample in samples])
    assert np.mean((limits[:, 0] <= 0.4) & (0.4 <= limits[:, 1])) == pytest.approx(0.95, abs=0.012)


def test_of_methods_that_do_nothing_one_in_twenty_studies_finds_any():
    """Uncorrected it would be one in seven: six methods against the same baseline."""
    random = np.random.default_rng(3)
    corrected = uncorrected = 0
    for _ in range(600):
        scores = random.normal(size=(7, 5))
        p = [statistics.paired_p(list(one - scores[0])) for one in scores[1:]]
        uncorrected += min(p) < 0.05
        corrected += min(statistics.holm(p)) < 0.05
    assert corrected / 600 < 0.075 < 0.1 < uncorrected / 600


@pytest.mark.parametrize("pairs", [2, 3])
def test_counts_that_are_the_same_by_chance_decide_nothing(pairs):
    """Two methods that reach an accuracy in the same 7 to 9 epochs: two seeds often have the same difference."""
    random = np.random.default_rng(4)
    decided = 0
    for _ in range(400):
        epochs = random.choice([7, 8, 9], p=[0.25, 0.5, 0.25], size=(2, pairs))
        decided += by(study_of(list(epochs[0] - epochs[1])), "accuracy").is_decided
    assert decided / 400 < 0.06


@pytest.mark.parametrize(
    ("points", "verdict", "words"),
    [
        ([1.9, 2.1, 2.0], "better", "sgd: better, by between +1.75 and +2.25 points (95 % interval, n = 3, p < 0.001)"),
        ([-1.9, -2.1, -2.0], "worse", "sgd: worse, by between -2.25 and -1.75 points"),
        ([0.1, -0.2, 0.0, 0.1], "alike", "sgd: no difference larger than 0.23 points; it is between -0.23 and"),
        ([0.0, 0.0], "undecided", "sgd: undecided, all n = 2 differences are +0.00 points, which has no interval."),
        ([1.0, 1.0, 1.0], "undecided", "sgd: undecided, all n = 3 differences are +1.00 points"),
        ([2.0, -1.0, 0.5], "undecided", "p = 0.62); an effect of one point would take about 17 more repeats."),
        ([40.0, -40.0], "undecided", "an effect of one point would take thousands of more repeats."),
        ([1.0], "one repeat", "sgd: one seed tells nothing, since seeds differ by as much, and has no interval."),
    ],
)  # fmt: skip
def test_sentences(points, verdict, words):
    answer = by(study_of(points), "accuracy")
    assert answer.verdict == verdict and words in str(answer)
    assert study_of(points).verdict() == [str(answer)]


def test_the_effect_that_matters_is_the_readers():
    study = study_of([0.1, -0.2, 0.0, 0.1])
    answer = by(study, "accuracy", effect=0.1)
    assert answer.verdict == "undecided" and "an effect of 0.1 points would take about" in str(answer)
    assert by(study_of([0.9, -0.1, 0.5, 0.3]), "accuracy", effect=1.0).more_repeats == 0


def test_less_error_is_better():
    study = study_of([1.9, 2.1, 2.0])
    answer = by(study, "top-1 error")
    assert answer.verdict == "better" and answer.mean == pytest.approx(-2)
    assert str(answer).startswith("plp against sgd, top-1 error: better, by between -2.25 and -1.75 points")
    assert by(study, "loss").verdict == "undecided" and by(study, "loss").unit == "nats"


def test_many_methods_are_corrected_for():
    """Of three methods with the same p-value each counts thrice: what one alone would decide, three do not."""
    points = [1.0, 2.0, 0.4, 1.4]
    alone = by(study_of(points), "accuracy")
    together = [
        a for a in study_of(points, ("a", "b", "c")).answers() if (a.measure, a.model) == ("accuracy", "optimal")
    ]
    assert alone.verdict == "better" and 0.017 < alone.p < 0.05
    assert [a.verdict for a in together] == ["undecided"] * 3
    assert all(a.corrected_p == pytest.approx(3 * alone.p) and a.comparisons == 3 for a in together)
    assert "by Holm for 3 comparisons" in str(together[0])


def test_how_soon_an_accuracy_is_reached():
    """Validation errors are 0.95 / n in epoch n of 2 seconds; the second seed's PLP learns twice as fast."""
    study = made_up()
    study.runs += [replace(run, network="vgg16") for run in study.runs]
    fast = study.runs[3].history
    epochs = tuple(
        replace(e, validation=replace(e.validation, top1_error=e.validation.top1_error / 2)) for e in fast.epochs
    )
    study.runs[3] = replace(study.runs[3], history=replace(fast, epochs=epochs))
    found = {(a.network, a.measure): a for a in study.answers(accuracies=[0.5, 0.8])}
    assert found["resnet18", "epochs to 50 %"].differences == (0, -1)
    assert found["resnet18", "seconds to 50 %"].differences == (0, -2)
    assert found["vgg16", "epochs to 50 %"].differences == (0, 0)
    assert ("resnet18", "epochs to 80 %") not in found  # which but one run reached
    assert "epochs to 76 %" in {a.measure for a in study.answers()}  # which all reach: 1 - 0.95 / 4


def test_the_last_model_is_measured_on_what_the_optimal_one_is():
    study = made_up()
    for index, run in enumerate(study.runs):
        last = plp.Metrics(1.0, 0.5 - 0.01 * (run.method == "plp"), 0.1)
        study.runs[index] = replace(run, history=replace(run.history, last_test=last))
    answer = by(study, "accuracy", "last")
    assert answer.images == "CIFAR-100 test" and answer.differences == pytest.approx((1, 1))
    heading, sgd, plp_row = study.table()
    assert heading[3:5] == ["accuracy %", "last %"] and sgd[4] == "50.00 ± 0.00" and plp_row[4] == "51.00 ± 0.00"
    assert "; last %: the accuracy of the last epoch's; epochs" in study.caption()
    study.settings = replace(study.settings, validation=0.0)  # both are the same
    assert "last %" not in study.table()[0] and "last %" not in study.caption()


def test_the_last_models_of_an_earlier_version_are_measured_on_what_was_held_out():
    study = made_up()
    last = study.runs[1].history.epochs[-1]
    better = replace(last, validation=plp.Metrics(1.0, last.validation.top1_error - 0.01, 0.1))
    for index in (1, 3):
        history = study.runs[index].history
        study.runs[index] = replace(study.runs[index], history=replace(history, epochs=(*history.epochs[:-1], better)))
    answer = by(study, "accuracy", "last")
    assert answer.images == "validation" and answer.differences == pytest.approx((1, 1))
    study.settings = replace(study.settings, validation=0.0)
    assert {a.model for a in study.answers()} == {"optimal", ""}


def test_failed_runs_answer_nothing():
    study = study_of([1.0, 2.0, 3.0])
    study.runs[-1] = replace(study.runs[-1], failure="loss: found nan")
    assert by(study, "accuracy").seeds == (0, 1)
    study.runs[-1] = replace(study.runs[-1], failure=None, history=plp.History())
    assert by(study, "accuracy", "last").seeds == (0, 1)
    study.runs = study.runs[:1]
    assert study.answers() == () and plp.Study(study.settings, {}).answers() == ()
