"""Nodes that are read as other nodes: branches, loops, sequences, functions of ONNX, transforms, recurrences.

`expanded` gives a `Piece`, the nodes in the place of one, or None where the node is to be read as it is. A loop is peeled:
one step of it, and the loop that is left; so its condition may be worked out as it goes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Any

from accelsim.frontends._onnx_branches import Piece, graph_attribute, rename
from accelsim.frontends._onnx_call import Scalar, Sequenced, Tensor, Value
from accelsim.frontends._onnx_forms import FORMS, MICROSOFT
from accelsim.frontends._onnx_fourier import dft, stft
from accelsim.frontends._onnx_model import Constant, Node, NotModelledError, OnnxFile
from accelsim.frontends._onnx_steps import recurrent
from accelsim.frontends._onnx_written import Form, Written

MOST_STEPS = 1024  # of a loop that is written out
MOST_NODES = 100_000  # that all of a model's expansions may make


@dataclass
class _LoopState:
    step: int = 0
    scanned: list[list[str]] = field(default_factory=list)  # what each step gives to each of the outputs that gather


@dataclass
class Expander:
    """Expands the nodes of one model, ``values`` being what is known of the names before them."""

    file: OnnxFile
    values: Mapping[str, Value]
    loops: dict[str, _LoopState] = field(default_factory=dict)
    batch: int = 1
    made: int = 0

    def expanded(self, proto: Any, node: Node, inputs: Sequence[Value | None]) -> Piece | None:
        """What to read in the place of ``proto``; None: itself."""
        rule = expansion(node)
        if rule is None and not self.file.has_function(node):
            return None
        piece = Piece(self.file.onnx, proto)
        if not (rule(self, piece, proto, node, inputs) if rule else self._function(piece, proto, inputs)):
            return None
        self.made += len(piece.nodes)
        if self.made > MOST_NODES:
            raise NotModelledError(f"written out, the model has more than {MOST_NODES} nodes")
        return piece

    def written(self, form: Form, piece: Piece, proto: Any, node: Node, inputs: Sequence[Value | None]) -> bool:
        """Whether a form wrote the node out."""
        used = [bool(name) and self.file.uses[name] > 0 for name in node.outputs]
        task = Written(self.file, piece, proto, node, inputs, used, self.batch)
        return form(task) is not False

    # --- branches and loops ---

    def branch(self, piece: Piece, proto: Any, _: Node, inputs: Sequence[Value | None]) -> bool:
        """An If whose condition is known: the branch that runs."""
        runs = self._truth(inputs[0], "its condition", proto.input[0])
        chosen = graph_attribute(proto, "then_branch" if runs else "else_branch")
        piece.give(piece.inline(chosen, ()), proto.output)
        return True

    def loop(self, piece: Piece, proto: Any, _: Node, inputs: Sequence[Value | None]) -> bool:
        """One step of a loop, and the loop that is left; or its end."""
        body = graph_attribute(proto, "body")
        count, condition = (*inputs, None, None)[:2]
        carried = len(body.input) - 2
        if count is None and condition is None:
            raise NotModelledError("it runs without end: it has neither a count nor a condition")
        key = piece.prefix
        known = self.loops.setdefault(key, _LoopState(scanned=[[] for _ in body.output[1 + carried :]]))
        most = None if count is None else self._whole(count, "its count", proto.input[0])
        if known.step == most or not self._truth(condition, "its condition", ""):
            self._end(piece, list(proto.input[2:]), known.scanned, proto.output)
            return True
        if (most or 0) > MOST_STEPS or known.step >= MOST_STEPS:
            raise NotModelledError(f"it runs {most or 'more'} times; {MOST_STEPS} steps are written out at most")
        self._hoist(piece, body)
        piece.prefix = f"{key}{known.step}/"
        running = proto.input[1] if len(proto.input) > 1 and proto.input[1] else piece.constant(True)
        given = [piece.constant(known.step), running, *proto.input[2:]]
        results = piece.inline(body, given)
        for gathered, name in zip(known.scanned, results[1 + carried :], strict=True):
            gathered.append(name)
        known.step += 1
        rest = piece.onnx.NodeProto.FromString(proto.SerializeToString())
        rest.input[:] = [proto.input[0], *results[: 1 + carried]]
        graph_attribute(rest, "body").CopyFrom(body)
        piece.nodes.append(rest)
        return True

    def scan(self, piece: Piece, proto: Any, node: Node, inputs: Sequence[Value | None]) -> bool:
        """Every step of a scan."""
        body, several = graph_attribute(proto, "body"), node.integer("num_scan_inputs", 1)
        states, rows = list(proto.input[:-several]), proto.input[-several:]
        ways = node.attributes.get("scan_input_directions") or [0] * several
        axes = node.attributes.get("scan_input_axes") or [0] * several
        if self.file.opset < 9:
            raise NotModelledError("it is that of opset 8")
        sizes = {_shape(value)[axis] for value, axis in zip(inputs[-several:], axes, strict=True)}
        steps = sizes.pop()
        if sizes or steps > MOST_STEPS:
            raise NotModelledError(f"it runs {steps} times; {MOST_STEPS} steps are written out at most")
        self._hoist(piece, body)
        scanned: list[list[str]] = [[] for _ in body.output[len(states) :]]
        for step in range(steps):
            places = [piece.constant(steps - 1 - step if way else step) for way in ways]
            parts = [piece.one("Gather", row, at, axis=axis) for row, at, axis in zip(rows, places, axes, strict=True)]
            results = piece.inline(body, [*states, *parts], f"{step}/")
            states = results[: len(states)]
            for gathered, name in zip(scanned, results[len(states) :], strict=True):
                gathered.append(name)
        ways = node.attributes.get("scan_output_directions") or [0] * len(scanned)
        turned = [names[::-1] if way else names for names, way in zip(scanned, ways, strict=True)]
        axes = node.attributes.get("scan_output_axes") or [0] * len(scanned)
        self._end(piece, states, turned, proto.output, axes)
        return True

    def _end(
        self, piece: Piece, carried: list[str], scanned: list[list[str]], outputs: Sequence[str], axes: Sequence[int] = ()
    ) -> None:
        """The outputs of a loop: what it carries, and what each step gave, stacked."""
        piece.give(carried, outputs)
        for place, (names, output) in enumerate(zip(scanned, outputs[len(carried) :], strict=False)):
            if output and not names:
                raise NotModelledError(f'it runs no step, and its output "{output}" is empty')
            if output:
                _stack(piece, names, axes[place] if axes else 0, output, self.file.opset)

    def _hoist(self, piece: Piece, body: Any) -> None:
        """Constants of a loop's body stand once, not once a step."""
        names = {tensor.name: f"{piece.prefix}{tensor.name}" for tensor in body.initializer}
        for tensor in body.initializer:
            piece.tensors.append(piece.onnx.TensorProto.FromString(tensor.SerializeToString()))
            piece.tensors[-1].name = names[tensor.name]
        del body.initializer[:]
        for inner in body.node:
            rename(inner, names)
        for output in body.output:
            output.name = names.get(output.name, output.name)

    # --- sequences, which vanish ---

    def at(self, piece: Piece, proto: Any, _: Node, inputs: Sequence[Value | None]) -> bool:
        piece.give([_items(inputs[0])[self._whole(inputs[1], "its position")]], proto.output)
        return True

    def length(self, piece: Piece, proto: Any, _: Node, inputs: Sequence[Value | None]) -> bool:
        piece.give([piece.constant(len(_items(inputs[0])))], proto.output)
        return True

    def joined(self, piece: Piece, proto: Any, node: Node, inputs: Sequence[Value | None]) -> bool:
        names, axis = list(_items(inputs[0])), node.integer("axis", 0)
        if not names:
            raise NotModelledError("its sequence is empty")
        if node.integer("new_axis", 0):
            _stack(piece, names, axis, proto.output[0], self.file.opset)
        else:
            piece.node("Concat", names, [proto.output[0]], axis=axis)
        return True

    def split(self, piece: Piece, proto: Any, node: Node, inputs: Sequence[Value | None]) -> bool:
        """SplitToSequence: a Split, its parts without the axis where they are single and keepdims is 0."""
        shape = _shape(inputs[0])
        axis = node.integer("axis", 0) % len(shape)
        sizes = self._parts(inputs[1] if len(inputs) > 1 else None, shape[axis])
        names = [proto.input[0]]
        if len(sizes) > 1:
            names = piece.node("Split", [proto.input[0], piece.integers(*sizes)], len(sizes), axis=axis)
        if len(inputs) < 2 and not node.integer("keepdims", 1):
            names = [piece.one("Squeeze", name, piece.integers(axis)) for name in names]
        piece.node("SequenceConstruct", names, [proto.output[0]])
        return True

    def _parts(self, given: Value | None, size: int) -> list[int]:
        if given is None:
            return [1] * size
        if not isinstance(given, Constant) or given.value is None:
            raise NotModelledError("its sizes come out of the network itself")
        if given.value.ndim:
            return [int(part) for part in given.value]
        part = int(given.value)
        return [min(part, size - start) for start in range(0, size, part)] if part > 0 else []

    # --- functions ---

    def cast_constant(self, piece: Piece, proto: Any, _: Node, inputs: Sequence[Value | None]) -> bool:
        """A CastLike of a constant to what a tensor is."""
        if not isinstance(inputs[0], Constant) or not isinstance(inputs[1], Tensor | Scalar):
            return False
        piece.node("Cast", [proto.input[0]], list(proto.output), to=inputs[1].elem)
        return True

    def _function(self, piece: Piece, proto: Any, inputs: Sequence[Value | None]) -> bool:
        """An operator of ONNX that is a function of others: those."""
        function = self.file.function(proto, [_type(value) for value in inputs])
        given = dict(zip(function.input, proto.input, strict=False))
        inner = {name for node in function.node for name in node.output if name}
        names = {name: f"{piece.prefix}{name}" for name in inner} | dict.fromkeys(function.input, "") | given
        names |= {name: outer for name, outer in zip(function.output, proto.output, strict=False) if outer}
        piece.copy(function.node, names)
        for node in piece.nodes:
            node.name = f"{piece.label}/{node.name or node.op_type}"
        return True

    def clip(self, piece: Piece, proto: Any, _: Node, inputs: Sequence[Value | None]) -> bool:
        """A Clip whose bounds are computed: the larger of two, then the smaller."""
        if all(isinstance(value, Constant | None) for value in inputs[1:]):
            return False
        bounds = [(op, name) for op, name in zip(("Max", "Min"), proto.input[1:], strict=False) if name]
        name = proto.input[0]
        for place, (op, bound) in enumerate(bounds):
            name = piece.node(op, [name, bound], 1 if place + 1 < len(bounds) else [proto.output[0]])[0]
        return True

    def recurrent(self, piece: Piece, proto: Any, node: Node, inputs: Sequence[Value | None]) -> bool:
        used = [bool(name) and self.file.uses[name] > 0 for name in node.outputs]
        return recurrent(piece, proto, node, inputs, used, self.file.opset, self.batch)

    def stft(self, piece: Piece, proto: Any, node: Node, inputs: Sequence[Value | None]) -> bool:
        return stft(piece, proto, node, inputs)

    def dft(self, piece: Piece, proto: Any, node: Node, inputs: Sequence[Value | None]) -> bool:
        return dft(piece, proto, node, inputs, self.file.opset)

    # --- what is known ---

    def _known(self, value: Value | None, what: str, name: str = "") -> Any:
        """A number: a constant's, or what ``--dim`` says of one that is computed."""
        if isinstance(value, Constant) and value.value is not None and value.value.size == 1:
            return value.value.reshape(-1)[0]
        if name in self.file.given:
            self.file.kept.add(name)  # what computes it runs all the same
            self.file.notes.append(f"{name} is computed, and is taken for {self.file.given[name]}, as --dim says")
            return self.file.given[name]
        asked = " ".join(f"--dim {name}=NUMBER" for name in self.file.open_scalars)
        hint = f"; if it is what comes in: {asked}" if asked else ""
        hint += f"; to say what it is taken for: --dim {quote(name)}=NUMBER" if name and not asked else ""
        raise NotModelledError(f"{what} is not known before it runs{hint}")

    def _truth(self, value: Value | None, what: str, name: str) -> bool:
        return value is None or bool(self._known(value, what, name))

    def _whole(self, value: Value | None, what: str, name: str = "") -> int:
        return int(self._known(value, what, name))


