"""What executes an exported model: ONNX Runtime, OpenVINO or PyTorch, each in its own way.

A runtime is made from a file and takes named arrays; none is imported before it is asked for.
"""
import importlib
import re
import zipfile
from functools import cache
from numbers import Integral
from pathlib import Path

import numpy as np

from mmdet_centernet.errors import UserError
from mmdet_centernet.runtime.metadata import KEY
from mmdet_centernet.version import release

PRECISIONS = {'float32': 'f32', 'bfloat16': 'bf16'}
# The first ONNX Runtime that has the operator DeformConv.
DEFORM_CONV_SINCE = '1.25'
_INSTALL = dict(onnxruntime='pip install onnxruntime', openvino='pip install openvino',
                torch='pip install torch')


def open_model(path, backend=None, device='cpu', threads=None, precision=None):
    """Load an exported model.

    Args:
        path (str | Path): ``*.onnx``, ``*.xml`` (beside its ``*.bin``) or ``*.pt2``.
        backend (str, optional): ``'onnxruntime'``, ``'openvino'`` (which reads ``*.onnx`` as
            well) or ``'torch'``; None chooses by the file's ending.
        device (str): ``'cpu'``; ``'cuda'`` or ``'cuda:1'`` (ONNX Runtime and torch); ``'gpu'``
            (OpenVINO).
        threads (int, optional): Within an operation. None leaves it to the runtime.
        precision (str, optional): Of OpenVINO's computation, ``'float32'`` (None) or
            ``'bfloat16'``.

    Returns:
        OnnxRuntime | OpenVino | TorchExport

    Raises:
        UserError: If the file is missing or cannot be loaded, the runtime is missing or too
            old, or it does not do what is asked.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'model {path} does not exist')
    kinds = {kind.name: kind for kind in (OnnxRuntime, OpenVino, TorchExport)}
    if backend is None:
        backend = next((name for name, kind in kinds.items() if path.suffix in kind.endings),
                       None)
        if backend is None:
            raise UserError(f'model {path} ends in {path.suffix or "nothing"}: exported models '
                            'are *.onnx, *.xml or *.pt2, which tools/deployment/export.py makes '
                            'of a checkpoint')
    elif backend not in kinds:
        raise UserError(f'backend={backend!r} is unknown: it is one of {", ".join(kinds)}')
    kind = kinds[backend]
    if path.suffix not in kind.endings:
        raise UserError(f'backend={backend!r} reads {" and ".join(kind.endings)}, not {path}')
    if threads is not None and (not isinstance(threads, Integral) or threads < 1):
        raise UserError(f'threads={threads} must be a whole number of at least 1')
    if precision is not None and kind is not OpenVino:
        raise UserError(f'precision={precision!r} is a choice of openvino: {backend} computes '
                        'as the model says')
    if precision not in (None, *PRECISIONS):
        raise UserError(f'precision={precision!r} is none of {", ".join(PRECISIONS)}')
    options = dict(precision=precision or 'float32') if kind is OpenVino else {}
    return kind(path, device, threads, **options)


class OnnxRuntime:
    """ONNX Runtime; see :func:`open_model`.

    Attributes:
        metadata (str | None): What the file says of itself.
    """

    name = 'onnxruntime'
    endings = ('.onnx', )

    def __init__(self, path, device, threads):
        ort = _import(self.name)
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors, which are raised as well
        if threads is not None:
            options.intra_op_num_threads = int(threads)
        providers = self._providers(ort, device)
        try:
            self._session = ort.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime's errors have no class in common
            raise UserError(self._reason(ort, path, error)) from error
        if len(providers) > 1 and self._session.get_providers()[0] != providers[0][0]:
            raise UserError(f'device={device!r}, but ONNX Runtime cannot start '
                            f"{providers[0][0]} here: use 'cpu', or see that the CUDA that it "
                            'was built for is installed')
        self.metadata = self._session.get_modelmeta().custom_metadata_map.get(KEY)

    @staticmethod
    def _providers(ort, device):
        """What executes the operators, the first that can.

        Raises:
            UserError: If the device is unknown or this ONNX Runtime does not have it.
        """
        index = _cuda_index(device)
        if index is None:
            return ['CPUExecutionProvider']
        available = ort.get_available_providers()
        if 'CUDAExecutionProvider' not in available:
            raise UserError(f'device={device!r}, but this ONNX Runtime {ort.__version__} has '
                            f"{', '.join(available)} only: use 'cpu', or pip install "
                            'onnxruntime-gpu in its place')
        return [('CUDAExecutionProvider', dict(device_id=index)), 'CPUExecutionProvider']

    @staticmethod
    def _reason(ort, path, error):
        """The sentence for a model that was not loaded."""
        if 'DeformConv' in str(error) and release(ort.__version__) < release(
                DEFORM_CONV_SINCE):
            return (f'model {path} has the operator DeformConv, which ONNX Runtime has since '
                    f'{DEFORM_CONV_SINCE}, but {ort.__version__} is installed: pip install '
                    f"'onnxruntime>={DEFORM_CONV_SINCE}', or export with --dcn grid_sample")
        return f'ONNX Runtime {ort.__version__} cannot load {path}: {one_line(error)}'

    def __call__(self, feeds):
        """Run the model.

        Args:
            feeds (dict[str, ndarray]): Its inputs, in the order that the model has them.

        Returns:
            list[ndarray]: Its outputs, in the order that the model has them.
        """
        return self._session.run(None, feeds)


class OpenVino:
    """OpenVINO; see :func:`open_model` and :class:`OnnxRuntime`.

    Args:
        precision (str): One of ``PRECISIONS``.
    """

    name = 'openvino'
    endings = ('.xml', '.onnx')

    def __init__(self, path, device, threads, precision):
        ov = _import(self.name)
        core = _core()
        if device not in ('cpu', 'gpu'):
            raise UserError(f"device={device!r} is none of openvino's: give 'cpu' or 'gpu' (of "
                            'Intel)')
        if not any(found.split('.')[0] == device.upper() for found in core.available_devices):
            raise UserError(f'device={device!r}, but OpenVINO finds '
                            f'{", ".join(core.available_devices)} only: use another, or install '
                            'its driver')
        if precision == 'bfloat16' and 'BF16' not in core.get_property(
                device.upper(), 'OPTIMIZATION_CAPABILITIES'):
            raise UserError(f"precision='bfloat16', but this {device.upper()} does not compute "
                            'it: leave precision out')
        weights = path.with_suffix('.bin')
        if path.suffix == '.xml' and not weights.is_file():
            raise UserError(f'model {path} has its weights in {weights}, which does not exist: '
                            'keep both files together')
        config = {'INFERENCE_PRECISION_HINT': PRECISIONS[precision]}
        if threads is not None:
            config['INFERENCE_NUM_THREADS'] = int(threads)
        try:
            model = core.read_model(str(path))
            self._model = core.compile_model(model, device.upper(), config)
        except RuntimeError as error:
            raise UserError(
                f'OpenVINO {ov.__version__.split("-")[0]} cannot load {path}: '
                f'{one_line(error)}') from error
        # Of an ONNX model its properties are those of a framework's.
        place = [KEY] if path.suffix == '.xml' else ['framework', KEY]
        self.metadata = model.get_rt_info(place).value if model.has_rt_info(place) else None

    def __call__(self, feeds):
        """Run the model; see :class:`OnnxRuntime`."""
        results = self._model(feeds)
        return [results[output] for output in self._model.outputs]


@cache
def _core():
    """The one OpenVINO core of this process, which lives as long.

    A core lays a signal stack of its own under the thread that compiles with it, and takes it
    away when it goes, also from under a later core's: then the next signal, such as that of a
    data-loading process that ends, would end this process.
    """
    core = importlib.import_module('openvino').Core()
    core.add_extension(importlib.import_module('openvino.frontend.onnx').ConversionExtension(
        'DeformConv', _deform_conv))
    return core


def _deform_conv(node):
    """ONNX's DeformConv as OpenVINO's DeformableConvolution, which its ONNX reader does not know.

    Args:
        node (openvino.frontend.NodeContext): Inputs are x, weight, offset, bias, mask, the way
            that ``tools/deployment/export.py`` writes it.

    Returns:
        list: Its output.
    """
    from openvino import opset8
    x, weight, offset, bias, mask = (node.get_input(index) for index in range(5))
    pads = node.get_attribute('pads')
    result = opset8.deformable_convolution(
        x, offset, weight, mask=mask, strides=node.get_attribute('strides'),
        pads_begin=pads[:2], pads_end=pads[2:], dilations=node.get_attribute('dilations'),
        group=node.get_attribute('group'), deformable_group=node.get_attribute('offset_group'),
        bilinear_interpolation_pad=True)
    shape = opset8.constant(np.array([1, -1, 1, 1]))
    return opset8.add(result, opset8.reshape(bias, shape, special_zero=False)).outputs()


class TorchExport:
    """A ``torch.export`` archive or an AOTInductor package; see :func:`open_model`.

    Threads are those of the whole process.
    """

    name = 'torch'
    endings = ('.pt2', )

    def __init__(self, path, device, threads):
        torch = _import(self.name)
        index = _cuda_index(device)
        if index is not None and index >= torch.cuda.device_count():
            raise UserError(f'device={device!r}, but PyTorch sees '
                            f"{torch.cuda.device_count() or 'no'} GPU(s) here: use 'cpu', or "
                            'install a PyTorch built for this GPU')
        if threads is not None:
            torch.set_num_threads(int(threads))
        self.metadata, compiled = _archive(path)
        self._torch = torch
        self._device = torch.device(device)
        try:
            if compiled:
                self._run = torch._inductor.aoti_load_package(str(path))
            else:
                program = torch.export.load(str(path))
                self._run = program.module().to(self._device)
        except Exception as error:  # of many classes
            raise UserError(f'PyTorch {torch.__version__} cannot load {path}: '
                            f'{one_line(error)}') from error

    def __call__(self, feeds):
        """Run the model; see :class:`OnnxRuntime`."""
        with self._torch.inference_mode():
            results = self._run(*(
                self._torch.from_numpy(np.ascontiguousarray(value)).to(self._device)
                for value in feeds.values()))
        return [value.cpu().numpy() for value in results]


def _archive(path):
    """The metadata of a ``.pt2`` file, and whether it is compiled.

    Raises:
        UserError: If it is no archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            place = next((name for name in names if name.endswith(f'extra/{KEY}.json')), None)
            text = archive.read(place).decode() if place else None
    except (zipfile.BadZipFile, UnicodeDecodeError):
        raise UserError(f'model {path} is no archive of torch.export: it may be cut off, so '
                        'copy it again') from None
    return text, any('/aotinductor/' in name for name in names)


def _import(name):
    """A runtime's module.

    Raises:
        UserError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        why = 'is not installed' if isinstance(error, ModuleNotFoundError) and (
            error.name == name) else f'cannot be imported ({one_line(error)})'
        raise UserError(f'the model needs {name}, which {why}: {_INSTALL[name]}') from error


def _cuda_index(device):
    """Which GPU ``'cuda'`` or ``'cuda:1'`` is; None for the CPU.

    Raises:
        UserError: If the text is none of these.
    """
    match = re.fullmatch(r'cpu|cuda(?::(\d+))?', str(device))
    if not match:
        raise UserError(f"device={device!r} is unknown: give 'cpu', 'cuda' or 'cuda:1'")
    return None if device == 'cpu' else int(match[1] or 0)


def one_line(error):
    """What an error says, in one line without OpenVINO's places in its source."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines
             if line and not re.match(r'(Exception from|Check .* failed)', line)]
    text = ' '.join(lines) or type(error).__name__
    return re.sub(r'^\[ONNXRuntimeError\] : \d+ : ', '', text)[:300].rstrip('.')
