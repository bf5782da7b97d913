"""Modulated deformable convolution (DCNv2, arXiv:1811.11168) in plain PyTorch.

Bilinear interpolation is linear, so that it can follow the matrix product,
``sum_k w_k x(p_k) = sum_k (w_k x)(p_k)``: then it has to interpolate the channels of the output.

On a CPU (:mod:`.embedding_bag`), each output cell is a weighted sum of the products at 4 corners
for each kernel tap, which is what ``embedding_bag`` computes; the products are computed in tiles.
On other devices and in exported graphs (:mod:`.grid_sample`) ``grid_sample`` interpolates, with
standard operators only: the products if they have fewer channels than the input, otherwise the
input (im2col).
"""
from mmdet_centernet.ops.deform_conv.embedding_bag import deform_conv2d_op
from mmdet_centernet.ops.deform_conv.modulated import modulated_deform_conv2d

__all__ = ['deform_conv2d_op', 'modulated_deform_conv2d']