def _stack(piece: Piece, names: Sequence[str], axis: int, output: str, opset: int) -> None:
    """Tensors side by side along a new axis."""
    axes: dict[str, Any] = {"axes": [axis]} if opset < 13 else {}
    more = [] if axes else [piece.integers(axis)]
    parts = [piece.node("Unsqueeze", [name, *more], **axes)[0] for name in names]
    piece.node("Concat", parts, [output], axis=axis)


def _items(value: Value | None) -> tuple[str, ...]:
    if not isinstance(value, Sequenced):
        raise NotModelledError("its sequence is not known before it runs")
    return value.items


def _shape(value: Value | None) -> tuple[int, ...]:
    if not isinstance(value, Tensor | Constant):
        raise NotModelledError("its input has no shape that is known")
    return value.shape


def _type(value: Value | None) -> tuple[int, tuple[int, ...]] | None:
    return (value.elem, value.shape) if isinstance(value, Tensor | Constant) else None


def sequence_of(node: Node, inputs: Sequence[Value | None], at: Callable[[Value], int]) -> Sequenced | None:
    """The sequence that a node makes of tensors or of another sequence; None where it makes none."""
    if node.op == "SequenceEmpty":
        return Sequenced(())
    if node.op == "SequenceConstruct":
        return Sequenced(node.inputs)
    if not inputs or not isinstance(inputs[0], Sequenced):
        return None
    items, place = list(inputs[0].items), inputs[-1]
    if node.op == "Identity":
        return inputs[0]
    if node.op == "SequenceInsert":
        items.insert(at(place) if len(inputs) > 2 and place is not None else len(items), node.inputs[1])
        return Sequenced(tuple(items))
    if node.op == "SequenceErase":
        del items[at(place) if len(inputs) > 1 and place is not None else -1]
        return Sequenced(tuple(items))
    return None


