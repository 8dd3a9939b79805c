"""Brings the machine's memory into one state before each measurement."""

import glob
import os

KEEP_FREE = 1 << 30
PIECE = 4 << 20


class Filler:
    """Fills free memory with page cache that nobody needs, as on a server that runs for a while.

    A hypervisor may take free memory back (the free page reporting of virtio's balloon), and then
    whoever touches it first waits for it: more than two seconds for a gibibyte were seen, which is
    far more than anything that is measured here. Clean cache is given up without such a wait.
    Where there is no balloon, nothing is done, nor with `FILL=0`: others may need the memory.
    """

    def __init__(self, directory):
        self._file = directory / "filler"
        has_balloon = bool(glob.glob("/sys/bus/virtio/drivers/virtio_balloon/virtio*"))
        self._wanted = has_balloon and os.environ.get("FILL") != "0"

    def fill(self):
        if not self._wanted:
            return
        if not self._file.exists():
            self._file.touch()
            # A hole: no blocks on the disk, but pages in memory once it was read.
            os.truncate(self._file, max(0, available_bytes() - KEEP_FREE))
        buffer = bytearray(PIECE)
        with open(self._file, "rb", buffering=0) as opened:
            while opened.readinto(buffer):
                pass


def available_bytes():
    """Memory that could be had without swapping."""
    with open("/proc/meminfo") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0
