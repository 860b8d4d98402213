"""Optimisers, schedules and helpers over parameters."""

from __future__ import annotations

from typing import Any

from tests.bad_calls import Bad


def leaf(library: Any) -> Any:
    return library.ones(2, requires_grad=True)


def make(name: str, **options: Any) -> Any:
    return lambda library: getattr(library.optim, name)([leaf(library)], **options)


def schedule(name: str, *args: Any, optimizer: str = "SGD", **options: Any) -> Any:
    def call(library: Any) -> Any:
        settings = {"momentum": 0.9} if optimizer == "SGD" else {}
        held = getattr(library.optim, optimizer)([leaf(library)], lr=0.1, **settings)
        return getattr(library.optim.lr_scheduler, name)(held, *args, **options)

    return call


def search(library: Any) -> Any:
    """L-BFGS is asked for a line search that it does not have."""
    parameter = leaf(library)
    optimizer = library.optim.LBFGS([parameter], line_search_fn="armijo")

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (parameter * parameter).sum()
        loss.backward()
        return loss

    optimizer.step(closure)


def sequence(*schedules: str, milestones: Any = (), other: bool = False) -> Any:
    def call(library: Any) -> Any:
        s = library.optim.lr_scheduler
        optimizer = library.optim.SGD([leaf(library)], lr=0.1)
        inner = library.optim.SGD([leaf(library)], lr=0.1) if other else optimizer
        made = [s.ReduceLROnPlateau(inner) if name == "plateau" else s.ExponentialLR(inner, 0.9) for name in schedules]
        return s.SequentialLR(optimizer, made, list(milestones))

    return call


def chain(*schedules: str) -> Any:
    def call(library: Any) -> Any:
        s = library.optim.lr_scheduler
        made = []
        for name in schedules:
            optimizer = library.optim.SGD([leaf(library)], lr=0.1)
            made.append(s.ReduceLROnPlateau(optimizer) if name == "plateau" else s.ExponentialLR(optimizer, 0.9))
        return s.ChainedScheduler(made)

    return call


def one_cycle_too_far(library: Any) -> Any:
    made = schedule("OneCycleLR", 0.1, 2)(library)
    made.optimizer._step_count = 1  # so that nothing warns of a step that was left out
    if library.__name__ == "torch":
        made.optimizer._opt_called = True
    for _ in range(3):
        made.step()


OPTIONS = [
    # optimiser, options, exception, message, whether PyTorch raises it too
    ("SGD", {"lr": -1}, ValueError, "Invalid learning rate: -1", True),
    ("SGD", {"lr": "fast"}, TypeError, "SGD: lr must be a number, got 'fast'", True),
    ("SGD", {"lr": None}, TypeError, "SGD: lr must be a number, got None", True),
    ("SGD", {"momentum": -0.1}, ValueError, "Invalid momentum value: -0.1", True),
    ("SGD", {"weight_decay": -0.1}, ValueError, "Invalid weight_decay value: -0.1", True),
    ("SGD", {"l1_decay": -0.1}, ValueError, "Invalid l1_decay value: -0.1", False),
    ("SGD", {"nesterov": True}, ValueError, "Nesterov momentum requires .* momentum=0, dampening=0", True),
    ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, ValueError, "momentum=0.9, dampening=0.1", True),
    ("SGD", {"fused": True, "foreach": True}, RuntimeError, "`fused` and `foreach` cannot be `True` together", True),
    ("SGD", {"differentiable": True}, NotImplementedError, "SGD: .* differentiable must be False", False),
    ("Adam", {"lr": -1}, ValueError, "Invalid learning rate: -1", True),
    ("Adam", {"eps": -1}, ValueError, "Invalid epsilon value: -1", True),
    ("Adam", {"betas": (1.0, 0.9)}, ValueError, "Invalid beta parameter at index 0: 1.0", True),
    ("Adam", {"betas": (0.9, -0.1)}, ValueError, "Invalid beta parameter at index 1: -0.1", True),
    ("Adam", {"betas": 0.9}, ValueError, "Invalid betas: expected a pair, got 0.9", False),
    ("Adam", {"weight_decay": -1}, ValueError, "Invalid weight_decay value: -1", True),
    ("AdamW", {"betas": (0.9, 1.0)}, ValueError, "Invalid beta parameter at index 1: 1.0", True),
    ("Adamax", {"betas": (0.9, 1.0)}, ValueError, "Invalid beta parameter at index 1: 1.0", True),
    ("Adamax", {"eps": -1e-8}, ValueError, "Invalid epsilon value: -1e-08", True),
    ("NAdam", {"momentum_decay": -1}, ValueError, "Invalid momentum_decay value: -1", True),
    ("NAdam", {"betas": (-0.9, 0.9)}, ValueError, "Invalid beta parameter at index 0: -0.9", True),
    ("RAdam", {"betas": (0.9, 2)}, ValueError, "Invalid beta parameter at index 1: 2", True),
    ("RAdam", {"weight_decay": -1}, ValueError, "Invalid weight_decay value: -1", True),
    ("Adagrad", {"lr_decay": -1}, ValueError, "Invalid lr_decay value: -1", True),
    ("Adagrad", {"initial_accumulator_value": -1}, ValueError, "Invalid initial_accumulator_value value: -1", True),
    ("Adagrad", {"eps": -1}, ValueError, "Invalid epsilon value: -1", True),
    ("Adadelta", {"rho": 1.5}, ValueError, "Invalid rho value: 1.5", True),
    ("Adadelta", {"lr": -1}, ValueError, "Invalid learning rate: -1", True),
    ("RMSprop", {"alpha": -1}, ValueError, "Invalid alpha value: -1", True),
    ("RMSprop", {"momentum": -1}, ValueError, "Invalid momentum value: -1", True),
    ("ASGD", {"lr": -1}, ValueError, "Invalid learning rate: -1", True),
    ("ASGD", {"weight_decay": -1}, ValueError, "Invalid weight_decay value: -1", True),
    ("Rprop", {"etas": (1.2, 0.5)}, ValueError, "Invalid eta values: 1.2, 0.5", True),
    ("LBFGS", {"lr": -1}, ValueError, "Invalid learning rate: -1", True),
]

