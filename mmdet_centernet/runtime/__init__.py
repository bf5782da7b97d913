"""Exported models, run without torch.

Nothing here imports torch or a package of OpenMMLab.
"""
