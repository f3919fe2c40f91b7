"""CORE: what a student learns from its teacher: losses, and which layer learns from which."""
