"""A file of Python's that a thread of Arrow's is reading while the main thread ends."""

SLOW = """
import io, time

class Slow(io.RawIOBase):
    reads = 0
    def readable(self):
        return True
    def read(self, size=-1):
        self.reads += 1
        if self.reads > 3:
            time.sleep(0.2)
        return b"a,b\\n" + b"1,2\\n" * 5000
"""
