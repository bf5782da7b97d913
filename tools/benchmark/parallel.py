"""Work that several processes do at once."""
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import torch
from measure import LEAST_ROUNDS, Times

from mmdet_centernet.errors import UserError

_START_TIMEOUT = 300  # seconds that processes wait for one another
_barrier = None


def at_once(build: Callable[..., Callable], settings: dict, processes: int,
            seconds: float) -> Times:
    """Run a piece of work in several processes with one thread each.

    Args:
        build (Callable): a function of a module, ``build(**settings)`` -> what is called.
        settings (dict): pickled.
        processes (int): how many.
        seconds (float): how long they run, once all are ready.

    Returns:
        Times: one value: seconds per run, all processes' runs together.

    Raises:
        UserError: if a process was killed.
    """
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(
            processes, context, _set_barrier, (context.Barrier(processes),)) as pool:
        futures = [pool.submit(_repeat, build, settings, seconds) for _ in range(processes)]
        try:
            rates = [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise UserError(
                f'one of {processes} processes was killed, probably for want of memory: measure '
                'fewer or smaller work') from error
    return Times([1 / sum(rates)])


def _set_barrier(barrier):
    global _barrier
    _barrier = barrier


def _repeat(build, settings, seconds):
    """Runs per second of this process."""
    torch.set_num_threads(1)
    try:
        work = build(**settings)
        work()
        _barrier.wait(_START_TIMEOUT)
    except BaseException:
        _barrier.abort()  # the others would wait for this one
        raise
    runs, start = 0, time.perf_counter()
    while runs < LEAST_ROUNDS or time.perf_counter() - start < seconds:
        work()
        runs += 1
    return runs / (time.perf_counter() - start)
