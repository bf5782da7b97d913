"""Measure rows, one after the other; what fails is noted and the others go on."""
import sys
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field

import cv2
import measure
import memory
import parallel
import roofline
import torch
from side import Row

# Duration of parallel processes: many runs, whose rate is one figure.
PROCESSES_SECONDS = 10


@dataclass
class Result:
    """Measurements of a row.

    Attributes:
        row (Row): measured.
        times (dict[str, Times]): by the side's name; those that ran.
        memory (dict[str, Memory]): by the side's name, where asked for.
        cost (Cost, optional): what there is to do.
        failures (list[str]): one line each: what did not run, and why.
    """

    row: Row
    times: dict = field(default_factory=dict)
    memory: dict = field(default_factory=dict)
    cost: roofline.Cost | None = None
    failures: list = field(default_factory=list)


def measure_row(row, threads, repeats, seconds):
    """Measure one row.

    Args:
        row (Row): what to measure.
        threads (int): that PyTorch and OpenCV use, if the row does not say.
        repeats (int): rounds of its sides in turn.
        seconds (float): the most that these may take, but for three rounds.

    Returns:
        Result: with whatever did run.
    """
    result = Result(row)
    # Messages of libraries do not belong between the tables.
    with redirect_stdout(sys.stderr), _threads(row.threads or threads) as used:
        works = {}
        for side in row.sides:
            with _noting(result, side.name):
                if side.processes:
                    result.times[side.name] = parallel.at_once(
                        side.build, side.settings, side.processes,
                        min(seconds, PROCESSES_SECONDS))
                else:
                    work = side.build(**side.settings)
                    work()  # also shows whether it runs
                    works[side.name] = work
        with _noting(result, 'measuring in turn'):
            taken = measure.in_turn(list(works.values()), repeats, seconds)
            result.times.update(zip(works, taken) if works else ())
        works.clear()
        for side in row.sides if row.memory else ():
            if side.name in result.times:
                with _noting(result, f'peak memory of {side.name}'):
                    result.memory[side.name] = memory.of_fresh_process(
                        side.build, side.settings, used)
        if row.cost and result.times:
            with _noting(result, 'counting'):
                result.cost = roofline.count(row.cost.build(**row.cost.settings))
    return result


@contextmanager
def _threads(count):
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(count)
    cv2.setNumThreads(count)
    try:
        yield count
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


@contextmanager
def _noting(result, what):
    """Turn any failure of a measurement into a line of the result."""
    try:
        yield
    except Exception as error:  # of whatever library computes it
        text = ' '.join(str(error).split())
        result.failures.append(
            f'{result.row.group}, {result.row.title}, {what}: '
            f'{text or type(error).__name__}')
