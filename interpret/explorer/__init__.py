"""The explorer of a notebook: question and answer, the state, the work in the background, and the widgets on top."""
