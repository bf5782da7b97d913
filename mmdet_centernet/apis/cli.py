"""What the command-line tools share: configs, devices, processes, and errors as sentences."""
import difflib
import logging
import os
import re
import shutil
import sys
import time
import traceback
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.device import utils as device_utils
from mmengine.runner import Runner

from mmdet_centernet.apis.checkpoint import read_checkpoint
from mmdet_centernet.apis.download import fetch
from mmdet_centernet.apis.inputs import is_local
from mmdet_centernet.errors import UserError

DEBUG_VARIABLE = 'MMDET_CENTERNET_DEBUG'
INTERRUPTED = 130  # the shell's exit status for SIGINT

_PACKAGE = Path(__file__).resolve().parents[1]
# Environment variables in which each launcher tells a process its place.
_RANK_VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}
_LAUNCHER_HINTS = {
    'pytorch': 'start it through tools/dist_train.sh or tools/dist_test.sh, or with torchrun',
    'slurm': 'start it through tools/slurm_train.sh or tools/slurm_test.sh, or with srun',
    'mpi': 'start it with mpirun',
}


def run(main, argv=None):
    """Call a tool's ``main`` and turn what a user can mend into one line.

    ``--debug`` among the arguments, or the environment variable ``MMDET_CENTERNET_DEBUG=1``,
    keeps the traceback.

    Args:
        main (callable): Takes the list of arguments (None: those of the process).
        argv (list[str], optional): Arguments without the program's name.

    Returns:
        int: The exit status: 0, 1 after ``error: <one sentence>`` on stderr, 130 after
        Ctrl-C. Faults of the program itself are raised.
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        main(argv)
    except KeyboardInterrupt as stop:
        print(stop.args[0] if stop.args else 'stopped', file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        if '--debug' in arguments or os.environ.get(DEBUG_VARIABLE, '0') not in ('', '0'):
            traceback.print_exc()
        print(f'error: {sentence}', file=sys.stderr, flush=True)
        return 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # A process that ends while gloo's threads still run may be aborted.
        torch.distributed.destroy_process_group()
    return 0


def sentence_of(error):
    """The sentence for the user within an exception.

    Args:
        error (BaseException): Also one that torch raised again from a data-loading process,
            whose text is that process's traceback.

    Returns:
        str | None: None if the exception is none that a user can mend.
    """
    link, seen = error, set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if isinstance(link, UserError):
            return _last_message(link)
        link = link.__cause__ or link.__context__
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return ('the GPU is out of memory: lower train_dataloader.batch_size (and add '
                '--auto-scale-lr), or train with --amp')
    if isinstance(error, (FileNotFoundError, PermissionError, NotADirectoryError,
                          IsADirectoryError)):
        if error.filename:
            return f'{error.filename}: {error.strerror}'
        return re.sub(r"^\[Errno \d+\] ([^:]+): '(.+)'$", r'\2: \1', _last_message(error))
    text = str(error)
    if isinstance(error, ValueError) and _is_ours(error):
        return _last_message(error)
    if isinstance(error, KeyError) and 'registry. Please check' in text:
        name, registry = re.search(r'([\w.]+) is not in the (.+? registry)', text).groups()
        return (f'the config asks for type {name!r}, which is not in the '
                f'{registry}: check its spelling and its scope (mmdet_centernet.X or mmdet.X)')
    if isinstance(error, TypeError) and _innermost_file(error).endswith('build_functions.py'):
        return f'a type of the config is given settings that do not fit it: {text}'
    if isinstance(error, RuntimeError) and 'DataLoader worker' in text and 'pid' in text:
        return ('a data-loading process died, usually for want of memory: lower '
                'num_workers or batch_size of the data loader')
    return None


def _last_message(error):
    """``str(error)`` without the worker's traceback that torch puts before it."""
    text = str(error)
    if text.startswith('Caught ') and 'Original Traceback' in text:
        lines = text.rstrip().splitlines()
        # The message begins after the last indented (traceback) line.
        start = max(i for i, line in enumerate(lines) if line.startswith(' ')) + 1
        text = '\n'.join(lines[start:]).split(': ', 1)[-1]
    return ' '.join(text.split())


def _innermost_file(error):
    files = re.findall(r'File "([^"]+)", line \d+', str(error))
    if files:
        return files[-1]
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].filename if frames else ''


def _is_ours(error):
    file = _innermost_file(error)
    return bool(file) and _PACKAGE in Path(file).resolve().parents


class _Options(DictAction):
    """``DictAction`` that answers a malformed item with a usage error."""

    def __call__(self, parser, namespace, values, option_string=None):
        for item in values or []:
            if '=' not in item:
                parser.error(f'{option_string} takes KEY=VALUE, not {item!r}')
        super().__call__(parser, namespace, values, option_string)


