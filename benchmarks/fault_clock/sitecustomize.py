"""With this folder in PYTHONPATH, Python's wall clock is wrong by the seconds (a double) in the file FAULT_CLOCK."""

import os
import struct
import time

if "FAULT_CLOCK" in os.environ:
    _descriptor = os.open(os.environ["FAULT_CLOCK"], os.O_RDONLY)
    _right = time.time

    def _wrong() -> float:
        return _right() + struct.unpack("d", os.pread(_descriptor, 8, 0))[0]

    time.time = _wrong
    time.time_ns = lambda: int(_wrong() * 1e9)
