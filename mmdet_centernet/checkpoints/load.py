"""Loading of a whole checkpoint into a model."""
import os
from typing import Any

from torch import nn

from mmdet_centernet.checkpoints.convert import hint_for
from mmdet_centernet.checkpoints.download import fetch
from mmdet_centernet.checkpoints.read import load_state, read_checkpoint, state_dict_of
from mmdet_centernet.errors import UserError
from mmdet_centernet.io.inputs import is_local


def load_weights(model: nn.Module, weights: str | os.PathLike[str]) -> dict[str, Any]:
    """Load every tensor of a model from a checkpoint.

    Args:
        model (nn.Module): The config's model.
        weights (str | PathLike): A checkpoint file or its http(s) URL.

    Returns:
        dict: The checkpoint's ``meta``, empty if there is none.

    Raises:
        UserError: If the file cannot be read or does not fit the model.
    """
    weights = os.fspath(weights)
    path = weights if is_local(weights) else fetch(weights)
    content = read_checkpoint(path)
    state = state_dict_of(content, f'checkpoint {weights}')
    outcome = load_state(model, state)
    if not outcome.complete:
        hint = hint_for(state)
        if hint:
            raise UserError(f"checkpoint {weights} does not fit the config's model: {hint}")
        raise UserError(f"checkpoint {weights} does not fit the config's model: "
                        f'{outcome.differences()}; use the config that it was trained with')
    meta = content.get('meta')
    return meta if isinstance(meta, dict) else {}
