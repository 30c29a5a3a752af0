"""How it is computed: an objective, its gradients in chunks that fit the memory, and the pass that rows share."""
