"""Peak memory of a piece of work, in a process of its own."""
import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import torch

from mmdet_centernet.errors import UserError

_STATUS = Path('/proc/self/status')
# Writing 5 sets the kernel's high-water mark to what is resident now.
_CLEAR_REFS = Path('/proc/self/clear_refs')
_MIB = 2**20


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process, MiB.

    Attributes:
        peak (float): the most at any time of the work, with Python and all libraries.
        work (float): what of it the work added to what lay there before it was built: its
            parameters, inputs, intermediate results.
    """

    peak: float
    work: float


def of_fresh_process(build: Callable[..., Callable], settings: dict, threads: int,
                     rounds: int = 2) -> Memory:
    """Build and run a piece of work in a process that does nothing else.

    The process is started anew and not forked, so that it has nothing of this one's memory.

    Args:
        build (Callable): a function of a module, ``build(**settings)`` -> what is called.
        settings (dict): pickled.
        threads (int): that PyTorch may use.
        rounds (int): how often the work runs: the second pass shows what the first leaves.

    Returns:
        Memory: of that process.

    Raises:
        UserError: if the process was killed, as one is that wants more memory than there is.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
        try:
            return pool.submit(_measure, build, settings, threads, rounds).result()
        except BrokenProcessPool as error:
            raise UserError(
                'the process that measures the peak memory was killed, probably for want of '
                'memory: measure smaller work or free memory') from error


def _measure(build, settings, threads, rounds):
    torch.set_num_threads(threads)
    if _CLEAR_REFS.exists():
        _CLEAR_REFS.write_text('5')
    before = _resident()
    work = build(**settings)
    for _ in range(rounds):
        work()
    peak = _highest()
    return Memory(peak=peak / _MIB, work=(peak - before) / _MIB)


def _resident():
    """Bytes resident now; where the kernel does not say, the most so far."""
    return _from_status('VmRSS') or _high_water()


def _highest():
    """The most bytes that were resident since the mark was reset.

    Not getrusage's where the kernel has another: on Linux that one starts, in a program just
    begun, from the peak of the process that began it.
    """
    return _from_status('VmHWM') or _high_water()


def _from_status(name):
    if not _STATUS.exists():
        return None
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f'{name}:'):
            return int(line.split()[1]) * 1024
    return None


def _high_water():
    unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
