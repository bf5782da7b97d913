"""The runner, and the device and processes that it runs on."""
import logging
import os
from argparse import Namespace
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.device import utils as device_utils
from mmengine.runner import Runner

from mmdet_centernet.errors import UserError

# Environment variables in which each launcher passes a process its rank.
RANK_VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}
_LAUNCHER_HINTS = {
    'pytorch': 'start it through tools/dist_train.sh or tools/dist_test.sh, or with torchrun',
    'slurm': 'start it through tools/slurm_train.sh or tools/slurm_test.sh, or with srun',
    'mpi': 'start it with mpirun',
}


def rank_of(launcher: str) -> tuple[int, int, int]:
    """Read the rank of this process from the launcher's environment variables.

    This works before the process group exists.

    Returns:
        tuple[int, int, int]: Rank, number of processes, rank on this machine.

    Raises:
        UserError: If the launcher did not start this process.
    """
    if launcher == 'none':
        return 0, 1, 0
    variables = RANK_VARIABLES[launcher]
    absent = [name for name in variables if name not in os.environ]
    if absent:
        raise UserError(f'--launcher {launcher} needs {", ".join(absent)} in the environment: '
                        f'{_LAUNCHER_HINTS[launcher]}')
    rank, world_size, local_rank = (int(os.environ[name]) for name in variables)
    return rank, world_size, local_rank


def set_up_device(config: Config, args: Namespace) -> None:
    """Select the device and, on the CPU, join the processes with gloo.

    MMEngine joins processes itself if there is a GPU (and fails without one), and uses a
    process group that already exists.

    Args:
        config (Config): Its ``launcher`` and ``model_wrapper_cfg`` are set.
        args (Namespace): ``device``, ``launcher``.

    Raises:
        UserError: If the device is not available, or there are fewer GPUs than processes.
    """
    config.launcher = args.launcher
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    rank, world_size, local_rank = rank_of(args.launcher)
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise UserError('--device cuda, but PyTorch sees no GPU: use --device cpu, or '
                        'install a PyTorch built for this GPU')
    if args.device == 'cpu':
        use_cpu()
    if args.launcher == 'none':
        return
    if get_device() != 'cpu':
        if local_rank >= torch.cuda.device_count():
            raise UserError(f'process {local_rank} of this machine has no GPU because there are '
                            f'only {torch.cuda.device_count()}: start as many processes as '
                            'GPUs')
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


def use_cpu() -> None:
    """Hide the GPUs from this process and its children."""
    os.environ['CUDA_VISIBLE_DEVICES'] = '-1'
    # MMEngine chose its device when it was imported
    device_utils.DEVICE = 'cpu'


class ConsoleFilter(logging.Filter):
    """Filter that keeps the environment, the config and the hook order off the console.

    The log file has them.
    """

    _FILE_ONLY = {('runner', '_log_env'), ('runner', '__init__')}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if the console shows the record."""
        return (record.module, record.funcName) not in self._FILE_ONLY


class QuietRunner(Runner):
    """Runner with a quiet console: progress and results only; the log file has everything."""

    def build_logger(self, *args: Any, **kwargs: Any) -> logging.Logger:
        """Build MMEngine's logger with a :class:`ConsoleFilter` on its console handler."""
        logger: logging.Logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(ConsoleFilter())
        return logger


def build_runner(config: Config, args: Namespace) -> Runner:
    """Build the Runner of a config.

    Returns:
        Runner: The config's ``runner_type``, otherwise MMEngine's with a quieter console.
    """
    if 'runner_type' in config:
        from mmdet.registry import RUNNERS
        return RUNNERS.build(config)
    return (Runner if args.debug else QuietRunner).from_cfg(config)


def close_hooks(runner: Runner) -> None:
    """Close the hooks that draw on the console; also called after an exception."""
    for hook in runner.hooks:
        if hasattr(hook, 'close'):
            hook.close()
