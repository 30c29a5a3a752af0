"""The parts of the command `nexttoken`: its options, its errors, and the list of methods that it prints."""
