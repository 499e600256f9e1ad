"""Does the reader say every fault of a network file at once, each with its place?"""

from __future__ import annotations

import pytest

from accelsim.errors import InputError
from accelsim.frontends.network_yaml import network_file_model, read_network
from accelsim.workload.ops import OPERATOR_BY_NAME
from accelsim.yaml_io import parse_document

HEADER = "schema: accelsim.network/1\nname: n\n"


def faults(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_network(parse_document(text, "f"))
    return [str(fault) for fault in caught.value.faults]


def test_faults_of_the_header_and_of_every_layer_come_together() -> None:
    found = faults(
        "schema: accelsim.network/1\n"
        "name: n\n"
        "bach: 1\n"
        "layers:\n"
        "  - {name: a, op: conv2d, shape: [3, 8, x], K: 4, R: 3, S: 3, strid: 2}\n"
        "  - {name: b, op: convd}\n"
        "  - {name: c}\n"
        "  - [1]\n"
        "  - {name: d, op: gru, hidden: 3, peepholes: true}\n"
        "  - {name: e, op: linear, out: 4, weight: {densty: 0.5}}\n"
    )
    starts = [
        'f:3:1: bach: unknown key (did you mean "batch"?)',
        'f:5:41: layers[0].shape[2]: is "x", must be a valid integer',
        'f:5:63: layers[0].strid: unknown key (did you mean "stride"?)',
        'f:6:15: layers[1].op: is "convd", which is no operator (did you mean "conv2d"?)',
        'f:7:5: layers[2]: lacks the key "op"',
        "f:8:5: layers[3]: is a list, must be a mapping of keys to values",
        "f:9:5: layers[4]: a gru has neither projection nor peepholes",
        'f:10:44: layers[5].weight.densty: unknown key (did you mean "density"?)',
    ]
    assert len(found) == len(starts)
    for fault, start in zip(found, starts, strict=True):
        assert fault.startswith(start)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2]", "f:1:1: is a list, must be a mapping of keys to values"),
        (HEADER + "layers: 3", "f:3:1: layers: is 3, must be a valid list"),
        (HEADER + "layers: []", "f:3:1: layers: has 0 items, must have at least 1"),
        (HEADER + "layers: [{name: a, op: 3}]", "f:3:20: layers[0].op: is not a word, must be conv2d"),
    ],
)
def test_faults_of_the_whole_file(text: str, words: str) -> None:
    assert faults(text)[0].startswith(words)


def test_layers_may_come_in_any_order() -> None:
    text = (
        HEADER + "layers: [{name: b, op: relu, after: [a]}, {name: a, op: linear, in: 3, out: 4, after: []}]"
    )
    assert [layer.name for layer in read_network(parse_document(text, "f")).layers] == ["a", "b"]


def test_a_cycle_is_named() -> None:
    text = HEADER + "layers:\n  - {name: a, op: relu, after: [b]}\n  - {name: b, op: relu}\n"
    (fault,) = faults(text)
    assert "the layers form a cycle: " in fault


def test_the_schema_knows_every_operator() -> None:
    mapping = network_file_model().model_json_schema()["properties"]["layers"]["items"]["discriminator"][
        "mapping"
    ]
    assert set(mapping) == set(OPERATOR_BY_NAME)
