"""What is proved about a network when it is loaded, and what it may do beside that, proved when first asked for."""
