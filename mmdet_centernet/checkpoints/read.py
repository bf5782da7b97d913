"""Reading of checkpoint files, and loading into a model with a report of the differences."""
import difflib
import os
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn

from mmdet_centernet.errors import UserError
from mmdet_centernet.io.inputs import is_local

_EXAMPLES = 3


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint file with ``weights_only=True``.

    Args:
        path (str | PathLike): A local file.

    Returns:
        dict: The file's content, with tensors on the CPU.

    Raises:
        UserError: If the file is missing, empty, truncated or not a checkpoint, or holds
            objects that are not data.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(f'checkpoint {path} does not exist{_other_checkpoints(path)}')
    if path.is_dir():
        raise UserError(f'checkpoint {path} is a folder: name a file in it'
                        f'{_other_checkpoints(path / "x.pth")}')
    if path.stat().st_size == 0:
        raise UserError(f'checkpoint {path} is empty because writing it was interrupted: '
                        'use an earlier checkpoint or download it again')
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except PermissionError as error:
        raise UserError(f'checkpoint {path} cannot be read: {error.strerror}') from error
    except MemoryError:
        raise
    except Exception as error:  # a truncated pickle may raise anything
        raise UserError(_why_unreadable(path, error)) from error
    if not isinstance(content, dict):
        raise UserError(f'checkpoint {path} holds a {type(content).__name__} where a '
                        'dictionary of weights was expected: it is not a checkpoint of a model')
    return content


def checked_checkpoint(path: str) -> dict[str, Any]:
    """Check that a local file is a checkpoint; URLs are not read.

    Returns:
        dict: The file's ``meta``, empty if there is none.
    """
    if not is_local(path):
        return {}
    meta = read_checkpoint(path).get('meta')
    return meta if isinstance(meta, dict) else {}


def _other_checkpoints(path: Path) -> str:
    """Return a hint with the checkpoints in the folder of ``path``."""
    folder = path.parent
    if not folder.is_dir():
        return f' (nor does its folder {folder})'
    found = sorted(name for name in os.listdir(folder) if name.endswith(('.pth', '.pt')))
    if not found:
        return f' (there is no .pth file in {folder})'
    close = difflib.get_close_matches(path.name, found, _EXAMPLES, 0.3) or found[-_EXAMPLES:]
    return f': {folder} holds {", ".join(close)}'


def _why_unreadable(path: Path, error: Exception) -> str:
    with open(path, 'rb') as file:
        start = file.read(4)
    text = str(error)
    zipped = start[:2] == b'PK'
    if (zipped and not zipfile.is_zipfile(path) or not zipped and (
            isinstance(error, (EOFError, IndexError, struct.error)) or 'EOF' in text)):
        return (f'checkpoint {path} is truncated after {path.stat().st_size} bytes because '
                'writing or downloading it was interrupted: use an earlier checkpoint or '
                'download it again')
    forbidden = re.search(r'GLOBAL ([\w.]+)', text) or re.search(r'global ([\w.]+)', text)
    if forbidden and 'weights_only' in text.lower():
        return (f'checkpoint {path} holds a {forbidden.group(1)}, which is not plain data, and is '
                'not read because loading such objects can run any program: save only its '
                'weights and use that file')
    return (f'checkpoint {path} cannot be read ({type(error).__name__}): it is not a PyTorch '
            'checkpoint or is damaged')


def state_dict_of(
    checkpoint: Mapping[str, Any], path: str = 'checkpoint'
) -> OrderedDict[str, Tensor]:
    """Return the weights of a checkpoint, without DataParallel's ``module.`` prefix.

    Args:
        checkpoint (Mapping): The file's content: the weights, possibly below the key
            ``state_dict`` (or ``model``, as torchvision and the original save them).
        path (str): Named in the error.

    Returns:
        OrderedDict[str, Tensor]: The weights, with torch's ``_metadata`` if the file has it.

    Raises:
        UserError: If there are no weights.
    """
    weights = checkpoint
    for key in ('state_dict', 'model'):
        if isinstance(checkpoint.get(key), dict):
            weights = checkpoint[key]
            break
    tensors = OrderedDict(
        (re.sub(r'^module\.', '', name), value) for name, value in weights.items()
        if isinstance(name, str) and isinstance(value, torch.Tensor))
    if not tensors:
        raise UserError(f'{path} holds no weights: its keys are '
                        f'{shorten(sorted(map(str, checkpoint)))}')
    return with_metadata(tensors, weights)


