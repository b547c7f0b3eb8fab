"""Pictures that are small to store and large, long or dangerous to open."""

import functools
import io
import struct
import zlib

from PIL import Image

_RGB = Image.new("RGB", (16, 16), (200, 40, 90))


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
  file = io.BytesIO()
  image.save(file, form, **options)
  return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
  crc = struct.pack(">I", zlib.crc32(kind + data))
  return struct.pack(">I", len(data)) + kind + data + crc


def png(*chunks: bytes, size: tuple[int, int] = (16, 16)) -> bytes:
  """A black one, with further chunks before its pixels."""
  width, height = size
  header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
  lines = zlib.compressobj(1)
  packed = lines.compress(bytes(1 + width)) if height else b""
  for _ in range(height - 1):
    packed += lines.compress(bytes(1 + width))
  return b"".join(
    [
      b"\x89PNG\r\n\x1a\n",
      chunk(b"IHDR", header),
      *chunks,
      chunk(b"IDAT", packed + lines.flush()),
      chunk(b"IEND", b""),
    ]
  )


def _with(data: bytes, place: int, form: str, *numbers: int) -> bytes:
  changed = bytearray(data)
  struct.pack_into(form, changed, place, *numbers)
  return bytes(changed)


def _jpeg_of(width: int, height: int) -> bytes:
  data = encoded(_RGB, "JPEG")
  frame = data.index(b"\xff\xc0")
  return _with(data, frame + 5, ">HH", height, width)


def _webp_of(width: int, height: int) -> bytes:
  data = encoded(_RGB, "WEBP")
  start_code = data.index(b"\x9d\x01\x2a")
  return _with(data, start_code + 3, "<HH", width, height)


def _webp_animation_of(width: int, height: int) -> bytes:
  frame = encoded(_RGB, "WEBP", lossless=True)[12:]
  sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
  flags = bytes([2, 0, 0, 0])
  one = bytes(6) + b"\x0f\0\0\x0f\0\0" + bytes(3) + b"\0" + frame
  chunks = (
    b"VP8X" + struct.pack("<I", 10) + flags + sides,
    b"ANIM" + struct.pack("<I", 6) + bytes(6),
    *[b"ANMF" + struct.pack("<I", len(one)) + one] * 2,
  )
  body = b"WEBP" + b"".join(chunks)
  return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(tags: dict[int, tuple[int, int]], data: bytes = bytes(64)) -> bytes:
  """One of a single byte a pixel; tags are (type, value)."""
  tags = {
    256: (4, 16),
    257: (4, 16),
    258: (3, 8),
    259: (3, 1),
    262: (3, 1),
    273: (4, 8),
    277: (3, 1),
    278: (4, 16),
    279: (4, len(data)),
  } | tags
  directory = struct.pack("<H", len(tags)) + b"".join(
    struct.pack("<HHII", tag, kind, 1, value)
    for tag, (kind, value) in sorted(tags.items())
  )
  place = 8 + len(data)
  return b"II*\0" + struct.pack("<I", place) + data + directory + bytes(4)


# Headers that claim more pixels than are taken.
TOO_LARGE = {
  "PNG": png(size=(0, 0)).replace(
    png(size=(0, 0))[8:33],
    chunk(b"IHDR", struct.pack(">IIBBBBB", 99_999, 99_999, 8, 0, 0, 0, 0)),
  ),
  "JPEG": _jpeg_of(65_500, 65_500),
  "WebP": _webp_of(16_383, 16_383),
  "WebP animation": _webp_animation_of(16_000, 16_000),
  "GIF": _with(encoded(_RGB, "GIF"), 6, "<HH", 65_535, 65_535),
  "BMP": _with(encoded(_RGB, "BMP"), 18, "<ii", 60_000, 60_000),
  "TIFF": tiff({256: (4, 100_000), 257: (4, 100_000)}),
  "PPM": b"P6 60000 60000 255\n" + bytes(99),
}


def gif_frame_larger_than_its_screen() -> bytes:
  data = encoded(_RGB, "GIF")
  frame = data.index(b",", 13 + 3 * 2)
  return _with(data, frame + 1, "<HHHH", 0, 0, 65_535, 65_535)


def scans(number: int, size: tuple[int, int]) -> bytes:
  """A progressive JPEG whose last scan is there again and again."""
  data = encoded(Image.new("L", size), "JPEG", progressive=True, quality=5)
  start, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
  return data[:start] + data[start:end] * number + data[end:]


def run_lengths(width: int, height: int) -> bytes:
  """A BMP whose code skips 255 lines at a time."""
  code = b"\0\2\xff\xff" * 200
  colours = bytes(4 * 256)
  place = 54 + len(colours)
  return (
    b"BM"
    + struct.pack("<IHHI", place + len(code), 0, 0, place)
    + struct.pack("<IiiHHII", 40, width, height, 1, 8, 1, len(code))
    + struct.pack("<iiII", 0, 0, 256, 0)
    + colours
    + code
  )


@functools.cache
def _bomb(size: int) -> bytes:
  packer = zlib.compressobj(1)
  block = bytes(10**6)
  packed = b"".join(packer.compress(block) for _ in range(size // len(block)))
  return packed + packer.flush()


@functools.cache
def png_bombs() -> dict[str, bytes]:
  """Compressed texts and profiles of 200 MB in 200 KB."""
  bomb = _bomb(2 * 10**8)
  return {
    "zTXt": png(chunk(b"zTXt", b"a\0\0" + bomb)),
    "iTXt": png(chunk(b"iTXt", b"a\0\1\0\0\0" + bomb)),
    "iCCP": png(chunk(b"iCCP", b"a\0\0" + bomb)),
    "many texts": png(
      *[chunk(b"zTXt", b"a\0\0" + _bomb(10**6))] * 300,
    ),
  }


DISGUISED = {
  "SVG": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'>"
  b"<image href='file:///etc/passwd'/></svg>",
  "SVG bomb": b"<!DOCTYPE s [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]>"
  b"<svg>&b;</svg>",
  "PDF": b"%PDF-1.7\n1 0 obj<</OpenAction<</S/Launch/F(sh)>>>>endobj\n",
  "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
  b"(%pipe%touch /tmp/x) (w) file\n%%EOF\n",
  "EPS in DOS form": b"\xc5\xd0\xd3\xc6" + struct.pack("<7I", *[32] * 7),
  "WMF": b"\xd7\xcd\xc6\x9a" + bytes(40),
  "FLI": bytes(4) + b"\x12\xaf" + bytes(200),
  "XBM": b"#define x_width 9\n#define x_height 9\nstatic char x_bits[] = {0};",
  "pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
  "zip": b"PK\x03\x04" + bytes(60),
  "HTML": b"<html>not found</html>",
}