SCHEDULES = [
    ("StepLR", (0,), {}, ValueError, "StepLR: step_size must be at least 1, got 0", False),
    ("StepLR", (1,), {"last_epoch": 3}, KeyError, "StepLR: .* has no 'initial_lr', which last_epoch=3 needs", True),
    ("LambdaLR", ([lambda epoch: 1.0] * 2,), {}, ValueError, "LambdaLR: expected 1 lr_lambdas, but got 2", True),
    ("LambdaLR", (1,), {}, TypeError, "LambdaLR: lr_lambda should be a function, but got int", True),
    ("MultiplicativeLR", ([1.0],), {}, TypeError, "MultiplicativeLR: lr_lambda should be a function", True),
    ("ConstantLR", (2.0,), {}, ValueError, "ConstantLR: factor must be from 0 to 1, got 2.0", True),
    ("LinearLR", (0,), {}, ValueError, "LinearLR: start_factor must be above 0 and at most 1, got 0", True),
    ("LinearLR", (1, 2), {}, ValueError, "LinearLR: end_factor must be from 0 to 1, got 2", True),
    ("PolynomialLR", (0,), {}, ValueError, "PolynomialLR: total_iters must be at least 1, got 0", False),
    ("CosineAnnealingLR", (0,), {}, ValueError, "CosineAnnealingLR: T_max must be at least 1, got 0", False),
    ("CosineAnnealingWarmRestarts", (0,), {}, ValueError, "T_0 must be a positive integer, got 0", True),
    ("CosineAnnealingWarmRestarts", (1, 1.5), {}, ValueError, "T_mult must be a positive integer, got 1.5", True),
    ("CosineAnnealingWarmRestarts", (1, 1, "x"), {}, ValueError, "eta_min must be a number, got 'x'", True),
    ("CyclicLR", (0.1, 0.2), {"mode": "x"}, ValueError, "CyclicLR: mode must be .*, got 'x'", True),
    ("CyclicLR", ([0.1, 0.2], 0.2), {}, ValueError, "base_lr must have one value for each of the 1 .*, got 2", True),
    ("CyclicLR", (0.1, 0.2), {"optimizer": "Adagrad"}, ValueError, "Adagrad has neither momentum nor betas", True),
    ("OneCycleLR", (0.1,), {}, ValueError, "OneCycleLR: pass either total_steps, or epochs and steps_per_epoch", True),
    ("OneCycleLR", (0.1, 0), {}, ValueError, "total_steps must be a positive integer, got 0", True),
    ("OneCycleLR", (0.1, None, 2, 1.5), {}, ValueError, "steps_per_epoch must be a positive integer, got 1.5", True),
    ("OneCycleLR", (0.1, 9), {"pct_start": 2.0}, ValueError, "pct_start must be a float from 0 to 1, got 2.0", True),
    ("OneCycleLR", (0.1, 9), {"anneal_strategy": "x"}, ValueError, "must be 'cos' or 'linear', got 'x'", True),
    ("OneCycleLR", (0.1, 9), {"optimizer": "Adagrad"}, ValueError, "Adagrad has neither momentum nor betas", True),
    ("ReduceLROnPlateau", (), {"factor": 1.0}, ValueError, "factor must be below 1, got 1.0", True),
    ("ReduceLROnPlateau", ("up",), {}, ValueError, "mode must be 'min' or 'max', got 'up'", True),
    ("ReduceLROnPlateau", (), {"threshold_mode": "x"}, ValueError, "threshold_mode must be .*, got 'x'", True),
    ("ReduceLROnPlateau", (), {"min_lr": [1, 2]}, ValueError, "min_lr must have one value .* 1 .*, got 2", True),
]

