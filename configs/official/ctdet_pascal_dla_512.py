# The original implementation's ctdet_pascal_dla_512. Published mAP on VOC 2007 test, 11
# points, with flip: 80.7. Two GPUs x 16.
_base_ = [
    '../_base_/models/official_pascal_dla34.py',
    '../_base_/datasets/voc0712_512.py',
    '../_base_/schedules/adam_70e.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=16)
