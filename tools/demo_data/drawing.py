"""Random choices, colors and noise for the drawn data sets."""
import cv2
import numpy as np


def chance(rng, probability):
    """Return True with a probability."""
    return bool(rng.random() < probability)


def random_color(rng, saturation=(60, 220), value=(60, 245)):
    """Return a BGR color of any hue; ranges of 0 to 255."""
    hsv = np.uint8([[[rng.integers(180), rng.integers(*saturation), rng.integers(*value)]]])
    return tuple(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].tolist())


def smooth_noise(rng, height, width, cell):
    """Return noise of deviation 1 that changes over ``cell`` px: ndarray[H, W] float32."""
    rows, columns = (max(2, round(side / cell)) for side in (height, width))
    coarse = rng.normal(size=(rows, columns)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
