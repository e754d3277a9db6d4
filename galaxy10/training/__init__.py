"""Training: run one experiment, from its configuration to a finished run directory."""
