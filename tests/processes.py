"""Processes for tests, forked from a server that imports only once what takes seconds.

Not from the tests' own process: after a backward pass of its own on a machine with a GPU, PyTorch
refuses one in a forked process, and OpenMP's threads do not survive the fork.
"""
import multiprocessing
import os
import sys
from multiprocessing.connection import wait

import torch

_SERVER = multiprocessing.get_context('forkserver')
_SERVER.set_forkserver_preload(['mmdet_centernet', 'mmdet.apis', 'mmdet.engine'])


def start(target, *args, **variables):
    """Run a function of a module in a process of its own.

    Args:
        target (callable): Found by its name in the other process.
        *args: What it is given; pickled.
        **variables (str): Environment variables of that process.

    Returns:
        multiprocessing.Process: Started; it computes with one thread.
    """
    process = _SERVER.Process(target=_begin, args=(variables, target, args))
    process.start()
    return process


def run_two(target, *args):
    """Run a function in two processes with what ``torch.distributed`` needs to know.

    Raises:
        AssertionError: If one of them fails; its traceback is on stderr.
    """
    # A port of its own, in case that another run is going.
    place = dict(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1',
                 MASTER_PORT=str(20000 + os.getpid() % 20000))
    processes = [start(target, *args, RANK=str(rank), LOCAL_RANK=str(rank), **place)
                 for rank in range(2)]
    # One that fails would leave the other waiting for it.
    while all(process.exitcode in (None, 0) for process in processes) and any(
            process.is_alive() for process in processes):
        wait([process.sentinel for process in processes if process.is_alive()])
    for process in processes:
        if process.exitcode is None:
            process.kill()
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]


def _begin(variables, target, args):
    torch.set_num_threads(1)
    os.environ.update(variables)
    target(*args)
    # Without what Python and gloo's threads do at the end, in which one of two can wait for ever.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
