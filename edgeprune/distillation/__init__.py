"""CORE: what a student learns from its teacher: losses."""
