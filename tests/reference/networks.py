"""Other repositories' networks, written out by functions on their parameters in eval mode."""
import torch
from torch.nn import functional as F


def conv_slowly(state, name, x, stride=1):
    """Apply a convolution of an odd kernel that keeps the size, with a bias if it has one."""
    weight = state[f'{name}.weight']
    return F.conv2d(x, weight, state.get(f'{name}.bias'), stride, weight.shape[-1] // 2)


def norm_slowly(state, name, x):
    """Apply a batch norm with its running statistics."""
    return F.batch_norm(x, *(state[f'{name}.{key}'] for key in (
        'running_mean', 'running_var', 'weight', 'bias')))


def conv_bn_slowly(state, conv, norm, x, stride=1):
    """Apply a convolution and a batch norm."""
    return norm_slowly(state, norm, conv_slowly(state, conv, x, stride))


def pool_slowly(x):
    """Return the maximum of each window of 3 x 3, two cells apart; the last window may stick
    out."""
    height, width = x.shape[2:]
    rows = [
        torch.stack([
            x[:, :, top:top + 3, left:left + 3].amax(dim=(2, 3))
            for left in range(0, width - 1, 2)], dim=-1)
        for top in range(0, height - 1, 2)]
    return torch.stack(rows, dim=2)


def bubbliiiing_backbone_slowly(state, x):
    """Return the features of bubbliiiing/centernet-pytorch's ResNet-50, one per stage.

    By the parameter names of its ``nn.Sequential``, of which 0 to 3 are the stem.
    """
    x = pool_slowly(conv_bn_slowly(state, 'backbone.0', 'backbone.1', x, stride=2).relu())
    features = []
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for number in range(blocks):
            name = f'backbone.{4 + stage}.{number}'
            stride = 2 if stage > 0 and number == 0 else 1
            # The stride is the first convolution's.
            out = conv_bn_slowly(state, f'{name}.conv1', f'{name}.bn1', x, stride).relu()
            out = conv_bn_slowly(state, f'{name}.conv2', f'{name}.bn2', out).relu()
            out = conv_bn_slowly(state, f'{name}.conv3', f'{name}.bn3', out)
            if number == 0:
                x = conv_bn_slowly(
                    state, f'{name}.downsample.0', f'{name}.downsample.1', x, stride)
            x = (out + x).relu()
        features.append(x)
    return features


def bubbliiiing_slowly(state, images):
    """Return the raw outputs of bubbliiiing's ResNet-50 network, by our branch names."""
    x = bubbliiiing_backbone_slowly(state, images)[-1]
    for layer in (0, 3, 6):
        name = 'decoder.deconv_layers'
        x = F.conv_transpose2d(x, state[f'{name}.{layer}.weight'], stride=2, padding=1)
        x = norm_slowly(state, f'{name}.{layer + 1}', x).relu()
    outputs = {}
    for theirs, ours in (('cls', 'heatmap'), ('wh', 'wh'), ('reg', 'offset')):
        name = f'head.{theirs}_head'
        hidden = conv_bn_slowly(state, f'{name}.0', f'{name}.1', x).relu()
        outputs[ours] = conv_slowly(state, f'{name}.3', hidden)
    return outputs
