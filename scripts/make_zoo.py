#!/usr/bin/env python3
"""Writes the network files under workloads/ that are too repetitive to keep by hand.

    python scripts/make_zoo.py            # write them
    python scripts/make_zoo.py --check    # exit 1 and name the files that differ from what would be written

AlexNet, the two LeNets and ESE's LSTM are written by hand. Nothing here depends on anything but this file:
the same bytes come out everywhere.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

WORKLOADS = Path(__file__).resolve().parents[1] / "workloads"
INT8 = {"weight": "int8", "input": "int8", "accumulator": "int32", "output": "int8"}
WIDTH = 110
ORDER = (
    "shape", "in", "out", "K", "R", "S", "window", "stride", "pad", "groups", "bias", "weight",
    "input", "precision",
)  # fmt: skip


# ---------------------------------------------------------------------- the page


def flow(value: Any) -> str:
    """``value`` in YAML's flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


class Page:
    """A network file that grows line by line. `layer` returns the layer's name, for use in ``after``."""

    def __init__(
        self,
        name: str,
        title: str,
        description: str,
        *,
        batch: int = 1,
        precision: dict[str, str] = INT8,
        why_precision: str = "",
        inputs: dict[str, list[int]] | None = None,
    ) -> None:
        self.name, self.last = name, ""
        self.lines = [
            *textwrap.wrap(title, WIDTH, initial_indent="# ", subsequent_indent="# "),
            "# Written by scripts/make_zoo.py: change that, and run it again.",
            "schema: accelsim.network/1",
            f"name: {name}",
            "description: >-",
            *textwrap.wrap(description, WIDTH, initial_indent="  ", subsequent_indent="  "),
            f"batch: {batch}",
            *([f"# {why_precision}"] if why_precision else []),
            f"precision: {flow(precision)}",
            *(["inputs:", *(f"  {key}: {flow(shape)}" for key, shape in inputs.items())] if inputs else []),
            "layers:",
        ]

    def stage(self, words: str) -> None:
        """A comment over the lines that follow."""
        self.lines.append(f"  # {words}")

    def layer(self, name: str, op: str, *, after: str | list[str] | None = None, **keys: Any) -> str:
        """One line. ``after`` is left out where it is the layer before; ``in_`` stands for the key ``in``."""
        given = {key.rstrip("_"): value for key, value in keys.items() if value is not None}
        order = sorted(given, key=lambda key: ORDER.index(key) if key in ORDER else -1)
        entry: dict[str, Any] = {"name": name, "op": op, **{key: given[key] for key in order}}
        sources = [after] if isinstance(after, str) else after
        if sources is not None and sources != [self.last]:
            entry["after"] = sources
        self.lines.append(f"  - {flow(entry)}")
        self.last = name
        return name

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def conv(page: Page, name: str, k: int, r: int, **keys: Any) -> str:
    """A square convolution that keeps the size at stride 1, unless ``pad`` says otherwise."""
    keys.setdefault("pad", r // 2 or None)
    return page.layer(name, "conv2d", K=k, R=r, S=r, **keys)


def conv_bn(page: Page, name: str, k: int, r: int, act: str | None = "relu", **keys: Any) -> str:
    """Convolution without bias, batch norm, and an activation where ``act`` names one."""
    conv(page, name, k, r, bias=False, **keys)
    page.layer(f"{name}_bn", "batchnorm")
    return page.layer(f"{name}_{act}", act) if act else page.last


# ---------------------------------------------------------------------- VGG


def vgg(depth: int, convs_per_stage: tuple[int, ...]) -> Page:
    page = Page(
        f"vgg{depth}",
        f"VGG-{depth}: 3x3 convolutions only, five stages, three fully connected layers.",
        f"VGG-{depth}: K. Simonyan and A. Zisserman, Very Deep Convolutional Networks for Large-Scale Image "
        f"Recognition, ICLR 2015 (arXiv 1409.1556), configuration {'D' if depth == 16 else 'E'}.",
    )
    channels = (64, 128, 256, 512, 512)
    size = 224
    for stage, (count, k) in enumerate(zip(convs_per_stage, channels, strict=True), start=1):
        page.stage(f"stage {stage}: {size}x{size}, {k} channels")
        for index in range(1, count + 1):
            shape = [3, 224, 224] if (stage, index) == (1, 1) else None
            conv(page, f"conv{stage}_{index}", k, 3, shape=shape)
            page.layer(f"relu{stage}_{index}", "relu")
        page.layer(f"pool{stage}", "maxpool2d", window=2, stride=2)
        size //= 2
    page.stage("classifier")
    for index, out in ((6, 4096), (7, 4096), (8, 1000)):
        page.layer(f"fc{index}", "linear", out=out)
        page.layer(f"relu{index}", "relu") if index < 8 else page.layer("prob", "softmax")
    return page


# ---------------------------------------------------------------------- GoogLeNet

INCEPTION = {  # 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, projection of the pool: table 1 of the paper
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def conv_relu(page: Page, name: str, k: int, r: int, **keys: Any) -> str:
    conv(page, name, k, r, **keys)
    return page.layer(f"{name}_relu", "relu")


def inception(page: Page, name: str, source: str, widths: tuple[int, ...]) -> str:
    one, three_reduce, three, five_reduce, five, project = widths
    page.stage(
        f"inception {name}: {one} + {three} + {five} + {project} = {one + three + five + project} channels"
    )
    prefix = f"inception_{name}_"
    ends = [conv_relu(page, prefix + "1x1", one, 1, after=source)]
    conv_relu(page, prefix + "3x3_reduce", three_reduce, 1, after=source)
    ends.append(conv_relu(page, prefix + "3x3", three, 3))
    conv_relu(page, prefix + "5x5_reduce", five_reduce, 1, after=source)
    ends.append(conv_relu(page, prefix + "5x5", five, 5))
    page.layer(prefix + "pool", "maxpool2d", window=3, stride=1, pad=1, after=source)
    ends.append(conv_relu(page, prefix + "pool_proj", project, 1))
    return page.layer(prefix + "output", "concat", after=ends)


def googlenet() -> Page:
    page = Page(
        "googlenet",
        "GoogLeNet (Inception v1) as in the paper's table 1, without the auxiliary classifiers.",
        "GoogLeNet: C. Szegedy et al., Going Deeper with Convolutions, CVPR 2015 (arXiv 1409.4842). "
        "Inference only: no auxiliary heads. With the original 5x5 branches, biases and local response "
        "normalization; no batch norm.",
    )
    page.stage("stem: 224x224 to 28x28")
    conv_relu(page, "conv1", 64, 7, shape=[3, 224, 224], stride=2, pad=3)
    page.layer("pool1", "maxpool2d", window=3, stride=2, ceil=True)
    page.layer("norm1", "lrn", size=5)
    conv_relu(page, "conv2_reduce", 64, 1)
    conv_relu(page, "conv2", 192, 3)
    page.layer("norm2", "lrn", size=5)
    last = page.layer("pool2", "maxpool2d", window=3, stride=2, ceil=True)
    for name, widths in INCEPTION.items():
        last = inception(page, name, last, widths)
        if name in ("3b", "4e"):
            last = page.layer(f"pool{name[0]}", "maxpool2d", window=3, stride=2, ceil=True)
    page.stage("classifier")
    page.layer("pool5", "globalavgpool")
    page.layer("fc", "linear", out=1000)
    page.layer("prob", "softmax")
    return page


# ---------------------------------------------------------------------- ResNet


def resnet(depth: int, *, original: bool = False) -> Page:
    """``original``: the stride of a bottleneck is in its first 1x1 convolution, not in the 3x3 one."""
    where = "the first 1x1" if original else "the 3x3"
    variant = f"; a bottleneck strides in {where} convolution" if depth >= 50 else ""
    page = Page(
        f"resnet{depth}{'_v1' if original else ''}",
        f"ResNet-{depth}{variant}"
        + (" (as in the paper)." if original else " (as in torchvision)." if variant else "."),
        f"ResNet-{depth}: K. He, X. Zhang, S. Ren and J. Sun, Deep Residual Learning for Image Recognition, "
        f"CVPR 2016 (arXiv 1512.03385){variant}.",
    )
    page.stage("stem: 224x224 to 56x56")
    conv_bn(page, "conv1", 64, 7, shape=[3, 224, 224], stride=2, pad=3)
    last = page.layer("pool1", "maxpool2d", window=3, stride=2, pad=1)
    blocks = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 152: (3, 8, 36, 3)}[depth]
    channels, size = 64, 56
    for stage, count in enumerate(blocks, start=1):
        width = 64 << (stage - 1)
        out = width if depth < 50 else 4 * width
        size = size if stage == 1 else size // 2
        page.stage(f"stage {stage}: {count} blocks at {size}x{size}, {out} channels")
        for index in range(count):
            stride = 2 if index == 0 and stage > 1 else None
            last = residual_block(page, f"layer{stage}_{index}", last, channels, width, out, stride, original)
            channels = out
    page.stage("classifier")
    page.layer("avgpool", "globalavgpool")
    page.layer("fc", "linear", out=1000)
    return page


def residual_block(
    page: Page,
    name: str,
    source: str,
    channels: int,
    width: int,
    out: int,
    stride: int | None,
    original: bool,
) -> str:
    if out == width:  # basic block
        conv_bn(page, f"{name}_conv1", width, 3, stride=stride, after=source)
        main = conv_bn(page, f"{name}_conv2", width, 3, act=None)
    else:
        first, second = (stride, None) if original else (None, stride)
        conv_bn(page, f"{name}_conv1", width, 1, stride=first, after=source)
        conv_bn(page, f"{name}_conv2", width, 3, stride=second)
        main = conv_bn(page, f"{name}_conv3", out, 1, act=None)
    shortcut = source
    if channels != out:
        shortcut = conv_bn(page, f"{name}_down", out, 1, act=None, stride=stride, after=source)
    page.layer(f"{name}_add", "add", after=[main, shortcut])
    return page.layer(f"{name}_relu", "relu")


# ---------------------------------------------------------------------- MobileNet


def mobilenet_v1() -> Page:
    page = Page(
        "mobilenet_v1",
        "MobileNet v1, width 1.0, 224x224: depthwise-separable convolutions.",
        "MobileNet v1 (1.0, 224): A. Howard et al., MobileNets: Efficient Convolutional Neural Networks "
        "for Mobile Vision Applications, arXiv 1704.04861, 2017.",
    )
    conv_bn(page, "conv1", 32, 3, shape=[3, 224, 224], stride=2)
    size = 112
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for index, (k, stride) in enumerate(plan, start=2):
        size //= stride
        page.stage(f"{size}x{size}, {k} channels")
        conv_bn_depthwise(page, f"conv{index}_dw", stride)
        conv_bn(page, f"conv{index}_pw", k, 1)
    page.stage("classifier")
    page.layer("avgpool", "globalavgpool")
    page.layer("fc", "linear", out=1000)
    page.layer("prob", "softmax")
    return page


def conv_bn_depthwise(
    page: Page, name: str, stride: int, act: str | None = "relu", after: str | None = None
) -> str:
    keys = {
        "R": 3,
        "S": 3,
        "stride": stride if stride > 1 else None,
        "pad": 1,
        "groups": "depthwise",
        "bias": False,
    }
    page.layer(name, "conv2d", after=after, **keys)
    page.layer(f"{name}_bn", "batchnorm")
    return page.layer(f"{name}_{act}", act) if act else page.last


def mobilenet_v2() -> Page:
    page = Page(
        "mobilenet_v2",
        "MobileNet v2, width 1.0, 224x224: inverted residuals with linear bottlenecks.",
        "MobileNet v2 (1.0, 224): M. Sandler, A. Howard, M. Zhu, A. Zhmoginov and L.-C. Chen, MobileNetV2: "
        "Inverted Residuals and Linear Bottlenecks, CVPR 2018 (arXiv 1801.04381).",
    )
    last = conv_bn(page, "conv1", 32, 3, act="relu6", shape=[3, 224, 224], stride=2)
    channels, size, block = 32, 112, 0
    for expansion, out, count, first_stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
        (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        size //= first_stride
        page.stage(f"{count} of {out} channels at {size}x{size}, expansion {expansion}")
        for index in range(count):
            block += 1
            stride = first_stride if index == 0 else 1
            last = inverted_residual(page, f"block{block}", last, channels, out, expansion, stride)
            channels = out
    page.stage("classifier")
    conv_bn(page, "conv_last", 1280, 1, act="relu6")
    page.layer("avgpool", "globalavgpool")
    page.layer("fc", "linear", out=1000)
    return page


def inverted_residual(
    page: Page, name: str, source: str, channels: int, out: int, expansion: int, stride: int
) -> str:
    if expansion > 1:
        conv_bn(page, f"{name}_expand", expansion * channels, 1, act="relu6", after=source)
    conv_bn_depthwise(page, f"{name}_dw", stride, "relu6")
    last = conv_bn(page, f"{name}_project", out, 1, act=None)
    return page.layer(f"{name}_add", "add", after=[last, source]) if stride == 1 and channels == out else last


# ---------------------------------------------------------------------- ShuffleNet


def shufflenet_v1(scale: str, widths: tuple[int, int, int]) -> Page:
    page = Page(
        f"shufflenet_v1_{scale}",
        f"ShuffleNet v1 {scale}, 3 groups, 224x224.",
        f"ShuffleNet v1 ({scale}, g = 3): X. Zhang, X. Zhou, M. Lin and J. Sun, ShuffleNet: An Extremely "
        "Efficient Convolutional Neural Network for Mobile Devices, CVPR 2018 (arXiv 1707.01083). The "
        "channel shuffle is a reshape, a transpose and a reshape. The first convolution has 24 channels at "
        "every scale; a unit's narrow middle has a quarter of its output's channels.",
    )
    stem = 24
    page.stage("stem: 224x224 to 56x56")
    conv_bn(page, "conv1", stem, 3, shape=[3, 224, 224], stride=2)
    last = page.layer("pool1", "maxpool2d", window=3, stride=2, pad=1)
    channels, size = stem, 28
    for stage, (out, count) in enumerate(zip(widths, (4, 8, 4), strict=True), start=2):
        page.stage(f"stage {stage}: {count} units at {size}x{size}, {out} channels")
        for index in range(count):
            last = shuffle_unit(
                page, f"stage{stage}_{index}", last, channels, out, 2 * size if index == 0 else size
            )
            channels = out
        size //= 2
    page.stage("classifier")
    page.layer("avgpool", "globalavgpool")
    page.layer("fc", "linear", out=1000)
    return page


def shuffle_unit(page: Page, name: str, source: str, channels: int, out: int, size: int) -> str:
    """The first unit of a stage halves the image and concatenates; the others add. ``size`` is the "
    "input's."""
    first = channels != out
    middle, groups = out // 4, 3
    thin = channels == 24  # the stem's output is not grouped
    conv_bn(page, f"{name}_conv1", middle, 1, groups=None if thin else groups, after=source)
    page.layer(f"{name}_split", "reshape", to=[groups, middle // groups, size, size])
    page.layer(f"{name}_shuffle", "transpose", perm=[2, 1, 3, 4])
    page.layer(f"{name}_join", "reshape", to=[middle, size, size])
    conv_bn_depthwise(page, f"{name}_dw", 2 if first else 1, act=None)
    main = conv_bn(page, f"{name}_conv2", out - channels if first else out, 1, act=None, groups=groups)
    if first:
        shortcut = page.layer(f"{name}_pool", "avgpool2d", window=3, stride=2, pad=1, after=source)
        page.layer(f"{name}_concat", "concat", after=[shortcut, main])
    else:
        page.layer(f"{name}_add", "add", after=[main, source])
    return page.layer(f"{name}_relu", "relu")


# ---------------------------------------------------------------------- BERT


def bert_base() -> Page:
    steps, width, heads = 128, 768, 12
    page = Page(
        "bert_base",
        "BERT base (uncased), 128 tokens: embeddings, 12 encoder layers, pooler.",
        "BERT base: J. Devlin, M.-W. Chang, K. Lee and K. Toutanova, BERT: Pre-training of Deep "
        "Bidirectional Transformers for Language Understanding, NAACL 2019 (arXiv 1810.04805). 128 tokens, "
        "none masked.",
        inputs={"input_ids": [steps], "position_ids": [steps], "token_type_ids": [steps]},
    )
    page.stage("embeddings")
    tables = (
        ("word", 30522, "input_ids"),
        ("position", 512, "position_ids"),
        ("token_type", 2, "token_type_ids"),
    )
    names = [
        page.layer(
            f"{table}_embedding",
            "embedding",
            rows=rows,
            features=width,
            precision={"input": "uint16"},
            after=source,
        )
        for table, rows, source in tables
    ]
    page.layer("embedding_add", "add", after=names)
    last = page.layer("embedding_norm", "layernorm")
    for index in range(12):
        last = encoder_layer(page, f"encoder{index}", last, steps, width, heads)
    page.stage("pooler: the first token")
    page.layer("first_token", "slice", axis=1, start=0, size=1)
    page.layer("first_vector", "reshape", to=[width])
    page.layer("pooler", "linear", out=width)
    page.layer("pooler_tanh", "tanh")
    return page


def encoder_layer(page: Page, name: str, source: str, steps: int, width: int, heads: int) -> str:
    page.stage(f"{name}: attention of {heads} heads, then the feed-forward network")
    for part in "qkv":
        page.layer(f"{name}_{part}", "linear", out=width, after=source)
        page.layer(f"{name}_{part}_split", "reshape", to=[steps, heads, width // heads])
        page.layer(f"{name}_{part}_heads", "transpose", perm=[2, 1, 3])
    page.layer(f"{name}_scores", "matmul", transpose_b=True, after=[f"{name}_q_heads", f"{name}_k_heads"])
    page.layer(f"{name}_scale", "mul", value=(width // heads) ** -0.5)
    page.layer(f"{name}_softmax", "softmax")
    page.layer(f"{name}_context", "matmul", after=[f"{name}_softmax", f"{name}_v_heads"])
    page.layer(f"{name}_context_heads", "transpose", perm=[2, 1, 3])
    page.layer(f"{name}_context_join", "reshape", to=[steps, width])
    page.layer(f"{name}_proj", "linear", out=width)
    page.layer(f"{name}_add1", "add", after=[page.last, source])
    middle = page.layer(f"{name}_norm1", "layernorm")
    page.layer(f"{name}_ffn1", "linear", out=4 * width)
    page.layer(f"{name}_gelu", "gelu")
    page.layer(f"{name}_ffn2", "linear", out=width)
    page.layer(f"{name}_add2", "add", after=[page.last, middle])
    return page.layer(f"{name}_norm2", "layernorm")


# ---------------------------------------------------------------------- EIE

EIE = {  # the paper's name, in, out, weight density, input density (table III), and where it comes from
    "alex6": ("Alex-6", 9216, 4096, 0.09, 0.351, "AlexNet's fc6"),
    "alex7": ("Alex-7", 4096, 4096, 0.09, 0.353, "AlexNet's fc7"),
    "alex8": ("Alex-8", 4096, 1000, 0.25, 0.375, "AlexNet's fc8"),
    "vgg6": ("VGG-6", 25088, 4096, 0.04, 0.183, "VGG-16's fc6"),
    "vgg7": ("VGG-7", 4096, 4096, 0.04, 0.375, "VGG-16's fc7"),
    "vgg8": ("VGG-8", 4096, 1000, 0.23, 0.411, "VGG-16's fc8"),
    "nt_we": ("NT-We", 4096, 600, 0.1, 1.0, "NeuralTalk's word embedding"),
    "nt_wd": ("NT-Wd", 600, 8791, 0.11, 1.0, "NeuralTalk's word decoder"),
    "nt_lstm": ("NT-LSTM", 1201, 2400, 0.1, 1.0, "NeuralTalk's LSTM"),
}
WHY_INT48 = "the accumulator is wide enough for any sum of these products of 16 x 16 bits"
WIDE16 = {"weight": "int16", "input": "int16", "accumulator": "int48", "output": "int16"}


def eie(name: str) -> Page:
    label, features, out, weights, inputs, source = EIE[name]
    page = Page(
        f"eie_{name}",
        f"EIE's benchmark layer {label}: {source}, pruned.",
        f"{label}, {source} after pruning: S. Han et al., EIE: Efficient Inference Engine on Compressed "
        "Deep Neural Network, ISCA 2016 (arXiv 1602.01528), table III. The densities are the paper's; the "
        "places of the zeros are random, not those of the trained network.",
        precision=WIDE16,
        why_precision=WHY_INT48,
    )
    keys: dict[str, Any] = {"in_": features, "out": out, "bias": False, "weight": {"density": weights}}
    page.layer(name, "linear", **keys, input={"density": inputs} if inputs < 1 else None)
    return page


# ---------------------------------------------------------------------- DianNao

DIANNAO: dict[str, tuple[str, dict[str, Any], str]] = {
    "conv1": ("conv2d", {"shape": [32, 375, 500], "K": 48, "R": 9, "S": 9}, "street scene parsing (CNN)"),
    "pool1": ("maxpool2d", {"shape": [12, 367, 492], "window": 2, "stride": 2}, "street scene parsing (CNN)"),
    "class1": ("linear", {"in_": 960, "out": 20}, "street scene parsing (CNN)"),
    "conv2": (
        "local2d",
        {"shape": [8, 200, 200], "K": 8, "R": 18, "S": 18},
        "face detection in YouTube videos (DNN)",
    ),
    "conv3": (
        "conv2d",
        {"shape": [108, 32, 32], "K": 200, "R": 4, "S": 4},
        "traffic sign identification (CNN)",
    ),
    "pool3": (
        "maxpool2d",
        {"shape": [100, 32, 32], "window": 4, "stride": 4},
        "traffic sign identification (CNN)",
    ),
    "class3": ("linear", {"in_": 200, "out": 100}, "traffic sign identification (CNN)"),
    "conv4": (
        "conv2d",
        {"shape": [16, 32, 32], "K": 512, "R": 7, "S": 7},
        "Google Street View house numbers (CNN)",
    ),
    "conv5": (
        "local2d",
        {"shape": [256, 256, 256], "K": 384, "R": 11, "S": 11},
        "multi-object recognition (DNN)",
    ),
    "pool5": (
        "maxpool2d",
        {"shape": [256, 256, 256], "window": 2, "stride": 2},
        "multi-object recognition (DNN)",
    ),
}
DIANNAO_NOTES = {
    "conv2d": "A valid convolution of stride 1 with shared kernels.",
    "local2d": "A valid convolution of stride 1 with private kernels: every output pixel has its own "
    "weights.",
    "linear": "A classifier layer.",
    "maxpool2d": "The paper pools by maximum or by average and does not say which here: maximum is taken. "
    "The stride (that of the window) is recalled, not read.",
}


def diannao(name: str) -> Page:
    op, keys, use = DIANNAO[name]
    page = Page(
        f"diannao_{name}",
        f"DianNao's benchmark layer {name.upper()}: {use}.",
        f"{name.upper()}, {use}: T. Chen et al., DianNao: A Small-Footprint High-Throughput Accelerator for "
        f"Ubiquitous Machine-Learning, ASPLOS 2014. {DIANNAO_NOTES[op]}",
        precision=WIDE16,
        why_precision="" if op == "maxpool2d" else WHY_INT48,
    )
    page.layer(name, op, **keys, bias=None if op == "maxpool2d" else False)
    return page


# ---------------------------------------------------------------------- TPU v1

JOUPPI = (
    "N. Jouppi et al., In-Datacenter Performance Analysis of a Tensor Processing Unit, ISCA 2017 (arXiv "
    "1704.04760)"
)
HALF_SPEED = {"weight": "int8", "input": "int16", "accumulator": "int32", "output": "int16"}
WHY_INT16 = "activations of 16 bits are inferred (see the description); accumulators of 32 bits are published"


def tpu_page(name: str, fitted: str, invented: str, **keys: Any) -> Page:
    return Page(
        f"tpu_{name}",
        f"A stand-in for {name.upper()}, one of the six applications of the TPU v1 paper, which gives no "
        "layer sizes.",
        f"STAND-IN, not Google's network. {name.upper()} of {JOUPPI}. Fitted to table 1: {fitted} Invented: "
        f"{invented}",
        **keys,
    )


def tpu_mlp(name: str, batch: int, widths: list[int], fitted: str, invented: str) -> Page:
    page = tpu_page(name, fitted, invented, batch=batch)
    for index, out in enumerate(widths[1:], start=1):
        page.layer(f"fc{index}", "linear", in_=widths[0] if index == 1 else None, out=out, bias=False)
        page.layer(f"relu{index}", "relu")
    return page


def tpu_mlp0() -> Page:
    return tpu_mlp(
        "mlp0", 200, [2000] * 6,
        "5 fully connected layers with ReLU, 20 M weights, batch 200 and so 200 MACs a weight byte.",
        "every width (2000, all alike) and that there are no biases.",
    )  # fmt: skip


def tpu_mlp1() -> Page:
    return tpu_mlp(
        "mlp1", 168, [1200, 1200, 1200, 1000, 1000],
        "4 fully connected layers with ReLU, 5 M weights (5.08 here), batch 168 and so 168 MACs a weight "
        "byte. Fitted to table 3: 90 % of the array's MACs are of use (published: 9.4 of 10.6).",
        "every width, and that there are no biases.",
    )  # fmt: skip


def lstm_cell(page: Page, index: int, source: str, width: int) -> str:
    """One step of a cell, a fully connected layer a gate and five vector layers; returns the new hidden "
    "state."""
    name = f"cell{index}"
    joined = page.layer(f"{name}_xh", "concat", after=[source, f"h{index}"])
    gates = {}
    for gate in "ifog":
        page.layer(f"{name}_{gate}", "linear", out=width, bias=False, after=joined)
        gates[gate] = page.layer(f"{name}_{gate}_act", "tanh" if gate == "g" else "sigmoid")
    keep = page.layer(f"{name}_keep", "mul", after=[gates["f"], f"c{index}"])
    new = page.layer(f"{name}_new", "mul", after=[gates["i"], gates["g"]])
    page.layer(f"{name}_c", "add", after=[keep, new])
    page.layer(f"{name}_c_tanh", "tanh")
    return page.layer(f"{name}_h", "mul", after=[gates["o"], page.last])


def tpu_lstm0() -> Page:
    features, width, cells = 1536, 1024, 6
    page = tpu_page(
        "lstm0",
        "24 fully connected layers (6 cells of 4 gates), 34 vector layers (5 a cell, and 4 residual sums; "
        "the gates' own sigmoid or tanh counts with its matrix), 52 M weights (52.4 here), batch 64 and so "
        "64 MACs a weight byte. Fitted to table 3: every size is a multiple of 256 and fills the array; "
        "activations of 16 bits, since the published teraops are half of what the active cycles would give "
        "at 8 bits.",
        "the widths (1536 features, cells of 1024) and the wiring. One time step a run: the states h and c "
        "come in as inputs.",
        batch=64, precision=HALF_SPEED, why_precision=WHY_INT16,
        inputs={"x": [features]} | {f"{s}{i}": [width] for i in range(1, cells + 1) for s in "hc"},
    )  # fmt: skip
    last = "x"
    for index in range(1, cells + 1):
        page.stage(f"cell {index}" + (", with a residual connection" if index > 2 else ""))
        hidden = lstm_cell(page, index, last, width)
        last = page.layer(f"cell{index}_add", "add", after=[hidden, last]) if index > 2 else hidden
    return page


def tpu_lstm1() -> Page:
    width, cells = 520, 3
    page = tpu_page(
        "lstm1",
        "37 fully connected layers (3 cells of 4 gates, 12 blocks of two, and one at the end), 19 vector "
        "layers (5 a cell, and 4 residual sums; a sigmoid or tanh behind a matrix counts with it), 34 M "
        "weights (34.0 here), batch 96 and so 96 MACs a weight byte. Fitted to table 3: the array's tiles "
        "are 60 % full (6.3 of 10.5); activations of 16 bits, since the published teraops are half of what "
        "the active cycles would give at 8 bits.",
        "the widths (520 and 2080, which leave 40 % of the tiles empty) and the wiring. One time step a "
        "run: the states h and c come in as inputs.",
        batch=96, precision=HALF_SPEED, why_precision=WHY_INT16,
        inputs={"x": [width]} | {f"{s}{i}": [width] for i in range(1, cells + 1) for s in "hc"},
    )  # fmt: skip
    last = "x"
    for index in range(1, cells + 1):
        page.stage(f"cell {index}")
        last = lstm_cell(page, index, last, width)
    block = 0
    for group in range(1, 5):
        page.stage(f"group {group} of 4: three blocks and a residual sum")
        source = last
        for _ in range(3):
            block += 1
            page.layer(f"block{block}_up", "linear", out=4 * width, bias=False)
            page.layer(f"block{block}_up_act", "sigmoid")
            page.layer(f"block{block}_down", "linear", out=width, bias=False)
            page.layer(f"block{block}_down_act", "tanh")
        last = page.layer(f"group{group}_add", "add", after=[page.last, source])
    page.stage("output")
    page.layer("output", "linear", out=3000, bias=False)
    return page


def tpu_cnn0() -> Page:
    page = tpu_page(
        "cnn0",
        "16 convolutions with ReLU, 8 M weights (8.39 here), batch 8, and exactly 2888 MACs a weight byte "
        "(19 x 19 pixels x 8). Fitted to table 3: 256 channels throughout keep the array full (0.0 % of "
        "unused MACs).",
        "14 of 3x3 and 2 of 1x1 (16 of 3x3 would have 9.4 M weights), all of 256 channels, on 19 x 19 "
        "pixels; no biases.",
        batch=8,
    )  # fmt: skip
    for index in range(1, 17):
        shape = [256, 19, 19] if index == 1 else None
        conv(page, f"conv{index}", 256, 1 if index in (1, 16) else 3, shape=shape, bias=False)
        page.layer(f"relu{index}", "relu")
    return page


def tpu_cnn1() -> Page:
    page = tpu_page(
        "cnn1",
        "72 convolutions, 13 pools and 4 fully connected layers, with ReLU; 100 M weights (99.9 here), "
        "batch 32, 1750 MACs a weight byte. Fitted to table 3: 49 % of the array's MACs are of use while "
        "it is active (22.5 of 46.2), because the channels are few.",
        "every size: an image of 224 x 224, stages of 64, 128, 192 and 256 channels, four pools that halve "
        "and nine that do not; no biases.",
        batch=32,
    )  # fmt: skip
    page.stage("112x112")
    conv(page, "conv1", 64, 7, shape=[3, 224, 224], stride=2, bias=False)
    page.layer("relu1", "relu")
    page.layer("pool1", "maxpool2d", window=2)
    number, pool = 1, 1
    for k, count, size in ((64, 2, 56), (128, 24, 28), (192, 29, 14), (256, 16, 7)):
        page.stage(f"{count} convolutions of {k} channels at {size}x{size}")
        for index in range(1, count + 1):
            number += 1
            conv(page, f"conv{number}", k, 3, bias=False)
            page.layer(f"relu{number}", "relu")
            if count > 2 and index % (count // 4) == 0 and index // (count // 4) <= 3:
                pool += 1
                page.layer(f"pool{pool}", "maxpool2d", window=3, stride=1, pad=1)
        if size > 7:
            pool += 1
            page.layer(f"pool{pool}", "maxpool2d", window=2)
    page.stage("fully connected: three quarters of the weights")
    for index, out in enumerate((4096, 4096, 1840, 1000), start=1):
        page.layer(f"fc{index}", "linear", out=out, bias=False)
        page.layer(f"fc{index}_relu", "relu") if index < 4 else None
    return page


# ---------------------------------------------------------------------- all of them


def pages() -> Iterator[Page]:
    """Every generated file."""
    yield vgg(16, (2, 2, 3, 3, 3))
    yield vgg(19, (2, 2, 4, 4, 4))
    yield googlenet()
    yield resnet(18)
    for depth in (50, 152):
        yield resnet(depth)
        yield resnet(depth, original=True)
    yield mobilenet_v1()
    yield mobilenet_v2()
    yield shufflenet_v1("1.5x", (360, 720, 1440))
    yield shufflenet_v1("2x", (480, 960, 1920))
    yield bert_base()
    yield from (eie(name) for name in EIE)
    yield from (diannao(name) for name in DIANNAO)
    makers: tuple[Callable[[], Page], ...] = (tpu_mlp0, tpu_mlp1, tpu_lstm0, tpu_lstm1, tpu_cnn0, tpu_cnn1)
    yield from (make() for make in makers)


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the generated network files under workloads/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check = parser.parse_args().check
    differ = []
    for page in pages():
        path = WORKLOADS / f"{page.name}.yaml"
        if path.exists() and path.read_text(encoding="utf-8") == page.text:
            continue
        differ.append(path.name)
        if not check:
            path.write_text(page.text, encoding="utf-8")
    print(f"{'differ' if check else 'written'}: {', '.join(differ) or 'none'}")
    return 1 if check and differ else 0


if __name__ == "__main__":
    sys.exit(main())