def with_metadata(
    state_dict: OrderedDict[str, Tensor], source: Mapping[str, Tensor]
) -> OrderedDict[str, Tensor]:
    """Copy torch's ``_metadata`` from one state dict to another and return that one.

    Layers whose parameters were renamed between versions read their version there.
    """
    if hasattr(source, '_metadata'):
        state_dict._metadata = source._metadata  # type: ignore[attr-defined]
    return state_dict


def shorten(names: Iterable[str], count: int = _EXAMPLES) -> str:
    """Format the first ``count`` names and the number of the others."""
    names = list(names)
    text = ', '.join(names[:count])
    return text + (f' and {len(names) - count} more' if len(names) > count else '')


@dataclass
class LoadReport:
    """Differences between a model and a state dict loaded into it.

    Attributes:
        total (int): Number of the model's tensors.
        missing (list[str]): Names that only the model has.
        unexpected (list[str]): Names that only the state dict has.
        mismatched (dict[str, tuple]): Shapes in the state dict and in the model of the tensors
            whose shapes differ.
    """

    total: int
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """True if the state dict has every tensor of the model and no other."""
        return not (self.missing or self.unexpected or self.mismatched)

    @property
    def loaded(self) -> int:
        """Number of the model's tensors that were loaded."""
        return self.total - len(self.missing) - len(self.mismatched)

    def differences(self) -> str:
        """Describe the differences in one clause, with counts and examples."""
        parts = []
        if self.mismatched:
            examples = [f'{name} {file} in the file, {model} in the model'
                        for name, (file, model) in self.mismatched.items()]
            parts.append(f'{len(self.mismatched)} of another shape ({shorten(examples, 2)})')
        if self.missing:
            parts.append(f'{len(self.missing)} missing ({shorten(self.missing)})')
        if self.unexpected:
            parts.append(f'{len(self.unexpected)} unknown to the model '
                         f'({shorten(self.unexpected)})')
        return '; '.join(parts)


def unwrap(model: nn.Module) -> nn.Module:
    """Return the detector inside the wrappers for processes and test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module  # type: ignore[assignment]
    return model


def load_state(
    model: nn.Module, state_dict: Mapping[str, Tensor], assign: bool = False
) -> LoadReport:
    """Load the weights that fit and report the others.

    Layers may rename keys of older files while loading (mmcv's deformable convolutions do),
    so only loading can tell whether a file fits.

    Args:
        model (nn.Module): Modified in place.
        state_dict (Mapping[str, Tensor]): Not modified.
        assign (bool): Put the tensors themselves into the model instead of copying their
            values, which a model without storage (on the ``meta`` device) needs.

    Returns:
        LoadReport: It leaves out batch norm's ``num_batches_tracked``, which files of other
        programs lack and evaluation does not use.
    """
    model = unwrap(model)
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    mismatched = {
        name: (tuple(value.shape), own[name]) for name, value in state_dict.items()
        if name in own and tuple(value.shape) != own[name]}
    fitting = with_metadata(OrderedDict(
        (k, v) for k, v in state_dict.items() if k not in mismatched), state_dict)
    # nn.Module's own method, so that a model's override cannot be less strict
    result = nn.Module.load_state_dict(model, fitting, strict=False, assign=assign)

    def counts(name: str) -> bool:
        return not name.endswith('num_batches_tracked')

    return LoadReport(
        total=sum(map(counts, own)),
        missing=[k for k in result.missing_keys if counts(k) and k not in mismatched],
        unexpected=[k for k in result.unexpected_keys if counts(k)],
        mismatched=mismatched)
