"""LSTM, GRU and RNN as other nodes: one a direction where they run in both, and step by step where a layer cannot.

A recurrent layer of accelsim begins with no state (or a constant one) and gives the hidden states. One that takes its state
from the network, gives its cell state, or has other activations is written out: each step two products and its gates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from accelsim.frontends._onnx_branches import Piece
from accelsim.frontends._onnx_call import Tensor, Value
from accelsim.frontends._onnx_model import Constant, Node, NotModelledError

MOST_STEPS = 1024
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_CURVES = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
_PLAIN = {name.lower(): name for name in ("Sigmoid", "Tanh", "Relu", "HardSigmoid", "Softsign", "Softplus", "Elu")}
_PER_DIRECTION = (1, 2, 3, 5, 6, 7)  # inputs whose first axis is the direction
_STATES = (5, 6)


def recurrent(
    piece: Piece, proto: Any, node: Node, inputs: Sequence[Value | None], used: Sequence[bool], opset: int, batch: int
) -> bool:
    """Write ``proto`` out where no layer is what it says; False where one is."""
    if proto.op_type == "DynamicQuantizeLSTM":
        _quantized(piece, proto)
    elif node.attributes.get("direction") == "bidirectional":
        _both_ways(piece, proto, node, used, opset)
    elif _is_layer(proto.op_type, node, inputs, used, batch):
        return False
    else:
        wanted = [name if is_used else "" for name, is_used in zip(proto.output, used, strict=True)]
        _StepByStep.of(piece, proto, node, inputs, opset).write(wanted)
    return True


def _is_layer(kind: str, node: Node, inputs: Sequence[Value | None], used: Sequence[bool], batch: int) -> bool:
    """Whether the rule of the operator can have it: a Recurrent layer."""
    x = inputs[0]
    if isinstance(x, Tensor) and len(x.shape) == 3 and x.shape[0 if node.integer("layout", 0) else 1] != batch:
        return False  # it runs over rows that are not the batch
    fed = any(isinstance(value, Tensor) for value in inputs[5:7])
    return kind != "RNN" and not fed and not any(used[2:]) and _curves(kind, node) == _CURVES[kind]


def _curves(kind: str, node: Node) -> list[str]:
    given = node.attributes.get("activations") or _CURVES[kind]
    return [_PLAIN.get(str(name).lower(), str(name)) for name in given]


def _quantized(piece: Piece, proto: Any) -> None:
    """The runtime's LSTM of dynamically quantized tensors: weights are in x out there, and have scales."""
    names = [*proto.input, *[""] * (12 - len(proto.input))]
    number, scale, zero = piece.node("DynamicQuantizeLinear", [names[0]], 3)
    names[0] = piece.one("DequantizeLinear", number, scale, zero)
    for place, (scale, zero) in {1: (names[8], names[9]), 2: (names[10], names[11])}.items():
        floats = piece.one("DequantizeLinear", names[place], scale, zero, axis=0)
        names[place] = piece.one("Transpose", floats, perm=[0, 2, 1])
    piece.node("LSTM", names[:8], list(proto.output))
    piece.nodes[-1].attribute.extend(proto.attribute)


def _both_ways(piece: Piece, proto: Any, node: Node, used: Sequence[bool], opset: int) -> None:
    """A node for each direction, what is used of their outputs joined."""
    batch_first = node.integer("layout", 0)
    parts: list[list[str]] = [list(proto.input), list(proto.input)]
    for place in _PER_DIRECTION:
        if place < len(proto.input) and proto.input[place]:
            axis = 1 if batch_first and place in _STATES else 0
            for names, half in zip(parts, _split(piece, proto.input[place], [1, 1], axis, opset), strict=True):
                names[place] = half
    for key in ("activation_alpha", "activation_beta"):
        if node.attributes.get(key):
            raise NotModelledError(f"its attribute {key}, and it runs in both directions")
    results = [
        _one_way(piece, proto, names, used, place)
        for place, names in enumerate(parts)
    ]
    for place, output in enumerate(proto.output):
        axis = (2 if batch_first else 1) if place == 0 else (1 if batch_first else 0)
        if used[place]:
            piece.node("Concat", [made[place] for made in results], [output], axis=axis)


