"""What a device runs when it is asked for facts or given a bundle; sent to it for each call.

Nothing need be there but Python 3.9: standard library only, and of the runner only modules that need no more.
"""
