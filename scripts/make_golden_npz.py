#!/usr/bin/env python3
"""Writes tests/golden/npz with numpy: archives whose content tests/io/test_npz.c knows by formula (element i in C order is
(i * step - 3) / 8), and under bad/ those that must be refused."""
import io, os, struct, zipfile, zlib
import numpy as np

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "golden", "npz")
os.makedirs(os.path.join(here, "bad"), exist_ok=True)


def values(shape, step, dtype):
    n = int(np.prod(shape, dtype=np.int64))
    return ((np.arange(n, dtype=np.float64) * step - 3) / 8).astype(dtype).reshape(shape)


def path(name):
    return os.path.join(here, name)


def npy(array, version=None, **kw):
    f = io.BytesIO()
    np.lib.format.write_array(f, array, version=version, **kw)
    return f.getvalue()


# What the reference's statistics look like: 0-d counts and strings beside a matrix; None is a NaN.
stats = {
    "mom2.constructor": np.array("util.runningstats.SecondMoment()"),
    "mom2.count": np.array(12345678901, dtype=np.int64),
    "mom2.mom2": values((3, 3), 1, np.float32),
    "sample_size": np.array(100000, dtype=np.int64),
}
np.savez(path("stats.npz"), **stats)
arrays = {
    "f4": values((2, 3), 1, np.float32), "f8": values((2, 3, 4), 2, np.float64), "f2": values((5,), 3, np.float16),
    "i8": np.arange(4, dtype=np.int64).reshape(2, 2) - 2, "i4": np.arange(3, dtype=np.int32) - 1,
    "u": np.array(["ab", "é€😀"]), "none": np.frombuffer(struct.pack("<Q", 0xFFF8000000000002), dtype=np.float64).reshape(()),
    "empty": np.zeros((0, 3), dtype=np.float32),
    "fortran": np.asfortranarray(values((3, 5), 1, np.float32)),
    "fortran3": np.asfortranarray(values((2, 3, 4), 2, np.float64)),
}
np.savez(path("stored.npz"), **{k: v for k, v in arrays.items() if not k.startswith("fortran")})
np.savez(path("fortran.npz"), **{k: v for k, v in arrays.items() if k.startswith("fortran")})
np.savez_compressed(path("deflated.npz"), **arrays)


class Pipe(io.RawIOBase):  # not seekable: zipfile then writes data descriptors behind the members
    def __init__(self, f): self.f = f
    def writable(self): return True
    def write(self, b): return self.f.write(b)


with open(path("descriptors.npz"), "wb") as f:
    with zipfile.ZipFile(Pipe(f), "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(zipfile.ZipInfo("f4.npy"), npy(arrays["f4"]), zipfile.ZIP_DEFLATED)
        z.writestr(zipfile.ZipInfo("v2.npy"), npy(arrays["f4"], (2, 0)), zipfile.ZIP_DEFLATED)
        z.writestr(zipfile.ZipInfo("v3.npy"), npy(arrays["f4"], (3, 0)), zipfile.ZIP_DEFLATED)
        z.writestr(zipfile.ZipInfo("readme.txt"), b"not an array", zipfile.ZIP_DEFLATED)
        z.comment = b"a comment PK\x05\x06 that looks like an end"


def entry(name, data, size=None, crc=None, method=0, packed=None, zip64=False, flags=0):
    """Local header + data, and a function that makes the central entry for an offset."""
    packed = data if packed is None else packed
    size = len(data) if size is None else size
    crc = zlib.crc32(data) if crc is None else crc
    n = name.encode()
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, flags, method, 0, 33, crc, len(packed), size & 0xffffffff, len(n), 0) + n + packed

    def central(offset):
        extra, a, b, c = b"", len(packed), size, offset
        if zip64 or size > 0xfffffffe:
            extra, a, b, c = struct.pack("<HHQQQ", 1, 24, size, len(packed), offset), 0xffffffff, 0xffffffff, 0xffffffff
        return struct.pack("<4s6H3I5H2I", b"PK\1\2", 45, 45, flags, method, 0, 33, crc, a, b, len(n), len(extra), 0, 0, 0, 0, c) + n + extra
    return local, central