def _one_way(piece: Piece, proto: Any, names: Sequence[str], used: Sequence[bool], place: int) -> list[str]:
    """The node of the first or the second direction; the names of its outputs."""
    way = ("forward", "reverse")[place]
    made = [f"{piece.prefix}{way}.{i}" if wanted else "" for i, wanted in enumerate(used)]
    piece.node(proto.op_type, names, made, direction=way)
    piece.nodes[-1].name = f"{piece.label}/{way}"
    for entry in proto.attribute:
        if entry.name != "direction":
            piece.nodes[-1].attribute.append(entry)
            own = piece.nodes[-1].attribute[-1].strings
            half = len(own) // 2
            own[:] = own[half:] if place else own[:half]
    return made


def _split(piece: Piece, name: str, sizes: Sequence[int], axis: int, opset: int) -> list[str]:
    """Parts of a tensor along an axis."""
    if opset < 13:
        return piece.node("Split", [name], len(sizes), axis=axis, split=list(sizes))
    return piece.node("Split", [name, piece.integers(*sizes)], len(sizes), axis=axis)


@dataclass
class _StepByStep:
    """One direction, written out: what it reads and has, and ``piece``, where it goes."""

    piece: Piece
    kind: str
    opset: int
    x: str
    shape: tuple[int, ...]  # steps, batch, features
    hidden: int
    batch_first: int
    reverse: bool
    curves: list[str]
    weights: tuple[str, str]
    biases: tuple[str, str]
    peepholes: list[str]
    states: list[str]
    linear_before_reset: int

    @classmethod
    def of(cls, piece: Piece, proto: Any, node: Node, inputs: Sequence[Value | None], opset: int) -> _StepByStep:
        names = [*proto.input, *[""] * (8 - len(proto.input))]
        x, recurrent = inputs[0], inputs[2]
        if not isinstance(x, Tensor) or not isinstance(recurrent, Constant):
            raise NotModelledError("its input is a constant, or its weights come out of the network itself")
        kind, hidden, batch_first = proto.op_type, recurrent.shape[-1], node.integer("layout", 0)
        steps, batch, features = (x.shape[batch_first], x.shape[1 - batch_first], x.shape[2])
        _refuse(node, inputs, steps)
        gates = _GATES[kind] * hidden
        flat = [piece.integers(gates, size) for size in (features, hidden)]
        weights = [piece.one("Reshape", name, to) for name, to in zip(names[1:3], flat, strict=True)]
        biases = ["", ""]
        if names[3]:
            row = piece.one("Reshape", names[3], piece.integers(2 * gates))
            biases = _split(piece, row, [gates, gates], 0, opset)
        diagonals = []
        if names[7]:
            row = piece.one("Reshape", names[7], piece.integers(3 * hidden))
            diagonals = _split(piece, row, [hidden] * 3, 0, opset)
        to = piece.integers(batch, hidden)
        states = [piece.one("Reshape", name, to) if name else "" for name in names[5:7]]
        return cls(
            piece, kind, opset, names[0], (steps, batch, features), hidden, batch_first,
            node.attributes.get("direction") == "reverse", _curves(kind, node), (weights[0], weights[1]),
            (biases[0], biases[1]), diagonals, states, node.integer("linear_before_reset", 0),
        )  # fmt: skip

    def write(self, outputs: Sequence[str]) -> None:
        """Every step, and what the node gives."""
        step: dict[str, Callable[[str, str, str], tuple[str, str]]] = {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}
        hidden, cell = self.states
        every = []
        for place in range(self.shape[0])[:: -1 if self.reverse else 1]:
            x = self.piece.one("Gather", self.x, self.piece.constant(place), axis=self.batch_first)
            hidden, cell = step[self.kind](x, hidden, cell)
            every.append(hidden)
        every = every[::-1] if self.reverse else every
        first = self.batch_first
        wanted = [([first, first + 1], every), ([first], [hidden]), ([first], [cell])]
        for output, (axes, names) in zip(outputs, wanted, strict=False):
            if output:
                parts = [self._unsqueezed(name, axes) for name in names]
                self.piece.node("Concat" if len(parts) > 1 else "Identity", parts, [output],
                                **({"axis": first} if len(parts) > 1 else {}))  # fmt: skip

    def _unsqueezed(self, name: str, axes: list[int]) -> str:
        if self.opset < 13:
            return self.piece.one("Unsqueeze", name, axes=axes)
        return self.piece.one("Unsqueeze", name, self.piece.integers(*axes))

    def _lstm(self, x: str, hidden: str, cell: str) -> tuple[str, str]:
        gate, candidate, shown = self.curves
        i, o, f, c = self._gates(self._sum(self._product(x, 0), self._product(hidden, 1)), 4)
        if self.peepholes and cell:
            i, f = (self._sum(g, self.piece.one("Mul", p, cell)) for g, p in ((i, self.peepholes[0]), (f, self.peepholes[2])))
        new = self.piece.one("Mul", self._curve(gate, i), self._curve(candidate, c))
        if cell:
            new = self._sum(self.piece.one("Mul", self._curve(gate, f), cell), new)
        if self.peepholes:
            o = self._sum(o, self.piece.one("Mul", self.peepholes[1], new))
        return self.piece.one("Mul", self._curve(gate, o), self._curve(shown, new)), new

    def _gru(self, x: str, hidden: str, cell: str) -> tuple[str, str]:
        gate, candidate = self.curves
        size = self.hidden
        z, r, h = self._gates(self._product(x, 0), 3)
        if not hidden:
            return self._first_gru(z, r, h), cell
        if self.linear_before_reset:
            fed = self._gates(self._product(hidden, 1), 3)
            z, r = (self._curve(gate, self._sum(a, b)) for a, b in ((z, fed[0]), (r, fed[1])))
            return self._mixed(z, self._curve(candidate, self._sum(h, self.piece.one("Mul", r, fed[2]))), hidden), cell
        weights = _split(self.piece, self.weights[1], [2 * size, size], 0, self.opset)
        biases = _split(self.piece, self.biases[1], [2 * size, size], 0, self.opset) if self.biases[1] else ["", ""]
        fed = self._gates(self._gemm(hidden, weights[0], biases[0]), 2)
        z, r = (self._curve(gate, self._sum(a, b)) for a, b in ((z, fed[0]), (r, fed[1])))
        reset = self._gemm(self.piece.one("Mul", r, hidden), weights[1], biases[1])
        return self._mixed(z, self._curve(candidate, self._sum(h, reset)), hidden), cell

    def _first_gru(self, z: str, r: str, h: str) -> str:
        """A step from a state of zeros: of what is fed back its biases are left."""
        gate, candidate = self.curves
        of_z, of_r, of_h = _split(self.piece, self.biases[1], [self.hidden] * 3, 0, self.opset) if self.biases[1] else [""] * 3
        if of_h and self.linear_before_reset:
            of_h = self.piece.one("Mul", self._curve(gate, self._sum(r, of_r)), of_h)
        return self._mixed(self._curve(gate, self._sum(z, of_z)), self._curve(candidate, self._sum(h, of_h)), "")

    def _rnn(self, x: str, hidden: str, cell: str) -> tuple[str, str]:
        return self._curve(self.curves[0], self._sum(self._product(x, 0), self._product(hidden, 1))), cell

    def _mixed(self, z: str, candidate: str, hidden: str) -> str:
        """(1 - z) * candidate + z * hidden."""
        one = self.piece.constant(self.piece.onnx.numpy_helper.to_array(self.piece.onnx.helper.make_tensor("", 1, [], [1.0])))
        new = self.piece.one("Mul", self.piece.one("Sub", one, z), candidate)
        return self._sum(new, self.piece.one("Mul", z, hidden)) if hidden else new

    def _product(self, x: str, which: int) -> str:
        """The gates' products with the input (0) or the state (1); of no state, its bias alone."""
        return self._gemm(x, self.weights[which], self.biases[which]) if x else self.biases[which]

    def _gemm(self, x: str, weights: str, bias: str) -> str:
        return self.piece.node("Gemm", [x, weights, *([bias] if bias else [])], transB=1)[0]

    def _sum(self, first: str, second: str) -> str:
        return self.piece.one("Add", first, second) if second else first

    def _gates(self, name: str, parts: int) -> list[str]:
        return _split(self.piece, name, [self.hidden] * parts, 1, self.opset)

    def _curve(self, name: str, of: str) -> str:
        return self.piece.one(name, of)


def _refuse(node: Node, inputs: Sequence[Value | None], steps: int) -> None:
    """What no step can have."""
    if steps > MOST_STEPS:
        raise NotModelledError(f"it runs {steps} steps; {MOST_STEPS} are written out at most")
    for key in ("clip", "activation_alpha", "activation_beta", "input_forget"):
        if node.attributes.get(key):
            raise NotModelledError(f"its attribute {key}, and it is written out step by step")
    lengths = inputs[4] if len(inputs) > 4 else None
    known = lengths.value if isinstance(lengths, Constant) else None
    if lengths is not None and (known is None or (known != steps).any()):
        raise NotModelledError(f"its lengths are not known to be all {steps}, the steps of its input")
