#!/usr/bin/env python3
"""Makes the two embedded samples from their sources. Run once; the outputs are committed.

    make_samples.py --fashion DIR --blood DIR

--fashion  folder with the four Fashion-MNIST files (Debian: dataset-fashion-mnist,
           /usr/share/datasets/fashion-mnist)
--blood    folder {train,test}/{Platelets,RBC,WBC}/*.png of 64x64 RGB crops

fashion-sample/  IDX files in gzip: of each class the first 500 training and the first 100 test
                 images in file order; the order of the originals is kept among those chosen.
                 Training images are in five parts of 1,000.
blood-cells/     one lossless WebP mosaic per part (cell i at column i % 16, row i // 16, each
                 64x64; unused cells black) and IDX labels in gzip. Lossless WebP is the smallest of
                 the forms tried: the training part takes 3.1 MB, 3.9 as one PNG, 5.9 as IDX in
                 gzip. Images are in the order of their file names, so the classes are mixed.

Prints the SHA-256 of the pixels and labels, which the tests of compute/src/data/sample.rs pin.
Needs numpy and Pillow.
"""

import argparse
import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
BLOOD_CLASSES = ["Platelets", "RBC", "WBC"]
CELL, COLUMNS = 64, 16


def read_idx(path):
    raw = gzip.decompress(path.read_bytes())
    assert raw[:3] == b"\0\0\x08", path
    rank = raw[3]
    shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    # A fixed time stamp: the same input gives the same bytes.
    path.write_bytes(gzip.compress(header + array.tobytes(), 9, mtime=0))


def report(name, pixels, labels):
    print(f"{name}: {len(labels)} images, per class {np.bincount(labels).tolist()}")
    print(f"  pixels [n,c,h,w] sha256 {hashlib.sha256(pixels.tobytes()).hexdigest()}")
    print(f"  labels           sha256 {hashlib.sha256(labels.tobytes()).hexdigest()}")


def fashion(source):
    for part, per_class in (("train", 500), ("t10k", 100)):
        images = read_idx(source / f"{part}-images-idx3-ubyte.gz")
        labels = read_idx(source / f"{part}-labels-idx1-ubyte.gz")
        first = [np.flatnonzero(labels == c)[:per_class] for c in range(10)]
        chosen = np.sort(np.concatenate(first))
        # Training images in parts of 1,000: the page fetches no more than it trains on.
        parts = np.split(chosen, 5) if part == "train" else [chosen]
        for k, which in enumerate(parts):
            name = f"train-{k}" if part == "train" else part
            write_idx(HERE / "fashion-sample" / f"{name}-images-idx3-ubyte.gz", images[which])
            write_idx(HERE / "fashion-sample" / f"{name}-labels-idx1-ubyte.gz", labels[which])
        report(f"fashion-sample {part}", images[chosen], labels[chosen])


def blood(source):
    for part in ("train", "test"):
        files = [(p.name, c, p) for c, name in enumerate(BLOOD_CLASSES) for p in (source / part / name).glob("*.png")]
        files.sort(key=lambda item: item[:2])
        images = np.stack([np.array(Image.open(path)) for _, _, path in files])
        assert images.shape[1:] == (CELL, CELL, 3)
        labels = np.array([c for _, c, _ in files], np.uint8)
        rows = -(-len(files) // COLUMNS)
        cells = np.zeros((rows * COLUMNS, CELL, CELL, 3), np.uint8)
        cells[: len(files)] = images
        mosaic = cells.reshape(rows, COLUMNS, CELL, CELL, 3).transpose(0, 2, 1, 3, 4)
        mosaic = mosaic.reshape(rows * CELL, COLUMNS * CELL, 3)
        out = HERE / "blood-cells" / f"{part}-images.webp"
        Image.fromarray(mosaic).save(out, "WEBP", lossless=True, quality=100, method=6)
        write_idx(HERE / "blood-cells" / f"{part}-labels-idx1-ubyte.gz", labels)
        report(f"blood-cells {part}", images.transpose(0, 3, 1, 2), labels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fashion", type=Path, required=True)
    parser.add_argument("--blood", type=Path, required=True)
    args = parser.parse_args()
    fashion(args.fashion)
    blood(args.blood)
