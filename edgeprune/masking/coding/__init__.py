"""Binary masks to bytes at about their entropy, and back: numpy and integers, the same on every machine."""

from edgeprune.masking.coding.mask_codec import MOST_WEIGHTS, decode_masks, encode_masks, entropy

__all__ = ["MOST_WEIGHTS", "decode_masks", "encode_masks", "entropy"]
