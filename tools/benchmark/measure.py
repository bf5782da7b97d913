"""Timing of equivalent pieces of work, measured in turn."""
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Least number of rounds, however long they take: fewer have no useful median.
LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Times:
    """Times of one piece of work, one per round.

    Attributes:
        seconds (list[float]): in the order of the rounds; never empty.
    """

    seconds: list

    @property
    def best(self) -> float:
        """Best time in seconds: that of a run that nothing disturbed."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """Median time in seconds."""
        return statistics.median(self.seconds)


def in_turn(
    works: Sequence[Callable[[], object]], repeats: int, seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Times]:
    """Run pieces of work in turn, so that a busy machine slows all of them.

    Args:
        works (Sequence[Callable]): called without arguments. Each has run before, so that memory
            is allocated and kernels are chosen.
        repeats (int): rounds, at least 1.
        seconds (float): no further round begins after this time, once there are three.
        clock (Callable): seconds; only differences count.

    Returns:
        list[Times]: in the order of ``works``, each of equal length.
    """
    taken = [Times([]) for _ in works]
    start = clock()
    for done in range(repeats):
        if done >= LEAST_ROUNDS and clock() - start > seconds:
            break
        for work, times in zip(works, taken):
            before = clock()
            work()
            times.seconds.append(clock() - before)
    return taken


def ratios(numerator: Times, denominator: Times) -> tuple[float, float]:
    """Return the ratio of two times that were measured in the same rounds.

    Returns:
        tuple[float, float]: of the best times; the median of the rounds' ratios, which a
        burst of other work on the machine moves least.
    """
    of_rounds = [a / b for a, b in zip(numerator.seconds, denominator.seconds)]
    return numerator.best / denominator.best, statistics.median(of_rounds)
