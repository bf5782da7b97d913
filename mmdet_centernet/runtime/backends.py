"""Runtimes of exported models: ONNX Runtime, OpenVINO and PyTorch, behind one interface.

A runtime loads a file and takes named arrays. Its package is imported when it is asked for.
"""
import importlib
import re
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmdet_centernet.errors import UserError
from mmdet_centernet.runtime.metadata import KEY
from mmdet_centernet.version import release

PRECISIONS = {'float32': 'f32', 'bfloat16': 'bf16'}
#: First version of ONNX Runtime with the operator DeformConv.
DEFORM_CONV_SINCE = '1.25'
DEFORM_CONV_INPUTS = 5  # x, weight, offset, bias, mask

Arrays = Mapping[str, NDArray[Any]]


class Backend(ABC):
    """A model in its runtime.

    Args:
        path (Path): file of the model.
        device (str): see :func:`open_model`.
        threads (int, optional): see :func:`open_model`.
        precision (str): see :func:`open_model`. Only OpenVINO has a choice.

    Attributes:
        name (str): name of the runtime, and of the package to install.
        extensions (tuple[str, ...]): of the files that it reads.
        metadata (str | None): text of the file's metadata; None: it has none.

    Raises:
        UserError: see :func:`open_model`.
    """

    name: str
    extensions: tuple[str, ...]
    metadata: str | None

    @abstractmethod
    def __init__(self, path: Path, device: str, threads: int | None, precision: str) -> None:
        ...

    @abstractmethod
    def __call__(self, feeds: Arrays) -> list[NDArray[Any]]:
        """Run the model.

        Args:
            feeds (dict[str, ndarray]): its inputs, in the model's order.

        Returns:
            list[ndarray]: its outputs, in the model's order.
        """


class OnnxRuntime(Backend):
    """A model in ONNX Runtime."""

    name = 'onnxruntime'
    extensions = ('.onnx',)

    def __init__(self, path: Path, device: str, threads: int | None, precision: str) -> None:
        ort = _import(self.name)
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors, which are raised as well
        if threads is not None:
            options.intra_op_num_threads = int(threads)
        index = _cuda_index(device)
        providers: list[Any] = ['CPUExecutionProvider']
        if index is not None:
            self._check_cuda(ort, device)
            providers.insert(0, ('CUDAExecutionProvider', dict(device_id=index)))
        try:
            self._session = ort.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime's errors have no class in common
            raise UserError(self._reason(ort, path, error)) from error
        if index is not None and 'CUDAExecutionProvider' not in self._session.get_providers():
            raise UserError(
                f"device={device!r}, but ONNX Runtime cannot start CUDAExecutionProvider here: "
                "use 'cpu', or check that the CUDA version that it was built for is installed")
        self.metadata = self._session.get_modelmeta().custom_metadata_map.get(KEY)

    @staticmethod
    def _check_cuda(ort: Any, device: str) -> None:
        """Raise a UserError unless this ONNX Runtime was built for GPUs."""
        available = ort.get_available_providers()
        if 'CUDAExecutionProvider' not in available:
            raise UserError(
                f'device={device!r}, but ONNX Runtime {ort.__version__} only has '
                f"{', '.join(available)} here: use 'cpu', or replace it: pip install "
                'onnxruntime-gpu')

    @staticmethod
    def _reason(ort: Any, path: Path, error: Exception) -> str:
        """Explain why a model was not loaded."""
        if 'DeformConv' in str(error) and release(ort.__version__) < release(DEFORM_CONV_SINCE):
            return (
                f'model {path} has the operator DeformConv, which needs ONNX Runtime '
                f'{DEFORM_CONV_SINCE}, but {ort.__version__} is installed: pip install '
                f"'onnxruntime>={DEFORM_CONV_SINCE}', or export with --dcn grid_sample")
        return f'ONNX Runtime {ort.__version__} cannot load {path}: {one_line(error)}'

    def __call__(self, feeds: Arrays) -> list[NDArray[Any]]:
        outputs: list[NDArray[Any]] = self._session.run(None, dict(feeds))
        return outputs


