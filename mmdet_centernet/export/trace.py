"""``torch.export`` programs of a detector's graph, for inputs of one size or of any."""
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mmdet_centernet.export.graph import DetectionGraph
from mmdet_centernet.models.layers import DCNv2
from mmdet_centernet.runtime.metadata import LEAST_SIDE

# Tiles of ``divisor`` pixels in a row or column of the largest input of a program of any size.
MOST_TILES = 512


class TiledGraph(nn.Module):
    """Graph whose input is a view of the image as tiles with sides of ``divisor``.

    The sizes of all feature maps are then multiples of the numbers of tiles, so that a program of
    any size consists of short formulas. (Computed from pixels, sizes are sums of rounded
    quotients, and writing a pyramid network takes minutes.)

    Args:
        graph (DetectionGraph): what is to be traced.
        divisor (int): the sides of an input are multiples of it.
    """

    def __init__(self, graph: DetectionGraph, divisor: int) -> None:
        super().__init__()
        self.inner = graph  # a traced module has a `graph` of its own
        self.divisor = divisor

    def forward(self, tiles: Tensor, cam2img: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the detections in tiles [B, H / d, d, W / d, d, 3] or [B, 3, H / d, d, ...]."""
        rows = 1 if self.inner.kind == 'uint8' else 2
        size = list(tiles.shape)
        size[rows:rows + 4] = size[rows] * self.divisor, size[rows + 2] * self.divisor
        outputs: tuple[Tensor, ...] = self.inner(tiles.reshape(size), cam2img)
        return outputs


class AnySizeGraph(nn.Module):
    """:class:`TiledGraph` that takes images and makes the tiles itself."""

    def __init__(self, graph: DetectionGraph, divisor: int) -> None:
        super().__init__()
        self.tiled = TiledGraph(graph, divisor)

    def forward(self, image: Tensor, cam2img: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the detections, see :class:`DetectionGraph`."""
        tiles = tiles_of(image, self.tiled.divisor, self.tiled.inner.kind)
        outputs: tuple[Tensor, ...] = self.tiled(tiles, cam2img)
        return outputs


def tiles_of(image: Tensor, divisor: int, kind: str) -> Tensor:
    """Return a view of an image as tiles, see :class:`TiledGraph`."""
    size = list(image.shape)
    rows = 1 if kind == 'uint8' else 2
    size[rows:rows + 2] = size[rows] // divisor, divisor, size[rows + 1] // divisor, divisor
    return image.reshape(size)


def trace(
    graph: DetectionGraph,
    shape: tuple[int, int] | None,
    batch: int | None,
    divisor: int,
    dcn: Literal['grid_sample', 'deform_conv'] = 'grid_sample',
    tiled: bool = False,
) -> ExportedProgram:
    """Export a graph with ``torch.export``.

    Args:
        graph (DetectionGraph): in eval mode.
        shape (tuple[int, int], optional): (height, width) of the input, None for any.
        batch (int, optional): images of a batch, None for any.
        divisor (int): the sides of an input are multiples of it.
        dcn (str): ``'grid_sample'`` or ``'deform_conv'``, see :class:`DCNv2`.
        tiled (bool): let a program of any size take tiles instead of images.
    """
    # torch.export takes a size of 1 for a constant.
    examples = graph.example(*(shape or example_shape(divisor)), batch or 2)
    module: nn.Module = graph
    sizes: dict[int, Any] = {} if batch else {0: Dim('batch', min=1)}
    cameras = dict(sizes)
    if shape is None:
        rows = 1 if graph.kind == 'uint8' else 2
        least = -(-LEAST_SIDE // divisor)
        tall, wide = (Dim(name, min=least, max=MOST_TILES) for name in ('rows', 'columns'))
        if tiled:
            module = TiledGraph(graph, divisor)
            examples = (tiles_of(examples[0], divisor, graph.kind), *examples[1:])
            sizes.update({rows: tall, rows + 2: wide})
        else:
            module = AnySizeGraph(graph, divisor)
            sizes.update({rows: divisor * tall, rows + 1: divisor * wide})
    dynamic = (sizes, cameras)[:len(examples)] if sizes else None
    with torch.no_grad(), DCNv2.exported_as(dcn):
        return torch.export.export(module.eval(), examples, dynamic_shapes=dynamic, strict=False)


def example_shape(divisor: int) -> tuple[int, int]:
    """Return (height, width) of the example that a program of any size is traced with."""
    side = max(divisor, LEAST_SIDE)
    return 2 * side, 3 * side
