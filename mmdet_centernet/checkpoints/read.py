"""Read a checkpoint file and fit it into a model, with sentences for what can go wrong."""
import difflib
import os
import re
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

from mmdet_centernet.errors import UserError
from mmdet_centernet.io.inputs import is_local

_EXAMPLES = 3


def read_checkpoint(path):
    """Read a checkpoint file with ``weights_only=True``.

    Args:
        path (str | Path): A local file.

    Returns:
        dict: The file's content, tensors on the CPU.

    Raises:
        UserError: If the file is missing, empty, cut off, no checkpoint, or holds objects
            that are not data.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(f'checkpoint {path} does not exist{_other_checkpoints(path)}')
    if path.is_dir():
        raise UserError(f'checkpoint {path} is a folder: name a file in it'
                        f'{_other_checkpoints(path / "x.pth")}')
    if path.stat().st_size == 0:
        raise UserError(f'checkpoint {path} is empty: its writing was interrupted; '
                        'take an earlier checkpoint or fetch it again')
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except PermissionError as error:
        raise UserError(f'checkpoint {path} may not be read: {error.strerror}') from error
    except MemoryError:
        raise
    except Exception as error:  # a file cut off within its pickle makes any of them
        raise UserError(_why_unreadable(path, error)) from error
    if not isinstance(content, dict):
        raise UserError(f'checkpoint {path} holds a {type(content).__name__} where a '
                        'dictionary of weights was expected: it is not a checkpoint of a model')
    return content


def checked_checkpoint(path):
    """Read a checkpoint to see that it is one; addresses are left alone.

    Returns:
        dict: The file's ``meta``, empty if there is none.
    """
    if not is_local(path):
        return {}
    meta = read_checkpoint(path).get('meta')
    return meta if isinstance(meta, dict) else {}


def _other_checkpoints(path):
    """A hint listing the checkpoints that lie where ``path`` was looked for."""
    folder = path.parent
    if not folder.is_dir():
        return f' (nor does its folder {folder})'
    found = sorted(name for name in os.listdir(folder) if name.endswith(('.pth', '.pt')))
    if not found:
        return f' (there is no .pth file in {folder})'
    close = difflib.get_close_matches(path.name, found, _EXAMPLES, 0.3) or found[-_EXAMPLES:]
    return f': {folder} holds {", ".join(close)}'


def _why_unreadable(path, error):
    with open(path, 'rb') as file:
        start = file.read(4)
    text = str(error)
    zipped = start[:2] == b'PK'
    if (zipped and not zipfile.is_zipfile(path) or not zipped and (
            isinstance(error, (EOFError, IndexError, struct.error)) or 'EOF' in text)):
        return (f'checkpoint {path} is cut off after {path.stat().st_size} bytes: its writing or '
                'download was interrupted; take an earlier checkpoint or fetch it again')
    forbidden = re.search(r'GLOBAL ([\w.]+)', text) or re.search(r'global ([\w.]+)', text)
    if forbidden and 'weights_only' in text.lower():
        return (f'checkpoint {path} holds a {forbidden.group(1)}, which is not plain data, and is '
                'not read because loading such objects can run any program: save its weights '
                'alone and use that file')
    return (f'checkpoint {path} cannot be read ({type(error).__name__}): it is not a PyTorch '
            'checkpoint, or is damaged')


def state_dict_of(checkpoint, path='checkpoint'):
    """The weights within a checkpoint's content, without DataParallel's ``module.`` prefix.

    Args:
        checkpoint (dict): What the file holds: weights alone, or under ``state_dict`` (or
            ``model``, as torchvision and the original save them).
        path (str): Named in the error.

    Returns:
        OrderedDict[str, Tensor]: The weights, with torch's ``_metadata`` if there was any.

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
    if hasattr(weights, '_metadata'):
        tensors._metadata = weights._metadata
    return tensors


def shorten(names, count=_EXAMPLES):
    """The first ``count`` of ``names`` and how many there are beside them, as text."""
    names = list(names)
    text = ', '.join(names[:count])
    return text + (f' and {len(names) - count} more' if len(names) > count else '')


@dataclass
class LoadReport:
    """What became of a state dict: counts of tensors and names of those left out."""

    total: int
    missing: list = field(default_factory=list)
    unexpected: list = field(default_factory=list)
    mismatched: dict = field(default_factory=dict)

    @property
    def complete(self):
        """Whether every tensor of the model was given and nothing was left over."""
        return not (self.missing or self.unexpected or self.mismatched)

    @property
    def loaded(self):
        """How many of the model's tensors came from the file."""
        return self.total - len(self.missing) - len(self.mismatched)

    def differences(self):
        """The differences as one clause, with counts and examples."""
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


def unwrap(model):
    """The detector inside the wrappers for several processes and test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def load_state(model, state_dict, assign=False):
    """Load the weights that fit and report the others.

    Layers may rename keys of older files while loading (mmcv's deformable convolutions do),
    so only loading can tell whether a file fits.

    Args:
        model (nn.Module): Changed in place.
        state_dict (dict[str, Tensor]): Its own dictionary is not changed.
        assign (bool): Put the tensors themselves into the model instead of copying their
            values, as a model without storage (on the ``meta`` device) needs it.

    Returns:
        LoadReport: Batch norm's ``num_batches_tracked`` counts nowhere: files of other
        programs lack it and evaluation does not use it.
    """
    model = unwrap(model)
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    mismatched = {
        name: (tuple(value.shape), own[name]) for name, value in state_dict.items()
        if name in own and tuple(value.shape) != own[name]}
    fitting = OrderedDict((k, v) for k, v in state_dict.items() if k not in mismatched)
    if hasattr(state_dict, '_metadata'):
        fitting._metadata = state_dict._metadata
    # nn.Module's own, so that a model's override cannot loosen it
    result = nn.Module.load_state_dict(model, fitting, strict=False, assign=assign)

    def counts(name):
        return not name.endswith('num_batches_tracked')

    return LoadReport(
        total=sum(map(counts, own)),
        missing=[k for k in result.missing_keys if counts(k) and k not in mismatched],
        unexpected=[k for k in result.unexpected_keys if counts(k)],
        mismatched=mismatched)
