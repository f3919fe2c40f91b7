"""The one training loop: transformers' Trainer, made repeatable and resumable to the bit.

batching     which examples form which batch, as a function of seed and epoch
checkpoints  which checkpoints of a killed run are whole
fitting      the loop itself
"""
