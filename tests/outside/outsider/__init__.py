"""What a user of the framework brings: one of each kind."""
