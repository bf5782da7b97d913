# The original implementation's ctdet_pascal_resdcn18_384. Published mAP on VOC 2007 test, 11
# points, with flip: 72.6. One GPU x 32.
_base_ = [
    '../_base_/models/official_pascal_resdcn18.py',
    '../_base_/datasets/voc0712.py',
    '../_base_/schedules/adam_70e.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=32)
