"""Pinhole cameras, 3D boxes on the ground plane, and their angles.

Convention: the camera frame is KITTI's, x to the right, y down, z forward, metres. A camera is a
3 x 4 projection ``cam2img`` (KITTI's P2), ``w (u, v, 1) = cam2img (x, y, z, 1)``, with a last
column that need not be zero (KITTI's cameras stand beside the frame's origin) and a last row
``(0, 0, 1, t)``. Pixels (u, v) are those of the image that the matrix is of; scaling and shifting
an image by a matrix ``H`` makes ``H cam2img`` of its camera. Angles are radians in [-pi, pi).

A 3D box is ``(x, y, z, h, w, l, rotation_y)``: the centre of its bottom, height, width, length,
and the turn about the y axis, 0 where its length lies along x.
"""
import math

import torch
from torch import Tensor

# The original implementation adds 1e-6 to the sigmoid of the depth, which bounds the depth at
# this; below, the depth itself is off by 4 mm at 60 m there.
MAX_DEPTH = 1e6

#: Corners of a box, in halves of (l, w) along its own x and z axes: the bottom's, then the
#: top's above them. The front, where an object's x axis points, is made of 0, 1, 4 and 5.
_CORNER_X = (1, 1, -1, -1, 1, 1, -1, -1)
_CORNER_Z = (1, -1, -1, 1, 1, -1, -1, 1)
_CORNER_TOP = (0, 0, 0, 0, 1, 1, 1, 1)


def wrap_angle(angle: Tensor) -> Tensor:
    """The same angles [...] in [-pi, pi), also by their value as Python's floats."""
    wrapped = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
    # What is just below -pi rounds up to pi, and -pi in float32 to what is below -pi.
    wrapped = torch.where(wrapped >= math.pi, -math.pi, wrapped)
    return wrapped.clamp(min=-math.pi * (1 - torch.finfo(wrapped.dtype).eps))


def depth_of(output: Tensor) -> Tensor:
    """Convert raw outputs to depths in meters, float32 (Sec. 4.1).

    ``1 / sigmoid(x) - 1``, which is ``exp(-x)``.
    """
    return (-output.float()).clamp(max=math.log(MAX_DEPTH)).exp()


def project(points: Tensor, cam2img: Tensor) -> Tensor:
    """Points in the image.

    Args:
        points (Tensor[..., N, 3]): camera frame; in front of the camera, else the result means
            nothing.
        cam2img (Tensor[..., 3, 4]): one camera for N points.

    Returns:
        Tensor[..., N, 2]: xy, px.
    """
    projected = points @ cam2img[..., :3].mT + cam2img[..., None, :, 3]
    return projected[..., :2] / projected[..., 2:]


def unproject(pixels: Tensor, depth: Tensor, cam2img: Tensor) -> Tensor:
    """Points of the camera frame that are seen at pixels and have a depth.

    Solves the projection for x and y at ``z = depth`` with the whole matrix. (The original takes
    the depth for ``w``, which is z plus the matrix's last entry, 3 to 5 mm in KITTI.)

    Args:
        pixels (Tensor[..., N, 2]): xy, px.
        depth (Tensor[..., N]): z, metres.
        cam2img (Tensor[..., 3, 4]): one camera for N pixels; rows of an upper triangular
            matrix, as scaled and shifted images leave it.

    Returns:
        Tensor[..., N, 3]: camera frame.
    """
    camera = cam2img[..., None, :, :]
    w = camera[..., 2, 2] * depth + camera[..., 2, 3]
    y = (pixels[..., 1] * w - camera[..., 1, 2] * depth - camera[..., 1, 3]) / camera[..., 1, 1]
    x = (pixels[..., 0] * w - camera[..., 0, 1] * y - camera[..., 0, 2] * depth
         - camera[..., 0, 3]) / camera[..., 0, 0]
    return torch.stack((x, y, depth), dim=-1)


def viewing_angle(u: Tensor, cam2img: Tensor) -> Tensor:
    """Angle of the ray through a column of pixels to the optical axis, positive to the right.

    Args:
        u (Tensor[..., N]): x, px.
        cam2img (Tensor[..., 3, 4]): one camera for N columns.

    Returns:
        Tensor[..., N]: radians in (-pi / 2, pi / 2).
    """
    camera = cam2img[..., None, :, :]
    return torch.atan2(u - camera[..., 0, 2], camera[..., 0, 0])


def alpha_to_rotation_y(alpha: Tensor, u: Tensor, cam2img: Tensor) -> Tensor:
    """Turn about the y axis of objects that are observed at an angle.

    Args:
        alpha (Tensor[..., N]): observation angle, which tells what side is seen.
        u (Tensor[..., N]): x of the object's centre in the image, px.
        cam2img (Tensor[..., 3, 4]): one camera for N objects.

    Returns:
        Tensor[..., N]
    """
    return wrap_angle(alpha + viewing_angle(u, cam2img))


def rotation_y_to_alpha(rotation_y: Tensor, u: Tensor, cam2img: Tensor) -> Tensor:
    """Angle at which objects are observed, see :func:`alpha_to_rotation_y`."""
    return wrap_angle(rotation_y - viewing_angle(u, cam2img))


def box_corners(bboxes_3d: Tensor) -> Tensor:
    """Corners of boxes.

    Args:
        bboxes_3d (Tensor[..., 7]): (x, y, z, h, w, l, rotation_y).

    Returns:
        Tensor[..., 8, 3]: camera frame; four of the bottom, then the four above them, each in
        the order front left, front right, back right, back left of the object (where its
        length points is the front, with y down).
    """
    location, dims, angle = bboxes_3d.split((3, 3, 1), dim=-1)
    height, width, length = dims.unsqueeze(-1).unbind(-2)
    x = bboxes_3d.new_tensor(_CORNER_X) * length / 2
    z = bboxes_3d.new_tensor(_CORNER_Z) * width / 2
    y = -bboxes_3d.new_tensor(_CORNER_TOP) * height
    cos, sin = angle.cos(), angle.sin()
    turned = torch.stack((cos * x + sin * z, y.expand_as(x), cos * z - sin * x), dim=-1)
    corners: Tensor = turned + location[..., None, :]
    return corners


def box_centers(bboxes_3d: Tensor) -> Tensor:
    """Centres [..., 3] of boxes [..., 7], half their height above the bottom's."""
    location, half = bboxes_3d[..., :3], bboxes_3d[..., 3] / 2
    return torch.stack((location[..., 0], location[..., 1] - half, location[..., 2]), dim=-1)
