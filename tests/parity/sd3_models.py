"""SD3 in miniature: random weights in both of its published forms."""

import pathlib

import diffusers
import safetensors.torch
import torch
import transformers

POOLED = (10, 14)  # what CLIP-L and CLIP-G give; 768 and 1280 in SD3
TEXT_DIM, DEPTH, SIZE, BASE = 20, 3, 12, 4
WIDTH, HEADS = 128, 2  # heads of 64, as in all of SD3


def transformer(
  *, qk_norm: bool = False, dual: int = 0
) -> diffusers.SD3Transformer2DModel:
  """A random transformer of SD3, or with both options of SD3.5-medium."""
  torch.manual_seed(0)
  network = diffusers.SD3Transformer2DModel(
    sample_size=BASE * 2,
    patch_size=2,
    in_channels=4,
    out_channels=4,
    num_layers=DEPTH,
    attention_head_dim=WIDTH // HEADS,
    num_attention_heads=HEADS,
    joint_attention_dim=TEXT_DIM,
    caption_projection_dim=WIDTH,
    pooled_projection_dim=sum(POOLED),
    pos_embed_max_size=SIZE,
    qk_norm="rms_norm" if qk_norm else None,
    dual_attention_layers=tuple(range(dual)),
  ).eval()
  with torch.no_grad():
    for parameter in network.parameters():
      parameter.add_(0.05 * torch.randn_like(parameter))
  return network


def original_checkpoint(
  *, qk_norm: bool = False, dual: int = 0
) -> dict[str, torch.Tensor]:
  """Random tensors under the names of Stability's own files."""
  torch.manual_seed(1)
  table = transformer().pos_embed.pos_embed
  shapes = {
    "x_embedder.proj": (WIDTH, 4, 2, 2),
    "t_embedder.mlp.0": (WIDTH, 256),
    "t_embedder.mlp.2": (WIDTH, WIDTH),
    "y_embedder.mlp.0": (WIDTH, sum(POOLED)),
    "y_embedder.mlp.2": (WIDTH, WIDTH),
    "context_embedder": (WIDTH, TEXT_DIM),
    "final_layer.linear": (16, WIDTH),
    "final_layer.adaLN_modulation.1": (2 * WIDTH, WIDTH),
  }
  norms = []
  for i in range(DEPTH):
    last = i == DEPTH - 1
    for stream in ("x_block", "context_block"):
      block = f"joint_blocks.{i}.{stream}"
      chunks = 9 if stream == "x_block" and i < dual else 6
      ends = last and stream == "context_block"
      shapes[f"{block}.adaLN_modulation.1"] = (
        (2 if ends else chunks) * WIDTH,
        WIDTH,
      )
      for attn in ("attn", "attn2")[: 2 if chunks == 9 else 1]:
        shapes[f"{block}.{attn}.qkv"] = (3 * WIDTH, WIDTH)
        if not ends:
          shapes[f"{block}.{attn}.proj"] = (WIDTH, WIDTH)
        if qk_norm:
          norms += [f"{block}.{attn}.ln_{x}.weight" for x in "qk"]
      if not ends:
        shapes[f"{block}.mlp.fc1"] = (4 * WIDTH, WIDTH)
        shapes[f"{block}.mlp.fc2"] = (WIDTH, 4 * WIDTH)
  found = {"pos_embed": table.clone()}
  for name, shape in shapes.items():
    found[f"{name}.weight"] = 0.1 * torch.randn(shape)
    found[f"{name}.bias"] = 0.1 * torch.randn(shape[0])
  for name in norms:
    found[name] = 1 + 0.1 * torch.randn(WIDTH // HEADS)
  return found


def save_single_file(
  path: pathlib.Path, checkpoint: dict[str, torch.Tensor]
) -> None:
  """As published: the transformer prefixed, other parts beside it."""
  prefixed = {f"model.diffusion_model.{k}": v for k, v in checkpoint.items()}
  others = {
    "first_stage_model.decoder.conv_in.weight": torch.zeros(2),
    "text_encoders.clip_l.logit_scale": torch.zeros(()),
  }
  safetensors.torch.save_file(prefixed | others, path)


def save_clips(folder: pathlib.Path) -> None:
  """CLIP-L and CLIP-G with tokenizers, in an SD3 pipeline's subfolders."""
  words = ["<|startoftext|>", "<|endoftext|>", "a</w>", "!"]
  for i, (pooled, suffix) in enumerate(zip(POOLED, ("", "_2"))):
    tokenizer = transformers.CLIPTokenizer(
      vocab={word: n for n, word in enumerate(words)},
      merges=[],
      pad_token=("<|endoftext|>", "!")[i],  # the two differ in SD3
      model_max_length=77,
    )
    tokenizer.save_pretrained(folder / f"tokenizer{suffix}")
    torch.manual_seed(i)
    config = transformers.CLIPTextConfig(
      vocab_size=len(words),
      hidden_size=16,
      intermediate_size=32,
      num_hidden_layers=2,
      num_attention_heads=2,
      projection_dim=pooled,
      bos_token_id=0,
      eos_token_id=1,
      pad_token_id=1,
    )
    clip = transformers.CLIPTextModelWithProjection(config)
    with torch.no_grad():
      for parameter in clip.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    clip.save_pretrained(folder / f"text_encoder{suffix}")


def pooled_by_diffusers(folder: pathlib.Path, prompt: str) -> torch.Tensor:
  """What SD3's own pipeline gives its transformer for a prompt: [1, P]."""
  parts = {}
  for suffix in ("", "_2"):
    parts[f"tokenizer{suffix}"] = transformers.CLIPTokenizer.from_pretrained(
      folder / f"tokenizer{suffix}"
    )
    clip = transformers.CLIPTextModelWithProjection
    parts[f"text_encoder{suffix}"] = clip.from_pretrained(
      folder / f"text_encoder{suffix}"
    )
  pipeline = diffusers.StableDiffusion3Pipeline(
    transformer=transformer(),
    scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
    vae=None,
    text_encoder_3=None,
    tokenizer_3=None,
    **parts,
  )
  pooled = []
  for i in range(2):
    with torch.no_grad():
      _, part = pipeline._get_clip_prompt_embeds(prompt, clip_model_index=i)
    pooled.append(part)
  return torch.cat(pooled, dim=-1)
