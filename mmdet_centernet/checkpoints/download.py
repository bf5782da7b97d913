"""Downloads; what the files hold is checked by their readers."""
import hashlib
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import torch

from mmdet_centernet.errors import UserError


def hub_folder():
    """Return the folder of torch's hub cache that checkpoints are downloaded into."""
    return Path(torch.hub.get_dir(), 'checkpoints')


def download(address, path, hash_prefix=None):
    """Download a file, whole or not at all.

    Args:
        address (str): ``http://`` or ``https://``.
        path (Path): Its folder is made if it is missing.
        hash_prefix (str, optional): Start of the SHA-256 that the file must have.

    Raises:
        OSError: If that fails, or the file has another hash.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # It writes beside the path and moves the file at the end.
        torch.hub.download_url_to_file(address, str(path), hash_prefix=hash_prefix)
    except (RuntimeError, ValueError) as error:  # a wrong hash, a malformed address
        raise OSError(str(error)) from error


def fetch(address):
    """Return the local copy of a file, downloaded unless torch's hub cache has it.

    MMEngine's own way from an address reads the file with pickle's full powers, and takes
    any cached file of the same name for it; here nothing is read, and the name of the copy
    holds a hash of the whole address.

    Args:
        address (str): ``http://`` or ``https://``.

    Returns:
        Path: The copy, whole.

    Raises:
        UserError: If it is another kind of address, or cannot be downloaded.
    """
    parts = urlparse(address)
    if parts.scheme not in ('http', 'https'):
        raise UserError(f'{address} is neither a file nor an http(s) address: fetch it by other '
                        'means and give the path of the file')
    name = PurePosixPath(parts.path)
    digest = hashlib.sha256(address.encode()).hexdigest()[:8]
    path = hub_folder() / f'{name.stem}.{digest}{name.suffix}'
    if not path.is_file():
        try:
            download(address, path)
        except OSError as error:
            raise UserError(f'{address} cannot be downloaded ({error}): fetch it by other means '
                            'and give the path of the file') from error
    return path


def local_checkpoint(path):
    """A checkpoint as a file of this machine.

    Args:
        path (str): A file, or its http(s) address, which is downloaded first: MMEngine's own
            way from an address would run what the file says.

    Returns:
        str: The file. Other addresses (``pretrained://...``) come back as they are.
    """
    return str(fetch(path)) if path.startswith(('http://', 'https://')) else path
