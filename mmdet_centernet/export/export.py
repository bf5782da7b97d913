"""Export of a detector into one file, which is compared with the detector."""
import copy
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from numpy.typing import NDArray
from torch import Tensor

from mmdet_centernet.errors import UserError
from mmdet_centernet.export.describe import describe
from mmdet_centernet.export.graph import DetectionGraph
from mmdet_centernet.export.options import (
    DEFAULT_OPSET,
    ONNX_FORMATS,
    DcnForm,
    ExportOptions,
    choose_format,
)
from mmdet_centernet.export.trace import example_shape, trace
from mmdet_centernet.export.verify import check_mapping, find_fault
from mmdet_centernet.inference.optimize import optimize_for_inference
from mmdet_centernet.runtime.backends import open_model
from mmdet_centernet.runtime.metadata import KEY, Metadata, dump

Say = Callable[[str], object]
Arrays = dict[str, NDArray[Any]]


def export(
    model: BaseModel,
    config: Config,
    output: str | os.PathLike[str],
    *,
    format: str | None = None,
    shape: tuple[int, int] | None = None,
    dynamic: bool = False,
    batch: int | None = 1,
    kind: str = 'uint8',
    flip: bool = False,
    raw: bool = False,
    dcn: DcnForm = 'grid_sample',
    opset: int = DEFAULT_OPSET,
    int8: str | os.PathLike[str] | None = None,
    evaluate: bool = False,
    say: Say = print,
) -> Metadata:
    """Export a detector into one file that other runtimes execute.

    The file is written to a temporary folder, executed, compared with the detector, and only then
    moved into place. A failed export leaves nothing behind, and an existing file stays.

    Args:
        model (CenterNet): with its weights and ``dataset_meta`` (``classes``, ``palette``), as
            :func:`mmdet_centernet.inference.loading.load_detector` returns it. It is not changed.
        config (Config): its test pipeline says how images become inputs.
        output (str | Path): the file.
        format (str, optional): ``'onnx'``, ``'openvino'``, ``'pt2'`` or ``'aotinductor'``; None
            chooses by the file's extension.
        shape (tuple[int, int], optional): (height, width) of the input. None: the size that the
            config's test pipeline gives images, else 512 x 512.
        dynamic (bool): let the input have any size that is a multiple of the network's coarsest
            stride.
        batch (int, optional): images of a batch, None for any number.
        kind (str): format of the input, ``'uint8'`` or ``'float'``, see :class:`InputFormat`.
        flip (bool): average with the flipped image.
        raw (bool): leave out the decoding.
        dcn (str): how deformable convolutions are written: ``'grid_sample'``, around the
            operator of that name, or ``'deform_conv'``, ONNX's operator of that name.
        opset (int): ONNX's operator set.
        int8 (str | Path, optional): quantize, calibrated on the images of this folder.
        evaluate (bool): test the model before and after quantization on the config's test data.
        say (Callable): gets a line of text for each thing that was done.

    Returns:
        Metadata: of the file.

    Raises:
        UserError: if the options, the config or the path do not fit, a package is missing, or
            the file does not find what the detector finds.
    """
    output = Path(output)
    options = ExportOptions(
        choose_format(output, format), (shape[0], shape[1]) if shape else None, dynamic,
        batch, kind, flip, raw, dcn, opset)
    images = _check_int8(int8, evaluate, options, config)
    model = copy.deepcopy(model).float().cpu()
    model.bbox_head.use_dataset(getattr(model, 'dataset_meta', {}))
    metadata = describe(model, config, options)
    graph = DetectionGraph(model, kind, flip, raw).eval()
    examples = _examples(graph, metadata)
    with torch.inference_mode():
        expected = [
            dict(zip(graph.output_names, map(_to_array, graph(*inputs)))) for inputs in examples]
    if not raw:
        check_mapping(model.bbox_head, metadata, expected[0])
    graph.model = optimize_for_inference(graph.model)
    with tempfile.TemporaryDirectory(prefix='.export_', dir=_make_folder(output)) as folder:
        place = Path(folder) / output.name
        plain = Path(folder) / 'float32.onnx' if images else place
        _write(graph, plain, 'onnx' if images else options.format, dcn, metadata)
        _verify(plain, examples, expected, raw, output, say)
        if images:
            metadata = _quantize(plain, place, images, config if evaluate else None, say)
        for source, target in zip(_files_of(place), _files_of(output), strict=True):
            shutil.move(str(source), str(target))
    size = sum(file.stat().st_size for file in _files_of(output))
    say(f'{output}: {size / 2**20:.1f} MiB')
    return metadata


