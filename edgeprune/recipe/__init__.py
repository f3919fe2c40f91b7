"""Recipes and targets: what they may say (`schema`), and how files become checked objects (`loading`)."""
