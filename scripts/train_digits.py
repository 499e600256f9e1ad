"""Train the digits network: two convolutions and two linear layers on scikit-learn's 8 x 8 digits, in plain numpy.

    python scripts/train_digits.py            # writes workloads/digits.npz and digits.yaml, prints the accuracy

The 1,797 images are split 1,297 : 500 by a seeded permutation. Inputs are the pixels 0 to 16 as they are, divided by
16. The same seed gives the same bits on one machine; other BLAS libraries may round sums otherwise, which moves
weights in their last places and, by a picture or two, the accuracy.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
WORKLOADS = Path(__file__).parents[1] / "workloads"
SHAPES = {"conv1": (16, 1, 3, 3), "conv2": (32, 16, 3, 3), "fc1": (64, 128), "fc2": (10, 64)}
TEST_IMAGES = 500
EPOCHS, BATCH, RATE, MOMENTUM, DECAY = 40, 32, 0.05, 0.9, 5e-4

NETWORK = """\
# Written by scripts/train_digits.py, which trained the weights: top-1 {accuracy:.1%} on 500 held-out pictures.
schema: accelsim.network/1
name: digits
description: >-
  A small convolutional network with its trained weights, in the manner of LeNet-5 (Y. LeCun et al., Proc. IEEE 1998),
  for scikit-learn's 8 x 8 digits (E. Alpaydin and C. Kaynak, UCI Machine Learning Repository 1998).
batch: 1
precision: {{weight: fp32, input: fp32, accumulator: fp32, output: fp32}}
layers:
  - {{name: conv1, op: conv2d, shape: [1, 8, 8], K: 16, R: 3, S: 3, pad: 1, {conv1}}}
  - {{name: relu1, op: relu}}
  - {{name: pool1, op: maxpool2d, window: 2}}
  - {{name: conv2, op: conv2d, K: 32, R: 3, S: 3, pad: 1, {conv2}}}
  - {{name: relu2, op: relu}}
  - {{name: pool2, op: maxpool2d, window: 2}}
  - {{name: flat, op: flatten}}
  - {{name: fc1, op: linear, out: 64, {fc1}}}
  - {{name: relu3, op: relu}}
  - {{name: fc2, op: linear, out: 10, {fc2}}}
"""


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=WORKLOADS, help="folder for digits.yaml and digits*.npz")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args()
    train, test = load_digits()
    weights = fit(*train, options.epochs)
    accuracy = float(np.mean(forward(weights, test[0])["fc2"].argmax(axis=1) == test[1]))
    np.savez_compressed(options.out / "digits.npz", **weights)
    np.savez_compressed(
        options.out / "digits_data.npz",
        test_images=test[0], test_labels=test[1], calibration_images=train[0][:128], calibration_labels=train[1][:128],
    )  # fmt: skip
    sources = {
        name: f"weight: {{file: digits.npz, array: {name}.weight}}, bias: {{file: digits.npz, array: {name}.bias}}"
        for name in SHAPES
    }
    (options.out / "digits.yaml").write_text(NETWORK.format(accuracy=accuracy, **sources), encoding="utf-8")
    print(f"top-1 {accuracy:.1%} on {len(test[1])} pictures; {sum(w.size for w in weights.values()):,} parameters")


def load_digits() -> tuple[tuple[Floats, Any], tuple[Floats, Any]]:
    """((images, labels) to train on, (images, labels) to test on); images are N x 1 x 8 x 8, 0 to 1."""
    from sklearn.datasets import load_digits as read

    data = read()
    images = (data.images / 16).astype(np.float32)[:, None]
    labels = data.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    test, train = order[:TEST_IMAGES], order[TEST_IMAGES:]
    return (images[train], labels[train]), (images[test], labels[test])


def fit(images: Floats, labels: Any, epochs: int = EPOCHS) -> dict[str, Floats]:
    """Stochastic gradient descent with momentum, weight decay and a cosine rate."""
    random = np.random.default_rng(1)
    weights = start(random)
    speed = {name: np.zeros_like(w) for name, w in weights.items()}
    steps, done = epochs * (len(labels) // BATCH), 0
    for _ in range(epochs):
        order = random.permutation(len(labels))
        for at in range(0, len(labels) - BATCH + 1, BATCH):
            chosen = order[at : at + BATCH]
            rate = np.float32(RATE * 0.5 * (1 + np.cos(np.pi * done / steps)))
            gradients = backward(weights, forward(weights, images[chosen]), labels[chosen])
            for name, gradient in gradients.items():
                decay = DECAY if name.endswith("weight") else 0.0
                speed[name] = MOMENTUM * speed[name] - rate * (gradient + decay * weights[name])
                weights[name] = (weights[name] + speed[name]).astype(np.float32)
            done += 1
    return weights


def start(random: np.random.Generator) -> dict[str, Floats]:
    """He's initialization; biases zero."""
    weights: dict[str, Floats] = {}
    for name, shape in SHAPES.items():
        fan_in = int(np.prod(shape[1:]))
        weights[f"{name}.weight"] = (random.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)
        weights[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    return weights


def windows(image: Floats) -> Floats:
    """N x C x H x W -> (N H W) x (9 C): the 3 x 3 windows of the padded image."""
    padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)))
    view = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.ascontiguousarray(view.transpose(0, 2, 3, 1, 4, 5)).reshape(-1, image.shape[1] * 9)


