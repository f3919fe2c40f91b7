"""Bundles: everything that a device needs to answer, in one folder or zip, the same bytes every time."""
