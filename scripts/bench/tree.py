"""A tree of files as an application leaves it: one huge index of vectors, a pickled store, lines of
JSON, and many small texts. The same for the same size, and changed the same way."""

import os
import random
from pathlib import Path

MIB = 1 << 20
# Shares of the whole, as in an application that answers questions about documents.
VECTORS, STORE, LINES, TEXTS = 0.59, 0.145, 0.05, 0.195
ROW_BYTES = 768 * 4
TEXT_BYTES = 20 * 1024
FOLDERS = 200
SENTENCES = 100_000


class Tree:
    """The tree at `root`, of about `mib` MiB."""

    def __init__(self, root, mib):
        self.root = Path(root)
        self.mib = mib
        self.random = random.Random(11)
        self.sentences = []

    def create(self):
        self.sentences = self._make_sentences()
        self.root.mkdir(parents=True)
        self._append("index.faiss", self._rows(self._bytes(VECTORS) // ROW_BYTES))
        self._append("docstore.pkl", self._records(self._bytes(STORE)))
        self._append("metadata.jsonl", self._lines(self._bytes(LINES)))
        for number in range(FOLDERS):
            (self.root / "texts" / f"{number:03}").mkdir(parents=True)
        for number in range(self._bytes(TEXTS) // TEXT_BYTES):
            self._text(self._text_path(number))

    def change(self):
        """2 % more rows and 0.5 % of the rows in other bytes; 3 % more records; 1 % of the lines of
        another length; of the texts 1 % rewritten, 1 % new, 0.5 % gone."""
        index = self.root / "index.faiss"
        rows = index.stat().st_size // ROW_BYTES
        with open(index, "r+b") as file:
            for _ in range(max(1, rows // 200 // 64)):
                file.seek(self.random.randrange(max(1, rows - 64)) * ROW_BYTES)
                file.writelines(self._rows(64))
        self._append("index.faiss", self._rows(rows // 50))
        self._append("docstore.pkl", self._records(self._bytes(STORE) * 3 // 100))
        lines = (self.root / "metadata.jsonl").read_bytes().splitlines(keepends=True)
        for at in self.random.sample(range(len(lines)), len(lines) // 100):
            lines[at] = next(self._lines(1))
        (self.root / "metadata.jsonl").write_bytes(b"".join(lines))
        texts = sorted((self.root / "texts").glob("*/*.txt"))
        some = self.random.sample(texts, len(texts) // 100 * 3 // 2)
        gone = len(some) // 3
        for path in some[:gone]:
            path.unlink()
        for path in some[gone:]:
            self._text(path)
        for number in range(len(some) - gone):
            self._text(self._text_path(len(texts) + number))

    def _bytes(self, share):
        return int(self.mib * share * MIB)

    def _append(self, name, pieces):
        with open(self.root / name, "ab") as file:
            file.writelines(pieces)

    def _rows(self, count):
        """Floats near zero: three bytes of noise, and a fourth with sign and exponent."""
        exponents = bytes((0x3C, 0x3D, 0x3D, 0xBC, 0xBD, 0xBD, 0x3C, 0xBD)[b % 8]
                          for b in range(256))
        while count > 0:
            rows = min(count, 1024)
            piece = bytearray(self.random.randbytes(rows * ROW_BYTES))
            piece[3::4] = bytes(piece[3::4]).translate(exponents)
            yield bytes(piece)
            count -= rows

    def _records(self, most):
        while most > 0:
            text = self._prose(600)
            numbers = self.random.randbytes(96)
            yield (piece := b"\x80\x04}(id" + numbers[:16] + text + numbers[16:] + b"ub.")
            most -= len(piece)

    def _lines(self, most):
        while most > 0:
            title = self._prose(60).decode().strip()
            number = self.random.getrandbits(128)
            yield (piece := f'{{"id":"{number:032x}","title":"{title}","size":{number % 9999999},'
                            f'"summary":"{self._prose(150).decode().strip()}"}}\n'.encode())
            most -= len(piece)

    def _text_path(self, number):
        return self.root / "texts" / f"{number % FOLDERS:03}" / f"{number:06}.txt"

    def _text(self, path):
        path.write_bytes(self._prose(self.random.randrange(1024, 2 * TEXT_BYTES - 1024)))

    def _prose(self, size):
        text = bytearray()
        while len(text) < size:
            text += self.random.choice(self.sentences)
        return bytes(text[:size])

    def _make_sentences(self):
        letters = "etaoinshrdlucmfwypvbgkjqxz"
        weights = [12, 9, 8, 8, 7, 7, 6, 6, 6, 4, 4, 3, 3, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1]
        words = ["".join(self.random.choices(letters, weights, k=self.random.randrange(2, 11)))
                 for _ in range(20_000)]
        usual = [1 / (rank + 3) for rank in range(len(words))]
        chosen = iter(self.random.choices(words, usual, k=SENTENCES * 12))
        return [(" ".join(next(chosen) for _ in range(12)) + ". ").encode()
                for _ in range(SENTENCES)]


def tree_size(root):
    """Bytes of all files below."""
    return sum(os.lstat(os.path.join(folder, name)).st_size
               for folder, _, names in os.walk(root) for name in names)
