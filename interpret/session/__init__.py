"""What every application speaks: a question in, its answer out, worked out beside whoever asks."""
