"""A tiny LLaVA with random weights, in a folder as the hub has them."""

import pathlib

import tokenizers
import torch
import transformers

SIDE, PATCH, WIDTH = 16, 8, 16
WORDS = "<pad> </s> <image> <unk> USER ASSISTANT describe this picture now a b"
CHAT = (
  "{% for m in messages %}USER {% for c in m['content'] %}"
  "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }} {% endif %}"
  "{% endfor %}{% endfor %}{% if add_generation_prompt %}ASSISTANT{% endif %}"
)


def write(path: pathlib.Path) -> None:
  """Makes the folder; the weights are those of seed 0."""
  words = {word: i for i, word in enumerate(WORDS.split())}
  model = tokenizers.models.WordLevel(words, unk_token="<unk>")
  backend = tokenizers.Tokenizer(model)
  backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
  tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=backend,
    pad_token="<pad>",
    eos_token="</s>",
    unk_token="<unk>",
    additional_special_tokens=["<image>"],
  )
  size = {"height": SIDE, "width": SIDE}
  transformers.LlavaProcessor(
    image_processor=transformers.CLIPImageProcessorPil(
      size={"shortest_edge": SIDE}, crop_size=size
    ),
    tokenizer=tokenizer,
    patch_size=PATCH,
    vision_feature_select_strategy="default",
    num_additional_image_tokens=1,
    chat_template=CHAT,
  ).save_pretrained(path)
  torch.manual_seed(0)
  shape = dict(
    hidden_size=WIDTH,
    intermediate_size=2 * WIDTH,
    num_hidden_layers=2,
    num_attention_heads=2,
  )
  transformers.LlavaForConditionalGeneration(
    transformers.LlavaConfig(
      vision_config=transformers.CLIPVisionConfig(
        **shape, image_size=SIDE, patch_size=PATCH
      ),
      text_config=transformers.LlamaConfig(
        **shape,
        vocab_size=len(words),
        # Tells pictures apart: random weights are small by default.
        initializer_range=1.0,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
      ),
      image_token_index=words["<image>"],
      image_token_id=words["<image>"],
    )
  ).save_pretrained(path)
