"""Saved models: one zip archive of arrays and a JSON configuration. Nothing is unpickled."""

import json
import os
import struct
import tokenize
import zipfile
import zlib

import numpy as np

_FORMAT = "convlib model 1"

# Whatever the readers of zip, npy and JSON raise when a file is not what it should be.
_DAMAGE = (
    EOFError,
    KeyError,
    MemoryError,  # a damaged header asks for any amount of it
    NotImplementedError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,  # from a header that is no Python literal
    zipfile.BadZipFile,
    zlib.error,
)


def write(filepath, config: dict, arrays: dict[str, np.ndarray]) -> None:
    """Write configuration and arrays to one file, which appears complete or not at all."""
    path = os.fspath(filepath)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.part")
    document = np.array(json.dumps({"format": _FORMAT, **config}))
    try:
        with open(temporary, "wb") as file:
            np.savez(file, config=document, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def read(filepath) -> tuple[dict, dict[str, np.ndarray]]:
    """Return what `write` wrote.

    Raises
    ------
    ValueError
        If the file is damaged or was not written by `write`.
    """
    path = os.fspath(filepath)
    with open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            config = json.loads(str(arrays.pop("config")[()]))
            if config["format"] != _FORMAT:
                raise ValueError(f"its format is {config['format']!r}, not {_FORMAT!r}")
        except _DAMAGE as error:
            raise ValueError(
                f"{path} is damaged, or is no model saved by convlib: {error}"
            ) from error
    return config, arrays
