"""Pinhole cameras, 3D boxes on the ground plane, and their angles.

Convention: the camera frame is KITTI's, x to the right, y down, z forward, meters. A camera is a
3 x 4 projection ``cam2img`` (KITTI's P2), ``w (u, v, 1) = cam2img (x, y, z, 1)``, with a last
column that may differ from zero (KITTI's cameras are not at the origin of the frame) and a last
row ``(0, 0, 1, t)``. (u, v) are pixels of the image that the matrix belongs to; if an image is
scaled and shifted by a matrix ``H``, its camera becomes ``H cam2img``. Angles are radians in
[-pi, pi).

A 3D box is ``(x, y, z, h, w, l, rotation_y)``: the center of its bottom, height, width, length,
and the rotation about the y axis, 0 if its length is along x.
"""
import math

import torch
from torch import Tensor

# The original implementation adds 1e-6 to the sigmoid of the depth, which bounds the depth by
# this value, but also changes smaller depths, by 4 mm at 60 m.
MAX_DEPTH = 1e6

#: Corners of a box, in halves of (l, w) along its own x and z axes: those of the bottom, then
#: those of the top above them. The object's x axis points to the front, corners 0, 1, 4 and 5.
_CORNER_X = (1, 1, -1, -1, 1, 1, -1, -1)
_CORNER_Z = (1, -1, -1, 1, 1, -1, -1, 1)
_CORNER_TOP = (0, 0, 0, 0, 1, 1, 1, 1)


def wrap_angle(angle: Tensor) -> Tensor:
    """Wrap angles [...] to [-pi, pi), also as compared with ``math.pi`` in Python."""
    wrapped = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
    # A value just below -pi is rounded up to pi, and -pi in float32 is below -pi.
    wrapped = torch.where(wrapped >= math.pi, -math.pi, wrapped)
    return wrapped.clamp(min=-math.pi * (1 - torch.finfo(wrapped.dtype).eps))


def depth_of(output: Tensor) -> Tensor:
    """Convert raw outputs to depths in meters, float32 (Sec. 4.1).

    ``1 / sigmoid(x) - 1``, which is ``exp(-x)``.
    """
    return (-output.float()).clamp(max=math.log(MAX_DEPTH)).exp()


def project(points: Tensor, cam2img: Tensor) -> Tensor:
    """Project points into the image.

    Args:
        points (Tensor[..., N, 3]): camera frame; the result is meaningless for points behind
            the camera.
        cam2img (Tensor[..., 3, 4]): one camera for N points.

    Returns:
        Tensor[..., N, 2]: xy, px.
    """
    # Under autocast a matrix product would be rounded to 16 bits, that is by pixels.
    camera = cam2img[..., None, :, :]
    projected = (points[..., None, :] * camera[..., :3]).sum(dim=-1) + camera[..., 3]
    return projected[..., :2] / projected[..., 2:]


def unproject(pixels: Tensor, depth: Tensor, cam2img: Tensor) -> Tensor:
    """Return the points of the camera frame at pixels and depths.

    This solves the projection for x and y at ``z = depth`` with the whole matrix. (The original
    implementation takes the depth for ``w``, which is z plus the matrix's last entry, 3 to 5 mm
    in KITTI.)

    Args:
        pixels (Tensor[..., N, 2]): xy, px.
        depth (Tensor[..., N]): z, meters.
        cam2img (Tensor[..., 3, 4]): one camera for N pixels; its left part is upper triangular,
            also for scaled and shifted images.

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
    """Return the angle between the optical axis and a column's ray, positive to the right.

    Args:
        u (Tensor[..., N]): x, px.
        cam2img (Tensor[..., 3, 4]): one camera for N columns.

    Returns:
        Tensor[..., N]: radians in (-pi / 2, pi / 2).
    """
    camera = cam2img[..., None, :, :]
    return torch.atan2(u - camera[..., 0, 2], camera[..., 0, 0])


def alpha_to_rotation_y(alpha: Tensor, u: Tensor, cam2img: Tensor) -> Tensor:
    """Convert observation angles alpha to rotations about the y axis.

    Args:
        alpha (Tensor[..., N]): observation angle, which determines the visible side.
        u (Tensor[..., N]): x of the object's center in the image, px.
        cam2img (Tensor[..., 3, 4]): one camera for N objects.

    Returns:
        Tensor[..., N]
    """
    return wrap_angle(alpha + viewing_angle(u, cam2img))


def rotation_y_to_alpha(rotation_y: Tensor, u: Tensor, cam2img: Tensor) -> Tensor:
    """Convert rotations to observation angles; inverse of :func:`alpha_to_rotation_y`."""
    return wrap_angle(rotation_y - viewing_angle(u, cam2img))


def box_corners(bboxes_3d: Tensor) -> Tensor:
    """Return the corners of 3D boxes.

    Args:
        bboxes_3d (Tensor[..., 7]): (x, y, z, h, w, l, rotation_y).

    Returns:
        Tensor[..., 8, 3]: camera frame; the four corners of the bottom, then the four above
        them, each in the order front left, front right, back right, back left (the length
        points to the front; y is down).
    """
    location, dims, angle = bboxes_3d.split((3, 3, 1), dim=-1)
    height, width, length = dims.unsqueeze(-1).unbind(-2)
    x = bboxes_3d.new_tensor(_CORNER_X) * length / 2
    z = bboxes_3d.new_tensor(_CORNER_Z) * width / 2
    y = -bboxes_3d.new_tensor(_CORNER_TOP) * height
    cos, sin = angle.cos(), angle.sin()
    rotated = torch.stack((cos * x + sin * z, y.expand_as(x), cos * z - sin * x), dim=-1)
    corners: Tensor = rotated + location[..., None, :]
    return corners


def box_centers(bboxes_3d: Tensor) -> Tensor:
    """Return the centers [..., 3] of boxes [..., 7], half their height above the bottom."""
    location, half = bboxes_3d[..., :3], bboxes_3d[..., 3] / 2
    return torch.stack((location[..., 0], location[..., 1] - half, location[..., 2]), dim=-1)
