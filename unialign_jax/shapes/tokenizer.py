"""The tokenizer of the Shapes world, in the form of a T5 tokenizer.

Whole words of the Shapes language are single pieces, and every printable
ASCII character is one, so that any English text survives encoding. Special
tokens sit where T5 has them: `<pad>` 0, `</s>` 1, `<unk>` 2, and the
`<extra_id_n>` at the end in falling order, so that `<extra_id_0>`, the mask
token, is the last id of all.
"""

import json
import pathlib
import string
from collections.abc import Sequence

import numpy as np
import tokenizers
from tokenizers import decoders
from tokenizers import models
from tokenizers import normalizers
from tokenizers import pre_tokenizers
from tokenizers import processors

PAD, EOS, UNKNOWN = "<pad>", "</s>", "<unk>"
NUM_EXTRA_IDS = 8
_SPACE = "\u2581"  # what the Unigram model sees in place of a space
# Log-probabilities: one word piece beats any spelling of it.
_WORD_SCORE, _CHARACTER_SCORE = -2.0, -10.0


def build(words: Sequence[str]) -> tokenizers.Tokenizer:
  """A Unigram tokenizer in which each of `words` is one piece.

  Args:
    words: the words of the language; punctuation in it is ignored, because
      characters are pieces anyway.

  Raises:
    ValueError: a word that is not printable ASCII without spaces.
  """
  characters = sorted(set(string.printable) - set(string.whitespace))
  wanted = sorted(
    word for word in set(words) if len(word) > 1 or word.isalnum()
  )
  for word in wanted:
    if set(word) - set(characters):
      raise ValueError(
        f"Word {word!r} of the Shapes language has other characters than "
        "printable ASCII without spaces; spell it otherwise."
      )
  extra_ids = [f"<extra_id_{i}>" for i in reversed(range(NUM_EXTRA_IDS))]
  pieces = [(token, 0.0) for token in (PAD, EOS, UNKNOWN)]
  pieces += [(_SPACE + word, _WORD_SCORE) for word in wanted]
  pieces += [(c, _CHARACTER_SCORE) for c in (_SPACE, *characters)]
  pieces += [(token, 0.0) for token in extra_ids]
  tokenizer = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=2))
  tokenizer.normalizer = normalizers.Sequence(
    [
      normalizers.NFKC(),
      normalizers.Replace(tokenizers.Regex(r"\s+"), " "),
      normalizers.Strip(),
    ]
  )
  metaspace = {"replacement": _SPACE, "prepend_scheme": "always"}
  tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(**metaspace)
  tokenizer.decoder = decoders.Metaspace(**metaspace)
  tokenizer.add_special_tokens([PAD, EOS, UNKNOWN, *extra_ids])
  tokenizer.post_processor = processors.TemplateProcessing(
    single=f"$A {EOS}",
    pair=f"$A {EOS} $B {EOS}",
    special_tokens=[(EOS, tokenizer.token_to_id(EOS))],
  )
  return tokenizer


def encode(
  tokenizer: tokenizers.Tokenizer, texts: Sequence[str], length: int
) -> np.ndarray:
  """Texts -> int32 ids `[B, length]`: text, EOS, EOS as padding."""
  eos_id = tokenizer.token_to_id(EOS)
  ids_BL = np.full((len(texts), length), eos_id, np.int32)
  for row_L, encoded in zip(ids_BL, tokenizer.encode_batch(texts)):
    kept = encoded.ids[: length - 1]  # cut or not, an EOS stays at the end
    row_L[: len(kept)] = kept
  return ids_BL


def save(tokenizer: tokenizers.Tokenizer, folder: pathlib.Path) -> None:
  """Writes tokenizer.json and tokenizer_config.json as transformers reads."""
  folder.mkdir(parents=True, exist_ok=True)
  tokenizer.save(str(folder / "tokenizer.json"))
  extra_ids = [f"<extra_id_{i}>" for i in range(NUM_EXTRA_IDS)]
  config = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "pad_token": PAD,
    "eos_token": EOS,
    "unk_token": UNKNOWN,
    "additional_special_tokens": extra_ids,
    "clean_up_tokenization_spaces": False,
    "model_max_length": 512,
  }
  path = folder / "tokenizer_config.json"
  path.write_text(json.dumps(config, indent=2) + "\n")
