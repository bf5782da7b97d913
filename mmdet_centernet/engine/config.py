"""Loading of config files, with errors that name the file and the line."""
import difflib
import os
import traceback
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmdet_centernet.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]
# The hooks that prepare and check a run and show its progress.
RUN_HOOKS = ('CheckNumClassesHook', 'CheckBoxesHook', 'SkeletonHook', 'ClassCountsHook',
             'DistillationHook', 'CheckCheckpointHook', 'CheckLossHook', 'ProgressLineHook')


def load_config(
    path: str | os.PathLike[str],
    options: dict[str, Any] | None = None,
    work_dir: str | None = None,
) -> Config:
    """Read a config, merge the user's settings into it and give it a work_dir.

    Args:
        path (str | PathLike): The config file.
        options (dict, optional): Dotted keys to values.
        work_dir (str, optional): Takes precedence over the config's own.

    Returns:
        Config: With ``work_dir`` set.

    Raises:
        UserError: If the file is missing or is not a valid config.
    """
    if not os.path.isfile(path):
        raise UserError(f'config {path} does not exist{_similar_configs(path)}')
    if not str(path).endswith(('.py', '.json', '.yaml', '.yml')):
        raise UserError(f'config {path} is not a config file: use a .py file')
    try:
        config = Config.fromfile(path)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f'config {path} needs a file that does not exist: {error}') from error
    except Exception as error:  # a config is a program and may raise anything
        raise UserError(f'config {path} cannot be read: {_config_fault(error)}') from error
    if options:
        try:
            config.merge_from_dict(options)
        except (KeyError, TypeError, AssertionError, IndexError) as error:
            raise UserError('--cfg-options does not fit the config: '
                            f'{" ".join(str(error).split())}') from error
    if 'model' not in config:
        raise UserError(f'config {path} has no model: use a complete config, not one of the '
                        'parts in configs/_base_')
    if work_dir is not None:
        config.work_dir = work_dir
    elif config.get('work_dir') is None:
        config.work_dir = str(Path('work_dirs') / Path(path).stem)
    if os.path.isfile(config.work_dir):
        raise UserError(f'--work-dir {config.work_dir} is a file: name a folder')
    return config


def _config_fault(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f'line {error.lineno}: {error.msg}'
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.name == '<module>'
              and 'tmp' in f.filename]
    line = f'line {frames[-1].lineno}: ' if frames else ''
    return f'{line}{type(error).__name__}: {" ".join(str(error).split())}'


def _similar_configs(path: str | os.PathLike[str]) -> str:
    folders = {Path(path).parent, Path('configs'), _PACKAGE.parent / 'configs',
               _PACKAGE / '.mim' / 'configs'}
    found = {file.name: file for folder in folders if folder.is_dir()
             for file in sorted(folder.glob('*.py'))}
    name = Path(path).name
    close = difflib.get_close_matches(name if name.endswith('.py') else f'{name}.py', found)
    if not close:
        return ''
    return f': did you mean {" or ".join(os.path.relpath(found[name]) for name in close)}?'


def add_run_hooks(config: Config) -> None:
    """Add ``RUN_HOOKS`` to a config that is about to be trained or tested, in place.

    No config has to list them, so that none can lose them by setting ``custom_hooks``. One that
    lists a hook keeps its own settings of it.
    """
    for name in RUN_HOOKS:
        add_hook(config, f'mmdet_centernet.{name}')


def add_hook(config: Config, hook_type: str, **settings: Any) -> None:
    """Append a hook to ``custom_hooks`` unless the config has one of that type."""
    hooks = list(config.get('custom_hooks') or [])
    if all(hook.get('type') != hook_type for hook in hooks):
        hooks.append(dict(type=hook_type, **settings))
    config.custom_hooks = hooks
