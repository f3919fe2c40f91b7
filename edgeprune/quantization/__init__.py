"""INT8 models: ranges of activations from calibration data, explicit QDQ graphs, and what INT8 costs."""
