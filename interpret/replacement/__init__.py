"""Claims about other prompts, each checked by running the model on them."""
