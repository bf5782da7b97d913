"""Work of known length and size for the benchmark, importable by a process of its own."""
import os
import signal
import time

import numpy as np


def sleep(seconds):
    """Work that takes ``seconds``."""
    return lambda: time.sleep(seconds)


def allocate(mebibytes, at_build=0):
    """Work that fills so much memory and lets it go again."""
    kept = np.ones(at_build << 20, np.uint8)
    return lambda: np.ones(mebibytes << 20, np.uint8).sum() + kept[:1].sum()


def die(*_):
    """Be killed, as a process is when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def fail(sentence):
    """Work that cannot be built."""
    raise RuntimeError(sentence)


def fail_to_run(sentence):
    """Work that cannot run."""
    def run():
        raise RuntimeError(sentence)
    return run
