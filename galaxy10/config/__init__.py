"""Configuration: compose a command line with Hydra and check it before torch is imported or data is read."""