def add_common_arguments(parser):
    """Add the arguments that every tool around a config has."""
    parser.add_argument('--work-dir', help='folder for logs and checkpoints '
                        '(default: work_dirs/<name of the config>)')
    add_config_options(parser)
    parser.add_argument('--launcher', choices=['none', *_RANK_VARIABLES], default='none',
                        help='what started several processes')
    parser.add_argument('--device', choices=['auto', 'cpu', 'cuda'], default='auto')
    parser.add_argument('--debug', action='store_true',
                        help='show tracebacks and the whole log on the console')
    # torch.distributed.launch passes it; torchrun sets the variable
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0,
                        help='set by torch.distributed.launch')


def add_config_options(parser):
    """Add ``--cfg-options``."""
    parser.add_argument('--cfg-options', nargs='+', action=_Options, metavar='KEY=VALUE',
                        help="settings that replace the config's, e.g. "
                        'train_dataloader.batch_size=8; lists as key="[a,b]" or key=a,b')


def load_config(path, options=None, work_dir=None):
    """Read a config, merge the user's settings into it and give it a work_dir.

    Args:
        path (str): The config file.
        options (dict, optional): Dotted keys to values.
        work_dir (str, optional): Goes before the config's own.

    Returns:
        Config: With ``work_dir`` set.

    Raises:
        UserError: If the file is missing or is no valid config.
    """
    if not os.path.isfile(path):
        raise UserError(f'config {path} does not exist{_similar_configs(path)}')
    if not str(path).endswith(('.py', '.json', '.yaml', '.yml')):
        raise UserError(f'config {path} is no config: a .py file is expected')
    try:
        config = Config.fromfile(path)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f'config {path} needs a file that does not exist: {error}') from error
    except Exception as error:  # a config is a program: anything can come out of it
        raise UserError(f'config {path} cannot be read: {_config_fault(error)}') from error
    if options:
        try:
            config.merge_from_dict(options)
        except (KeyError, TypeError, AssertionError, IndexError) as error:
            raise UserError('--cfg-options does not fit the config: '
                            f'{" ".join(str(error).split())}') from error
    if 'model' not in config:
        raise UserError(f'config {path} has no model: name a whole config, not a part of one '
                        'such as those in configs/_base_')
    if work_dir is not None:
        config.work_dir = work_dir
    elif config.get('work_dir') is None:
        config.work_dir = str(Path('work_dirs') / Path(path).stem)
    if os.path.isfile(config.work_dir):
        raise UserError(f'--work-dir {config.work_dir} is a file: name a folder')
    return config


def _config_fault(error):
    if isinstance(error, SyntaxError):
        return f'line {error.lineno}: {error.msg}'
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.name == '<module>'
              and 'tmp' in f.filename]
    line = f'line {frames[-1].lineno}: ' if frames else ''
    return f'{line}{type(error).__name__}: {" ".join(str(error).split())}'


def _similar_configs(path):
    folders = {Path(path).parent, Path('configs'), _PACKAGE.parent / 'configs',
               _PACKAGE / '.mim' / 'configs'}
    found = {file.name: file for folder in folders if folder.is_dir()
             for file in sorted(folder.glob('*.py'))}
    name = Path(path).name
    close = difflib.get_close_matches(name if name.endswith('.py') else f'{name}.py', found)
    if not close:
        return ''
    return f': did you mean {" or ".join(os.path.relpath(found[name]) for name in close)}?'


def rank_of(launcher):
    """The rank of this process by the launcher's variables, before processes have met.

    Returns:
        tuple[int, int, int]: Rank, number of processes, rank on this machine.

    Raises:
        UserError: If the launcher did not start this process.
    """
    if launcher == 'none':
        return 0, 1, 0
    variables = _RANK_VARIABLES[launcher]
    absent = [name for name in variables if name not in os.environ]
    if absent:
        raise UserError(f'--launcher {launcher} needs {", ".join(absent)} in the environment: '
                        f'{_LAUNCHER_HINTS[launcher]}')
    rank, world_size, local_rank = (int(os.environ[name]) for name in variables)
    return rank, world_size, local_rank


def set_up_device(config, args):
    """Choose the device and, on the CPU, join the processes with gloo.

    MMEngine joins processes itself where there is a GPU (and fails without one), and takes
    over a process group that exists already.

    Args:
        config (Config): Its ``launcher`` and ``model_wrapper_cfg`` are set.
        args (Namespace): ``device``, ``launcher``.

    Raises:
        UserError: If the device is not there, or there are fewer GPUs than processes.
    """
    config.launcher = args.launcher
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    rank, world_size, local_rank = rank_of(args.launcher)
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise UserError('--device cuda, but PyTorch sees no GPU here: use --device cpu, or '
                        'install a PyTorch built for this GPU')
    if args.device == 'cpu':
        use_cpu()
    if args.launcher == 'none':
        return
    if get_device() != 'cpu':
        if local_rank >= torch.cuda.device_count():
            raise UserError(f'process {local_rank} of this machine has no GPU, there are '
                            f'{torch.cuda.device_count()}: start as many processes as GPUs')
        return
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK=str(local_rank))
    os.environ.setdefault('MASTER_ADDR', '127.0.0.1')
    os.environ.setdefault('MASTER_PORT', '29500')
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    wrapper = config.get('model_wrapper_cfg') or dict(
        type='MMDistributedDataParallel', broadcast_buffers=False,
        find_unused_parameters=config.get('find_unused_parameters', False))
    # DistributedDataParallel takes device ids for GPUs only; MMEngine always gives them
    config.model_wrapper_cfg = dict(wrapper, device_ids=None)


