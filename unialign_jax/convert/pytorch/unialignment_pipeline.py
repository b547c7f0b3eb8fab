"""The UniAlignment pipeline (arXiv 2509.23760) for diffusers.

This file travels with the weights and needs PyTorch, diffusers and
transformers alone:

    pipe = diffusers.DiffusionPipeline.from_pretrained(
      folder, trust_remote_code=True)
    pipe("a red circle").images[0]                  # generate
    pipe.edit(picture, "make it blue").images[0]    # one picture or several
    pipe.caption(picture)                           # or question="..."

Two diffusions share one transformer. Images are a rectified flow from noise
(t = 1) to latents (t = 0): x_s = x_t + (s - t) v. Texts start fully masked and
are revealed step by step, beside a clean image at t = 0.
"""

from collections.abc import Sequence
from typing import Any

import diffusers
import numpy as np
import PIL.Image
import torch
import transformers
from diffusers import image_processor
from diffusers import utils
from diffusers.utils import torch_utils

NULL_PROMPT = " "  # what training puts in place of a dropped prompt
QUESTION_FORMAT = "Q: {} A: "
MASK_TOKEN = "<extra_id_0>"
Pictures = PIL.Image.Image | Sequence[PIL.Image.Image]
SCHEDULES = ("ancestral", "confidence")
_T_END = 1e-5  # of the ancestral schedule
_logger = utils.logging.get_logger(__name__)


