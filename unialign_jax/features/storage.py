"""What features cost: bytes on disk, and FLOPs to make or to do without them.

    python -m unialign_jax.features.storage     # the table of docs/features.md

Bytes are those of the files that `features.shards` writes. FLOPs are formulas
that count matrix products and convolutions, 2 for a multiplication and an
addition. "Stored" and "online" are explained in docs/features.md.
"""

import dataclasses

import numpy as np

from unialign_jax.features import quantise
from unialign_jax.features import schema
from unialign_jax.models import mmdit
from unialign_jax.models import t5
from unialign_jax.models import vae
from unialign_jax.training import flops

T5_XXL = t5.T5Config(  # SD3's text_encoder_3
  vocab_size=32128,
  d_model=4096,
  d_kv=64,
  d_ff=10240,
  num_layers=24,
  num_heads=64,
  feed_forward_proj="gated-gelu",
)
SD3_VAE = vae.VAEConfig(
  block_out_channels=(128, 256, 512, 512),
  layers_per_block=2,
  latent_channels=16,
  scaling_factor=1.5305,
  shift_factor=0.0609,
  use_quant_conv=False,
  use_post_quant_conv=False,
)
# ArrayRecord with group_size:1, uncompressed. A block has a header, a record
# is a chunk (40 bytes of header, about 6 of sizes) and an entry of the footer
# (about 14); the last block is the postscript's.
_BLOCK, _BLOCK_HEADER, _ENTRY = 1 << 16, 24, 60
_MFU = 0.4
_CHIPS = {"H100": "NVIDIA H100 80GB HBM3", "v5e": "TPU v5e"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
  """The numbers that decide how large a record is.

  Raises:
    ValueError: an unknown dtype, or pictures that are not whole latents.
  """

  resolution: int = 512  # side of a picture, pixels
  latent_factor: int = 8  # pixels a latent along one side
  latent_channels: int = 16
  num_cond: int = 0
  text_length: int = 256
  text_dim: int = 4096
  draws: int = 0  # 0: no text features
  feature_dtype: str = "bfloat16"  # of the text features, if any
  semantic_dim: int = 3584
  patches: int = 0  # tokens of h_image; 0: their mean
  provenance: int = 100  # bytes of all strings together

  def __post_init__(self) -> None:
    quantise.check_dtype(self.feature_dtype)
    if self.resolution % self.latent_factor:
      raise ValueError(
        f"resolution: got {self.resolution}, expected a multiple of"
        f" latent_factor = {self.latent_factor}"
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisionTower:
  """The vision tower of Qwen2.5-VL; the defaults are those of 7B."""

  depth: int = 32
  full_attention: int = 4  # blocks that attend to all, not within windows
  hidden: int = 1280
  intermediate: int = 3420
  out: int = 3584
  window: int = 4  # side of a window, merged tokens
  patch: int = 14  # pixels


def record_bytes(sizes: Sizes) -> int:
  """Bytes of one serialised record, header and provenance included."""
  return len(schema.serialize(_zeros(sizes)))


def shard_bytes(record: int, count: int) -> int:
  """Bytes of a shard of `count` records of `record` bytes."""
  if not count:
    return 0
  blocks = -(-count * (record + _ENTRY) // (_BLOCK - _BLOCK_HEADER))
  return (blocks + 1) * _BLOCK


def set_bytes(sizes: Sizes, count: int, *, shard_size: int = 1000) -> int:
  """Bytes of the shards of a feature set of `count` records."""
  record = record_bytes(sizes)
  whole, rest = divmod(count, shard_size)
  return whole * shard_bytes(record, shard_size) + shard_bytes(record, rest)


def _zeros(sizes: Sizes) -> schema.Record:
  """A record of these sizes: `schema` stays the one to know the fields."""
  side = sizes.resolution // sizes.latent_factor
  latent = (side, side, sizes.latent_channels)
  L, S = sizes.text_length, sizes.semantic_dim
  stored = _zeros_stored(sizes) if sizes.draws else {}
  return schema.Record(
    latents_mean=np.zeros(latent, np.float16),
    latents_std=np.zeros(latent, np.float16),
    cond_latents=np.zeros((sizes.num_cond, *latent), np.float16),
    prompt_ids=np.zeros(L, np.int32),
    caption_ids=np.zeros(L, np.int32),
    label_mask=np.zeros(L, np.uint8),
    h_image=np.zeros((sizes.patches, S) if sizes.patches else S, np.float16),
    h_text=np.zeros(S, np.float16),
    task="",
    source="",
    key="x" * sizes.provenance,
    license="",
    caption_source="",
    **stored,
  )


def _zeros_stored(sizes: Sizes) -> dict[str, np.ndarray]:
  L, M = sizes.text_length, sizes.draws
  dtype = np.dtype(sizes.feature_dtype)
  fields = {
    "prompt_features": np.zeros((L, sizes.text_dim), dtype),
    "masked_features": np.zeros((M, L, sizes.text_dim), dtype),
    "masked_ids": np.zeros((M, L), np.int32),
    "is_masked": np.zeros((M, L), np.uint8),
    "masked_t": np.zeros(M, np.float32),
  }
  if dtype == np.int8:
    fields["prompt_scale"] = np.zeros(L, np.float32)
    fields["masked_scale"] = np.zeros((M, L), np.float32)
  return fields


def vae_encoder(config: vae.VAEConfig, side: int) -> float:
  """FLOPs of encoding one square picture of `side` pixels."""
  channels = config.block_out_channels[0]
  total = _conv(side, config.in_channels, channels)
  for level, width in enumerate(config.block_out_channels):
    for _ in range(config.layers_per_block):
      total += _resnet(side, channels, width)
      channels = width
    if level < len(config.block_out_channels) - 1:
      side //= 2
      total += _conv(side, channels, channels)
  total += 2 * _resnet(side, channels, channels)
  if config.mid_block_add_attention:
    positions = side * side
    total += positions * (8 * channels**2 + 4 * positions * channels)
  moments = 2 * config.latent_channels
  total += _conv(side, channels, moments)
  if config.use_quant_conv:
    total += _conv(side, moments, moments, 1)
  return float(total)


def _resnet(side: int, before: int, after: int) -> int:
  shortcut = _conv(side, before, after, 1) if before != after else 0
  return _conv(side, before, after) + _conv(side, after, after) + shortcut


def _conv(side: int, before: int, after: int, kernel: int = 3) -> int:
  """Of a map that is `side` wide afterwards."""
  return 2 * side * side * kernel * kernel * before * after


def vision_tower(config: VisionTower, side: int) -> float:
  """FLOPs of the tower and its merger on one square picture.

  Args:
    config: shape of the tower; 2 x 2 patches are merged.
    side: pixels; the processor brings it to whole merged tokens.
  """
  merged = round(side / (2 * config.patch))
  patches = 4 * merged**2
  whole, rest = divmod(merged, config.window)
  # Pairs of patches that see each other: (sum of squares an axis) ** 2.
  windowed = (4 * (whole * config.window**2 + rest**2)) ** 2
  full = config.full_attention
  pairs = full * patches**2 + (config.depth - full) * windowed
  D = config.hidden
  weights = config.depth * (4 * D * D + 3 * D * config.intermediate)
  weights += 2 * 3 * config.patch**2 * D  # a picture counts as two frames
  merger = 4 * D * (4 * D + config.out)
  return float(2 * patches * weights + 4 * D * pairs + 2 * merged**2 * merger)


def precompute(sizes: Sizes) -> dict[str, float]:
  """FLOPs of encoding one sample with the encoders of the paper, by network.

  T5-XXL on the prompt and on every draw, SD3's VAE on target and conditions,
  Qwen2.5-VL-7B's vision tower on the target.
  """
  texts = 1 + sizes.draws if sizes.draws else 0
  pictures = 1 + sizes.num_cond
  return {
    "T5": texts * flops.text_encoder(T5_XXL, sizes.text_length),
    "VAE": pictures * vae_encoder(SD3_VAE, sizes.resolution),
    "Qwen2.5-VL": vision_tower(VisionTower(), sizes.resolution),
  }


def visit(sizes: Sizes) -> dict[str, float]:
  """FLOPs of one sample in one step: the default network, and T5 if online."""
  model = mmdit.MMDiTConfig()
  target = (sizes.resolution // sizes.latent_factor // model.patch_size) ** 2
  texts = 0 if sizes.draws else 2
  return {
    "network": flops.train_step(
      model,
      batch_size=1,
      target_tokens=target,
      num_cond=sizes.num_cond,
      text_tokens=sizes.text_length,
    ),
    "T5": texts * flops.text_encoder(T5_XXL, sizes.text_length),
  }


def table() -> str:
  """Costs of a million samples at 512 x 512, as markdown."""
  modes = {
    "bf16": {"draws": 4},
    "int8": {"draws": 4, "feature_dtype": "int8"},
    "online": {},
  }
  columns = {
    f"{task}, {mode}": _column(Sizes(num_cond=num_cond, **options))
    for num_cond, task in ((0, "T2I"), (1, "edit"))
    for mode, options in modes.items()
  }
  rows = next(iter(columns.values()))
  lines = [["a million samples", *columns], ["---"] + ["---:"] * len(columns)]
  lines += [[row, *(c[row] for c in columns.values())] for row in rows]
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _column(sizes: Sizes) -> dict[str, str]:
  million = 10**6
  made, used = precompute(sizes), visit(sizes)
  rows = {"on disk, TB": f"{set_bytes(sizes, million) / 1e12:.2f}"}
  rows |= {
    f"precompute: {name}, EFLOP": _exa(million * work)
    for name, work in made.items()
  }
  for chip in _CHIPS:
    seconds = _seconds(million * sum(made.values()), chip)
    rows[f"precompute: all, hours on one {chip}"] = _hours(seconds)
  rows |= {
    f"each pass: {name}, EFLOP": _exa(million * work)
    for name, work in used.items()
  }
  rows["each pass: T5 over network"] = f"{used['T5'] / used['network']:.0%}"
  for chip in _CHIPS:
    seconds = _seconds(sum(used.values()), chip)
    rows[f"each pass: both, hours on one {chip}"] = _hours(million * seconds)
    read = record_bytes(sizes) / seconds / 1e6
    rows[f"each pass: read by one {chip}, MB/s"] = f"{read:.0f}"
  return rows


def _exa(work: float) -> str:
  return f"{work / 1e18:.2f}"


def _seconds(work: float, chip: str) -> float:
  return work / (_MFU * flops.PEAK_FLOPS[_CHIPS[chip]])


def _hours(seconds: float) -> str:
  return f"{seconds / 3600:.1f}"


if __name__ == "__main__":
  print(table())
