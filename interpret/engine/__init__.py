"""How an explanation is computed, from its objective to its gradients."""
