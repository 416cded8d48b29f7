"""Prediction in a training loop of one's own, on NumPy's arrays: softmax regression by SGD with momentum, and PLP."""

import numpy as np
import plp

random = np.random.default_rng(0)
centres = random.standard_normal((10, 20), np.float32)
labels = random.integers(0, 10, 2_000)
images = centres[labels] + 1.5 * random.standard_normal((2_000, 20), np.float32)

parameters = [np.zeros((20, 10), np.float32), np.zeros(10, np.float32)]
velocities = [np.zeros_like(array) for array in parameters]
prediction = plp.Prediction(plp.PLP(), parameters)

for epoch in range(3):
    for batch in random.permutation(2_000).reshape(-1, 50):
        weights, biases = parameters
        logits = images[batch] @ weights + biases
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        loss = -np.log(probabilities[np.arange(50), labels[batch]]).mean()
        probabilities[np.arange(50), labels[batch]] -= 1
        gradients = [images[batch].T @ probabilities / 50, probabilities.mean(axis=0)]
        for array, velocity, gradient in zip(parameters, velocities, gradients):
            velocity *= 0.9
            velocity += gradient
            array -= 0.02 * velocity
        prediction.after_step(parameters)  # in place, after every step; every third one predicts
    print(f"epoch {epoch + 1}: loss {loss:.3f}")
