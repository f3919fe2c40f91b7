"""Devices: this machine, one behind SSH, or an emulated one; bundles are put on them, run, and taken back."""