_Expansion = Callable[[Expander, Piece, Any, Node, Sequence[Value | None]], bool]
_CONTROL: dict[str, _Expansion] = {
    "If": Expander.branch, "Loop": Expander.loop, "Scan": Expander.scan,
    "SequenceAt": Expander.at, "SequenceLength": Expander.length, "ConcatFromSequence": Expander.joined,
    "SplitToSequence": Expander.split,
    "LSTM": Expander.recurrent, "GRU": Expander.recurrent, "RNN": Expander.recurrent,
    "DynamicQuantizeLSTM": Expander.recurrent, "STFT": Expander.stft, "DFT": Expander.dft,
    "CastLike": Expander.cast_constant, "Clip": Expander.clip,
}  # fmt: skip
SEQUENCES = frozenset(["SequenceEmpty", "SequenceConstruct", "SequenceInsert", "SequenceErase"])


def expansion(node: Node) -> _Expansion | None:
    """What writes a node out, if anything does."""
    own = node.domain == "com.microsoft"
    if not own and node.domain not in ("", "ai.onnx"):
        return None
    form = (MICROSOFT.get(node.kind) if own else None) or FORMS.get(node.op)
    if form is None:
        return _CONTROL.get(node.op)
    return lambda expander, piece, proto, node, inputs: expander.written(form, piece, proto, node, inputs)
