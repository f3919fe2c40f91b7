"""Accuracy, latency, load time and memory of models, and the verdict that follows from them."""