def archive(entries, zip64=False):
    body, directory = b"", b""
    for local, central in entries:
        directory += central(len(body))
        body += local
    end, at, size, n = b"", len(body), len(directory), len(entries)
    if zip64:
        end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, n, n, size, at)
        end += struct.pack("<4sIQI", b"PK\6\7", 0, at + size, 1)
        at, size, n = 0xffffffff, 0xffffffff, 0xffff
    return body + directory + end + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, n, n, size, at, 0)


def put(name, data):
    open(path(name), "wb").write(data)


good = npy(arrays["f4"])
put("zip64.npz", archive([entry("f4.npy", good, zip64=True), entry("f8.npy", npy(arrays["f8"]), zip64=True)], zip64=True))

# ---- must be refused ----
np.savez(path("bad/object.npz"), a=np.array([1, "x", None], dtype=object))
np.savez(path("bad/structured.npz"), a=np.zeros(2, dtype=[("x", "<f4"), ("y", "<f4")]))
np.savez(path("bad/big_endian.npz"), a=values((3,), 1, ">f4"))
np.savez(path("bad/complex.npz"), a=np.zeros(2, dtype=np.complex64))
whole = open(path("stats.npz"), "rb").read()
put("bad/truncated.npz", whole[:-30])
put("bad/cut_data.npz", whole[:200])
put("bad/empty.npz", b"")
put("bad/crc.npz", archive([entry("a.npy", good, crc=1)]))
put("bad/crc_deflated.npz", archive([entry("a.npy", good, crc=1, method=8, packed=zlib.compress(good, 9)[2:-4])]))
put("bad/deflate_broken.npz", archive([entry("a.npy", good, method=8, packed=b"\xff" * len(good))]))
put("bad/deflate_short.npz", archive([entry("a.npy", good, method=8, packed=zlib.compress(good, 9)[2:-14])]))
head = npy(np.zeros((1 << 20,), dtype=np.float32)).replace(b"(1048576,), }        ", b"(1048576000000,), }  ")
put("bad/bomb.npz", archive([entry("a.npy", head[:128], size=128 + 4 * 1048576000000, method=8, packed=zlib.compress(head[:4096], 9)[2:-4])]))
put("bad/stored_bomb.npz", archive([entry("a.npy", head[:128], size=128 + 4 * 1048576000000)]))
put("bad/shape_bomb.npz", archive([entry("a.npy", head[:128])]))
overflow = good[:128].replace(b"'shape': (2, 3), }" + b" " * 44, b"'shape': (4294967296, 4294967296, 1), }" + b" " * 23)
put("bad/shape_overflow.npz", archive([entry("a.npy", overflow)]))
put("bad/extra_data.npz", archive([entry("a.npy", good + b"\0")]))
put("bad/short_data.npz", archive([entry("a.npy", good[:-1])]))
put("bad/not_npy.npz", archive([entry("a.npy", b"x" * 200)]))
put("bad/version9.npz", archive([entry("a.npy", good[:6] + b"\x09\x00" + good[8:])]))
put("bad/header_end.npz", archive([entry("a.npy", good[:60])]))
put("bad/header_text.npz", archive([entry("a.npy", good.replace(b"'descr'", b"'DESCR'"))]))
put("bad/header_code.npz", archive([entry("a.npy", good.replace(b"'fortran_order': False", b"'fortran_order': exit()"[:23]))]))
put("bad/twice.npz", archive([entry("a.npy", good), entry("a.npy", good)]))
put("bad/encrypted.npz", archive([entry("a.npy", good, flags=1)]))
put("bad/method.npz", archive([entry("a.npy", good, method=12)]))
put("bad/nul_name.npz", archive([entry("a\0b.npy", good)]))
put("bad/offset.npz", archive([(entry("a.npy", good)[0], lambda at: entry("a.npy", good)[1](10 ** 6))]))
put("bad/wrong_local.npz", archive([(entry("a.npy", good)[0], lambda at: entry("a.npy", good)[1](4))]))
put("bad/directory.npz", archive([entry("a.npy", good)])[:-14] + struct.pack("<2H2IH", 9999, 9999, 0x7fffffff, 0, 0))
