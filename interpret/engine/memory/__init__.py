"""The memory policy: what a point needs, what is available, how many run at once, and what is computed again."""
