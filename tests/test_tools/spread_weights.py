"""Random weights that find something."""
import torch

# Of each branch: mean and deviation of the network's outputs.
LEVELS = dict(
    heatmap=(-1, 1), wh=(4, 1), ltrb=(3, 1), offset=(0.5, 0.2),
    keypoint_displacement=(0, 2), keypoint_heatmap=(-2, 1), keypoint_offset=(0.5, 0.2),
    depth=(-2, 0.3), dims=(2, 0.3))
OTHERS = (0, 1)


def spread_outputs(model, size):
    """Change a random model so that its outputs for an image are far apart, and return it.

    ``size``: (height, width) of the smooth random image that it is changed by.
    """
    noise = torch.randn(1, 3, *(side // 8 for side in size))
    image = torch.nn.functional.interpolate(noise, scale_factor=8, mode='bilinear')
    with torch.no_grad():
        output = model(image, mode='tensor')[0][-1]
        for name, branch in model.bbox_head.stacks[0].items():
            mean, std = LEVELS.get(name, OTHERS)
            factor = std / output[name].std((0, 2, 3))
            last = [layer for layer in branch if isinstance(layer, torch.nn.Conv2d)][-1]
            last.bias.copy_(mean + (last.bias - output[name].mean((0, 2, 3))) * factor)
            last.weight *= factor[:, None, None, None]
    return model
