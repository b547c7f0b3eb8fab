"""Makes checksums right again, so that damage gets behind them."""

import struct
import zlib

_PNG_SIGNATURE = 8
_TAR_BLOCK = 512


def record(data: bytes) -> bytes:
  """The CRC of a feature record."""
  return data[:8] + struct.pack("<I", zlib.crc32(data[12:])) + data[12:]


def png(data: bytes) -> bytes:
  """The CRCs of all chunks, as far as their lengths make sense."""
  repaired = bytearray(data)
  place = _PNG_SIGNATURE
  while place + 12 <= len(repaired):
    (length,) = struct.unpack_from(">I", repaired, place)
    end = place + 8 + length
    if end + 4 > len(repaired):
      break
    crc = zlib.crc32(repaired[place + 4 : end])
    struct.pack_into(">I", repaired, end, crc)
    place = end + 4
  return bytes(repaired)


def tar(data: bytes) -> bytes:
  """The checksums of all headers, as far as their sizes make sense."""
  repaired = bytearray(data)
  place = 0
  while place + _TAR_BLOCK <= len(repaired):
    header = repaired[place : place + _TAR_BLOCK]
    if not any(header):
      break
    header[148:156] = b" " * 8
    repaired[place + 148 : place + 156] = b"%06o\0 " % sum(header)
    try:
      size = int(header[124:136].rstrip(b"\0 ") or b"0", 8)
    except ValueError:
      break
    place += _TAR_BLOCK + max(0, -(-size // _TAR_BLOCK) * _TAR_BLOCK)
  return bytes(repaired)
