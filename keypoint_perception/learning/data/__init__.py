"""What a training batch is made of: pairs of frames, and what goes with them."""
