"""What a run and its jobs do around their work: lock, log, summary."""
