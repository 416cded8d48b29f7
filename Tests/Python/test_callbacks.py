"""Lists of callbacks, early stopping, event files, and data frames."""

import plp
import pytest

RECIPE = plp.Recipe(optimizer=plp.SGD(lr=0.05), batch_size=50)


def errors(*values):
    return [
        plp.Epoch(n, 0.1, 1.0, 100.0, plp.Metrics(1, 0.9, 0.5), plp.Metrics(1, e, 0.5)) for n, e in enumerate(values)
    ]


def trainer():
    return plp.Trainer(plp.Model("resnet18", width=1 / 16), **vars(RECIPE), threads=1)


def test_each_of_a_list_hears_everything_and_any_ends_the_run(synthetic):
    heard = [], []
    ends = [lambda p: heard[0].append(p) or p.epoch == 1, lambda p: heard[1].append(p)]
    history = trainer().fit(synthetic[0], epochs=3, callback=ends, progress=False)
    assert len(history) == 1 and heard[0] == heard[1] != []
    for mistake in (3, [3], "plp"):
        with pytest.raises(ValueError, match="callback is .*, expected a function of a plp.Progress, or a list"):
            trainer().fit(synthetic[0], callback=mistake)


def test_early_stopping_waits_for_its_patience():
    stopping = plp.EarlyStopping(2)
    assert [stopping._hear(e) for e in errors(0.5, 0.6, 0.4, 0.4, 0.5)] == [False, False, False, False, True]
    stopping.begin(plp.History(tuple(errors(0.5, 0.6))))  # a run that goes on
    assert stopping._hear(errors(0.55)[0])
    strict = plp.EarlyStopping(1, least=0.05)
    assert [strict._hear(e) for e in errors(0.5, 0.44, 0.41)] == [False, False, True]
    with pytest.raises(ValueError, match="patience is 0"):
        plp.EarlyStopping(0)


def test_a_run_that_is_stopped_early_is_measured(synthetic):
    train, test = synthetic
    best = plp.EarlyStopping(1, least=1)  # no error falls by so much
    history = trainer().fit(train, validation=0.2, test=test, epochs=5, callback=[best], progress=False)
    assert len(history) == 2 and history.test and not history.interrupted


def test_event_files_of_each_run(synthetic, tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    study = {"methods": ["sgd"], "train": synthetic[0], "epochs": 2, "width": 1 / 16, "recipe": RECIPE}
    run = plp.compare(**study, path=tmp_path, callback=plp.TensorBoard(), progress=False).runs[0]
    content, seen = b"".join(f.read_bytes() for f in tmp_path.glob("resnet18-sgd-seed-0/events.out.tfevents.*")), {}
    while content:
        size = int.from_bytes(content[:8], "little")
        for value in (event := Event.FromString(content[12 : 12 + size])).summary.value:
            seen[value.tag, event.step] = value.simple_value
        content = content[16 + size :]
    assert [seen["train/loss", e.epoch] for e in run.history] == pytest.approx([e.train.loss for e in run.history])
    assert ("validation/top1_error", 2) in seen and ("learning_rate", 2) in seen
    plp.compare(**study, path=tmp_path, fresh=True, progress=False)
    assert not list(tmp_path.glob("*/events*"))


def test_data_frames(synthetic):
    pytest.importorskip("pandas")
    study = plp.compare(
        methods=["sgd", "plp"], train=synthetic[0], epochs=2, width=1 / 16, recipe=RECIPE, progress=False
    )
    frame = study.to_dataframe()
    assert list(frame.method) == ["sgd", "plp"] and frame.accuracy[1] == study.runs[1].outcome.accuracy
    rows = study.to_dataframe(epochs=True)
    assert list(rows.epoch) == [1, 2, 1, 2] and rows.train_loss[3] == study.runs[1].history[1].train.loss
    assert list(study.runs[0].history.to_dataframe().validation_loss) == list(rows.validation_loss[:2])


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("plp._extras.find_spec", lambda name: None)
    for needs in (plp.History().to_dataframe, plp.TensorBoard):
        with pytest.raises(ModuleNotFoundError, match=r"is missing: pip install 'plp\[logs\]' brings it"):
            needs()
