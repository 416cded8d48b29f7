"""plp.torch: prediction beside PyTorch's optimizers, whatever they are, however they are saved."""

import copy
import gc
import io
import os
import pickle
import socket
import subprocess
import sys
import weakref

import numpy as np
import plp
import pytest
from programs import ROOT, output, programs

torch = pytest.importorskip(
    "torch", minversion="2.0", reason="needs PyTorch 2, as `make test` sets it up in .venv-peer"
)
from torch import nn  # noqa: E402

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=DEVICES, autouse=True)
def device(request):
    """Where PyTorch makes the tensors of a test: each test runs on all that there are."""
    if request.param not in DEVICES:
        pytest.skip("needs a GPU that PyTorch can use")
    torch.set_default_device(request.param)
    yield request.param
    torch.set_default_device(None)


def only(device):
    return pytest.mark.parametrize("device", [device], indirect=True)


def network(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 19), nn.Tanh(), nn.Linear(19, 3)).to(dtype)


def batches(count, dtype=torch.float32):
    random = torch.Generator(torch.get_default_device()).manual_seed(1)
    return [
        (torch.randn(5, 7, generator=random).to(dtype), torch.randint(0, 3, (5,), generator=random))
        for _ in range(count)
    ]


def steps(model, optimizer, data, closure=False):
    """Trains, and gives the parameters after each step."""
    iterates = []
    for x, y in data:

        def loss(x=x, y=y):
            optimizer.zero_grad()
            value = nn.functional.cross_entropy(model(x).float(), y)
            value.backward()
            return value

        if closure:
            optimizer.step(loss)
        else:
            loss()
            optimizer.step()
        iterates.append(flat(model))
    return iterates


def flat(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).clone()


def set_flat(model, values):
    with torch.no_grad():
        for parameter, part in zip(model.parameters(), values.split([p.numel() for p in model.parameters()])):
            parameter.copy_(part.view_as(parameter))


def by_hand(model, optimizer, data, closure=False):
    """The same training with the paper's formula written out: the final parameters."""
    for start in range(0, len(data), 3):
        iterates = steps(model, optimizer, data[start : start + 3], closure)
        if len(iterates) == 3:
            first, second, third = iterates
            set_flat(model, third + (second / 2 - first / 2))
    return flat(model)


OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "fused SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "Adam with amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "fused AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "Adamax": lambda p: torch.optim.Adamax(p, lr=0.01),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "RAdam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5),
    "Rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
    "Adadelta": lambda p: torch.optim.Adadelta(p, lr=0.5),
    "ASGD": lambda p: torch.optim.ASGD(p, lr=0.01),
    "LBFGS": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_is_followed_by_the_formula(name):
    data, closure = batches(8), name == "LBFGS"
    model, reference = network(), network()
    optimizer = OPTIMIZERS[name](model.parameters())
    plp.torch.attach(optimizer, plp.PLP())
    steps(model, optimizer, data, closure)
    expected = by_hand(reference, OPTIMIZERS[name](reference.parameters()), data, closure)
    assert torch.equal(flat(model), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_any_floating_dtype(dtype):
    data = batches(6, dtype)
    model, reference = network(dtype), network(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    plp.torch.attach(optimizer, plp.PLP())
    steps(model, optimizer, data)
    expected = by_hand(reference, torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9), data)
    # Halves of these two formats are exact; the rounding of θ2/2 - θ1/2 is the same in both.
    assert torch.equal(flat(model), expected)


PREDICTORS = {
    "PLP": plp.PLP(),
    "PLP further": plp.PLP(step=2.5, period=5, start=2, end=14),
    "Lookahead": plp.Lookahead(period=4),
    "EMA": plp.EMA(decay=0.9),
    "SWA": plp.SWA(start=4, period=3),
}


@pytest.mark.parametrize("name", PREDICTORS)
def test_numbers_are_those_of_the_library(name):
    """Whose plp.Prediction has its own kernels; the paper's rule to the bit."""
    predictor, data = PREDICTORS[name], batches(17)
    model, reference = network(), network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    attachment = plp.torch.attach(optimizer, predictor)
    plain = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9)
    theta = flat(reference).cpu().numpy()
    prediction = plp.Prediction(predictor, theta)
    for batch in data:
        steps(model, optimizer, [batch])
        theta[...] = steps(reference, plain, [batch])[0].cpu().numpy()
        prediction.after_step(theta)
        set_flat(reference, torch.from_numpy(theta))
        # Where PyTorch rounds a product before it adds, by some last digits of the largest term.
        np.testing.assert_allclose(flat(model).cpu().numpy(), theta, rtol=1e-6, atol=3e-7)
    if isinstance(predictor, (plp.EMA, plp.SWA)):
        with attachment.average():
            np.testing.assert_allclose(flat(model).cpu().numpy(), prediction.average(), rtol=1e-6, atol=1e-8)
    elif predictor == plp.PLP():
        assert np.array_equal(flat(model).cpu().numpy(), theta)


