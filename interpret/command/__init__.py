"""The parts of the command `nexttoken`: its options, its terminal, and the page that it may ask."""