class OpenVino(Backend):
    """A model in OpenVINO."""

    name = 'openvino'
    extensions = ('.xml', '.onnx')

    def __init__(self, path: Path, device: str, threads: int | None, precision: str) -> None:
        ov = _import(self.name)
        core = _core()
        if device not in ('cpu', 'gpu'):
            raise UserError(f"device={device!r} is not one of OpenVINO's: give 'cpu' or 'gpu' "
                            "(Intel's)")
        if not any(found.split('.')[0] == device.upper() for found in core.available_devices):
            raise UserError(f'device={device!r}, but OpenVINO only finds '
                            f'{", ".join(core.available_devices)}: use another one, or install '
                            'its driver')
        if precision == 'bfloat16' and 'BF16' not in core.get_property(
                device.upper(), 'OPTIMIZATION_CAPABILITIES'):
            raise UserError(f"precision='bfloat16', but this {device.upper()} does not support "
                            'it: leave precision out')
        weights = path.with_suffix('.bin')
        if path.suffix == '.xml' and not weights.is_file():
            raise UserError(f'model {path} has its weights in {weights}, which does not exist: '
                            'keep both files together')
        config: dict[str, Any] = {'INFERENCE_PRECISION_HINT': PRECISIONS[precision]}
        if threads is not None:
            config['INFERENCE_NUM_THREADS'] = int(threads)
        try:
            model = core.read_model(str(path))
            self._model = core.compile_model(model, device.upper(), config)
        except RuntimeError as error:
            raise UserError(
                f'OpenVINO {ov.__version__.split("-")[0]} cannot load {path}: '
                f'{one_line(error)}') from error
        # The properties of an ONNX model become those of the "framework".
        place = [KEY] if path.suffix == '.xml' else ['framework', KEY]
        self.metadata = model.get_rt_info(place).value if model.has_rt_info(place) else None

    def __call__(self, feeds: Arrays) -> list[NDArray[Any]]:
        results = self._model(dict(feeds))
        return [results[output] for output in self._model.outputs]


@cache
def _core() -> Any:
    """Return the OpenVINO core of this process.

    OpenVINO's Core installs an alternate signal stack and removes it on destruction, even if a
    newer Core uses it. A later signal, such as that of a data-loading process that ends, would
    then crash the process. Hence there is one Core, which is never destroyed.
    """
    core = importlib.import_module('openvino').Core()
    core.add_extension(importlib.import_module('openvino.frontend.onnx').ConversionExtension(
        'DeformConv', _deform_conv))
    return core


def _deform_conv(node: Any) -> Any:
    """Convert ONNX's DeformConv, which OpenVINO's ONNX reader does not know.

    Args:
        node (openvino.frontend.NodeContext): its inputs are x, weight, offset, bias and mask, as
            ``tools/deployment/export.py`` writes them.

    Returns:
        list: outputs of OpenVINO's DeformableConvolution.
    """
    from openvino import opset8
    x, weight, offset, bias, mask = map(node.get_input, range(DEFORM_CONV_INPUTS))
    pads = node.get_attribute('pads')
    result = opset8.deformable_convolution(
        x, offset, weight, mask=mask, strides=node.get_attribute('strides'),
        pads_begin=pads[:2], pads_end=pads[2:], dilations=node.get_attribute('dilations'),
        group=node.get_attribute('group'), deformable_group=node.get_attribute('offset_group'),
        bilinear_interpolation_pad=True)
    shape = opset8.constant(np.array([1, -1, 1, 1]))
    return opset8.add(result, opset8.reshape(bias, shape, special_zero=False)).outputs()


class TorchExport(Backend):
    """A ``torch.export`` archive or an AOTInductor package in PyTorch.

    The number of threads is set for the whole process.
    """

    name = 'torch'
    extensions = ('.pt2',)

    def __init__(self, path: Path, device: str, threads: int | None, precision: str) -> None:
        torch = _import(self.name)
        index = _cuda_index(device)
        if index is not None and index >= torch.cuda.device_count():
            raise UserError(f'device={device!r}, but PyTorch sees '
                            f"{torch.cuda.device_count() or 'no'} GPU(s) here: use 'cpu', or "
                            'install a PyTorch that was built for this GPU')
        if threads is not None:
            torch.set_num_threads(int(threads))
        self.metadata, is_compiled = _read_archive(path)
        self._torch = torch
        self._device = torch.device(device)
        try:
            if is_compiled:
                self._run = torch._inductor.aoti_load_package(str(path))
            else:
                self._run = torch.export.load(str(path)).module().to(self._device)
        except Exception as error:  # PyTorch's errors have no class in common
            raise UserError(f'PyTorch {torch.__version__} cannot load {path}: '
                            f'{one_line(error)}') from error

    def __call__(self, feeds: Arrays) -> list[NDArray[Any]]:
        with self._torch.inference_mode():
            results = self._run(*(
                self._torch.from_numpy(np.ascontiguousarray(value)).to(self._device)
                for value in feeds.values()))
        return [value.cpu().numpy() for value in results]


