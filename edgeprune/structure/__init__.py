"""CORE: where heads and FFN rows live in each architecture; loading what the stages saved."""
