"""What is asked: which quantity of which next tokens, and the part of the prompt that it is explained by."""
