# As coco_detection.py with what the original trains on: images without objects too, and boxes
# of crowds as objects.
_base_ = './coco_detection.py'

train_dataloader = dict(dataset=dict(filter_cfg=None, crowd_as_objects=True))
