"""The explorer of a notebook: its state, the work in the background, and the widgets, each in its own file."""
