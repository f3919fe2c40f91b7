"""What a task is: how rows become examples, tokens and scores.

Files are read and prepared once (`reading`, `preparing`), examples are encoded for a model (`encoding`), and
its logits are decoded and scored (`scoring`). The one task is text classification: a sentence or a pair,
two classes or many. Nothing is imported here, so that naming one module does not load the others.
"""
