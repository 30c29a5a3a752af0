"""Any model of transformers as a NextTokenLM; the only room that imports transformers."""
