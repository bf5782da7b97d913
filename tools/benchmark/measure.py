"""Times of pieces of work that do the same, taken in turn."""
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# However long a round takes, so many are measured: fewer have no median.
LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Times:
    """What one piece of work took, once per round.

    Attributes:
        seconds (list[float]): in the order of the rounds; never empty.
    """

    seconds: list

    @property
    def best(self) -> float:
        """Seconds: what the work takes where nothing disturbs it."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


def in_turn(
    works: Sequence[Callable[[], object]], repeats: int, seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Times]:
    """Run pieces of work in turn, so that a busy machine slows all of them.

    Args:
        works (Sequence[Callable]): called without arguments. Each has run before: memory is
            allocated and kernels are chosen then.
        repeats (int): rounds, at least 1.
        seconds (float): no further round begins after so long, once there are three.
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
    """How many times longer one took than another that was measured in the same rounds.

    Returns:
        tuple[float, float]: of the best times; the median of the rounds' ratios, which a
        burst of other work on the machine moves least.
    """
    of_rounds = [a / b for a, b in zip(numerator.seconds, denominator.seconds)]
    return numerator.best / denominator.best, statistics.median(of_rounds)
