"""Faster inference of a trained detector: fewer layers, compiled code, half precision."""
import copy
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmcv.cnn import Scale
from mmcv.ops import ModulatedDeformConv2d
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

from mmdet_centernet.errors import UserError

PRECISIONS = ('float32', 'bfloat16', 'float16')
OPTIMIZE_CHOICES = (False, True, 'compile')
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d, ModulatedDeformConv2d)
# The coarsest stride of every backbone divides it, the Hourglass's 128 too.
PROBE_SIDE = 128


def faster(
    model: nn.Module, optimize: bool | str = False, precision: str = 'float32'
) -> nn.Module:
    """Prepare a trained model for prediction.

    Args:
        model (nn.Module): in eval mode on its device: a detector of this package, or a
            :class:`CenterNetTTAModel` around one.
        optimize (bool | str): one of ``OPTIMIZE_CHOICES``, see :func:`optimize_for_inference`.
        precision (str): one of ``PRECISIONS``, see :func:`use_precision`.

    Returns:
        nn.Module: the model itself or, if optimized, a changed copy.

    Raises:
        UserError: for an unknown word, or float16 on a CPU.
    """
    for name, word, words in (('optimize', optimize, OPTIMIZE_CHOICES),
                              ('precision', precision, PRECISIONS)):
        if word not in words:
            raise UserError(f'{name}={word!r} is unknown: it is one of '
                            f'{", ".join(map(str, words))}')
    if optimize:
        model = optimize_for_inference(model, compile=optimize == 'compile')
    if precision != 'float32':
        use_precision(model, getattr(torch, precision))
    return model


class FasterModelHook(Hook):
    """Hook that tests the model that :func:`faster` makes of the runner's.

    Args:
        optimize, precision: see :func:`faster`.
    """

    # After hooks that exchange the weights, such as EMAHook.
    priority = 'LOWEST'

    def __init__(self, optimize: bool | str, precision: str) -> None:
        self.optimize = optimize
        self.precision = precision

    def before_test_epoch(self, runner: Runner) -> None:
        """Replace the runner's model."""
        model = runner.model
        # Processes do not exchange anything while they predict.
        while is_model_wrapper(model):
            model = model.module
        runner.model = faster(model.eval(), self.optimize, self.precision)


class _Readers(TorchFunctionMode):
    """Observer of a forward pass: which layers read the outputs of a model's convolutions.

    Attributes:
        of (dict[nn.Module, set]): per convolution the batch norms that read its output, None
            for everything else that does.
        calls (dict[nn.Module, int]): of each convolution and batch norm.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.of: dict[nn.Module, set[nn.Module | None]] = defaultdict(set)
        self.calls: dict[nn.Module, int] = defaultdict(int)
        # By id; they are kept, so that no later tensor gets the same id.
        self._outputs: dict[int, tuple[nn.Module, Tensor]] = {}
        self._norm: nn.Module | None = None  # which is at work
        self._hooks = []
        for module in model.modules():
            if isinstance(module, CONVOLUTIONS):
                self._hooks.append(module.register_forward_hook(self._after_convolution))
            elif isinstance(module, _BatchNorm):
                self._hooks += [module.register_forward_pre_hook(self._before_norm),
                                module.register_forward_hook(self._after_norm)]

    def _after_convolution(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self.calls[module] += 1
        self._outputs[id(output)] = module, output

    def _before_norm(self, module: nn.Module, args: Any) -> None:
        self.calls[module] += 1
        self._norm = module

    def _after_norm(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self._norm = None

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Note the reader, and call the function."""
        for argument in (*args, *(kwargs or {}).values()):
            for value in argument if isinstance(argument, (tuple, list)) else (argument,):
                if id(value) in self._outputs:
                    self.of[self._outputs[id(value)][0]].add(self._norm)
        return function(*args, **(kwargs or {}))

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for hook in self._hooks:
            hook.remove()


def _convolutions_and_norms(model: nn.Module) -> list[tuple[Any, Any]]:
    """Convolutions whose output a batch norm reads and nothing else, and that norm.

    Seen in a forward pass of a small black image, not in the layers' names or order, so that
    any backbone will do. A layer that works in several places is left out.
    """
    probe = next(model.parameters()).new_zeros(1, 3, PROBE_SIDE, PROBE_SIDE)
    with torch.no_grad(), _Readers(model) as readers:
        model(probe, mode='tensor')
    pairs = []
    for convolution, reading in readers.of.items():
        norm = next(iter(reading)) if len(reading) == 1 else None
        if norm is not None and readers.calls[convolution] == readers.calls[norm] == 1:
            pairs.append((convolution, norm))
    return pairs


