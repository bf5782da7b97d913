"""Evaluate KITTI result files: ``python tools/analysis_tools/eval_kitti.py RESULTS LABELS``."""
import argparse
import json
import math
import sys
from pathlib import Path

import mmdet_centernet  # noqa: F401  isort: skip  (makes mmdet importable without compiled ops)
from rich.console import Console
from rich.progress import track

from mmdet_centernet import cli
from mmdet_centernet.errors import UserError
from mmdet_centernet.evaluation.kitti_eval import (
    IOU_SETS,
    RECALL_POINTS,
    evaluate,
    format_tables,
    least_overlaps,
)
from mmdet_centernet.io.kitti import KittiObjects, read_objects, read_split

CLASSES = ('Pedestrian', 'Car', 'Cyclist')
BOTH = 'both'


def class_iou(text):
    """Parse a class and its least overlaps: ``Truck=0.7,0.5,0.5``."""
    name, equals, values = text.partition('=')
    try:
        numbers = tuple(map(float, values.split(',')))
    except ValueError:
        numbers = ()
    if not (name and equals and numbers):
        raise argparse.ArgumentTypeError(f'{text!r} is not NAME=2D,BEV,3D')
    return name, numbers


def parse_args(argv=None):
    """The command line."""
    parser = argparse.ArgumentParser(
        description="AP under KITTI's rules for 2D boxes, orientations (AOS), bird's-eye "
        'view and 3D boxes, from 0 to 1')
    parser.add_argument('results', help="folder of result files in KITTI's format, one per image")
    parser.add_argument('labels', help='folder of label files of the same names')
    parser.add_argument('--split', metavar='FILE',
                        help='list of the images to evaluate (default: all that have labels)')
    parser.add_argument('--classes', nargs='+', default=CLASSES, metavar='NAME',
                        help=f'classes of the results (default: {" ".join(CLASSES)})')
    parser.add_argument('--iou', choices=[*IOU_SETS, BOTH], default=BOTH,
                        help='least overlaps: those of the original CenterNet, those of '
                        "KITTI's server, or both")
    parser.add_argument('--points', choices=[*map(str, RECALL_POINTS), BOTH], default=BOTH,
                        help='points of recall')
    parser.add_argument('--class-iou', nargs='+', type=class_iou, default=[],
                        metavar='NAME=2D,BEV,3D', help='least overlaps of further classes')
    parser.add_argument('--missing-empty', action='store_true',
                        help='treat a missing result file as an image without detections')
    parser.add_argument('--json', metavar='OUT', help='write the figures into this file too')
    parser.add_argument('--debug', action='store_true', help='show tracebacks')
    return parser.parse_args(argv)


def names_in(folder, kind):
    """Return the sorted names of the text files of a folder."""
    if not Path(folder).is_dir():
        raise UserError(f'{kind} folder {folder} does not exist or is not a folder')
    names = sorted(file.stem for file in Path(folder).glob('*.txt'))
    if not names:
        raise UserError(f'{kind} folder {folder} has no {kind} files: it should hold one '
                        '<number>.txt for each image')
    return names


def images_of(args):
    """Find the images to evaluate, and those of them with results.

    Returns:
        tuple[list[str], set[str]]
    """
    results, labels = (names_in(folder, kind) for folder, kind in (
        (args.results, 'result'), (args.labels, 'label')))
    names = labels if args.split is None else read_split(args.split)
    unlabeled = sorted(set(names if args.split else results) - set(labels))
    if unlabeled and args.split:
        raise UserError(f'image {unlabeled[0]!r} of {args.split} has no label file in '
                        f'{args.labels}: name the labels and the split of the same images')
    if unlabeled:
        raise UserError(
            f'{args.results}/{unlabeled[0]}.txt has no label file in {args.labels}: name the '
            'labels of the same images, or the images to evaluate with --split')
    missing = sorted(set(names) - set(results))
    if missing and not args.missing_empty:
        raise UserError(
            f'{len(missing)} of the {len(names)} images have no result file in {args.results}, '
            f'such as {missing[0]}.txt: an image without detections needs an empty one, or '
            '--missing-empty; --split names the images to evaluate, if they are not all of '
            f'{args.split or args.labels}')
    return names, set(results)


def read_results(path, classes):
    """Read a result file and check its classes.

    Returns:
        KittiObjects
    """
    found = read_objects(path, scored=True)
    for number, name in enumerate(found.types, start=1):
        if name not in classes:
            raise UserError(f'line {number} of {path} is of class {name!r}, but evaluated are '
                            f'{", ".join(classes)}: name all classes of the results with '
                            '--classes')
    return found


def nothing(like):
    """Return empty results with the fields of other results."""
    return KittiObjects([], *(values[:0] for values in like[1:-1]), scores=like.alpha[:0])


def main(argv=None):
    """Evaluate the result files."""
    args = parse_args(argv)
    classes = list(dict.fromkeys(args.classes))
    iou_sets = list(IOU_SETS) if args.iou == BOTH else [args.iou]
    points = list(RECALL_POINTS) if args.points == BOTH else [int(args.points)]
    class_ious = dict(args.class_iou)
    for name in classes:
        if name not in class_ious and name not in CLASSES:
            raise UserError(f'class {name!r} is none that KITTI evaluates ({", ".join(CLASSES)}): '
                            f'give its least overlaps as --class-iou {name}=0.7,0.5,0.5 (image, '
                            'bird\'s-eye view, 3D box)')
    # Before files are read, which may take a while.
    least_overlaps(classes, iou_sets, class_ious)
    names, with_results = images_of(args)
    console = Console(stderr=True)
    labels, results = [], []
    for name in track(names, 'reading', console=console, transient=True):
        labels.append(read_objects(Path(args.labels) / f'{name}.txt'))
        results.append(read_results(Path(args.results) / f'{name}.txt', classes)
                       if name in with_results else nothing(labels[-1]))
    found = evaluate(
        labels, results, classes, iou_sets, points, class_ious,
        track=lambda steps: track(steps, 'evaluating', console=console, transient=True))
    missing = len(names) - len(with_results.intersection(names))
    print(f'{len(names)} images with {sum(len(each.types) for each in results)} detections'
          + (f', {missing} without a result file' if missing else ''))
    others = len(with_results.difference(names))
    if others:
        print(f'{others} result files are of images that {args.split} does not list')
    print('\n' + format_tables(found, classes, iou_sets, points))
    if args.json:
        write_json(args.json, found)


def write_json(path, found):
    """Write figures (null if not measured), numbers of objects, overlaps and notes."""
    content = dict(
        figures={name: None if math.isnan(value) else value
                 for name, value in found.figures.items()},
        objects={f'{name}_{level}': count for (name, level), count in found.counts.items()},
        iou={set_name: {name: list(values) for (of, name), values in found.overlaps.items()
                        if of == set_name} for set_name, _ in found.overlaps},
        notes=found.notes)
    Path(path).write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    sys.exit(cli.run(main))