def _write(
    graph: DetectionGraph, place: Path, format: str, dcn: DcnForm, metadata: Metadata
) -> None:
    """Write a file with its metadata."""
    size, batch, divisor = metadata.shape, metadata.batch, metadata.divisor
    if format not in ONNX_FORMATS:
        from mmdet_centernet.export import torch_export
        program = trace(graph, size, batch, divisor)
        torch_export.write(program, place, dump(metadata), compiled=format == 'aotinductor')
        return
    try:
        from mmdet_centernet.export.onnx import to_onnx, with_property
    except ImportError as error:
        raise _missing('onnx and onnxscript', error) from error
    program = trace(graph, size, batch, divisor, dcn, tiled=True)
    onnx_model = with_property(
        to_onnx(program, graph.input_names, graph.output_names, None if size else divisor,
                metadata.opset or DEFAULT_OPSET), KEY, dump(metadata))
    if format == 'onnx':
        place.write_bytes(onnx_model.SerializeToString())
        return
    try:
        from mmdet_centernet.export.openvino import write
    except ImportError as error:
        raise _missing('openvino', error) from error
    write(onnx_model, place, dump(metadata))


def _verify(
    place: Path,
    examples: list[tuple[Tensor, ...]],
    expected: list[Arrays],
    raw: bool,
    output: Path,
    say: Say,
) -> None:
    """Execute a file on each example and compare.

    Raises:
        UserError: if it does not find what the detector finds.
    """
    try:
        runtime = open_model(place)
    except UserError as error:
        raise UserError(f'{output} was not written, because it could not be tried: '
                        f'{str(error).replace(str(place), output.name)}') from error
    for inputs, outputs in zip(examples, expected, strict=True):
        results = runtime({
            name: value.numpy() for name, value in zip(('image', 'cam2img'), inputs)})
        fault, seen = find_fault(outputs, dict(zip(outputs, results)), raw)
        what = ' x '.join(map(str, inputs[0].shape))
        if fault:
            raise UserError(f'{output} was not written, because in {runtime.name} it does not '
                            f'detect what the detector does: on an input of {what} {fault}')
        say(f'{runtime.name}, input {what}: {seen}')


def _check_int8(
    folder: str | os.PathLike[str] | None, evaluate: bool, options: ExportOptions, config: Config
) -> list[str]:
    """Return the images to calibrate on, an empty list without quantization.

    Raises:
        UserError: if there are none, or the options do not fit together.
    """
    if folder is None:
        if evaluate:
            raise UserError('--evaluate compares a model before and after --int8: add --int8, or '
                            'test an exported model with tools/deployment/test_exported.py')
        return []
    if options.format not in ONNX_FORMATS:
        raise UserError(f'--int8 writes ONNX and OpenVINO models, not {options.format}: name '
                        '--output *.onnx or *.xml')
    if options.raw:
        raise UserError('--int8 is checked by the detections of the model, and --raw does not '
                        'decode any: give one of them')
    for key in ('test_dataloader', 'test_evaluator') if evaluate else ():
        if config.get(key) is None:
            raise UserError(f'--evaluate, but the config has no {key}: leave it out')
    try:
        from mmdet_centernet.export.quantize import calibration_images
    except ImportError as error:
        raise _missing('onnx, onnxruntime and nncf', error) from error
    return calibration_images(folder)


def _quantize(
    plain: Path, place: Path, images: list[str], config: Config | None, say: Say
) -> Metadata:
    """Quantize a file, and test both files if there is a config."""
    from mmdet_centernet.export.quantize import compare, quantize_file
    metadata = quantize_file(plain, place, images, say)
    if config is not None:
        compare(config, plain, place, say)
    return metadata


def _examples(graph: DetectionGraph, metadata: Metadata) -> list[tuple[Tensor, ...]]:
    """Return inputs to try a graph on: two of different sizes if it takes any size."""
    batch, divisor = metadata.batch, metadata.divisor
    if metadata.shape:
        return [graph.example(*metadata.shape, batch or 3)]
    height, width = example_shape(divisor)
    return [graph.example(height, width, batch or 3),
            graph.example(height + 3 * divisor, width - divisor, batch or 1)]


def _to_array(value: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = value.numpy()
    return array.astype(np.float64) if value.is_floating_point() else array


def _make_folder(output: Path) -> Path:
    """Return the folder of a file, made if it is missing.

    Raises:
        UserError: if nothing can be written there.
    """
    folder = output.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'--output {output} cannot be written: {error.strerror}') from error
    if not os.access(folder, os.W_OK):
        raise UserError(f'--output {output} cannot be written: permission denied')
    return folder


def _files_of(path: Path) -> list[Path]:
    """Return the files of a model: OpenVINO has two."""
    return [path, path.with_suffix('.bin')] if path.suffix == '.xml' else [path]


def _missing(packages: str, error: ImportError) -> UserError:
    """Return the error for packages that training does not need."""
    return UserError(f'this export needs {packages}: pip install -r requirements/deploy.txt '
                     f'({error})')
