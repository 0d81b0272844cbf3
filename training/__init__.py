"""What a run leaves on disk: its folder, logs, checkpoints, and the numbers computed from them."""
