"""Prompts whose evidence is known, and ordinary ones: which method puts the evidence first, and predicts the model?"""
