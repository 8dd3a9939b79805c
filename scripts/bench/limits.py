"""What this machine could do at best: the parts that a backup is made of, each alone, on one core."""

import hashlib
import os
import re
import shutil
import subprocess
import time

from cluster import files

MIB = 1 << 20
PIECE = 64 << 10
SAMPLE_PIECES = 256


def measure(source, scratch):
    """Rates in MiB/s by name, of one pass over the data below `source`.

    `ratio` is how far zstd 1 compresses a sample of it. A part that cannot be measured for want
    of its program is left out.
    """
    sample = scratch / "sample"
    take_sample(source, sample)
    total = sum(os.path.getsize(file) for file in files(source))
    return {
        "cached read": cached_read(source),
        "SHA-256": sha256(sample),
        **zstd(sample),
        **aes(),
        "write, fdatasync": write(sample, scratch / "written", total),
    }


def take_sample(source, sample):
    """Mebibytes at even distances over all files of at least one."""
    large = sorted((f for f in files(source) if os.path.getsize(f) >= MIB))
    mebibytes = [(f, n) for f in large for n in range(os.path.getsize(f) // MIB)]
    every = max(1, len(mebibytes) // SAMPLE_PIECES)
    with open(sample, "wb") as out:
        for file, number in mebibytes[::every]:
            with open(file, "rb") as opened:
                opened.seek(number * MIB)
                out.write(opened.read(MIB))


def cached_read(source):
    """All files, into one buffer."""
    buffer = bytearray(MIB)
    done, started = 0, time.monotonic()
    for file in files(source):
        with open(file, "rb", buffering=0) as opened:
            while count := opened.readinto(buffer):
                done += count
    return rate(done, started)


def sha256(sample):
    """In pieces as short as a chunk of database pages, from memory."""
    content = memoryview(sample.read_bytes())
    started = time.monotonic()
    for at in range(0, len(content), PIECE):
        hashlib.sha256(content[at:at + PIECE]).digest()
    return rate(len(content), started)


def zstd(sample):
    """Level 1 in pieces as short as a chunk, both ways."""
    if shutil.which("zstd") is None:
        return {}
    done = subprocess.run(["zstd", "-q", "-b1", "-i2", f"-B{PIECE}", sample],
                          check=True, capture_output=True, text=True)
    # "-1  5840164 (35.909) 1563.30 MB/s 3822.5 MB/s  name"
    found = re.findall(r"\(x?([\d.]+)\),? +([\d.]+) MB/s,? +([\d.]+) MB/s",
                       done.stdout + done.stderr)
    if not found:
        return {}
    ratio, compress, decompress = map(float, found[-1])
    return {"zstd 1, compress": compress * 1e6 / MIB, "zstd, decompress": decompress * 1e6 / MIB,
            "ratio": ratio}


def aes():
    """AES-256 in counter mode."""
    done = subprocess.run(["openssl", "speed", "-mr", "-seconds", "1", "-bytes", str(PIECE),
                           "-evp", "aes-256-ctr"], capture_output=True, text=True)
    found = re.search(r"^\+F:.*:([\d.]+)$", done.stdout, re.MULTILINE)
    return {"AES-256-CTR": float(found[1]) / MIB} if found else {}


def write(sample, target, total):
    """As many bytes as the source has, in one file, made durable."""
    content = memoryview(sample.read_bytes())
    left, started = total, time.monotonic()
    with open(target, "wb", buffering=0) as out:
        while left > 0:
            for at in range(0, min(left, len(content)), MIB):
                left -= out.write(content[at:min(at + MIB, len(content))])
        os.fdatasync(out.fileno())
    result = rate(total, started)
    target.unlink()
    return result


def rate(done, started):
    return done / MIB / (time.monotonic() - started)


def bounds(parts, cores):
    """MiB/s of a backup and of a restore that do nothing but what they must, on all cores, each
    part as fast as the common programs that were measured. It can be beaten by better parts only.

    A backup reads and hashes everything, compresses it, and encrypts what is left; a restore
    does the same backwards, and writes everything. `None` where a part is unknown.
    """
    needed = ("cached read", "SHA-256", "zstd 1, compress", "zstd, decompress", "AES-256-CTR",
              "write, fdatasync", "ratio")
    if any(name not in parts for name in needed):
        return None, None
    stored = 1 / parts["ratio"]
    common = 1 / parts["SHA-256"] + stored / parts["AES-256-CTR"]
    backup = common + 1 / parts["cached read"] + 1 / parts["zstd 1, compress"]
    restore = common + 1 / parts["zstd, decompress"] + 1 / parts["write, fdatasync"]
    return cores / backup, cores / restore