def open_model(
    path: str | Path,
    backend: str | None = None,
    device: str = 'cpu',
    threads: int | None = None,
    precision: str | None = None,
) -> Backend:
    """Load an exported model.

    Args:
        path (str | Path): ``*.onnx``, ``*.xml`` (next to its ``*.bin``) or ``*.pt2``.
        backend (str, optional): ``'onnxruntime'``, ``'openvino'`` (which also reads ``*.onnx``)
            or ``'torch'``; None chooses by the file's extension.
        device (str): ``'cpu'``; ``'cuda'`` or ``'cuda:1'`` (ONNX Runtime and torch); ``'gpu'``
            (OpenVINO).
        threads (int, optional): threads within an operation. None leaves it to the runtime.
        precision (str, optional): precision of OpenVINO's computation, ``'float32'`` (None) or
            ``'bfloat16'``.

    Raises:
        UserError: if the file is missing or cannot be loaded, the runtime is missing or too
            old, or it does not have what is asked for.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'model {path} does not exist')
    kinds: dict[str, type[Backend]] = {
        kind.name: kind for kind in (OnnxRuntime, OpenVino, TorchExport)}
    if backend is None:
        backend = next(
            (name for name, kind in kinds.items() if path.suffix in kind.extensions), None)
        if backend is None:
            raise UserError(f'model {path} has the extension {path.suffix or "(none)"}, but '
                            'exported models are *.onnx, *.xml or *.pt2: export the checkpoint '
                            'with tools/deployment/export.py')
    elif backend not in kinds:
        raise UserError(f'backend={backend!r} is unknown: give one of {", ".join(kinds)}')
    kind = kinds[backend]
    if path.suffix not in kind.extensions:
        raise UserError(f'backend={backend!r} reads {" and ".join(kind.extensions)}, not {path}')
    if threads is not None and (not isinstance(threads, Integral) or threads < 1):
        raise UserError(f'threads={threads} must be a whole number of at least 1')
    if precision is not None and kind is not OpenVino:
        raise UserError(f'precision={precision!r} is only for openvino, but {backend} computes '
                        'in the precision of the model: leave it out')
    if precision not in (None, *PRECISIONS):
        raise UserError(f'precision={precision!r} is not one of {", ".join(PRECISIONS)}')
    return kind(path, device, threads, precision or 'float32')


def _read_archive(path: Path) -> tuple[str | None, bool]:
    """Return the metadata of a ``.pt2`` file, and whether it is compiled.

    Raises:
        UserError: if it is not an archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            place = next((name for name in names if name.endswith(f'extra/{KEY}.json')), None)
            text = archive.read(place).decode() if place else None
    except (zipfile.BadZipFile, UnicodeDecodeError):
        raise UserError(f'model {path} is not an archive of torch.export: it may be truncated, '
                        'so copy it again') from None
    return text, any('/aotinductor/' in name for name in names)


def _import(name: str) -> Any:
    """Import a runtime's package, by name, because this package must not depend on any.

    Raises:
        UserError: if it is not installed or cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        is_missing = isinstance(error, ModuleNotFoundError) and error.name == name
        why = 'is not installed' if is_missing else f'cannot be imported ({one_line(error)})'
        raise UserError(f'the model needs {name}, which {why}: pip install {name}') from error


def _cuda_index(device: str) -> int | None:
    """Return the number of the GPU of ``'cuda'`` or ``'cuda:1'``; None for the CPU.

    Raises:
        UserError: if the text is not one of these.
    """
    match = re.fullmatch(r'cpu|cuda(?::(\d+))?', str(device))
    if not match:
        raise UserError(f"device={device!r} is unknown: give 'cpu', 'cuda' or 'cuda:1'")
    return None if device == 'cpu' else int(match[1] or 0)


def one_line(error: Exception) -> str:
    """Return an error's text in one line, without OpenVINO's positions in its own source."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines
             if line and not re.match(r'(Exception from|Check .* failed)', line)]
    text = ' '.join(lines) or type(error).__name__
    return re.sub(r'^\[ONNXRuntimeError\] : \d+ : ', '', text)[:300].rstrip('.')
