"""Small whole files in every format that is read, to be damaged."""

import io
import json
import tarfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy
from PIL import Image
from PIL import PngImagePlugin

_SIDE = 24
_CAPTIONS = ("a red circle", "zwei blaue Würfel", "猫 on a sofa")


def pictures(form: str) -> list[bytes]:
  """Pictures of one of Pillow's formats, in the ways that it can be written."""
  rgb = _noise()
  grey, palette = rgb.convert("L"), rgb.convert("P")
  exif = Image.Exif()
  exif[0x0112] = 6
  rgba = rgb.convert("RGBA")
  rgba.putalpha(grey)
  several = {"save_all": True, "append_images": [rgb.rotate(90), rgb]}
  text = PngImagePlugin.PngInfo()
  text.add_text("about", "nothing", zip=True)
  text.add_itxt("über", "nichts", zip=True)
  ways: Mapping[str, list[tuple[Image.Image, dict[str, Any]]]] = {
    "JPEG": [
      (rgb, {}),
      (rgb, {"progressive": True, "exif": exif}),
      (grey, {"optimize": True}),
      (rgb.convert("CMYK"), {"icc_profile": bytes(200)}),
    ],
    "PNG": [
      (rgb, {"pnginfo": text, "icc_profile": bytes(300)}),
      (rgba, {"exif": exif}),
      (palette, {"transparency": 1}),
      (Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), {}),
      (rgb.convert("1"), {}),
      (rgb, several),
    ],
    "WEBP": [
      (rgb, {}),
      (rgba, {"lossless": True, "exif": exif}),
      (rgb, several),
    ],
    "GIF": [(palette, {}), (palette, {"interlace": 1}), (rgb, several)],
    "TIFF": [
      (rgb, {}),
      (rgb, {"compression": "tiff_lzw", "exif": exif}),
      (rgb, {"compression": "tiff_adobe_deflate"}),
      (rgb, {"compression": "jpeg"}),
      (grey, {"compression": "packbits"}),
      (rgb.convert("1"), {"compression": "group4"}),
      (Image.fromarray(np.asarray(grey).astype(np.uint16)), {}),
      (rgb, several),
    ],
    "BMP": [(rgb, {}), (palette, {}), (rgb.convert("1"), {}), (rgba, {})],
    "PPM": [(rgb, {}), (grey, {}), (rgb.convert("1"), {})],
  }
  files = [_encoded(image, form, **options) for image, options in ways[form]]
  if form == "BMP":
    files += [_run_lengths(files[1])]
  if form == "PPM":
    files += [
      b"P3 2 1 255\n1 2 3\n# more\n4 5 6\n",
      b"Pf\n2 1\n-1.0\n" + b"0" * 8,
    ]
  return files


def tars() -> list[bytes]:
  """WebDataset tars in both of the forms that have long names."""
  jpeg = _encoded(_noise(), "JPEG")
  members = [
    pair
    for n, text in enumerate(_CAPTIONS)
    for pair in (
      (f"{n:03d}.jpg", jpeg),
      (f"{n:03d}.json", json.dumps({"prompt": text}).encode()),
    )
  ]
  members.append((f"{'folder/' * 20}{'x' * 110}.jpg", jpeg))
  return [
    _tar(members, tarfile.PAX_FORMAT),
    _tar(members, tarfile.GNU_FORMAT),
    _tar(members[:1], tarfile.USTAR_FORMAT),
  ]


def parquet_files() -> list[bytes]:
  """Tables of pictures, texts and lists, compressed in several ways."""
  jpeg = _encoded(_noise(), "JPEG")
  table = pa.table(
    {
      "image": [{"bytes": jpeg, "path": f"{n}.jpg"} for n in range(3)],
      "text": pa.array(_CAPTIONS),
      "turns": [[{"from": "human", "value": text}] for text in _CAPTIONS],
      "score": pa.array([0.5, None, 9.0]),
      "kind": pa.array(["a", "b", "a"]).dictionary_encode(),
    }
  )
  return [
    _parquet(table, compression="none", use_dictionary=False),
    _parquet(table, compression="snappy", row_group_size=2),
    _parquet(table, compression="zstd", data_page_version="2.0"),
    _parquet(table, compression="gzip", store_schema=False),
  ]


def json_rows() -> list[dict[str, Any]]:
  """Lines of the UniAlignment authors' lists, one of each kind."""
  turns = [{"from": "human", "value": _CAPTIONS[0]}]
  return [
    {"image": ["a.png"], "conversations": turns},
    {
      "image": ["a.png", "b/c.png"],
      "conversations": turns,
      "instruction": _CAPTIONS[1],
    },
    {
      "original_images": ["a.png"] * 3,
      "generated_images": ["b/c.png"],
      "caption": _CAPTIONS[2],
      "edit_prompt": ' \\"put them together\\" ',
    },
  ]


def weights() -> list[bytes]:
  """Safetensors of several dtypes."""
  tensors = {
    "a.weight": np.ones((3, 4), np.float32),
    "a.bias": np.ones(4, np.float16),
    "b": np.zeros((0, 2), np.int64),
  }
  return [
    safetensors.numpy.save(tensors, {"format": "pt"}),
    safetensors.numpy.save({"x": np.ones((), np.float32)}),
  ]


def picture() -> bytes:
  """One that is whole."""
  return _encoded(_noise(), "PNG")


def _noise() -> Image.Image:
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (_SIDE, _SIDE + 8, 3), np.uint8)
  return Image.fromarray(pixels)


def _encoded(image: Image.Image, form: str, **options: Any) -> bytes:
  file = io.BytesIO()
  image.save(file, form, **options)
  return file.getvalue()


def _run_lengths(bmp: bytes) -> bytes:
  """A BMP of 8 bits that says it is RLE8: any pixels are such a code."""
  return bmp[:30] + (1).to_bytes(4, "little") + bmp[34:]


def _tar(members: list[tuple[str, bytes]], form: int) -> bytes:
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode="w", format=form) as archive:
    for name, data in members:
      info = tarfile.TarInfo(name)
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))
  return file.getvalue()


def _parquet(table: pa.Table, **options: Any) -> bytes:
  file = io.BytesIO()
  pq.write_table(table, file, **options)
  return file.getvalue()
