"""Write KITTI labels as the COCO-style JSON that the original trains on.

``python tools/dataset_converters/kitti_to_coco.py SPLIT_FILE OUT.json``

For other programs that read this format; ``mmdet_centernet.KittiMono3DDataset`` reads KITTI's
own files. As in the original

* an image has its number as ``id``, its ``file_name`` and its camera's P2 as ``calib`` (3 x 4, in
  single precision), and no size;
* an annotation has ``bbox`` (x, y, width, height, px), ``dim`` (height, width, length) and
  ``location`` (x, y, z) in meters, ``depth`` (z), ``alpha`` and ``rotation_y`` (radians),
  ``occluded``, and ``truncated`` without its decimals;
* the categories are all nine types, ``DontCare`` included.
"""
import argparse
import json
import os
import sys
from pathlib import Path

import mmdet_centernet  # noqa: F401  isort: skip  (makes mmdet importable without compiled ops)

import numpy as np

from mmdet_centernet import cli
from mmdet_centernet.errors import UserError
from mmdet_centernet.io.kitti import CLASSLESS, read_calib, read_objects, read_split

# In the original's order: ids count from 1.
CATEGORIES = ('Pedestrian', 'Car', 'Cyclist', 'Van', 'Truck', 'Person_sitting', 'Tram', 'Misc',
              CLASSLESS)
# Images between two lines of progress.
PROGRESS_EVERY = 1000


def image_entry(name, calib_dir):
    """The image of a number as the split file has it."""
    return dict(
        file_name=f'{name}.png', id=int(name),
        calib=read_calib(calib_dir / f'{name}.txt').astype(np.float32).tolist())


def annotation_entries(path, image_id, first_id):
    """The annotations of a label file.

    Args:
        path (Path): the file.
        image_id (int): of its image.
        first_id (int): id of its first annotation.

    Returns:
        list[dict]: in the file's order.

    Raises:
        UserError: naming file and line, see :func:`read_objects`; also for types that KITTI
            does not have.
    """
    objects = read_objects(path)
    entries = []
    for row, name in enumerate(objects.types):
        if name not in CATEGORIES:
            raise UserError(
                f"line {row + 1} of {path} has the type {name!r}, which is none of KITTI's: "
                f'{", ".join(CATEGORIES)}')
        x1, y1, x2, y2 = objects.bboxes[row].tolist()
        entries.append(dict(
            image_id=image_id, id=first_id + row, category_id=CATEGORIES.index(name) + 1,
            dim=objects.dims[row].tolist(), bbox=[x1, y1, x2 - x1, y2 - y1],
            depth=objects.locations[row, 2].item(), alpha=objects.alpha[row].item(),
            truncated=int(objects.truncated[row]), occluded=objects.occluded[row].item(),
            location=objects.locations[row].tolist(),
            rotation_y=objects.rotation_y[row].item()))
    return entries


def convert(split_file, data_root, testing=False):
    """Read what a split file lists.

    Args:
        split_file (str | Path): image numbers.
        data_root (str | Path): folder with ``training`` and ``testing``.
        testing (bool): the images are those of ``testing``, which have no labels.

    Returns:
        dict: the content of the JSON file.
    """
    names = read_split(split_file)
    folder = Path(data_root) / ('testing' if testing else 'training')
    if not folder.is_dir():
        raise UserError(f'folder {folder} does not exist: give KITTI\'s with --data-root')
    content = dict(
        images=[], annotations=[],
        categories=[dict(name=name, id=index + 1) for index, name in enumerate(CATEGORIES)])
    ids = {}
    for count, name in enumerate(names, start=1):
        if not name.isdecimal():
            raise UserError(
                f'{split_file} names {name!r}, but ids of images are numbers in this format')
        image = image_entry(name, folder / 'calib')
        if image['id'] in ids:
            raise UserError(
                f'{split_file} names {ids[image["id"]]!r} and {name!r}, which are the same '
                'number')
        ids[image['id']] = name
        content['images'].append(image)
        if not testing:
            content['annotations'] += annotation_entries(
                folder / 'label_2' / f'{name}.txt', image['id'],
                len(content['annotations']) + 1)
        if count % PROGRESS_EVERY == 0 and count < len(names):
            print(f'  {count} of {len(names)} images', flush=True)
    return content


def write(content, path):
    """Write the file whole or not at all."""
    part = path.with_name(f'.{path.name}.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(content))
        os.replace(part, path)
    except OSError as error:
        raise UserError(f'cannot write {path} ({error.strerror})') from None
    finally:
        part.unlink(missing_ok=True)


def parse_args(argv=None):
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Write KITTI labels as the original's COCO-style JSON")
    parser.add_argument('split_file', help='image numbers, such as '
                        'data/kitti/ImageSets_3dop/train.txt')
    parser.add_argument('out', type=Path, help='JSON file to write, such as '
                        'data/kitti/annotations/kitti_3dop_train.json')
    parser.add_argument('--data-root', default='data/kitti',
                        help='folder with training and testing (%(default)s)')
    parser.add_argument('--testing', action='store_true',
                        help='the images of testing, which have no labels')
    parser.add_argument('--overwrite', action='store_true', help='replace OUT if it exists')
    parser.add_argument('--debug', action='store_true', help='show tracebacks')
    return parser.parse_args(argv)


def main(argv=None):
    """Convert as the command line says."""
    args = parse_args(argv)
    if args.out.suffix != '.json':
        raise UserError(f'{args.out} is to be a JSON file: name it *.json')
    if args.out.exists() and not args.overwrite:
        raise UserError(f'{args.out} exists: choose another name, or replace it with --overwrite')
    content = convert(args.split_file, args.data_root, args.testing)
    write(content, args.out)
    print(f'{args.out}: {len(content["images"])} images, '
          f'{len(content["annotations"])} annotations')


if __name__ == '__main__':
    sys.exit(cli.run(main))
