"""CORE: what is kept of a weight matrix: scores, binarizers, schedules, allocation, the mask pack."""
