"""Shared parts of the command-line tools: arguments, and errors as one line."""
import os
import re
import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import DictAction

from mmdet_centernet.engine.runner import RANK_VARIABLES
from mmdet_centernet.errors import UserError

DEBUG_VARIABLE = 'MMDET_CENTERNET_DEBUG'
INTERRUPTED = 130  # the shell's exit status for SIGINT

_PACKAGE = Path(__file__).resolve().parent


def run(main: Callable[[Sequence[str] | None], Any], argv: Sequence[str] | None = None) -> int:
    """Call a tool's ``main`` and print errors that the user can fix as one line.

    ``--debug`` among the arguments, or the environment variable ``MMDET_CENTERNET_DEBUG=1``,
    adds the traceback.

    Args:
        main (callable): Takes the list of arguments (None: those of the process).
        argv (Sequence[str], optional): Arguments without the program's name.

    Returns:
        int: The exit status: 0, 1 after ``error: <message>`` on stderr, 130 after Ctrl-C.
        Faults of the program itself are raised.
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        main(argv)
    except KeyboardInterrupt as stop:
        print(stop.args[0] if stop.args else 'stopped', file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        message = error_message(error)
        if message is None:
            raise
        if '--debug' in arguments or os.environ.get(DEBUG_VARIABLE, '0') not in ('', '0'):
            traceback.print_exc()
        print(f'error: {message}', file=sys.stderr, flush=True)
        return 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # A process that ends while gloo's threads still run may be aborted.
        torch.distributed.destroy_process_group()
    return 0


def error_message(error: BaseException) -> str | None:
    """Return the error message for the user that an exception holds.

    Args:
        error (BaseException): May be one that torch raised again from a DataLoader worker,
            whose text is the worker's traceback.

    Returns:
        str | None: None if the user cannot fix the error.
    """
    link: BaseException | None = error
    seen: set[int] = set()
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
    if isinstance(error, KeyError):
        missing = re.search(r'([\w.]+) is not in the (.+? registry)\. Please check', text)
        if missing:
            return (f'the config names the type {missing[1]!r}, which is not in the '
                    f'{missing[2]}: check its spelling and its scope (mmdet_centernet.X or '
                    'mmdet.X)')
    if isinstance(error, TypeError) and _innermost_file(error).endswith('build_functions.py'):
        return f'a type in the config does not accept its arguments: {text}'
    if isinstance(error, RuntimeError) and 'DataLoader worker' in text and 'pid' in text:
        return ('a DataLoader worker died, usually because memory ran out: lower num_workers '
                'or batch_size of the data loader')
    return None


def _last_message(error: BaseException) -> str:
    """Return ``str(error)`` without the worker's traceback that torch puts before it."""
    text = str(error)
    if text.startswith('Caught ') and 'Original Traceback' in text:
        lines = text.rstrip().splitlines()
        # The message begins after the last indented (traceback) line.
        start = max(i for i, line in enumerate(lines) if line.startswith(' ')) + 1
        text = '\n'.join(lines[start:]).split(': ', 1)[-1]
    return ' '.join(text.split())


def _innermost_file(error: BaseException) -> str:
    files: list[str] = re.findall(r'File "([^"]+)", line \d+', str(error))
    if files:
        return files[-1]
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].filename if frames else ''


def _is_ours(error: BaseException) -> bool:
    file = _innermost_file(error)
    return bool(file) and _PACKAGE in Path(file).resolve().parents


class _Options(DictAction):
    """``DictAction`` that answers a malformed item with a usage error."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: list[str] | None,
        option_string: str | None = None,
    ) -> None:
        for item in values or []:
            if '=' not in item:
                parser.error(f'{option_string} takes KEY=VALUE, not {item!r}')
        super().__call__(parser, namespace, values, option_string)


def add_common_arguments(parser: ArgumentParser) -> None:
    """Add the arguments shared by all tools that take a config."""
    parser.add_argument('--work-dir', help='folder for logs and checkpoints '
                        '(default: work_dirs/<name of the config>)')
    add_config_options(parser)
    parser.add_argument('--launcher', choices=['none', *RANK_VARIABLES], default='none',
                        help='the program that started several processes')
    parser.add_argument('--device', choices=['auto', 'cpu', 'cuda'], default='auto')
    parser.add_argument('--debug', action='store_true',
                        help='show tracebacks and the whole log on the console')
    # torch.distributed.launch passes it; torchrun sets the variable
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0,
                        help='set by torch.distributed.launch')


def add_config_options(parser: ArgumentParser) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument('--cfg-options', nargs='+', action=_Options, metavar='KEY=VALUE',
                        help="settings that replace the config's, e.g. "
                        'train_dataloader.batch_size=8; lists as key="[a,b]" or key=a,b')
