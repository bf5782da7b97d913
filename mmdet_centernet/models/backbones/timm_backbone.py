"""Backbones of timm (PyTorch Image Models)."""
import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.layers.freezing import keep_in_eval_mode
from mmdet_centernet.registry import MODELS

# Strides of the features that are returned by default.
STRIDES = (4, 8, 16, 32)
_EXAMPLES = 3


def _import_timm() -> ModuleType:
    """Import timm.

    Raises:
        UserError: if it is not installed or cannot be imported.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        raise UserError(
            f'TIMMBackbone needs timm, but there is no module {error.name}: run '
            "pip install timm (it is this package's extra timm)") from error
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f'timm cannot be imported ({error}): it needs a torchvision that was built for the '
            'installed torch. Install torchvision from the place that torch came from') from error
    return timm


def _shorten(names: Sequence[str]) -> str:
    rest = len(names) - _EXAMPLES
    return ', '.join(names[:_EXAMPLES]) + (f' and {rest} more' if rest > 0 else '')


@MODELS.register_module()
class TIMMBackbone(BaseModule):
    """Network of timm by its name, as a backbone.

    Channels and strides are read from the network. With ``in_channels=None`` the necks of the
    detector ``mmdet_centernet.CenterNet`` take them from there. Most ImageNet weights expect RGB
    images with ImageNet's mean and standard deviation, which is the data preprocessor's task;
    the others name theirs in ``timm.get_pretrained_cfg(name)``.

    Args:
        model_name (str): the name of a model of timm, with or without the tag of its weights:
            ``'mobilenetv3_large_100'``, ``'resnet50.a1_in1k'``.
        out_indices (Sequence[int], optional): which of the model's features to return, as in
            timm; by default the last ones of the strides 4, 8, 16 and 32, if the model has
            them.
        checkpoint (str, optional): file with the model's weights under timm's names, .pth or
            .safetensors. Weights that no feature needs, as the classifier's, are ignored.
        pretrained (bool): download the weights that timm has for the model.
        frozen_stages (int): everything up to this feature of the model, counted from 0 over all
            of its features, keeps its weights and batch norm statistics; -1 freezes nothing.
            Feature 0 is the stem of most networks.
        norm_eval (bool): keep all batch norms in evaluation mode while training.
        with_cp (bool): compute intermediate results again in the backward pass instead of
            keeping them, with timm's ``set_grad_checkpointing``.
        model_args (dict, optional): further arguments of ``timm.create_model``, for instance
            ``dict(drop_path_rate=0.1)``.
        init_cfg (dict, optional): mmengine initialization.

    Attributes:
        out_channels (list[int]): channels of the returned features.
        out_strides (list[int]): their strides in input pixels.

    Raises:
        UserError: if timm or the model does not exist, or the model lacks what an option needs.
    """

    def __init__(
        self,
        model_name: str,
        out_indices: Sequence[int] | None = None,
        checkpoint: str | None = None,
        pretrained: bool = False,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        model_args: Mapping[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if checkpoint is not None and pretrained:
            raise UserError(
                f"TIMMBackbone has both checkpoint = '{checkpoint}' and pretrained = True: "
                'remove one of them')
        self.model_name = model_name
        self.checkpoint = checkpoint
        self.pretrained = pretrained
        self.norm_eval = norm_eval
        self._arguments = dict(model_args or {}, features_only=True)
        if out_indices is not None:
            self._arguments['out_indices'] = tuple(out_indices)
        self.net: Any = self._build()
        info = self.net.feature_info
        channels, strides = info.channels(), info.reduction()
        self._outputs = list(range(len(channels)))
        if out_indices is None:
            # The last feature of each stride.
            self._outputs = sorted(
                max(index for index, other in enumerate(strides) if other == stride)
                for stride in STRIDES if stride in strides)
            if not self._outputs:
                raise UserError(
                    f"timm's '{model_name}' has no feature of a stride in {STRIDES}, only of "
                    f'{tuple(strides)}: choose with out_indices, or use another model')
        self.out_channels = [int(channels[index]) for index in self._outputs]
        self.out_strides = [int(strides[index]) for index in self._outputs]
        self._channels_last = 'NHWC' in str(getattr(self.net, 'output_fmt', None))
        self._frozen = self._modules_before(frozen_stages)
        for module in self._frozen:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad = False
        self._computing = False
        # A tuple, so that it is not registered as a module a second time.
        self._checkpointing = (self._checkpoint_gradients(), ) if with_cp else ()

    def _build(self, **arguments: Any) -> Any:
        """Build the network.

        Raises:
            UserError: if timm does not have the model, or cannot build it as a backbone.
        """
        timm = _import_timm()
        if not timm.is_model(self.model_name):
            close = difflib.get_close_matches(
                self.model_name.partition('.')[0], timm.list_models(), _EXAMPLES, 0.5)
            hint = f'did you mean {" or ".join(close)}? ' if close else ''
            raise UserError(
                f"timm {timm.__version__} has no model '{self.model_name}': {hint}"
                "timm.list_models('*WORD*') lists the names")
        try:
            return timm.create_model(self.model_name, **self._arguments, **arguments)
        except Exception as error:  # models fail with errors of any kind
            if arguments:
                raise
            given = ', '.join(
                f'{name}={value}' for name, value in self._arguments.items()
                if name != 'features_only')
            raise UserError(
                f"timm's '{self.model_name}' cannot be a backbone{given and f' with {given}'} "
                f'({error}): choose a model that timm can build with features_only=True, and '
                'arguments that it has') from error

    def _modules_before(self, stage: int) -> list[nn.Module]:
        """Return the modules up to the one that computes a feature, without containers of both.

        Modules are in the order of their registration, which is that of computation, as timm's
        ``features_only`` itself assumes.

        Raises:
            UserError: if the model does not have that many features.
        """
        info = self.net.feature_info.info
        if not -1 <= stage < len(info):
            raise UserError(
                f'frozen_stages = {stage} must lie in [-1, {len(info) - 1}]: timm\'s '
                f"'{self.model_name}' has {len(info)} features")
        if stage == -1:
            return []
        name = str(info[stage]['module'])
        targets = {name, name.replace('.', '_', 1), f'model.{name}', f'body.{name}'}
        named = list(self.net.named_modules())
        target = next((name for name, _ in named if name in targets), None)
        if target is None:
            raise UserError(
                f"frozen_stages = {stage} is not possible with timm's '{self.model_name}', "
                f'which has no module {name} of its own: set frozen_stages=-1')
        last = max(number for number, (name, _) in enumerate(named)
                   if name == target or name.startswith(f'{target}.'))
        return [module for name, module in named[:last + 1]
                if name and not target.startswith(f'{name}.')]

    def _checkpoint_gradients(self) -> Any:
        """Switch on gradient checkpointing and return the module that has the switch.

        Raises:
            UserError: if the model does not have it.
        """
        # The extractor of intermediate features leaves it to the model that it wraps.
        owner: Any
        for owner in (self.net, getattr(self.net, 'model', None)):
            if hasattr(owner, 'set_grad_checkpointing'):
                try:
                    owner.set_grad_checkpointing(True)
                except AssertionError:  # that is how models decline
                    continue
                break
        else:
            raise UserError(
                f"timm's '{self.model_name}' has no gradient checkpointing: set with_cp=False")
        for module in self.net.modules():
            if isinstance(module, _BatchNorm):
                module.register_forward_pre_hook(self._before_norm)
                # Recomputation may end early, by an exception within the last layer.
                module.register_forward_hook(self._after_norm, always_call=True)
        return owner

    def _before_norm(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Keep the statistics while the backward pass computes a batch norm again."""
        if norm.training and not self._computing:
            norm._kept = (norm.momentum, norm.num_batches_tracked)  # type: ignore[assignment]
            norm.momentum, norm.num_batches_tracked = 0.0, None  # type: ignore[assignment]

    @staticmethod
    def _after_norm(norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        kept = norm.__dict__.pop('_kept', None)
        if kept is not None:
            norm.momentum, norm.num_batches_tracked = kept

    def init_weights(self) -> None:
        """Load the weights of ``checkpoint`` or the pretrained ones.

        Raises:
            UserError: if they cannot be read or downloaded, or do not fit.
        """
        super().init_weights()
        if self.checkpoint is not None:
            self._load(self.checkpoint)
        elif self.pretrained:
            try:
                state = self._build(pretrained=True).state_dict()
            except UserError:
                raise
            except Exception as error:  # of the network, in any library
                reason = str(error).strip().partition('\n')[0] or type(error).__name__
                raise UserError(
                    f"timm's weights of '{self.model_name}' cannot be downloaded ({reason}): "
                    'get their file by other means and set model.backbone.checkpoint=FILE and '
                    'model.backbone.pretrained=False, or only the latter to train from scratch'
                ) from error
            self.net.load_state_dict(state)

    def _load(self, path: str) -> None:
        """Load a file with timm's names.

        Raises:
            UserError: if it cannot be read or does not fit.
        """
        given = _read(path)
        state, missing, misshapen, used = {}, [], [], set()
        for name, value in self.net.state_dict().items():
            source = next((key for key in _names_in_file(name) if key in given), None)
            if source is None:
                if not name.endswith('num_batches_tracked'):  # old files do not have it
                    missing.append(name)
                continue
            used.add(source)
            if given[source].shape != value.shape:
                misshapen.append(f'{source} is {tuple(given[source].shape)} where the model has '
                                 f'{tuple(value.shape)}')
            else:
                state[name] = given[source]
        if missing or misshapen:
            problems = [f'{len(missing)} are missing ({_shorten(missing)})'] if missing else []
            if misshapen:
                problems.append(
                    f'{len(misshapen)} have another shape ({_shorten(misshapen)})')
            unused = sorted(set(given) - used)
            if unused:
                problems.append(f'{len(unused)} of the file are not used ({_shorten(unused)})')
            raise UserError(
                f"checkpoint {path} does not fit timm's '{self.model_name}': of "
                f'{len(self.net.state_dict())} tensors {", ".join(problems)}. Use the weights of '
                'this model, under the names that timm gives them')
        self.net.load_state_dict(state, strict=False)
        print_log(f"{path}: loaded {len(state)} tensors of timm's '{self.model_name}', ignored "
                  f'{len(set(given) - used)} that no feature needs', logger='current')

    def train(self, mode: bool = True) -> 'TIMMBackbone':
        """Set the mode; frozen modules, and batch norms if ``norm_eval``, stay in eval mode."""
        super().train(mode)
        for owner in self._checkpointing:
            owner.set_grad_checkpointing(mode)
        if mode:
            for module in self._frozen:
                # Without children: those behind the last frozen one are trained.
                module.training = False
            keep_in_eval_mode(self, (), self.norm_eval)
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the features of images [B, 3, H, W], each [B, C, H', W']."""
        self._computing = True
        try:
            features = self.net(x)
        finally:
            self._computing = False
        chosen = (features[index] for index in self._outputs)
        if self._channels_last:
            return tuple(feature.permute(0, 3, 1, 2).contiguous() for feature in chosen)
        return tuple(chosen)


def _names_in_file(name: str) -> Iterator[str]:
    """Yield the names that a tensor of the feature extractor may have in a file.

    Extractors put the model below ``model`` or ``body``, or join the first two parts of names
    by an underscore.
    """
    yield name
    first, _, rest = name.partition('.')
    if first in ('model', 'body'):
        yield rest
    for match in re.finditer('_', first):
        yield f'{first[:match.start()]}.{first[match.end():]}.{rest}'


def _read(path: str) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors file or of a PyTorch checkpoint.

    Raises:
        UserError: if there is no such file or it holds no weights.
    """
    if not os.path.isfile(path):
        raise UserError(f'the file of model.backbone.checkpoint = {path} does not exist')
    try:
        if path.endswith('.safetensors'):
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a damaged file may raise anything
        raise UserError(
            f'model.backbone.checkpoint = {path} is damaged or not a file of weights '
            f'({type(error).__name__}): download it again') from error
    for key in ('state_dict_ema', 'model_ema', 'state_dict', 'model'):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    weights = {
        name.removeprefix('module.'): value for name, value in content.items()
        if isinstance(value, Tensor)} if isinstance(content, dict) else {}
    if not weights:
        raise UserError(f'model.backbone.checkpoint = {path} holds no weights')
    return weights
