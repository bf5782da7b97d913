"""Export a detector, and see that what was written finds what the detector finds."""
import copy
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from mmdet_centernet.errors import UserError
from mmdet_centernet.export.describe import describe
from mmdet_centernet.export.graph import INPUT_KINDS, DetectionGraph
from mmdet_centernet.export.trace import example_shape, trace
from mmdet_centernet.export.verify import fault
from mmdet_centernet.inference.optimize import optimize_for_inference
from mmdet_centernet.runtime import metadata
from mmdet_centernet.runtime.backends import open_model

FORMATS = {'onnx': '.onnx', 'openvino': '.xml', 'pt2': '.pt2', 'aotinductor': '.pt2'}
DCN_FORMS = ('grid_sample', 'deform_conv')
# The first operator set that has what the graph is made of, and the last one that is written.
OPSETS = {'grid_sample': (18, 23), 'deform_conv': (19, 23)}
DEFAULT_OPSET = 20
_INT8_PACKAGES = 'onnx, onnxruntime and nncf'


def export(inferencer, output, format=None, shape=None, dynamic=False, batch=1, kind='uint8',
           flip=False, raw=False, dcn='grid_sample', opset=DEFAULT_OPSET, say=print, int8=None,
           evaluate=False):
    """Export a detector into one file that other runtimes execute.

    The file is written beside its place, executed, compared with the detector, and only then
    moved there: a failed export leaves nothing, and what was there before stays.

    Args:
        inferencer (CenterNetInferencer): With the weights, without test-time augmentation. Its
            model is not changed.
        output (str | Path): The file.
        format (str, optional): One of ``FORMATS``; None chooses by the file's ending.
        shape (tuple[int, int], optional): (height, width) of the input, see :func:`describe`.
        dynamic (bool): Let the input have any size that is a multiple of the network's coarsest
            stride.
        batch (int, optional): Images of a batch, None for any number.
        kind (str): Of the input, see :class:`DetectionGraph`.
        flip (bool): Average with the mirrored image.
        raw (bool): Leave out the decoding.
        dcn (str): How deformable convolutions are written: ``'grid_sample'``, around the
            operator of that name, or ``'deform_conv'``, ONNX's operator of that name.
        opset (int): ONNX's operator set.
        say (callable): Gets a line of text for each thing that was done.
        int8 (str | Path, optional): Quantise, calibrated on the images of this folder.
        evaluate (bool): Test the model before and after that on the config's test data.

    Returns:
        dict: The metadata that stand in the file.

    Raises:
        UserError: If the options, the config or the place do not suit, a package is missing,
            or the file does not do what the detector does.
    """
    output = Path(output)
    format = _checked_format(output, format)
    _check_options(shape, dynamic, batch, kind, flip, raw, dcn, opset, format)
    config, model = inferencer.cfg, inferencer.model
    images = _check_int8(int8, evaluate, format, raw, config)
    meta = describe(model, config, Path(config.filename or 'config').stem, shape, dynamic, batch)
    if meta['dcn'] is None and dcn != 'grid_sample':
        raise UserError(f'--dcn {dcn}, but {meta["config"]} has no deformable convolution: leave '
                        'it out')
    graph = DetectionGraph(copy.deepcopy(model).float().cpu(), kind, flip, raw).eval()
    meta.update(
        input=dict(kind=kind, to_rgb=bool(graph.swap),
                   mean=graph.mean.flatten().tolist() if graph.normalise else [0.0] * 3,
                   std=graph.std.flatten().tolist() if graph.normalise else [1.0] * 3),
        flip=flip, raw=raw, dcn=meta['dcn'] and dcn,
        opset=opset if format in ('onnx', 'openvino') else None)
    size = meta['shape'] and tuple(meta['shape'])
    examples = _examples(graph, size, batch, meta['divisor'])
    with torch.inference_mode():
        expected = [
            dict(zip(graph.output_names, map(_array, outputs)))
            for outputs in [graph(*inputs) for inputs in examples]]
    meta['outputs'] = graph.output_names
    graph.model = optimize_for_inference(graph.model)
    with tempfile.TemporaryDirectory(prefix='.export_', dir=_folder_of(output)) as folder:
        place = Path(folder) / output.name
        plain = Path(folder) / 'float32.onnx' if int8 else place
        _write(graph, plain, 'onnx' if int8 else format, meta)
        _verify(plain, examples, expected, raw, output, say)
        if int8:
            quantize = _import('quantize', _INT8_PACKAGES)
            meta = quantize.quantize_file(plain, place, images, say)
            if evaluate:
                quantize.compare(config, plain, place, say)
        _move(place, output)
    say(f'{output}: {sum(f.stat().st_size for f in _files_of(output)) / 2**20:.1f} MiB')
    return meta


def _write(graph, place, format, meta):
    """Write the file, with its metadata."""
    size, batch, divisor = meta['shape'], meta['batch'], meta['divisor']
    text = metadata.dump(meta)
    if format in ('pt2', 'aotinductor'):
        from mmdet_centernet.export import torch_export
        program = trace(graph, size, batch, divisor)
        torch_export.write(program, place, text, compiled=format == 'aotinductor')
        return
    onnx = _import('onnx', 'onnx and onnxscript')
    program = trace(graph, size, batch, divisor, meta['dcn'] or 'grid_sample', tiled=True)
    model = onnx.to_onnx(
        program, graph.output_names, None if size else divisor, meta['opset'])
    model = onnx.with_property(model, metadata.KEY, text)
    if format == 'onnx':
        place.write_bytes(model.SerializeToString())
        return
    _import('openvino', 'openvino').write(model, place, text)


