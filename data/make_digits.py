"""Make data/digits.csv.gz, from scikit-learn's copy, and check it: python data/make_digits.py.

Needs scikit-learn. The file is copied as it is; convlib brings it to MNIST's size when it loads it.
"""

import gzip
import hashlib
import re
from importlib.resources import files
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Copy the file and compare its content with the SHA-256 in its datasheet."""
    packed = files("sklearn.datasets.data").joinpath("digits.csv.gz").read_bytes()
    found = hashlib.sha256(gzip.decompress(packed)).hexdigest()
    (expected,) = re.findall(r"\b[0-9a-f]{64}\b", (HERE / "digits.md").read_text("utf-8"))
    if found != expected:
        raise SystemExit(f"scikit-learn's digits.csv.gz has the SHA-256 {found}, not {expected}")
    (HERE / "digits.csv.gz").write_bytes(packed)
    print(f"{HERE / 'digits.csv.gz'}: {len(packed)} bytes")


if __name__ == "__main__":
    main()
