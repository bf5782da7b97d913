"""Errors that the user can fix."""


class UserError(ValueError):
    """Error message for the user: what is wrong, in which file or item, and what to do.

    The tools print it as ``error: <message>`` without a traceback. It is built from a single
    string, so that it survives pickling and a DataLoader worker: torch raises the same class
    again in the main process, with the worker's traceback as its text.
    """
