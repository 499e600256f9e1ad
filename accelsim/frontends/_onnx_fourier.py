"""Fourier transforms as products with constants: a DFT is a matrix, an STFT a convolution of the signal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from accelsim.frontends._onnx_branches import Piece
from accelsim.frontends._onnx_call import Tensor, Value
from accelsim.frontends._onnx_model import Array, Constant, Node, NotModelledError


def stft(piece: Piece, proto: Any, node: Node, inputs: Sequence[Value | None]) -> bool:
    """Frames of a signal, each through a DFT: a filter for each real and each imaginary part, a frame's step apart."""
    signal, step, window, length = (*inputs, None, None)[:4]
    if not isinstance(signal, Tensor) or len(signal.shape) not in (2, 3) or signal.shape[2:] not in ((), (1,)):
        raise NotModelledError("its signal is no tensor of real numbers [batch, length]")
    frame = _whole(length) if length is not None else _size(window)
    waves = _waves(frame, frame, _bins(node, frame, 1))  # frame x bins x (real, imaginary)
    filters = piece.constant(waves.transpose(2, 1, 0).reshape(-1, 1, frame))
    if window is not None:
        filters = piece.one("Mul", filters, proto.input[2])
    batch, samples = signal.shape[:2]
    row = piece.one("Reshape", proto.input[0], piece.integers(batch, 1, samples))
    every = piece.one("Conv", row, filters, strides=[_whole(step)])
    frames = (samples - frame) // _whole(step) + 1
    split = piece.one("Reshape", every, piece.integers(batch, 2, waves.shape[1], frames))
    piece.node("Transpose", [split], [proto.output[0]], perm=[0, 3, 2, 1])
    return True


def dft(piece: Piece, proto: Any, node: Node, inputs: Sequence[Value | None], opset: int) -> bool:
    """A product with a matrix, over the axis and the parts (real, imaginary) as one."""
    signal, length, given = (*inputs, None, None)[:3]
    if not isinstance(signal, Tensor):
        return False
    shape, rank = signal.shape, len(signal.shape)
    axis = (_whole(given) if given is not None else node.integer("axis", -2 if opset >= 20 else 1)) % rank
    size, parts = shape[axis], shape[-1]
    number = size if length is None else _whole(length)
    inverse = node.integer("inverse", 0)
    if number < size or axis == rank - 1 or (inverse and node.integer("onesided", 0)):
        raise NotModelledError(f"it transforms {number} of {size} samples along axis {axis}, or back from one side")
    matrix = _matrix(size, number, parts, _bins(node, number, 0), bool(inverse))
    perm = [*(a for a in range(rank) if a not in (axis, rank - 1)), axis, rank - 1]
    outer = [shape[a] for a in perm[:-2]]
    rows = piece.one("Transpose", proto.input[0], perm=perm)
    rows = piece.one("Reshape", rows, piece.integers(*outer, size * parts))
    found = piece.one("MatMul", rows, piece.constant(matrix.reshape(size * parts, -1)))
    found = piece.one("Reshape", found, piece.integers(*outer, matrix.shape[2], 2))
    piece.node("Transpose", [found], [proto.output[0]], perm=[perm.index(a) for a in range(rank)])
    return True


def _bins(node: Node, size: int, default: int) -> int:
    return size // 2 + 1 if node.integer("onesided", default) else size


def _waves(size: int, number: int, bins: int) -> Array:
    """samples x bins x (cosine, minus sine) of a DFT of ``number`` points."""
    angles = 2 * np.pi * np.outer(np.arange(size), np.arange(bins)) % (2 * np.pi * number) / number
    return np.stack([np.cos(angles), -np.sin(angles)], axis=2).astype(np.float32)


def _matrix(size: int, number: int, parts: int, bins: int, inverse: bool) -> Array:
    """samples x parts x bins x (real, imaginary)."""
    waves = _waves(size, number, bins)
    real, imaginary = waves[..., 0], -waves[..., 1] if inverse else waves[..., 1]
    from_real, from_imaginary = np.stack([real, imaginary], axis=2), np.stack([-imaginary, real], axis=2)
    matrix = np.stack([from_real, from_imaginary][:parts], axis=1)
    return matrix / np.float32(number) if inverse else matrix


def _whole(value: Value | None) -> int:
    if not isinstance(value, Constant) or value.value is None or value.value.size != 1:
        raise NotModelledError("its lengths are not known before it runs")
    return int(value.value.reshape(-1)[0])


def _size(window: Value | None) -> int:
    if not isinstance(window, Constant):
        raise NotModelledError("it has neither a frame_length nor a window that is known")
    return window.shape[0]