class UniAlignmentPipeline(diffusers.DiffusionPipeline):
  """Generates, edits, captions and answers.

  Args:
    transformer: the network.
    scheduler: `FlowMatchEulerDiscreteScheduler`; its shift is the default.
    vae: pictures <-> latents.
    text_encoder_3: the T5 encoder.
    tokenizer_3: its tokenizer.
    resolution: default side of pictures, pixels.
    text_length: L, tokens of every text, as in training.
    steps, guidance: defaults of `__call__`: Euler steps, scale of guidance.
    text_steps, text_schedule, text_temperature: defaults of `caption`.
    references: for components that are not in the folder, by name, the
      arguments of `from_pretrained` that load them.
  """

  model_cpu_offload_seq = "text_encoder_3->transformer->vae"
  _optional_components = ("vae", "text_encoder_3", "tokenizer_3")

  def __init__(
    self,
    transformer: diffusers.SD3Transformer2DModel,
    scheduler: diffusers.FlowMatchEulerDiscreteScheduler,
    vae: diffusers.AutoencoderKL | None = None,
    text_encoder_3: transformers.T5EncoderModel | None = None,
    tokenizer_3: transformers.PreTrainedTokenizerFast | None = None,
    resolution: int = 512,
    text_length: int = 256,
    steps: int = 28,
    guidance: float = 7.0,
    text_steps: int = 64,
    text_schedule: str = "ancestral",
    text_temperature: float = 1.0,
    references: dict[str, Any] | None = None,
  ):
    super().__init__()
    names = self._optional_components
    parts = dict(zip(names, (vae, text_encoder_3, tokenizer_3)))
    for name, where in (references or {}).items():
      if parts[name] is None:
        parts[name] = _load(name, where, transformer.dtype)
    self.register_modules(transformer=transformer, scheduler=scheduler, **parts)
    self.register_to_config(
      resolution=resolution,
      text_length=text_length,
      steps=steps,
      guidance=guidance,
      text_steps=text_steps,
      text_schedule=text_schedule,
      text_temperature=text_temperature,
      references=references,
    )
    vae = parts["vae"]
    levels = len(vae.config.block_out_channels) if vae is not None else 4
    self.factor = 2 ** (levels - 1)
    self.pictures = image_processor.VaeImageProcessor(
      vae_scale_factor=self.factor
    )

  @torch.no_grad()
  def __call__(
    self,
    prompt: str | Sequence[str],
    image: Pictures | None = None,
    *,
    negative_prompt: str = NULL_PROMPT,
    height: int | None = None,
    width: int | None = None,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    shift: float | None = None,
    num_images_per_prompt: int = 1,
    generator: torch.Generator | None = None,
    latents: torch.Tensor | None = None,
    output_type: str = "pil",
  ) -> diffusers.ImagePipelineOutput:
    """Pictures of the prompts, with condition images or without.

    Args:
      prompt: one or more descriptions or instructions.
      image: condition images, the same for every prompt.
      negative_prompt: what guidance moves away from.
      height, width: of the pictures, pixels.
      num_inference_steps: Euler steps.
      guidance_scale: 1 for no guidance, and half the work.
      shift: of the times, 1 for none.
      num_images_per_prompt: pictures of each prompt.
      generator: of the noise.
      latents: noise [B, C, H, W] to begin with, in place of a random one.
      output_type: "pil", "np", "pt", or "latent" for scaled latents.

    Raises:
      ValueError: for a size that latents and patches do not tile.
    """
    height, width = self._size(height, width)
    if guidance_scale is None:
      guidance_scale = self.config.guidance
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    prompts = [p for p in prompts for _ in range(num_images_per_prompt)]
    batch, device = len(prompts), self._execution_device
    if guidance_scale != 1:  # the batch runs twice
      prompts += [negative_prompt] * batch
    features = self.encode_text(self.tokenise(prompts))
    conditions = None
    if image is not None:
      conditions = self.encode_images(image, height, width)
      conditions = conditions.to(self.transformer.dtype)
      conditions = conditions.expand(len(prompts), *conditions.shape)
    if latents is None:
      channels = self.transformer.config.in_channels
      shape = (batch, channels, height // self.factor, width // self.factor)
      latents = torch_utils.randn_tensor(shape, generator, device)
    latents = self._follow_flow(
      latents.to(device, torch.float32),
      features,
      conditions,
      num_inference_steps or self.config.steps,
      guidance_scale,
      shift,
    )
    images = latents
    if output_type != "latent":
      pixels = self.decode_latents(latents)
      images = self.pictures.postprocess(pixels, output_type=output_type)
    self.maybe_free_model_hooks()
    return diffusers.ImagePipelineOutput(images=images)

  def edit(
    self,
    image: Pictures,
    instruction: str | Sequence[str],
    **settings: Any,
  ) -> diffusers.ImagePipelineOutput:
    """`__call__` with the pictures first: edits, perceives, personalises."""
    return self(instruction, image=image, **settings)

  @torch.no_grad()
  def caption(
    self,
    image: Pictures,
    question: str | Sequence[str] | None = None,
    *,
    num_inference_steps: int | None = None,
    schedule: str | None = None,
    temperature: float | None = None,
    generator: torch.Generator | None = None,
  ) -> list[str]:
    """One text a picture: its caption, or the answer to a question on it.

    Args:
      image: one or more pictures.
      question: one for all pictures, or one for each.
      num_inference_steps: unmasking steps.
      schedule: "ancestral" reveals tokens at random, "confidence" the surest
        first.
      temperature: divides the logits; 0 takes the likeliest token.
      generator: of guesses and order, on the device of the pipeline.

    Raises:
      ValueError: for an unknown schedule, or a question that leaves no room.
    """
    schedule = schedule or self.config.text_schedule
    if temperature is None:
      temperature = self.config.text_temperature
    if schedule not in SCHEDULES or temperature < 0:
      raise ValueError(
        f"got schedule {schedule!r} and temperature {temperature}, expected"
        f" one of {SCHEDULES} and a number >= 0."
      )
    latents = self.encode_images(image, *self._size(None, None))
    ids, is_given = self._text_prompt(question, len(latents))
    steps = num_inference_steps or self.config.text_steps
    tokens = self._unmask(
      latents, ids, is_given, steps, schedule, temperature, generator
    )
    self.maybe_free_model_hooks()
    eos, texts = self.tokenizer_3.eos_token_id, []
    for row, given in zip(tokens, is_given):
      answer = row[given.int().cumprod(0).sum() :].tolist()
      answer = answer[: [*answer, eos].index(eos)]
      text = self.tokenizer_3.decode(answer, skip_special_tokens=True)
      texts.append(text.strip())
    return texts

  def tokenise(self, texts: Sequence[str]) -> torch.Tensor:
    """Token ids [B, L]: text, EOS, EOS as padding; longer texts are cut."""
    length = self.config.text_length
    whole = self.tokenizer_3(list(texts))["input_ids"]
    for text, ids in zip(texts, whole):
      if len(ids) > length:
        cut = self.tokenizer_3.decode(ids[length - 1 : -1])
        _logger.warning(
          f"{text!r} has {len(ids)} tokens, of {length} that fit: cut {cut!r}."
        )
    padding = [self.tokenizer_3.eos_token_id] * length
    rows = [(ids[: length - 1] + padding)[:length] for ids in whole]
    return torch.tensor(rows, device=self._execution_device)

  def encode_text(self, ids: torch.Tensor) -> torch.Tensor:
    """Token ids [B, L] -> T5 features [B, L, E]; padding is attended."""
    features = self.text_encoder_3(ids).last_hidden_state
    return features.to(self.transformer.dtype)

  def encode_images(
    self, images: Pictures, height: int, width: int
  ) -> torch.Tensor:
    """Pictures -> scaled latents [N, C, H, W], the posterior's means."""
    images = [images] if isinstance(images, PIL.Image.Image) else list(images)
    pixels = self.pictures.preprocess(
      [picture.convert("RGB") for picture in images],
      height,
      width,
      resize_mode="crop",  # centred, keeps the proportions
    ).to(self._execution_device, self.vae.dtype)
    mean = self.vae.encode(pixels).latent_dist.mode().float()
    config = self.vae.config
    return (mean - (config.shift_factor or 0.0)) * config.scaling_factor

  def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
    """Scaled latents [B, C, H, W] -> pixels [B, 3, 8 H, 8 W] in [-1, 1]."""
    config = self.vae.config
    unscaled = latents / config.scaling_factor + (config.shift_factor or 0.0)
    return self.vae.decode(unscaled.to(self.vae.dtype)).sample.float()

  def _size(self, height: int | None, width: int | None) -> tuple[int, int]:
    height = height or self.config.resolution
    width = width or self.config.resolution
    unit = self.factor * self.transformer.config.patch_size
    if height % unit or width % unit:
      raise ValueError(
        f"image size: got {height} x {width} pixels, expected multiples of"
        f" {unit}."
      )
    return height, width

  def _follow_flow(
    self,
    latents: torch.Tensor,
    features: torch.Tensor,
    conditions: torch.Tensor | None,
    steps: int,
    scale: float,
    shift: float | None,
  ) -> torch.Tensor:
    """Euler from noise to latents, with classifier-free guidance."""
    usual = self.scheduler.shift
    self.scheduler.set_shift(usual if shift is None else shift)
    # Evenly spaced from 1 to 0; the scheduler shifts them and appends the 0.
    times = np.linspace(1.0, 0.0, steps + 1)[:-1]
    self.scheduler.set_timesteps(sigmas=times, device=latents.device)
    self.scheduler.set_shift(usual)
    dtype = self.transformer.dtype
    for t in self.progress_bar(self.scheduler.timesteps):
      both = latents if scale == 1 else torch.cat([latents, latents])
      velocity = self.transformer(
        both.to(dtype), features, t.expand(len(both)), conditions, ("sample",)
      ).sample.float()
      if scale != 1:
        wanted, null = velocity.chunk(2)
        velocity = null + scale * (wanted - null)
      latents = self.scheduler.step(velocity, t, latents).prev_sample
    return latents

  def _text_prompt(
    self, question: str | Sequence[str] | None, batch: int
  ) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids [B, L] and which of them are given: the question, the last EOS."""
    eos, length = self.tokenizer_3.eos_token_id, self.config.text_length
    if question is None:
      ids = torch.full((batch, length), eos, device=self._execution_device)
      is_given = torch.zeros_like(ids, dtype=torch.bool)
    else:
      asked = [question] * batch if isinstance(question, str) else question
      ids = self.tokenise([QUESTION_FORMAT.format(q) for q in asked])
      is_given = (ids == eos).cumsum(1) == 0
      if len(ids) != batch or is_given.sum(1).max() > length - 2:
        raise ValueError(
          f"question: got {len(ids)} for {batch} pictures, of up to"
          f" {int(is_given.sum(1).max())} tokens; expected one or as many as"
          f" pictures, of at most {length - 2} tokens."
        )
    is_given[:, -1] = True  # EOS, with which every text ends
    return ids, is_given

  def _unmask(
    self,
    latents: torch.Tensor,
    ids: torch.Tensor,
    is_given: torch.Tensor,
    steps: int,
    schedule: str,
    temperature: float,
    generator: torch.Generator | None,
  ) -> torch.Tensor:
    """Token ids [B, L] with every open position revealed."""
    is_masked = ~is_given
    num_open = is_masked.sum(1, keepdim=True)
    times = torch.linspace(1.0, _T_END, steps + 1)
    guess = None
    for i in range(steps):
      if not is_masked.any():
        break
      if guess is None:
        guess, log_prob = self._guess(
          latents, ids, is_masked, temperature, generator
        )
      if schedule == "ancestral":
        draw = torch.rand(ids.shape, generator=generator, device=ids.device)
        reveal = is_masked & (draw * times[i] < times[i] - times[i + 1])
      else:
        doubt = torch.where(is_masked, -log_prob, -torch.inf)
        rank = doubt.argsort(dim=1, stable=True).argsort(dim=1)
        num_masked = num_open * (steps - 1 - i) // steps
        reveal = is_masked & (rank < ids.shape[1] - num_masked)
      ids = torch.where(reveal, guess, ids)
      is_masked = is_masked & ~reveal
      if reveal.any():  # else the guess still holds
        guess = None
    if is_masked.any():
      guess, _ = self._guess(latents, ids, is_masked, 0.0, None)
      ids = torch.where(is_masked, guess, ids)
    return ids

  def _guess(
    self,
    latents: torch.Tensor,
    ids: torch.Tensor,
    is_masked: torch.Tensor,
    temperature: float,
    generator: torch.Generator | None,
  ) -> tuple[torch.Tensor, torch.Tensor]:
    """Clean tokens [B, L] for this text, and their log probabilities."""
    logits = self.text_logits(latents, ids, is_masked)
    if temperature == 0:
      guess = logits.argmax(-1)
    else:
      gumbel = -torch.empty_like(logits).exponential_(generator=generator).log()
      guess = (logits / temperature + gumbel).argmax(-1)
    log_probs = logits.log_softmax(-1)
    return guess, log_probs.gather(-1, guess[..., None])[..., 0]

  def text_logits(
    self, latents: torch.Tensor, ids: torch.Tensor, is_masked: torch.Tensor
  ) -> torch.Tensor:
    """fp32 logits [B, L, V] of a partly masked text beside clean latents."""
    mask_id = self.tokenizer_3.convert_tokens_to_ids(MASK_TOKEN)
    features = self.encode_text(torch.where(is_masked, mask_id, ids))
    time = torch.zeros(len(ids), device=ids.device)
    latents = latents.to(self.transformer.dtype)
    out = self.transformer(latents, features, time, heads=("logits",))
    logits = out.logits.float()
    logits[..., mask_id] = -1e6  # MASK is no clean token
    return logits


def _load(name: str, where: dict[str, str], dtype: torch.dtype) -> Any:
  """A component that is not in the folder; `where` is for `from_pretrained`."""
  if name == "vae":
    return diffusers.AutoencoderKL.from_pretrained(**where, torch_dtype=dtype)
  if name == "text_encoder_3":
    return transformers.T5EncoderModel.from_pretrained(**where, dtype=dtype)
  return transformers.AutoTokenizer.from_pretrained(**where)