BAD = [
    *[
        Bad(f"{name}: {message}", make(name, **options), error, message, torch)
        for name, options, error, message, torch in OPTIONS
    ],
    *[
        Bad(f"{name}: {message}", schedule(name, *args, **options), error, message, torch)
        for name, args, options, error, message, torch in SCHEDULES
    ],
    Bad("lr of two elements", lambda lib: lib.optim.SGD([leaf(lib)], lr=lib.ones(2)), ValueError, "lr must be 1-element, got shape"),
    Bad("no parameters", lambda lib: lib.optim.Adam([]), ValueError, "empty parameter list"),
    Bad("a single tensor", lambda lib: lib.optim.Adam(leaf(lib)), TypeError, "Adam: params must be .* got a single Tensor"),
    Bad("a set", lambda lib: lib.optim.SGD({leaf(lib)}), TypeError, "ordered iterable", False),
    Bad("a number among them", lambda lib: lib.optim.SGD([leaf(lib), 1]), TypeError, "can only optimize Tensors, .* int"),
    Bad("not a leaf", lambda lib: lib.optim.SGD([lib.ones(2, requires_grad=True).view(1, 2)]), ValueError, "non-leaf Tensor"),
    Bad("a group without params", lambda lib: lib.optim.SGD([{"lr": 0.1}]), KeyError, "needs the key 'params'"),
    Bad("a group that is none", lambda lib: lib.optim.SGD([leaf(lib)]).add_param_group("x"), TypeError, "must be a dict, got str"),
    Bad("an option that is none", lambda lib: lib.optim.SGD([{"params": [leaf(lib)], "mom": 1}]), ValueError, "no option 'mom'", False),
    Bad("two groups of LBFGS", lambda lib: lib.optim.LBFGS([{"params": [leaf(lib)]}, {"params": [leaf(lib)]}]), ValueError,
        "LBFGS: all parameters stand in one group, got 2 groups"),
    Bad("LBFGS without a closure", lambda lib: lib.optim.LBFGS([leaf(lib)]).step(), TypeError, "LBFGS: step needs a closure"),
    Bad("an unknown line search", search, RuntimeError, "line_search_fn must be None or 'strong_wolfe', got 'armijo'"),
    Bad("a state that is none", lambda lib: lib.optim.SGD([leaf(lib)]).load_state_dict({}), KeyError, "'state' and 'param_groups'"),
    Bad("a state of no groups", lambda lib: lib.optim.SGD([leaf(lib)]).load_state_dict({"state": {}, "param_groups": []}),
        ValueError, "different number of parameter groups: 0, expected 1"),
    Bad("a schedule of no optimizer", lambda lib: lib.optim.lr_scheduler.StepLR("SGD", 1), TypeError,
        "StepLR: expected an Optimizer, got str"),
    Bad("one cycle too far", one_cycle_too_far, ValueError, "tried to step 3 times, but total_steps is 2"),
    Bad("warm restarts at a negative epoch", lambda lib: schedule("CosineAnnealingWarmRestarts", 5)(lib).step(-1), ValueError,
        "epoch must not be negative, got -1"),
    Bad("a sequence of nothing", sequence(), ValueError, "SequentialLR expects at least one scheduler"),
    Bad("a sequence without milestones", sequence("exponential", "exponential"), ValueError,
        "2 schedulers need 1 milestones, got 0"),
    Bad("a sequence with a plateau", sequence("plateau"), ValueError, "ReduceLROnPlateau at index 0 needs metrics"),
    Bad("a sequence of another optimizer's", sequence("exponential", other=True), ValueError, "belongs to another optimizer"),
    Bad("a sequence of numbers", lambda lib: schedule("SequentialLR", [1], [])(lib), TypeError, "expected schedules, got int"),
    Bad("a chain of nothing", chain(), ValueError, "ChainedScheduler expects at least one scheduler"),
    Bad("a chain of two optimizers", chain("a", "b"), ValueError, "ExponentialLR at index 1 belongs to another optimizer"),
    Bad("a chain with a plateau", chain("plateau"), ValueError, "ReduceLROnPlateau at index 0 needs metrics"),
    Bad("clip_grad_norm_ to a word", lambda lib: lib.nn.utils.clip_grad_norm_([leaf(lib)], 1.0, "two"), ValueError, "two"),
    Bad("clip_grad_norm_ of a number", lambda lib: lib.nn.utils.clip_grad_norm_(3, 1.0), TypeError, "not iterable"),
    Bad("clip_grad_value_ to a word", lambda lib: lib.nn.utils.clip_grad_value_([leaf(lib)], "one"), ValueError, "one"),
    Bad("vector_to_parameters of a list", lambda lib: lib.nn.utils.vector_to_parameters([1.0], [leaf(lib)]), TypeError,
        "vector_to_parameters: expected a Tensor, got list"),
    Bad("vector_to_parameters of too few", lambda lib: lib.nn.utils.vector_to_parameters(lib.ones(1), [leaf(lib)]), RuntimeError,
        r"the parameters have 2 elements, got a vec of shape \(1,\)"),
    Bad("weight_norm of no parameter", lambda lib: lib.nn.utils.weight_norm(lib.nn.ReLU(), "kernel"), AttributeError, "kernel"),
    Bad("weight_norm of None", lambda lib: lib.nn.utils.weight_norm(lib.nn.BatchNorm2d(2, affine=False), "bias"),
        (AttributeError, TypeError), "weight_norm: 'bias' is no parameter of BatchNorm2d"),
    Bad("remove_weight_norm of a plain layer", lambda lib: lib.nn.utils.remove_weight_norm(lib.nn.BatchNorm2d(2)), ValueError,
        "weight_norm of 'weight' not found in BatchNorm2d"),
    Bad("spectral_norm of no parameter", lambda lib: lib.nn.utils.spectral_norm(lib.nn.ReLU(), "kernel"), KeyError, "kernel"),
    Bad("spectral_norm of None", lambda lib: lib.nn.utils.spectral_norm(lib.nn.BatchNorm2d(2, affine=False)), ValueError,
        "parameter `weight` is None"),
    Bad("spectral_norm without iterations", lambda lib: lib.nn.utils.spectral_norm(lib.nn.BatchNorm2d(2), n_power_iterations=0),
        ValueError, "n_power_iterations=0"),
    Bad("remove_spectral_norm of a plain layer", lambda lib: lib.nn.utils.remove_spectral_norm(lib.nn.BatchNorm2d(2)), ValueError,
        "spectral_norm of 'weight' not found in BatchNorm2d"),
    Bad("fuse layers in training", lambda lib: lib.nn.utils.fuse_conv_bn_eval(lib.nn.BatchNorm2d(2), lib.nn.BatchNorm2d(2)),
        AssertionError, "fuse_conv_bn_eval: both layers must be in evaluation mode"),
    Bad("fuse without statistics",
        lambda lib: lib.nn.utils.fuse_conv_bn_eval(lib.nn.BatchNorm2d(2).eval(), lib.nn.BatchNorm2d(2, track_running_stats=False).eval()),
        AssertionError, "keeps no running statistics"),
    Bad("a penalty below zero", lambda lib: lib.optim.l1_penalty([leaf(lib)], -1), ValueError, "l1 must not be negative, got -1", False),
]  # fmt: skip
