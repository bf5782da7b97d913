"""Checkpoints: read, download, load, recognize and convert them."""
