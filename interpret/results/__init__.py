"""Results as data: scores with all that says what they mean. Nothing here draws, or computes with a model."""