# ---- Saving and going on --------------------------------------------------------------------------------------------


def make(predictor=plp.PLP(), kind="SGD with momentum"):
    model = network()
    optimizer = OPTIMIZERS[kind](model.parameters())
    return model, optimizer, plp.torch.attach(optimizer, predictor)


def saved(state):
    """What comes back of a state dictionary that went to a file."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file)


@pytest.mark.parametrize("done", range(1, 7))
@pytest.mark.parametrize("kind", ["SGD", "SGD with momentum", "fused AdamW"])
def test_state_dict_alone_goes_on_bit_for_bit_in_each_phase(kind, done):
    data = batches(10)
    model, optimizer, _ = make(kind=kind)
    steps(model, optimizer, data[:done])
    resumed, other, _ = make(kind=kind)
    resumed.load_state_dict(saved(model.state_dict()))
    other.load_state_dict(saved(optimizer.state_dict()))
    steps(model, optimizer, data[done:])
    steps(resumed, other, data[done:])
    assert torch.equal(flat(model), flat(resumed))


def test_attached_after_loading_it_goes_on_too():
    data = batches(10)
    model, optimizer, _ = make()
    steps(model, optimizer, data[:5])
    resumed = network()
    other = OPTIMIZERS["SGD with momentum"](resumed.parameters())
    resumed.load_state_dict(model.state_dict())
    other.load_state_dict(saved(optimizer.state_dict()))
    assert plp.torch.attach(other, plp.PLP()).iteration == 5
    steps(model, optimizer, data[5:])
    steps(resumed, other, data[5:])
    assert torch.equal(flat(model), flat(resumed))


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["copy", "pickle"]
)
def test_copies_go_on_once_they_are_attached_again(copied):
    data = batches(10)
    model, optimizer, _ = make()
    steps(model, optimizer, data[:4])
    other_model, other = copied((model, optimizer))
    plp.torch.attach(other, plp.PLP())
    steps(model, optimizer, data[4:])
    steps(other_model, other, data[4:])
    assert torch.equal(flat(model), flat(other_model))


def test_a_checkpoint_from_before_the_predictor_begins_the_first_cycle():
    data = batches(8)
    plain = network()
    without = OPTIMIZERS["SGD with momentum"](plain.parameters())
    steps(plain, without, data[:2])
    model, optimizer, attachment = make()
    steps(model, optimizer, data[:1])  # its own place in the cycle gives way to the checkpoint's, which has none
    model.load_state_dict(plain.state_dict())
    optimizer.load_state_dict(saved(without.state_dict()))
    assert attachment.iteration == 0
    steps(model, optimizer, data[2:])
    assert torch.equal(flat(model), by_hand(plain, without, data[2:]))


@pytest.mark.parametrize("done", [0, 1, 2, 4])
@pytest.mark.parametrize("kind", ["SGD", "fused AdamW"])
def test_distributed_checkpoints_keep_it(tmp_path, kind, done):
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    data = batches(9)
    model, optimizer, _ = make(kind=kind)
    steps(model, optimizer, data[:done])
    parameters, state = get_state_dict(model, optimizer)
    checkpoint.save({"model": parameters, "optimizer": state}, checkpoint_id=tmp_path, no_dist=True)

    resumed, other, attachment = make(kind=kind)
    parameters, state = get_state_dict(resumed, other)
    loaded = {"model": parameters, "optimizer": state}
    checkpoint.load(loaded, checkpoint_id=tmp_path, no_dist=True)
    set_state_dict(resumed, other, model_state_dict=loaded["model"], optim_state_dict=loaded["optimizer"])
    assert attachment.iteration == done
    steps(model, optimizer, data[done:])
    steps(resumed, other, data[done:])
    assert torch.equal(flat(model), flat(resumed))


class Wrapper(torch.optim.Optimizer):
    """What ZeroRedundancyOptimizer is like."""

    def __init__(self, parameters, kind, **options):
        super().__init__(parameters, options)
        self.optim = kind(self.param_groups, **options)

    def step(self):
        self.optim.step()

    def state_dict(self):
        return self.optim.state_dict()


def test_of_a_wrapper_the_optimizer_within_takes_the_predictor():
    data = batches(9)
    model, (reference, plain, _) = network(), make()
    wrapper = Wrapper(model.parameters(), torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-3)
    with pytest.raises(TypeError, match="a Wrapper, which saves the state of one within: attach to optimizer.optim"):
        plp.torch.attach(wrapper, plp.PLP())
    plp.torch.attach(wrapper.optim, plp.PLP())
    steps(model, wrapper, data[:5])
    resumed, other, _ = make()
    resumed.load_state_dict(model.state_dict())
    other.load_state_dict(saved(wrapper.state_dict()))
    steps(resumed, other, data[5:])
    steps(reference, plain, data)
    assert torch.equal(flat(resumed), flat(reference))


def test_remove_leaves_a_plain_optimizer():
    data = batches(9)
    model, optimizer, attachment = make()
    steps(model, optimizer, data[:4])
    attachment.remove()
    assert not any("plp" in str(key) for key in (*optimizer.param_groups[0], *optimizer.state[model[0].weight]))
    reference = copy.deepcopy(model)
    plain = OPTIMIZERS["SGD with momentum"](reference.parameters())
    plain.load_state_dict(saved(optimizer.state_dict()))
    steps(model, optimizer, data[4:])
    steps(reference, plain, data[4:])
    assert torch.equal(flat(model), flat(reference))
    plp.torch.attach(optimizer, plp.Lookahead())  # it may have another one now


def test_an_optimizer_that_nobody_needs_is_freed():
    model, optimizer, attachment = make()
    steps(model, optimizer, batches(1))
    left = [weakref.ref(optimizer), weakref.ref(model[0].weight)]
    del model, optimizer, attachment
    gc.collect()
    assert [reference() for reference in left] == [None, None]


# ---- Parameters of all kinds ----------------------------------------------------------------------------------------


def test_groups_added_later_join_the_cycle():
    data = batches(9)

    def parts():
        model = network()
        return model, torch.optim.SGD(model[0].parameters(), lr=0.1, momentum=0.9)

    model, optimizer = parts()
    attachment = plp.torch.attach(optimizer, plp.PLP())
    steps(model, optimizer, data[:4])
    optimizer.add_param_group({"params": model[2].parameters(), "lr": 0.05})
    steps(model, optimizer, data[4:])
    assert {group["plp_iteration"] for group in optimizer.param_groups} == {9} == {attachment.iteration}

    reference, plain = parts()
    iterates = []
    for number, batch in enumerate(data):
        if number == 4:  # in the middle of a cycle, in whose first step the new parameters stood still
            plain.add_param_group({"params": reference[2].parameters(), "lr": 0.05})
        iterates.append(steps(reference, plain, [batch])[0])
        if number % 3 == 2:
            first, second, third = iterates[-3:]
            set_flat(reference, third + (second / 2 - first / 2))
    torch.testing.assert_close(flat(model), flat(reference), rtol=1e-6, atol=1e-7)


def test_parameters_without_gradients_stay_and_late_ones_join():
    torch.manual_seed(0)
    used, late = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4))
    frozen, numbers = nn.Parameter(torch.randn(4), requires_grad=False), torch.arange(4)
    kept = frozen.clone()
    optimizer = torch.optim.Adam([used, late, frozen, numbers], lr=0.1)
    plp.torch.attach(optimizer, plp.PLP())
    trace = []
    for number in range(6):
        optimizer.zero_grad()
        loss = (used**2).sum() + ((late**2).sum() if number >= 1 else 0)
        loss.backward()
        before = late.detach().clone()
        optimizer.step()
        trace.append((before, late.detach().clone()))
    assert torch.equal(frozen, kept) and torch.equal(numbers, torch.arange(4))
    # θ1 of its first cycle is where it stood; Adam's steps there are of length 0.1.
    (start, first), (_, second), (_, replaced) = trace[0], trace[1], trace[2]
    assert torch.equal(start, first)
    plain = nn.Parameter(start.clone())
    alone = torch.optim.Adam([plain], lr=0.1)
    for _ in range(2):
        alone.zero_grad()
        (plain**2).sum().backward()
        alone.step()
    torch.testing.assert_close(replaced, plain.detach() + (second - first) / 2)


def test_parameters_without_gradients_cost_the_same_however_long_a_run_is(monkeypatch):
    """With a closure too, before which nobody knows whether they will have one."""
    model, optimizer, _ = make(plp.Lookahead(), "SGD")
    late = [nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer.add_param_group({"params": late})
    optimizer.param_groups[0]["plp_iteration"] = 1_000
    steps(model, optimizer, batches(1), closure=True)
    asked, action = [], plp.torch._Arithmetic.__call__
    monkeypatch.setattr(plp.torch._Arithmetic, "__call__", lambda *place: asked.append(place) or action(*place))
    steps(model, optimizer, batches(5), closure=True)
    assert len(asked) == 5
    for parameter in late:  # one an iteration after the other
        parameter.grad = torch.zeros(3)
        optimizer.step()
        assert torch.equal(optimizer.state[parameter]["plp_memory"], torch.ones(3))
    assert len(asked) < 20


def test_complex_parameters():
    parameter = nn.Parameter(torch.tensor([1 + 2j, -3 + 0.5j]))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    plp.torch.attach(optimizer, plp.PLP())
    iterates = []
    for number in range(3):
        optimizer.zero_grad()
        (parameter.abs() ** 2).sum().backward()
        if number == 2:
            third = parameter.detach() - 0.1 * parameter.grad
        optimizer.step()
        iterates.append(parameter.detach().clone())
    torch.testing.assert_close(iterates[2], third + (iterates[1] - iterates[0]) / 2)


def test_sparse_gradients():
    def run(predictor):
        torch.manual_seed(0)
        table = nn.Embedding(10, 4, sparse=True)
        optimizer = torch.optim.SparseAdam(table.parameters(), lr=0.1)
        if predictor:
            plp.torch.attach(optimizer, predictor)
        iterates = []
        for index in (1, 2, 1):
            optimizer.zero_grad()
            table(torch.tensor([index, 5])).pow(2).sum().backward()
            optimizer.step()
            iterates.append(table.weight.detach().clone())
        return iterates

    first, second, third = run(None)
    torch.testing.assert_close(run(plp.PLP())[2], third + (second - first) / 2)


# ---- What other tools do with an optimizer --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fused SGD", "fused AdamW", "SGD with momentum"])
@pytest.mark.parametrize("predictor", [plp.PLP(), plp.EMA(decay=0.9)], ids=["PLP", "EMA"])
def test_steps_that_a_grad_scaler_skips_do_not_count(device, kind, predictor):
    data = batches(8)

    def run(poisoned):
        model, optimizer, attachment = make(predictor, kind)
        scaler = torch.amp.GradScaler(device, init_scale=1024.0, growth_interval=1000)
        for number, (x, y) in enumerate(data):
            for bad in (True, False) if number in poisoned else (False,):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                scaler.scale(loss * float("inf") if bad else loss).backward()
                scaler.step(optimizer)
                scaler.update()
        return flat(model), attachment.iteration

    expected, counted = run(())
    # Not its first one: fused SGD leaves its momentum unset where that is skipped (PyTorch 2.15).
    found, iteration = run((1 if kind == "fused SGD" else 0, 3, 4, 5))
    assert torch.equal(found, expected) and iteration == counted == 8


def test_compiled_steps():
    data = batches(8)
    model, optimizer, _ = make()
    reference, plain, _ = make()
    compiled = torch.compile(optimizer.step, backend="eager")
    for x, y in data:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        compiled()
    steps(reference, plain, data)
    torch.testing.assert_close(flat(model), flat(reference))


def test_schedulers_and_closures():
    data = batches(9)
    model, optimizer, _ = make()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 4)  # from a learning rate of 0
    reference = network()
    plain = OPTIMIZERS["SGD with momentum"](reference.parameters())
    other = torch.optim.lr_scheduler.LambdaLR(plain, lambda step: step / 4)
    iterates = []
    for number, batch in enumerate(data):
        steps(model, optimizer, [batch], closure=True)
        scheduler.step()
        iterates += steps(reference, plain, [batch])
        other.step()
        if number % 3 == 0 and number > 0:  # the step at a learning rate of 0 does not count
            first, second, third = iterates[-3:]
            set_flat(reference, third + (second / 2 - first / 2))
    assert torch.equal(flat(model), flat(reference))


@pytest.mark.parametrize(
    "predictor", [plp.PLP(), plp.PLP(period=4, start=2, end=11), plp.Lookahead(period=2)], ids=repr
)
def test_counting_on_the_device_gives_the_same(predictor):
    data = batches(13)
    model, reference = network(), network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    attachment = plp.torch.attach(optimizer, predictor, capturable=True)
    plain = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9)
    plp.torch.attach(plain, predictor)
    steps(model, optimizer, data[:5])
    resumed = network()
    other = torch.optim.SGD(resumed.parameters(), lr=0.1, momentum=0.9)
    plp.torch.attach(other, predictor, capturable=True)
    resumed.load_state_dict(model.state_dict())
    other.load_state_dict(saved(optimizer.state_dict()))
    steps(model, optimizer, data[5:])
    steps(resumed, other, data[5:])
    steps(reference, plain, data)
    torch.testing.assert_close(flat(model), flat(reference), rtol=1e-6, atol=1e-7)
    assert torch.equal(flat(model), flat(resumed)) and attachment.iteration == 13


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.complex128], ids=str)
@pytest.mark.parametrize(
    "predictor", [plp.PLP(), plp.PLP(period=5, end=9), plp.PLP(momentum="reset"), plp.Lookahead(rate=0)], ids=repr
)
def test_what_the_device_multiplies_by_0_may_be_nan_too(predictor, dtype):
    def run(capturable, bad):
        parameter = nn.Parameter(torch.ones(3, dtype=dtype))
        optimizer = torch.optim.SGD([parameter], lr=0.125, momentum=0.5 if predictor.momentum == "reset" else 0)
        plp.torch.attach(optimizer, predictor, capturable=capturable)
        for number in range(15):
            good = parameter.detach().clone()
            parameter.grad = torch.full_like(parameter, float("nan") if number == bad else 1)
            optimizer.step()
            if parameter.isnan().any():  # as a loop may take them back
                parameter.data.copy_(good)
        return parameter.detach()

    for bad in range(10):
        torch.testing.assert_close(run(True, bad), run(False, bad))


DISTRIBUTED = """
import os, sys, torch, plp
sys.path.insert(0, os.path.dirname(sys.argv[1]))
from test_torch import batches, flat, network, steps
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
model = torch.nn.parallel.DistributedDataParallel(network())
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
plp.torch.attach(optimizer, plp.PLP())
steps(model, optimizer, batches(14)[rank::2])
torch.save(flat(model), os.path.join(sys.argv[2], f"{rank}.pt"))
os._exit(0)  # PyTorch 2.15 aborts in one of ten ends of Python after DistributedDataParallel, without plp too
"""


@only("cpu")
def test_all_ranks_have_the_same_bits(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", DISTRIBUTED, __file__, str(tmp_path)]
    ranks = [subprocess.Popen(command, env={**common, "RANK": str(rank)}) for rank in range(2)]
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert torch.equal(first, second) and not torch.equal(first, flat(network()))


# ---- Momentum, averages, statistics ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, name", [("SGD with momentum", "momentum_buffer"), ("fused AdamW", "exp_avg")])
def test_momentum_is_reset_at_a_prediction_or_kept(kind, name):
    for treatment in ("reset", "kept"):
        model, optimizer, _ = make(plp.PLP(momentum=treatment), kind)
        steps(model, optimizer, batches(2))
        assert optimizer.state[model[0].weight][name].any()
        steps(model, optimizer, batches(1))
        assert optimizer.state[model[0].weight][name].any() == (treatment == "kept")


def test_behind_a_reset_adams_bias_correction_goes_on():
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], lr=1.0)
    plp.torch.attach(optimizer, plp.PLP(momentum="reset"))
    parameter.grad = torch.ones(1)
    places = [0.0]
    for _ in range(4):
        optimizer.step()
        places.append(parameter.item())
    np.testing.assert_allclose(np.diff(places), [-1, -1, -1.5, -(1 - 0.9) / (1 - 0.9**4)], rtol=1e-5)


def test_the_average_is_lent_with_statistics_that_fit_it():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 11), nn.BatchNorm1d(11), nn.Linear(11, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    attachment = plp.torch.attach(optimizer, plp.EMA(decay=0.5))
    data = batches(5)
    steps(model, optimizer, data)
    before = copy.deepcopy(model.state_dict())
    inputs = torch.cat([x for x, _ in data])
    with attachment.average(model, [inputs]):
        averaged = copy.deepcopy(model.state_dict())
        hidden = model[0](inputs)
        torch.testing.assert_close(model[1].running_mean, hidden.mean(0))
        torch.testing.assert_close(model[1].running_var, hidden.var(0))
    assert not torch.equal(averaged["0.weight"], before["0.weight"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(RuntimeError, match="mine"), attachment.average():
        raise RuntimeError("mine")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_behind_the_average_all_of_the_model_is_as_it_was():
    torch.manual_seed(0)
    spectral = nn.utils.parametrizations.spectral_norm(nn.Conv1d(3, 4, 3))
    instance = nn.InstanceNorm1d(4, track_running_stats=True)
    model = nn.Sequential(nn.BatchNorm1d(3), spectral, instance, nn.Conv1d(4, 4, 3), nn.BatchNorm1d(4))
    model.register_buffer("mask", torch.zeros(1).expand(4))  # which nobody may write to
    attachment = plp.torch.attach(torch.optim.SGD(model.parameters(), lr=0.1), plp.EMA())
    model[0].eval()  # frozen, as in fine-tuning

    def all_of_it():
        modules = [(module.training, getattr(module, "momentum", None)) for module in model.modules()]
        return modules, {name: value.clone() for name, value in model.state_dict().items()}

    modes, values = all_of_it()
    data = [torch.randn(8, 3, 16) + 1 for _ in range(3)]
    with attachment.average(model, data):
        assert all_of_it()[0] == modes and not torch.equal(model[4].running_mean, values["4.running_mean"])
    with pytest.raises(RuntimeError, match="5 elements"), attachment.average(model, [data[0], torch.ones(1, 5, 16)]):
        pass
    found, after = all_of_it()
    assert found == modes and all(torch.equal(value, values[name]) for name, value in after.items())


def test_nan_is_passed_on():
    model, optimizer, _ = make()
    x, y = batches(1)[0]
    steps(model, optimizer, [(x * float("nan"), y)] * 3)
    assert flat(model).isnan().all()


# ---- Bad input ------------------------------------------------------------------------------------------------------


def test_bad_input_is_named_and_changes_nothing():
    model, optimizer, attachment = make()
    data = batches(4)
    with pytest.raises(ValueError, match=r"has a predictor already, PLP\(.*remove"):
        plp.torch.attach(optimizer, plp.PLP())
    with pytest.raises(TypeError, match="optimizer is a Linear, expected a torch.optim.Optimizer"):
        plp.torch.attach(model[0], plp.PLP())
    plain = torch.optim.SGD(network().parameters(), lr=0.1)
    with pytest.raises(ValueError, match="predictor is 'plp', expected one such as"):
        plp.torch.attach(plain, "plp")
    with pytest.raises(ValueError, match="statistics is 'predicted'"):
        plp.torch.attach(plain, plp.PLP(statistics="predicted"))
    with pytest.raises(ValueError, match="period"):
        plp.torch.attach(plain, plp.PLP(period=1))
    with pytest.raises(ValueError, match=r"capturable: EMA\(\)"):
        plp.torch.attach(plain, plp.EMA(), capturable=True)
    with pytest.raises(ValueError, match="PLP.*no average"), attachment.average():
        pass

    steps(model, optimizer, data)
    before = flat(model)
    other = network()
    foreign = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
    plp.torch.attach(foreign, plp.PLP(step=2))
    foreign.load_state_dict(optimizer.state_dict())
    with pytest.raises(ValueError, match=r"state is of the predictor PLP\(\), expected PLP\(step=2\)"):
        steps(other, foreign, data)
    assert torch.equal(flat(other), flat(network()))

    model[0].weight.data = model[0].weight.data.double()
    model[0].weight.grad = None
    with pytest.raises(
        ValueError, match=r"parameter 0 is float64 \[19, 7\] on (cpu|cuda:0), expected float32 \[19, 7\]"
    ):
        optimizer.step()
    model[0].weight.data = model[0].weight.data.float()
    assert torch.equal(flat(model), before)


@pytest.mark.parametrize(
    "given, rule",
    [
        (plp.PLP(coefficients=[-0.5, 0.5, 1]), "PLP(coefficients=[-0.5, 0.5, 1])"),
        (plp.PLP(coefficients=np.array([-0.5, 0.5, 1])), "PLP(coefficients=(-0.5, 0.5, 1.0))"),
        (plp.PLP(step=2, period=np.int64(4)), "PLP(step=2.0, period=4)"),
        (plp.EMA(decay=np.float64(0.05)), "EMA(decay=0.05)"),
        (plp.EMA(decay=0.05), "EMA(decay=np.float64(0.05))"),
        (plp.SWA(start=4.0), "SWA(start=4)"),
    ],
    ids=repr,
)
def test_equal_rules_are_one(given, rule):
    """However their numbers came, and were written by earlier versions."""
    _, optimizer, _ = make(given)
    for group in optimizer.param_groups:
        group.update(plp_rule=rule, plp_iteration=5)
    _, other, attachment = make(given)
    other.load_state_dict(saved(optimizer.state_dict()))
    other.step()
    assert attachment.iteration == 6


@only("cpu")
def test_plp_alone_does_not_load_pytorch():
    code = "import plp, sys; assert 'torch' not in sys.modules; plp.torch.attach; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@only("cpu")
@pytest.mark.parametrize("library", ["torchvision", "datasets"])
def test_data_of_other_libraries(library, tmp_path):
    pytest.importorskip(library)
    (program,) = [code for code in programs("docs/howto/images.md", "python") if f"import {library}\n" in code]
    assert "<plp.datasets.Dataset" in output("python", program, tmp_path)


@only("cpu")
@pytest.mark.parametrize("code", programs("docs/howto/pytorch.md", "python"))
def test_the_page_s_programs(code):
    subprocess.run([sys.executable, "-c", code], check=True)


@only("cpu")
def test_the_example():
    done = subprocess.run([sys.executable, ROOT / "examples/python/torch_loop.py"], capture_output=True, text=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["SGD", "SGD", "PLP"], done.stderr


@only("cpu")
def test_the_example_of_an_engine(tmp_path):
    quick = ["--images", "256", "--seeds", "1", "--epochs", "1", "--width", "0.0625", "--path", tmp_path / "study"]
    command = [sys.executable, ROOT / "examples/python/torch_engine.py", *quick]
    subprocess.run(command, capture_output=True, check=True)
    study = plp.Study.load(tmp_path / "study")
    theirs, ours = study.outcomes("resnet18", "PyTorch's sgd")[0], study.outcomes("resnet18", "sgd")[0]
    assert abs(theirs.loss - ours.loss) < 0.5  # one epoch from the same weights
    assert {run.engine for run in study.runs} == {"__main__.engine"}


# ---- On a GPU alone -------------------------------------------------------------------------------------------------


@only("cuda")
@pytest.mark.parametrize(
    ("kind", "scaled"),
    [("fused SGD", False), ("fused SGD", True), ("fused AdamW", False), ("fused AdamW", True), ("Adam", False)],
)
def test_nothing_waits_for_the_device(kind, scaled):
    data = batches(9)
    model, reference = network(), network()
    optimizer = OPTIMIZERS[kind](model.parameters())
    scaler = torch.amp.GradScaler("cuda", init_scale=1024.0, enabled=scaled)
    plp.torch.attach(optimizer, plp.PLP())

    def train(batches):
        for x, y in batches:
            optimizer.zero_grad()
            scaler.scale(nn.functional.cross_entropy(model(x), y)).backward()
            scaler.step(optimizer)
            scaler.update()

    train(data[:2])
    torch.cuda.set_sync_debug_mode("error")
    try:
        train(data[2:])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(flat(model), by_hand(reference, OPTIMIZERS[kind](reference.parameters()), data))


@only("cuda")
@pytest.mark.parametrize("kind", ["fused SGD", "fused AdamW"])
def test_graphs_capture_a_step(kind):
    def optimizer_of(model):
        if kind == "fused AdamW":
            return torch.optim.AdamW(model.parameters(), lr=0.01, fused=True, capturable=True)
        return OPTIMIZERS[kind](model.parameters())

    data = batches(14)
    model, reference = network(), network()
    optimizer, plain = optimizer_of(model), optimizer_of(reference)
    attachment = plp.torch.attach(optimizer, plp.PLP(), capturable=True)
    plp.torch.attach(plain, plp.PLP())
    x, y = data[0][0].clone(), data[0][1].clone()

    def train():
        optimizer.zero_grad(set_to_none=False)
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    def take(batch):
        x.copy_(batch[0])
        y.copy_(batch[1])

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for batch in data[:3]:
            take(batch)
            train()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        train()
    for batch in data[3:]:
        take(batch)
        graph.replay()
    steps(reference, plain, data)
    assert attachment.iteration == len(data)
    torch.testing.assert_close(flat(model), flat(reference), rtol=1e-4, atol=1e-5)
