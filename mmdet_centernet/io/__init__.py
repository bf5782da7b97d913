"""Files and what users hand over: images, KITTI text, zip archives, paths and arrays."""
