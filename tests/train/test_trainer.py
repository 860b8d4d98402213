"""The training loop: it learns, stops, saves and goes on exactly where it was."""

from __future__ import annotations

import json

import numpy as np
import pytest

import numbanet
from numbanet import models, nn, optim, train
from numbanet.data import DataLoader, TensorDataset, load_fashion_mnist_sample
from numbanet.devices import cuda_is_available
from numbanet.tensor import from_numpy


def blobs(n=96, seed=0):
    """Three classes of points that lie apart."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=n)
    points = rng.standard_normal((n, 4)) * 0.3 + np.eye(3, 4)[labels] * 2
    return TensorDataset(from_numpy(points.astype(np.float32)), from_numpy(labels))


def loaders(batch_size=16):
    return DataLoader(blobs(), batch_size, shuffle=True), DataLoader(blobs(40, 1), batch_size)


def network(seed=0):
    numbanet.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Dropout(0.2), nn.Linear(8, 3))


def trainer(seed=0, **options):
    net = network(seed)
    return train.Trainer(net, optim.Adam(net.parameters(), lr=0.02), progress=False, **options)


def weights(t):
    return {name: value.detach().cpu().numpy().copy() for name, value in t.net.state_dict().items()}


def test_it_learns_and_records():
    t = trainer()
    history = t.fit(*loaders(), epochs=12)
    assert len(history) == t.epoch == 12
    assert history["epoch"] == list(range(1, 13))
    assert history[-1]["loss"] < 0.5 < history[0]["loss"]
    assert history[-1]["test_acc"] > 0.9
    assert set(history.columns()) == {
        "epoch", "loss", "train_acc", "test_loss", "test_acc", "lr", "seconds", "images_per_second",
    }  # fmt: skip
    assert t.evaluate(loaders()[1])["accuracy"] == history[-1]["test_acc"]


def test_epoch_figures_are_means_over_images():
    """An uneven last batch must count by its images."""
    net = nn.Linear(4, 3)
    data = blobs(10)
    loader = DataLoader(data, 4)
    found = train.evaluate(net, loader)
    x, y = data.tensors
    scores = net(x).detach()
    assert found["loss"] == pytest.approx(nn.CrossEntropyLoss()(scores, y).item(), rel=1e-5)
    assert found["accuracy"] == pytest.approx(np.mean(scores.numpy().argmax(1) == y.numpy()))
    history = train.Trainer(net, optim.SGD(net.parameters(), lr=0.0), progress=False).fit(loader, epochs=1)
    assert history[0]["loss"] == pytest.approx(found["loss"], rel=1e-5)
    assert history[0]["train_acc"] == found["accuracy"]
    assert "test_acc" not in history[0]


def test_evaluate_puts_the_mode_back_and_builds_no_graph():
    net = network()
    seen = []
    net.register_forward_hook(lambda module, args, output: seen.append((module.training, output.requires_grad)))
    train.evaluate(net, loaders()[1])
    assert seen and set(seen) == {(False, False)}
    assert net.training
    net.eval()
    train.evaluate(net, loaders()[1])
    assert not net.training
    with pytest.raises(ValueError, match="gave no batch"):
        train.evaluate(net, [])


@pytest.mark.parametrize("kept", [1, 3])
def test_resumed_training_equals_training_that_never_stopped(tmp_path, kept):
    def make(folder):
        t = trainer(callbacks=[train.Checkpoint(folder, monitor="test_acc"), train.EarlyStopping(patience=50)])
        t.scheduler = optim.lr_scheduler.ExponentialLR(t.optimizer, 0.9)
        return t

    whole = make(tmp_path / "a")
    whole.fit(*loaders(), epochs=5)
    first = make(tmp_path / "b")
    first.fit(*loaders(), epochs=kept)
    second = make(tmp_path / "b")
    numbanet.manual_seed(99)  # whatever the new process drew before must not matter
    second.resume(tmp_path / "b" / "last.safetensors")
    second.fit(*loaders(), epochs=5)
    for name, value in weights(whole).items():
        assert np.array_equal(value, weights(second)[name]), name
    timing = ("seconds", "images_per_second")
    for a, b in zip(whole.history, second.history, strict=True):
        assert {k: v for k, v in a.items() if k not in timing} == {k: v for k, v in b.items() if k not in timing}
    assert whole.callbacks[1].state_dict() == second.callbacks[1].state_dict()


def test_checkpoints_hold_the_weights_for_other_programs(tmp_path):
    from safetensors.numpy import load_file

    t = trainer(callbacks=[train.Checkpoint(tmp_path, extra={"note": "x"})])
    t.fit(*loaders(), epochs=1)
    plain = load_file(tmp_path / "last.safetensors")
    assert np.array_equal(plain["model.0.weight"], weights(t)["0.weight"])
    assert train.load_checkpoint(tmp_path / "last.safetensors")["extra"]["note"] == "x"


def test_the_best_checkpoint_is_kept(tmp_path):
    callback = train.Checkpoint(tmp_path, monitor="loss")
    t = trainer()

    def row(epoch, loss):
        t.epoch = epoch
        t.history.append({"epoch": epoch, "loss": loss})
        callback.on_epoch_end(t, t.history[-1])

    for epoch, loss in enumerate([3.0, 1.0, 2.0], 1):
        row(epoch, loss)
    assert train.load_checkpoint(callback.best_path)["epoch"] == 2
    assert train.load_checkpoint(callback.last_path)["epoch"] == 3
    with pytest.raises(ValueError, match=r"no 'test_acc' among what an epoch gives: epoch, loss"):
        train.Checkpoint(tmp_path, monitor="test_acc").on_epoch_end(t, t.history[-1])


def test_checkpoints_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "c"
    net = network()
    train.save_checkpoint(path, net)
    with pytest.raises(ValueError, match="saved without the optimizer's state"):
        train.load_checkpoint(path, net, optim.SGD(net.parameters()))
    numbanet.save({"x": 1}, path)
    with pytest.raises(ValueError, match="no checkpoint of numbanet's training"):
        train.load_checkpoint(path)


def test_early_stopping(capsys):
    callback = train.EarlyStopping("loss", patience=2, min_delta=0.1)
    t = trainer()
    for loss in [1.0, 0.95, 0.8, 0.75]:
        callback.on_epoch_end(t, {"loss": loss})
    assert (callback.best, callback.waited, t._why_stop) == (0.8, 1, "")
    callback.on_epoch_end(t, {"loss": 0.9})
    assert "loss has not become better than 0.8 for 2 epochs" in t._why_stop
    frozen = trainer(callbacks=[train.EarlyStopping("loss", patience=1, min_delta=100.0)])
    frozen.fit(*loaders(), epochs=9)
    assert frozen.epoch == 2
    assert "stopped after epoch 2" in capsys.readouterr().out


def test_a_loss_of_nan_stops_training_and_says_where():
    class Bad(nn.Module):
        calls = 0

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            self.calls += 1
            return self.layer(x) * (float("nan") if self.calls > 2 else 1.0)

    net = Bad()
    t = train.Trainer(net, lr=0.1, progress=False)
    with pytest.raises(train.TrainingDiverged, match=r"the loss became nan at step 3 of epoch 1 \(learning rate 0.1\)"):
        t.fit(*loaders(), epochs=2)


def test_an_interrupt_keeps_what_was_finished(tmp_path, capsys):
    class Stop(train.Callback):
        def on_batch_end(self, trainer, step, images):
            if trainer.epoch == 2 and step == 3:
                raise KeyboardInterrupt

    t = trainer(callbacks=[train.CSVLogger(tmp_path / "h.csv"), train.Checkpoint(tmp_path), Stop()])
    with pytest.raises(KeyboardInterrupt):
        t.fit(*loaders(), epochs=9)
    said = capsys.readouterr().err
    assert "interrupted in epoch 3, after 2 whole epochs" in said
    assert f"saved: epoch 2 in {tmp_path / 'last.safetensors'}" in said
    assert train.load_checkpoint(tmp_path / "last.safetensors")["epoch"] == 2
    assert len((tmp_path / "h.csv").read_text().splitlines()) == 3


def test_loggers_and_printer(tmp_path, capsys):
    t = trainer(callbacks=[train.EpochPrinter(), train.JSONLinesLogger(tmp_path / "sub" / "h.jsonl")])
    t.fit(*loaders(), epochs=2)
    rows = [json.loads(line) for line in (tmp_path / "sub" / "h.jsonl").read_text().splitlines()]
    assert rows == t.history.rows
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("epoch 1/2  loss ")
    assert "test acc" in second


def test_progress_bar_shows_rates(capsys, monkeypatch):
    monkeypatch.setattr(train.ProgressBar, "interval", 0)
    t = trainer(callbacks=[train.ProgressBar(show=True)])
    t.fit(*loaders(), epochs=1)
    said = capsys.readouterr().err
    assert "epoch 1/1" in said
    assert "images/s" in said


def test_trainer_refuses_nonsense():
    net = network()
    with pytest.raises(ValueError, match="either an optimizer, or lr"):
        train.Trainer(net)
    with pytest.raises(ValueError, match="either an optimizer, or lr"):
        train.Trainer(net, optim.SGD(net.parameters()), lr=0.1)
    assert train.Trainer(net, 0.25).optimizer.param_groups[0]["lr"] == 0.25
    with pytest.raises(ValueError, match="training loader gave no batch"):
        train.Trainer(net, 0.1, progress=False).fit([], epochs=1)


# ----------------------------------------------------------------------------------------------------------- LeNet


def sample(n, train=True):
    images, labels = load_fashion_mnist_sample(train)
    return TensorDataset(from_numpy(images[:n, None].astype(np.float32) / np.float32(255)), from_numpy(labels[:n]))


@pytest.mark.parametrize("name", ["lenet", "lenet_bn"])
def test_lenet_learns_the_sample(name):
    numbanet.manual_seed(0)
    net = models.build(name)
    net.apply(train.notes.init_weights)
    assert sum(p.numel() for p in net.parameters()) == {"lenet": 61_706, "lenet_bn": 44_878}[name]
    t = train.Trainer(net, optim.Adam(net.parameters(), lr=0.003), progress=False)
    history = t.fit(DataLoader(sample(2000), 32, shuffle=True), DataLoader(sample(500, False), 250), epochs=4)
    assert history[-1]["loss"] < history[0]["loss"] < 2.4
    assert history[-1]["test_acc"] > 0.55


@pytest.mark.cuda
@pytest.mark.skipif(not cuda_is_available(), reason="needs a GPU or the simulator")
def test_training_on_cuda_equals_training_on_the_cpu():
    inputs, target = sample(4)[:4]
    results = []
    for device in ("cpu", "cuda"):
        numbanet.manual_seed(0)
        net = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(1, 2, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(50, 10))
        t = train.Trainer(net, 0.5, device=device, progress=False)
        history = t.fit([(inputs, target)], epochs=2)
        results.append((history[0]["loss"], weights(t)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    for name, value in results[0][1].items():
        np.testing.assert_allclose(results[1][1][name], value, rtol=1e-4, atol=1e-6)


def test_training_does_not_depend_on_the_number_of_threads():
    results = []
    before = numbanet.get_num_threads()
    try:
        for threads in {1, before}:
            numbanet.set_num_threads(threads)
            numbanet.manual_seed(0)
            net = models.lenet()
            t = train.Trainer(net, 0.5, progress=False)
            t.fit(DataLoader(sample(128), 32, shuffle=True), epochs=1)
            results.append(weights(t))
    finally:
        numbanet.set_num_threads(before)
    for name, value in results[0].items():
        assert np.array_equal(value, results[-1][name]), name


def test_train_ch6_trains(capsys):
    numbanet.manual_seed(0)
    history = train.notes.train_ch6(
        models.notes.lenet(),
        DataLoader(sample(128), 32),
        DataLoader(sample(50, False), 50),
        2,
        0.9,
        train.notes.try_gpu(),
    )
    assert len(history) == 2
    said = capsys.readouterr().out
    assert "training on" in said
    assert "examples/sec" in said
    assert 0 <= train.notes.evaluate_accuracy_gpu(models.lenet(), DataLoader(sample(50, False), 25)) <= 1


def test_unknown_models_are_answered_with_close_ones():
    with pytest.raises(ValueError, match=r"no model is called 'LeNt'; did you mean lenet"):
        models.build("LeNt")
    with pytest.raises(ValueError, match=r"models\.list\(\) gives all \d+ names"):
        models.build("zzz")
    assert {"notes.lenet", "notes.lenet_bn"} <= set(models.list())


def test_a_plateau_watches_the_test_loss_or_the_training_loss(monkeypatch):
    watched = []
    for test in (loaders()[1], None):
        t = trainer()
        t.scheduler = optim.lr_scheduler.ReduceLROnPlateau(
            t.optimizer, patience=0, threshold=10.0, threshold_mode="abs"
        )
        step = t.scheduler.step
        monkeypatch.setattr(t.scheduler, "step", lambda value, step=step: (watched.append(value), step(value)))
        history = t.fit(loaders()[0], test, epochs=3)
        assert watched == history["loss" if test is None else "test_loss"]
        assert history["lr"] == pytest.approx([0.02, 0.02, 0.002])
        watched.clear()


def test_an_optimizer_of_another_network_is_refused():
    net = network()
    with pytest.raises(ValueError, match="holds none of this network's parameters"):
        train.Trainer(net, optim.SGD(network().parameters(), lr=0.1))
    train.Trainer(net, optim.SGD(net[3].parameters(), lr=0.1))  # some of them will do


def test_lbfgs_is_refused():
    net = network()
    with pytest.raises(TypeError, match=r"optimizer.step\(closure\)"):
        train.Trainer(net, optim.LBFGS(net.parameters()))


X, Y = numbanet.zeros(4, 4), numbanet.zeros(4, dtype=numbanet.int64)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"image": X, "label": Y}, "got a dict with image, label"),
        ((X, Y, Y), "got a tuple of 3"),
        ([X], "got a list of 1"),
        (X, "got a Tensor"),
        ((X.numpy(), Y), "found a ndarray"),
        ((X, ["cat"] * 4), "found a str"),
    ],
)
def test_batches_that_are_no_pairs_of_tensors(batch, message):
    t = trainer()
    for use in (lambda: t.fit([batch], epochs=1), lambda: t.evaluate([batch])):
        with pytest.raises(TypeError, match=message):
            use()


def test_inputs_in_a_mapping():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.scores = nn.Linear(4, 3)

        def forward(self, batch):
            return self.scores(batch["points"] * batch["scale"])

    t = train.Trainer(Net(), lr=0.1, progress=False)
    assert len(t.fit([({"points": X, "scale": X}, Y)], epochs=1)) == 1


def test_other_tasks_hear_that_this_is_for_classifiers():
    t = train.Trainer(nn.Linear(4, 1), lr=0.1, loss=nn.MSELoss(), progress=False)
    with pytest.raises(ValueError, match=r"got shapes \(4, 1\) and \(4, 1\). Trainer and evaluate are for classifiers"):
        t.fit([(X, X[:, :1])], epochs=1)


def test_an_iterator_is_used_up_after_an_epoch():
    with pytest.raises(ValueError, match="or the loader an iterator, which one epoch uses up"):
        trainer().fit(iter(loaders()[0]), epochs=2)


def test_watching_tests_that_there_are_not():
    for callback in (train.EarlyStopping(), train.Checkpoint("nowhere", monitor="test_loss")):
        t = trainer(callbacks=[callback])
        with pytest.raises(ValueError, match=f"{type(callback).__name__} watches 'test_.*without a test_loader"):
            t.fit(loaders()[0], epochs=1)
        assert t.epoch == 0
    trainer(callbacks=[train.EarlyStopping("loss")]).fit(loaders()[0], epochs=1)