def convolved(image: Floats, weight: Floats, bias: Floats) -> Floats:
    n, _, h, w = image.shape
    sums = windows(image) @ weight.reshape(weight.shape[0], -1).T + bias
    return sums.reshape(n, h, w, -1).transpose(0, 3, 1, 2)


def pooled(image: Floats) -> Floats:
    n, c, h, w = image.shape
    return image.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))


def forward(weights: dict[str, Floats], images: Floats) -> dict[str, Floats]:
    """Every layer's output (after its rectifier), by name; ``fc2`` holds the logits."""
    out = {"input": images}
    out["conv1"] = np.maximum(convolved(images, weights["conv1.weight"], weights["conv1.bias"]), 0)
    out["pool1"] = pooled(out["conv1"])
    out["conv2"] = np.maximum(convolved(out["pool1"], weights["conv2.weight"], weights["conv2.bias"]), 0)
    out["pool2"] = pooled(out["conv2"])
    flat = out["pool2"].reshape(len(images), -1)
    out["fc1"] = np.maximum(flat @ weights["fc1.weight"].T + weights["fc1.bias"], 0)
    out["fc2"] = out["fc1"] @ weights["fc2.weight"].T + weights["fc2.bias"]
    return out


def backward(weights: dict[str, Floats], out: dict[str, Floats], labels: Any) -> dict[str, Floats]:
    """Gradients of the mean cross entropy."""
    logits = out["fc2"] - out["fc2"].max(axis=1, keepdims=True)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    chances[np.arange(len(labels)), labels] -= 1
    delta = (chances / len(labels)).astype(np.float32)
    gradients = {"fc2.weight": delta.T @ out["fc1"], "fc2.bias": delta.sum(axis=0)}
    delta = (delta @ weights["fc2.weight"]) * (out["fc1"] > 0)
    gradients |= {"fc1.weight": delta.T @ out["pool2"].reshape(len(labels), -1), "fc1.bias": delta.sum(axis=0)}
    image = unpooled((delta @ weights["fc1.weight"]).reshape(out["pool2"].shape), out["conv2"], out["pool2"])
    image, gradients["conv2.weight"], gradients["conv2.bias"] = unconvolved(
        image * (out["conv2"] > 0), out["pool1"], weights["conv2.weight"]
    )
    image = unpooled(image, out["conv1"], out["pool1"])
    _, gradients["conv1.weight"], gradients["conv1.bias"] = unconvolved(
        image * (out["conv1"] > 0), out["input"], weights["conv1.weight"]
    )
    return gradients


def unpooled(delta: Floats, image: Floats, best: Floats) -> Floats:
    """The gradient of 2 x 2 maxima; equal maxima share it."""
    wide = best.repeat(2, axis=2).repeat(2, axis=3) == image
    n, c, h, w = delta.shape
    count = wide.reshape(n, c, h, 2, w, 2).sum(axis=(3, 5), dtype=np.float32)
    return (delta / count).repeat(2, axis=2).repeat(2, axis=3) * wide


def unconvolved(delta: Floats, image: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """Gradients of a convolution: of its input, its weights, its bias."""
    rows = delta.transpose(0, 2, 3, 1).reshape(-1, delta.shape[1])
    by_weight = (rows.T @ windows(image)).reshape(weight.shape)
    turned = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    zero = np.zeros(weight.shape[1], np.float32)
    return convolved(delta, np.ascontiguousarray(turned), zero), by_weight, rows.sum(axis=0)


if __name__ == "__main__":
    main()
