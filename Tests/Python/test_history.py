"""Histories: as data, as a table, as a picture."""

import json
from dataclasses import replace

import plp
import pytest
from matplotlib.image import imread


def history(epochs=4, validation=True, test=True):
    records = tuple(
        plp.Epoch(
            epoch=n,
            learning_rate=0.1 / n,
            seconds=2.0,
            images_per_second=500.0,
            train=plp.Metrics(4 / n, 0.9 / n, 0.5 / n),
            validation=plp.Metrics(4.2 / n, 0.95 / n, 0.6 / n) if validation else None,
        )
        for n in range(1, epochs + 1)
    )
    return plp.History(records, best_epoch=3, data="1,000 images", test=plp.Metrics(1.5, 0.4, 0.2) if test else None)


def drawn(path):
    """Whether a PNG shows something: more than one colour, and of a sensible size."""
    assert path.read_bytes().startswith(b"\x89PNG")
    pixels = imread(path)
    return pixels.shape[0] > 200 and pixels.shape[1] > 400 and pixels.std() > 0.01


def test_accuracy_is_what_the_error_leaves():
    assert plp.Metrics(1.0, 0.25, 0.1).accuracy == 0.75


def test_behaves_as_a_sequence_and_knows_its_best():
    h = history()
    assert len(h) == 4 and h[2] is h.best and [e.epoch for e in h] == [1, 2, 3, 4]
    assert h.images_per_second == 500


@pytest.mark.parametrize("h", [history(), history(validation=False, test=False), plp.History()], ids=str)
def test_survives_json(h):
    assert plp.History.from_dict(json.loads(json.dumps(h.to_dict()))) == h


def test_table():
    lines = str(history()).splitlines()
    assert lines[0].split()[:3] == ["epoch", "lr", "loss"]
    assert "best" in lines[4] and "best" not in lines[3]
    assert "test set, model of epoch 3: accuracy 60.00%" in lines[-1]


def test_the_last_model_is_told_where_it_is_another():
    h = history()
    assert str(replace(h, best_epoch=4, last_test=h.test)).count("test set, ") == 1
    assert "test set, the last model: accuracy 70.00%" in str(replace(h, last_test=plp.Metrics(1.0, 0.3, 0.1)))


@pytest.mark.parametrize("h", [history(), history(1), history(validation=False, test=False), history(40)], ids=len)
def test_plot(tmp_path, h):
    h.plot(tmp_path / "curves.png")
    assert drawn(tmp_path / "curves.png")


def test_plot_as_svg(tmp_path):
    history().plot(tmp_path / "curves.svg")
    assert "<svg" in (tmp_path / "curves.svg").read_text()


def test_plot_needs_an_epoch(tmp_path):
    with pytest.raises(ValueError, match="no complete epoch"):
        plp.History().plot(tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


def test_plot_into_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        history().plot(tmp_path / "missing" / "curves.png")


def test_a_notebook_shows_a_history():
    h = history()
    assert repr(h) == "<plp.History of 4 epochs, best 3, test accuracy 60.00%>"
    assert h._repr_html_().count("<tr>") == 5 and "test set, model of epoch 3" in h._repr_html_()
    assert h.plot()._repr_png_().startswith(b"\x89PNG")
    assert h.plot(width=4).get_size_inches().tolist() == [4, pytest.approx(10.8)]


def test_a_notebook_shows_trainers_models_and_profiles(small):
    trainer = plp.Trainer(small, predictor=plp.PLP())
    assert repr(trainer) == "<plp.Trainer of 'resnet18' by SGD and PLP: 0 epochs>"
    assert "<td>SGD(lr=0.001" in trainer._repr_html_() and "width" in small._repr_html_()
    profile = plp.Profile(10, 3, (plp.Timing("conv<1>", "forward", 0.1),))
    assert repr(profile) == "<plp.Profile of 3 iterations: 100.0 ms for 10 images: 100 images/s>"
    assert "conv&lt;1&gt;" in profile._repr_html_()
