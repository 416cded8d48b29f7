"""What a watch would see of gradients that are independent from step to step: the control of what it does see."""

from __future__ import annotations

from math import gcd, sqrt
from statistics import fmean

import numpy as np

from .options import PLP, SGD, Lookahead, Recipe
from .prediction import Prediction


def expected_cosine(recipe: Recipe) -> float | None:
    """See :class:`plp.Watched`: of the run that a recipe makes, weight decay left out.

    Parameters are sums of gradients then. Here each gradient is a unit vector of its own, so that the moves have the
    coefficients of these sums as components, and their product is what is to be expected of independent gradients.
    """
    optimizer, predictor = recipe.optimizer, recipe.predictor
    rule = recipe.watch.rule if recipe.watch else PLP()
    if not isinstance(optimizer, SGD) or optimizer.demon:
        return None
    if isinstance(predictor, PLP) and (predictor.start > 0 or predictor.end is not None):
        return None
    own = predictor if isinstance(predictor, (PLP, Lookahead)) else None  # others leave the parameters as they are
    period = own._cycle if own else 1
    if period > _GRADIENTS // 4:
        return None
    theta = np.zeros(_GRADIENTS, np.float32)
    velocity, path = np.zeros_like(theta), []
    prediction = Prediction(own, theta) if own else None
    for gradient in np.eye(_GRADIENTS, dtype=np.float32):
        velocity = optimizer.momentum * velocity + gradient
        theta -= gradient + optimizer.momentum * velocity if optimizer.nesterov else velocity
        if own and prediction and prediction.after_step(theta) and own.momentum == "reset":
            velocity[:] = 0
        path.append(theta.astype(np.float64))
    # All places in a cycle of the run's own at which cycles of the watch end, without the beginning.
    step = gcd(period, rule._cycle)
    first_end = _GRADIENTS // 2 + (rule.start - _GRADIENTS // 2) % step
    weights = rule.coefficients or (-rule.step / 2, 0.5, (1 + rule.step) / 2)
    cosines = []
    for end in range(first_end, _GRADIENTS, step):
        first, second, third, fourth = path[end - 3 : end + 1]
        midpoint = (second + third) / 2
        predicted = np.tensordot(weights, (first, second, third), 1) - midpoint
        actual = (third + fourth) / 2 - midpoint
        lengths = sqrt((predicted @ predicted) * (actual @ actual))
        if not lengths:  # a rule of no step goes nowhere
            return None
        cosines.append(predicted @ actual / lengths)
    return fmean(cosines)


_GRADIENTS = 600
"""So many that a momentum of 0.99 has forgotten the start in the second half, but for a twentieth."""
