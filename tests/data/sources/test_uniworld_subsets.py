"""Names of UniWorld-V1's picture folders and what they stand for."""

import pytest

from unialign_jax.data.sources import base
from unialign_jax.data.sources import uniworld_subsets

# As the project lists them.
_FOLDERS = {
  "text_to_image": "BLIP3o-60k OSP1024-286k",
  "edit": (
    "imgedit-724k OmniEdit-368k SEED-Data-Edit-Part1-Openimages-65k"
    " SEED-Data-Edit-Part2-3-12k PromptfixData-18k StyleBooth-11k Ghibli-36k"
  ),
  "extract": "viton_hd-23k deepfashion-27k shop_product-23k",
  "perception": (
    "coco2017_caption_canny-236k coco2017_caption_depth-236k"
    " coco2017_caption_hed-236k coco2017_caption_mlsd-236k"
    " coco2017_caption_normal-236k coco2017_caption_openpose-62k"
    " coco2017_caption_sketch-236k unsplash_canny-20k open_pose-40k"
    " mscoco-controlnet-canny-less-colors-236k coco2017_seg_box-448k"
    " viton_hd-11k deepfashion-13k"
  ),
}


@pytest.mark.parametrize("part", uniworld_subsets.PARTS)
def test_every_published_folder_is_known(part):
  for folder in _FOLDERS[part].split():
    assert uniworld_subsets.named(folder).part == part, folder


def test_every_pattern_is_of_a_published_folder():
  published = " ".join(_FOLDERS.values()).split()
  used = {uniworld_subsets.named(folder).pattern for folder in published}
  assert used == {subset.pattern for subset in uniworld_subsets.SUBSETS}


def test_an_unknown_folder():
  with pytest.raises(base.SourceError, match="got picture folder 'viton_hd'"):
    uniworld_subsets.named("viton_hd")
