"""Records of the benchmark: the work of one side, and the row of sides that do the same."""
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Side:
    """One of several that do the same work.

    Attributes:
        name (str): e.g. ``'ours'`` or ``'mmdet'``.
        build (Callable): a function of a module; ``build(**settings)`` prepares the work and
            returns what does it, called without arguments.
        settings (dict): its keywords; pickled for a process of its own.
        dtype (str): of its matrix products, for the roofline.
        processes (int): how many of it run at once, each in a process of its own with one
            thread; 0: it runs in this process, in turn with the other sides.
    """

    name: str
    build: Callable
    settings: dict = field(default_factory=dict)
    dtype: str = 'float32'
    processes: int = 0


@dataclass(frozen=True)
class Row:
    """Work that every side does.

    Attributes:
        group (str): by which it is asked for.
        title (str): of the work.
        sides (tuple[Side, ...]): measured in turn.
        images (int): that one run of it handles; 0 where a rate says nothing.
        memory (bool): whether the peak memory of each side is measured too.
        cost (Side, optional): a run of it is counted for the roofline.
        reference (str): the side that the others are compared with.
        table (str): heading of the table it stands in; that of the group if empty.
        threads (int): other than the run's; 0: those.
    """

    group: str
    title: str
    sides: tuple
    images: int = 0
    memory: bool = False
    cost: Side | None = None
    reference: str = 'mmdet'
    table: str = ''
    threads: int = 0
