"""Fetch files from the web; what they hold is looked at by others."""
import hashlib
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import torch

from mmdet_centernet.errors import UserError


def fetch(address):
    """The local copy of a file, downloaded into torch's hub cache unless it lies there.

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
    path = Path(torch.hub.get_dir(), 'checkpoints', f'{name.stem}.{digest}{name.suffix}')
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Whole or not at all: it writes beside the path and moves the file at the end.
            torch.hub.download_url_to_file(address, str(path))
        except (OSError, ValueError) as error:
            raise UserError(f'{address} cannot be downloaded ({error}): fetch it by other means '
                            'and give the path of the file') from error
    return path