def use_cpu():
    """Hide the GPUs from this process and those that it starts."""
    os.environ['CUDA_VISIBLE_DEVICES'] = '-1'
    # MMEngine chose when it was imported
    device_utils.DEVICE = 'cpu'


class ConsoleFilter(logging.Filter):
    """Keep what only the log file needs off the console: environment, config, hook order."""

    _FILE_ONLY = {('runner', '_log_env'), ('runner', '__init__')}

    def filter(self, record):
        """Whether the console shows the record."""
        return (record.module, record.funcName) not in self._FILE_ONLY


class QuietRunner(Runner):
    """A Runner whose console says what a user waits for; the log file has everything."""

    def build_logger(self, *args, **kwargs):
        """Build MMEngine's logger with :class:`ConsoleFilter` on its console side."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(ConsoleFilter())
        return logger


def build_runner(config, args):
    """Build the Runner of a config.

    Returns:
        Runner: The config's ``runner_type``, else MMEngine's with a quieter console.
    """
    if 'runner_type' in config:
        from mmdet.registry import RUNNERS
        return RUNNERS.build(config)
    return (Runner if args.debug else QuietRunner).from_cfg(config)


def add_hook(config, hook_type, **settings):
    """Append a hook to ``custom_hooks`` unless the config has one of that type."""
    hooks = list(config.get('custom_hooks') or [])
    if all(hook.get('type') != hook_type for hook in hooks):
        hooks.append(dict(type=hook_type, **settings))
    config.custom_hooks = hooks


def close_hooks(runner):
    """End what hooks show on the console, also after an exception."""
    for hook in runner.hooks:
        if hasattr(hook, 'close'):
            hook.close()


def latest_checkpoint(work_dir):
    """The checkpoint that ``--resume`` goes on from.

    Args:
        work_dir (str): May have been moved since: the file's name is looked for in it too.

    Returns:
        str | None: None if the folder has none.

    Raises:
        UserError: If the folder names one that is gone.
    """
    pointer = Path(work_dir) / 'last_checkpoint'
    if not pointer.is_file():
        return None
    named = Path(pointer.read_text().strip())
    for path in (Path(work_dir) / named.name, named):
        if path.is_file():
            return str(path)
    raise UserError(f'{pointer} names {named.name}, which is gone: give the checkpoint to go on '
                    'from as --resume PATH')


def set_aside(work_dir, keep=None, newer_than=None):
    """Move an earlier run's checkpoints into a folder of their own, so that none is overwritten.

    Args:
        work_dir (str): Of the run that begins.
        keep (str, optional): A checkpoint that stays.
        newer_than (float, optional): Only files changed after this time (seconds).

    Returns:
        Path | None: The new folder, None if there was nothing to move.
    """
    folder = Path(work_dir)
    files = [f for f in sorted(folder.glob('*.pth'))
             if (keep is None or not os.path.samefile(f, keep))
             and (newer_than is None or f.stat().st_mtime > newer_than)]
    if not files:
        return None
    stamp = time.strftime('%Y%m%d_%H%M%S', time.localtime(max(f.stat().st_mtime for f in files)))
    target = folder / f'earlier_{stamp}'
    number = 1
    while target.exists():
        number += 1
        target = folder / f'earlier_{stamp}_{number}'
    target.mkdir()
    pointer = folder / 'last_checkpoint'
    for file in [*files, *([pointer] if keep is None and pointer.is_file() else [])]:
        shutil.move(str(file), target / file.name)
    return target


def local_checkpoint(path):
    """A checkpoint as a file of this machine.

    Args:
        path (str): A file, or its http(s) address, which is downloaded first: MMEngine's own
            way from an address would run what the file says.

    Returns:
        str: The file. Other addresses (``pretrained://...``) come back as they are.
    """
    return str(fetch(path)) if path.startswith(('http://', 'https://')) else path


def checked_checkpoint(path):
    """Read a checkpoint to see that it is one; addresses are left alone.

    Returns:
        dict: The file's ``meta``, empty if there is none.
    """
    if not is_local(path):
        return {}
    meta = read_checkpoint(path).get('meta')
    return meta if isinstance(meta, dict) else {}
