"""Compatibility: version checks, the stand-in for mmcv's compiled module, safe loading."""