def _fuse_batch_norms(model: nn.Module) -> None:
    """Fold batch norms into the convolutions before them, in place.

    In eval mode a batch norm is a factor and an addend for each channel, which weights and bias
    of a convolution, plain, transposed or deformable, can hold. Norms that follow none, or have
    no statistics of their own, stay.
    """
    names = {module: name for name, module in model.named_modules()}
    for convolution, norm in _convolutions_and_norms(model):
        transposed = isinstance(convolution, nn.ConvTranspose2d)
        if norm.running_mean is None or (transposed and convolution.groups > 1):
            continue
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps,
            norm.weight, norm.bias, transpose=transposed)
        model.set_submodule(names[norm], nn.Identity())


def _compiled(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``torch.compile`` of a function, whose failures are sentences.

    The first size of images is compiled for as it is; once there is a second one, for any.
    """
    compiled = torch.compile(function)

    def call(inputs: Any) -> Any:
        try:
            return compiled(inputs)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = ' '.join(str(error).split())[:200]
            raise UserError(
                "optimize='compile' does not work here, as it needs a C++ compiler, and Triton on "
                f'a GPU: install one, or use optimize=True ({reason})') from error

    return call


def optimize_for_inference(model: nn.Module, compile: bool = False) -> nn.Module:
    """A copy of a trained detector that computes the same in less time.

    Its batch norms are folded into the convolutions before them, and its weights lie
    channels-last. It is for predictions alone: it can neither be trained nor saved for the
    config that the model was built from.

    Args:
        model (nn.Module): a detector of this package in eval mode, or a
            :class:`CenterNetTTAModel` around one; it stays as it is.
        compile (bool): compile backbone and neck, and the head, by ``torch.compile``. It happens
            when the first image is seen, and again for the second size of images.

    Returns:
        nn.Module: equal outputs, up to rounding (1e-4 of the largest one).

    Raises:
        ValueError: if the model is in training mode.
    """
    if model.training:
        raise ValueError('The model is in training mode, in which batch norms cannot be folded: '
                         'call model.eval() first.')
    model = copy.deepcopy(model)
    detector = _detector(model)
    _fuse_batch_norms(detector)
    detector.to(memory_format=torch.channels_last).requires_grad_(False)
    if compile:
        detector.extract_feat = _compiled(detector.extract_feat)
        detector.bbox_head.forward_last = _compiled(detector.bbox_head.forward_last)
    return model


def use_precision(model: nn.Module, precision: torch.dtype) -> None:
    """Have a detector's network compute its predictions in another floating type, in place.

    Layers that are safe in it do (``torch.autocast``); the last convolution of each branch, and
    decoding, remain in float32, so that positions in large images and depths are not rounded.

    Args:
        model (nn.Module): a detector of this package on its device, or a
            :class:`CenterNetTTAModel` around one.
        precision (torch.dtype): bfloat16 or float16.

    Raises:
        UserError: for float16 on a CPU.
    """
    detector = _detector(model)
    device = next(detector.parameters()).device.type
    if precision == torch.float16 and device == 'cpu':
        raise UserError("precision='float16' is for GPUs: on a CPU use 'bfloat16', or 'float32'")

    def in_precision(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def call(inputs: Any) -> Any:
            with torch.autocast(device, precision):
                return function(inputs)
        return call

    head = detector.bbox_head
    for branch in head.stacks[-1].values():
        # The convolution of 1x1 and, if there is one, the learned factor after it.
        for index in range(-1 - isinstance(branch[-1], Scale), 0):
            branch[index] = _InFloat32(branch[index])
    detector.extract_feat = in_precision(detector.extract_feat)
    head.forward_last = in_precision(head.forward_last)


class _InFloat32(nn.Module):
    """A layer that autocast does not reach."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """As the layer's, in float32."""
        with torch.autocast(x.device.type, enabled=False):
            output: Tensor = self.layer(x.float())
            return output


def _detector(model: nn.Module) -> Any:
    """The detector within a model for test-time augmentation."""
    return model.module if isinstance(model, BaseTTAModel) else model
