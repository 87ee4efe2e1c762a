"""Parts of the objective self_training: candidates, descriptors and clusters."""
