"""Rectangles of known colors in images: drawn, and found again pixel by pixel."""
import cv2
import numpy as np

BORDER = 4  # px of a rectangle's edge that resampling and rounding may blend


def draw_rectangles(rng, colors, count, width, height):
    """Draw rectangles on black, apart from each other and from the image's sides.

    Args:
        rng (numpy.random.Generator): Source of places, sizes and labels.
        colors (list[tuple[int, int, int]]): The color of each label.
        count (int): Number of rectangles.
        width, height (int): Of the image, px.

    Returns:
        tuple: uint8 [H, W, 3]; boxes, float32 [N, 4]; labels, int64 [N].
    """
    image = np.zeros((height, width, 3), np.uint8)
    taken = np.zeros((height, width), bool)
    boxes, labels = [], []
    while len(boxes) < count:
        w, h = rng.integers(16, 40, 2)
        x, y = rng.integers(8, width - 8 - w), rng.integers(8, height - 8 - h)
        around = slice(max(y - 8, 0), y + h + 8), slice(max(x - 8, 0), x + w + 8)
        if taken[around].any():
            continue
        taken[y:y + h, x:x + w] = True
        label = rng.integers(len(colors))
        image[y:y + h, x:x + w] = colors[label]
        boxes.append((x, y, x + w, y + h))
        labels.append(label)
    return image, np.array(boxes, np.float32), np.array(labels, np.int64)


def find_rectangles(image, colors, tolerance=12):
    """Find the connected regions of each color.

    Args:
        image (ndarray[H, W, 3]): May be resampled; blended edges belong to no color.
        colors (list[tuple[int, int, int]]): The color of each label.
        tolerance (int): Of each channel.

    Returns:
        list[tuple[int, tuple]]: Label and (x1, y1, x2, y2), which may be a pixel smaller on each
        side than what was drawn.
    """
    found = []
    for label, color in enumerate(colors):
        same = (abs(image.astype(int) - color) <= tolerance).all(-1).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(same, connectivity=4)
        for x, y, w, h, _ in stats[1:count]:
            found.append((label, (x, y, x + w, y + h)))
    return found


def assert_same_rectangles(image, colors, boxes, labels, tolerance=BORDER):
    """Assert that boxes and labels are those of the rectangles in an image, and no others.

    Slivers of a few pixels at the borders may be in only one of both.
    """
    height, width = image.shape[:2]
    boxes = np.asarray(boxes, float)
    assert (boxes >= 0).all() and (boxes[:, [0, 2]] <= width).all()
    assert (boxes[:, [1, 3]] <= height).all()
    found = find_rectangles(image, colors)
    for given, other in ((list(zip(labels, boxes)), found), (found, list(zip(labels, boxes)))):
        for label, box in given:
            if min(box[2] - box[0], box[3] - box[1]) <= 2 * BORDER:
                continue
            distances = [np.abs(np.subtract(box, each)).max()
                         for name, each in other if name == label]
            assert min(distances, default=np.inf) <= tolerance, (label, box, found)