def _verify(place, examples, expected, raw, output, say):
    """Execute a file on each example and compare.

    Raises:
        UserError: If it does not find what the detector finds.
    """
    try:
        runtime = open_model(place)
    except UserError as error:
        raise UserError(f'{output} was not written, because it could not be tried: '
                        f'{str(error).replace(str(place), output.name)}') from error
    for inputs, outputs in zip(examples, expected, strict=True):
        results = runtime({
            name: value.numpy() for name, value in zip(('image', 'cam2img'), inputs)})
        wrong, seen = fault(outputs, dict(zip(outputs, results)), raw)
        what = ' x '.join(map(str, inputs[0].shape))
        if wrong:
            raise UserError(f'{output} was not written, because in {runtime.name} it does not do '
                            f'what the detector does: on an input of {what} {wrong}')
        say(f'{runtime.name}, input {what}: {seen}')


def _examples(graph, size, batch, divisor):
    """Inputs to try a graph on: of a program of any size two of them."""
    if size:
        return [graph.example(*size, batch or 3)]
    height, width = example_shape(divisor)
    return [graph.example(height, width, batch or 3),
            graph.example(height + 3 * divisor, width - divisor, batch or 1)]


def _array(value):
    return value.numpy().astype(np.float64) if value.is_floating_point() else value.numpy()


def _checked_format(output, format):
    """The format of a file.

    Raises:
        UserError: If its ending is another's, or it cannot be written there.
    """
    if format is None:
        format = next((name for name, ending in FORMATS.items() if ending == output.suffix), None)
        if format is None:
            raise UserError(f'--output {output} ends in {output.suffix or "nothing"}: name it '
                            '*.onnx, *.xml (OpenVINO) or *.pt2 (torch.export)')
    if format not in FORMATS:
        raise UserError(f'--format {format} is unknown: it is one of {", ".join(FORMATS)}')
    if output.suffix != FORMATS[format]:
        raise UserError(f'--output {output} of format {format} must be named *{FORMATS[format]}')
    if output.is_dir():
        raise UserError(f'--output {output} is a folder: name a file')
    return format


def _check_options(shape, dynamic, batch, kind, flip, raw, dcn, opset, format):
    """Raise a UserError for options that are wrong, or wrong together."""
    if kind not in INPUT_KINDS:
        raise UserError(f'--input {kind} is unknown: it is one of {", ".join(INPUT_KINDS)}')
    if dcn not in DCN_FORMS:
        raise UserError(f'--dcn {dcn} is unknown: it is one of {", ".join(DCN_FORMS)}')
    if dcn == 'deform_conv' and format != 'onnx':
        raise UserError(f'--dcn deform_conv is an operator of ONNX, which {format} does not '
                        'have: use grid_sample')
    if format == 'aotinductor' and kind == 'uint8':
        raise UserError('--format aotinductor needs --input float: what PyTorch 2.13 compiles of '
                        'uint8 images does not find what the detector finds')
    first, last = OPSETS[dcn]
    if format in ('onnx', 'openvino') and not first <= opset <= last:
        raise UserError(f'--opset {opset} is not supported: with --dcn {dcn} it can be {first} to '
                        f'{last}')
    if shape is not None and dynamic:
        raise UserError('--shape gives one input size and --dynamic any: give one of them')
    if batch is not None and batch < 1:
        raise UserError(f'--batch {batch} must be at least 1, or dynamic')
    if flip and raw:
        raise UserError('--flip averages what is decoded, and --raw decodes nothing: give one of '
                        'them')


def _check_int8(int8, evaluate, format, raw, config):
    """The images to calibrate on, None without quantisation.

    Raises:
        UserError: If there are none, or the options do not go together.
    """
    if int8 is None:
        if evaluate:
            raise UserError('--evaluate compares a model before and after --int8: give that too, '
                            'or test an exported model with tools/deployment/test_exported.py')
        return None
    if format not in ('onnx', 'openvino'):
        raise UserError(f'--int8 makes ONNX and OpenVINO models, not {format}: name --output '
                        '*.onnx or *.xml')
    if raw:
        raise UserError('--int8 is tried by what the model detects, and --raw detects nothing: '
                        'give one of them')
    quantize = _import('quantize', _INT8_PACKAGES)
    for key in ('test_dataloader', 'test_evaluator') if evaluate else ():
        if config.get(key) is None:
            raise UserError(f'--evaluate, but the config has no {key}: leave it out')
    return quantize.calibration_images(int8)


def _folder_of(output):
    """The folder of a file, made if it is missing.

    Raises:
        UserError: If nothing can be written there.
    """
    folder = output.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'--output {output} cannot be written: {error.strerror}') from error
    if not os.access(folder, os.W_OK):
        raise UserError(f'--output {output} cannot be written: permission denied')
    return folder


def _files_of(path):
    """The files of a model: OpenVINO's are two."""
    return [path, path.with_suffix('.bin')] if path.suffix == '.xml' else [path]


def _move(place, output):
    """Move a model into its place."""
    for source, target in zip(_files_of(place), _files_of(output), strict=True):
        shutil.move(str(source), str(target))


def _import(name, packages):
    """A module of this package that needs more than training does.

    Raises:
        UserError: If that is not installed.
    """
    import importlib
    try:
        return importlib.import_module(f'mmdet_centernet.export.{name}')
    except ImportError as error:
        raise UserError(f'this export needs {packages}: pip install -r '
                        f'requirements/deploy.txt ({error})') from error
