# As coco_pose.py, tested at the sizes that an Hourglass can take: multiples of 128.
_base_ = './coco_pose.py'

test_pipeline = [
    dict(step, pad_mask=127) if step['type'].endswith('CenterPad') else step
    for step in _base_.test_pipeline
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
