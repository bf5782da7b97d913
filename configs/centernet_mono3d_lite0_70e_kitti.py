# Monocular 3D boxes on KITTI with EfficientNet-Lite0 and a pyramid neck of plain convolutions, for
# CPUs and phones; recipe of centernet_mono3d_dla34_70e_kitti.py. No reference AP: nobody has
# published this combination.
_base_ = [
    './_base_/models/centernet_mono3d_lite0_dlaup.py',
    './_base_/datasets/kitti_3dop.py',
    './_base_/schedules/adam_70e_kitti.py',
    './_base_/mono3d_runtime.py',
]
