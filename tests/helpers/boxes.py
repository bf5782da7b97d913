"""Random 2D boxes and outputs."""
import torch
from mmengine.structures import InstanceData
from reference.detection import STRIDE

CLASSES = 3
HEIGHT, WIDTH = 12, 20  # cells


def make_outputs(batch=2, seed=2, wh_channels=2, spread=2, size=(HEIGHT, WIDTH)):
    """Return one stack's random outputs; ``spread`` of 5 goes beyond the original's clamp."""
    torch.manual_seed(seed)
    return dict(
        heatmap=torch.randn(batch, CLASSES, *size) * spread - 2,
        wh=torch.rand(batch, wh_channels, *size) * 6 + 1,
        offset=torch.rand(batch, 2, *size))


def make_objects(*counts, seed=2, size=(HEIGHT, WIDTH)):
    """Return the ground truth of images with so many random boxes, some over the border; where
    there are three, two of them share a cell and one is outside."""
    torch.manual_seed(seed)
    result = []
    for count in counts:
        center = torch.rand(count, 2) * torch.tensor(size[::-1]) * STRIDE
        half = 2 + torch.rand(count, 2) * 24
        boxes = torch.cat((center - half, center + half), dim=1)
        labels = torch.randint(0, CLASSES, (count,))
        if count > 2:
            boxes[0] = torch.tensor([41.0, 21.0, 71.0, 43.0])
            boxes[1] = torch.tensor([39.0, 20.0, 73.0, 44.0])
            boxes[2] = torch.tensor([-30.0, 10.0, -10.0, 30.0])  # outside
        result.append(InstanceData(bboxes=boxes, labels=labels))
    return result


def images_of(instances):
    """Return the (label, box) lists that references take."""
    return [list(zip(each.labels.tolist(), each.bboxes.tolist())) for each in instances]


def regression_slowly(objects, output, wanted, divisor, error=abs, first=lambda entry: 0):
    """Return the sum of errors in x and y at the objects' cells, over a divisor.

    Args:
        objects (Iterable[SimpleNamespace]): entries of :func:`encode_slowly`.
        output (Tensor[B, channels, H, W]): of a branch.
        wanted (str): attribute of the entries.
        divisor (float): the sum is divided by it.
        error (Callable): of a difference.
        first (Callable): channel of x, of an entry.
    """
    total = 0.0
    for entry in objects:
        for axis in range(2):
            value = float(output[entry.image, first(entry) + axis, entry.y, entry.x])
            total += error(value - getattr(entry, wanted)[axis])
    return total / divisor


def assert_losses(losses, expected):
    """Check that losses have the names ``loss_<name>`` and the values expected."""
    assert set(losses) == {f'loss_{name}' for name in expected}
    for name, value in expected.items():
        found, value = float(losses[f'loss_{name}']), float(value)
        assert abs(found - value) <= max(1e-5 * abs(value), 1e-12), (name, found, value)
