"""Tiny models of transformers with random weights, in folders as on the hub."""

import pathlib
from collections.abc import Sequence

import tokenizers
import torch
import transformers

# COCO's classes as Mask2Former's config names some of them, and DETR's others.
COCO = (
  *("bench", "cat", "dog", "clock", "car", "remote", "mouse", "tvmonitor"),
  *("diningtable", "N/A"),
)
_WORDS = "[PAD] [UNK] [CLS] [SEP] [DEC] [ENC] is there a dog yes no ?"


def mask2former(path: pathlib.Path, labels: Sequence[str] = COCO) -> None:
  """An instance segmenter whose random masks cover parts of a picture."""
  torch.manual_seed(0)
  backbone = transformers.SwinConfig(
    image_size=64,
    patch_size=4,
    embed_dim=8,
    depths=[1, 1, 1, 1],
    num_heads=[1, 1, 1, 1],
    window_size=2,
    out_features=["stage1", "stage2", "stage3", "stage4"],
  )
  config = transformers.Mask2FormerConfig(
    backbone_config=backbone,
    # Their group norms have 32 groups.
    feature_size=32,
    mask_feature_size=32,
    hidden_dim=32,
    encoder_feedforward_dim=8,
    dim_feedforward=8,
    encoder_layers=1,
    decoder_layers=1,
    num_attention_heads=1,
    num_queries=6,
    id2label=dict(enumerate(labels)),
  )
  model = transformers.Mask2FormerForUniversalSegmentation(config)
  with torch.no_grad():  # sure of something, whatever it is
    model.class_predictor.weight.normal_(0, 6)
  model.save_pretrained(path)
  transformers.Mask2FormerImageProcessorPil(
    size={"height": 64, "width": 64}
  ).save_pretrained(path)


def detr(path: pathlib.Path, labels: Sequence[str] = COCO) -> None:
  """A detector of boxes."""
  torch.manual_seed(0)
  backbone = transformers.ResNetConfig(
    embedding_size=8,
    hidden_sizes=[8, 8],
    depths=[1, 1],
    out_features=["stage2"],
  )
  config = transformers.DetrConfig(
    use_timm_backbone=False,
    use_pretrained_backbone=False,
    backbone=None,
    backbone_config=backbone,
    d_model=8,
    encoder_layers=1,
    decoder_layers=1,
    encoder_attention_heads=1,
    decoder_attention_heads=1,
    encoder_ffn_dim=8,
    decoder_ffn_dim=8,
    num_queries=5,
    id2label=dict(enumerate(labels)),
  )
  model = transformers.DetrForObjectDetection(config)
  with torch.no_grad():
    model.class_labels_classifier.weight.normal_(0, 6)
  model.save_pretrained(path)
  transformers.DetrImageProcessorPil(
    size={"height": 32, "width": 32}
  ).save_pretrained(path)


def clip(path: pathlib.Path) -> None:
  """CLIP with a vocabulary of letters."""
  torch.manual_seed(0)
  letters = [chr(n) for n in range(33, 127)]
  words = ["<|startoftext|>", "<|endoftext|>", *letters]
  words += [f"{letter}</w>" for letter in letters]
  vocabulary = {word: n for n, word in enumerate(words)}
  transformers.CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(path)
  shape = dict(
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
  )
  config = transformers.CLIPConfig(
    text_config=dict(
      **shape,
      vocab_size=len(words),
      max_position_embeddings=77,
      bos_token_id=0,
      eos_token_id=1,
      pad_token_id=1,
    ),
    vision_config=dict(**shape, image_size=16, patch_size=8),
    projection_dim=16,
  )
  transformers.CLIPModel(config).save_pretrained(path)
  size = {"height": 16, "width": 16}
  transformers.CLIPImageProcessorPil(
    size={"shortest_edge": 16}, crop_size=size
  ).save_pretrained(path)


def _word_tokenizer(path: pathlib.Path) -> int:
  words = _WORDS.split()
  vocabulary = {word: n for n, word in enumerate(words)}
  backend = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]")
  )
  backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  transformers.PreTrainedTokenizerFast(
    tokenizer_object=backend,
    pad_token="[PAD]",
    unk_token="[UNK]",
    cls_token="[CLS]",
    sep_token="[SEP]",
  ).save_pretrained(path)
  return len(words)


def blip(path: pathlib.Path) -> None:
  """A VQA model that writes its answers."""
  torch.manual_seed(0)
  size = _word_tokenizer(path)
  shape = dict(
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
  )
  config = transformers.BlipConfig(
    text_config=dict(
      **shape,
      vocab_size=size,
      encoder_hidden_size=16,
      max_position_embeddings=32,
      bos_token_id=4,
      pad_token_id=0,
      eos_token_id=3,
      sep_token_id=3,
    ),
    vision_config=dict(**shape, image_size=16, patch_size=8),
    projection_dim=16,
    image_text_hidden_size=16,
  )
  model = transformers.BlipForQuestionAnswering(config)
  model.save_pretrained(path)
  transformers.BlipImageProcessorPil(
    size={"height": 16, "width": 16}
  ).save_pretrained(path)


def vilt(path: pathlib.Path) -> None:
  """A VQA model that chooses among answers."""
  torch.manual_seed(0)
  size = _word_tokenizer(path)
  config = transformers.ViltConfig(
    vocab_size=size,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    image_size=32,
    patch_size=8,
    max_position_embeddings=32,
    id2label={0: "yes", 1: "no", 2: "two"},
  )
  transformers.ViltForQuestionAnswering(config).save_pretrained(path)
  transformers.ViltImageProcessorPil(
    size={"shortest_edge": 32}, size_divisor=8
  ).save_pretrained(path)
