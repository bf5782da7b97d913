"""The original implementation's preprocessing of test images."""
import cv2
import numpy as np
import torch


def original_inputs(image, scale, resolution, mean, std):
    """Return the input [1, 3, H, W], and a function from px of the input to px of the image.

    Args:
        image (ndarray[H, W, 3]): uint8.
        scale (float): of multi-scale testing.
        resolution (str): ``'keep'``, the image is centered in an input of the next larger sides;
            ``'fix'``, its long side is scaled to 96.
        mean, std (Sequence[float]): of the channels.
    """
    height, width = image.shape[:2]
    new_height, new_width = int(height * scale), int(width * scale)
    if resolution == 'fix':
        in_width = in_height = 96
        zoom, x, y = 96 / max(height, width), new_width / 2, new_height / 2
    else:
        in_width, in_height = (new_width | 31) + 1, (new_height | 31) + 1
        zoom, x, y = 1, new_width // 2, new_height // 2
    warp = np.array([[zoom, 0, in_width / 2 - zoom * x], [0, zoom, in_height / 2 - zoom * y]])
    resized = cv2.resize(image, (new_width, new_height))
    warped = cv2.warpAffine(resized, warp, (in_width, in_height), flags=cv2.INTER_LINEAR)
    inputs = torch.from_numpy(((warped - mean) / std).astype(np.float32).transpose(2, 0, 1)[None])

    def back(points):
        return (points - warp[:, 2]) / zoom / scale

    return inputs, back
