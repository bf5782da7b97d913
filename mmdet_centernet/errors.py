"""The error for what a user can mend."""


class UserError(ValueError):
    """One sentence for the user: what is wrong with which file or item, and what to do.

    The tools print it as ``error: <sentence>`` without a traceback. It is built from one
    string and nothing else, so it survives pickling and a DataLoader worker, where torch
    raises the same class again with the worker's traceback as the text.
    """
