"""Plan a run before any job: read the inputs' metadata, resolve the configuration against them, list targets."""
