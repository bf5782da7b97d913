# As centernet_r18_dcn_140e_coco.py with plain 3x3 convolutions instead of DCNv2. Reference:
# 25.9 box AP on COCO val2017 (published by MMDetection for this recipe, no flip).
_base_ = './centernet_r18_dcn_140e_coco.py'

model = dict(neck=dict(use_dcn=False))
