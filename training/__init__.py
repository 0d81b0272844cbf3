"""What surrounds any training: settings, run folder, resume, ranks, tracking, evaluation."""
