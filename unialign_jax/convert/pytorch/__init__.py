"""PyTorch code that exported folders carry; nothing here is imported."""
