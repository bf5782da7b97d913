"""ONNX models of detectors."""
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnxscript import opset19
from torch.export import ExportedProgram

# Dimensions of the tiles of uint8 images: [B, H / d, d, W / d, d, 3].
TILE_DIMS = 6


def _deform_conv(
    x: Any, offset: Any, mask: Any, weight: Any, bias: Any, stride: list[int],
    padding: list[int], dilation: list[int], groups: int, deform_groups: int,
) -> Any:
    """Translate the network's deformable convolution to ONNX's DeformConv."""
    return opset19.DeformConv(
        x, weight, offset, bias, mask, strides=stride, pads=[*padding, *padding],
        dilations=dilation, group=groups, offset_group=deform_groups)


def to_onnx(
    program: ExportedProgram,
    input_names: Sequence[str],
    output_names: Sequence[str],
    divisor: int | None,
    opset: int,
) -> onnx.ModelProto:
    """Translate a program.

    Args:
        program (ExportedProgram): of :func:`mmdet_centernet.export.trace.trace`, tiled if it
            takes any size.
        input_names, output_names (Sequence[str]): of its inputs, the image first, and outputs.
        divisor (int, optional): of its tiles, None if it has one size.
        opset (int): operator set to write.
    """
    with warnings.catch_warnings(), _Quiet('torch.onnx', 'onnxscript', 'onnx_ir'):
        warnings.simplefilter('ignore')
        exported: Any = torch.onnx.export(
            program, dynamo=True, opset_version=opset, input_names=list(input_names),
            output_names=list(output_names), verbose=False, custom_translation_table={
                torch.ops.mmdet_centernet.deform_conv2d.default: _deform_conv,
            })
    model: onnx.ModelProto = exported.model_proto
    _remove_notes(model)
    if divisor is not None:
        _take_images(model, divisor)
    onnx.checker.check_model(model)
    return model


def with_property(model: onnx.ModelProto, key: str, text: str) -> onnx.ModelProto:
    """Return the model, which gets a text among its properties."""
    helper.set_model_props(model, {key: text})
    return model


def _remove_notes(model: onnx.ModelProto) -> None:
    """Remove the lines of code that the exporter notes for every node."""
    model.graph.ClearField('metadata_props')
    for part in (model.graph.node, model.graph.initializer, model.graph.value_info,
                 model.graph.input, model.graph.output):
        for item in part:
            item.ClearField('metadata_props')
            item.ClearField('doc_string')
    for function in model.functions:
        for node in function.node:
            node.ClearField('metadata_props')
            node.ClearField('doc_string')


def _take_images(model: onnx.ModelProto, divisor: int) -> None:
    """Let a model of tiles take images, which are reshaped first."""
    graph = model.graph
    tiles = graph.input[0]
    kind = tiles.type.tensor_type
    dims = [dim.dim_value or dim.dim_param for dim in kind.shape.dim]
    rows = 1 if len(dims) == TILE_DIMS and dims[-1] == 3 else 2
    inner = 'mmdet_centernet_tiles'
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == tiles.name:
                node.input[index] = inner
    units = [1, 1, 1, 1]
    units[rows] = units[rows + 1] = divisor
    # [B, H, W, 3] // (1, d, d, 1), with the sides of the tiles in between.
    order = [0, 1, 4, 2, 4, 3] if rows == 1 else [0, 1, 2, 4, 3, 4]

    def constant(name: str, values: list[int]) -> str:
        graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    node = helper.make_node
    prefix = f'{inner}_'
    before = [
        node('Shape', [tiles.name], [prefix + 'shape']),
        node('Div', [prefix + 'shape', constant(prefix + 'units', units)], [prefix + 'counts']),
        node('Concat', [prefix + 'counts', constant(prefix + 'side', [divisor])],
             [prefix + 'sizes'], axis=0),
        node('Gather', [prefix + 'sizes', constant(prefix + 'order', order)],
             [prefix + 'target']),
        node('Reshape', [tiles.name, prefix + 'target'], [inner]),
    ]
    others = list(graph.node)
    del graph.node[:]
    graph.node.extend([*before, *others])
    image = [dims[0], 'height', 'width', 3] if rows == 1 else [dims[0], 3, 'height', 'width']
    graph.input[0].CopyFrom(helper.make_tensor_value_info(tiles.name, kind.elem_type, image))


class _Quiet:
    """Context in which loggers report errors only."""

    def __init__(self, *names: str) -> None:
        self._loggers = [logging.getLogger(name) for name in names]
        self._levels: list[int] = []

    def __enter__(self) -> None:
        self._levels = [logger.level for logger in self._loggers]
        for logger in self._loggers:
            logger.setLevel(logging.ERROR)

    def __exit__(self, *error: object) -> None:
        for logger, level in zip(self._loggers, self._levels, strict=True):
            logger.setLevel(level)
