"""What somebody outside the project brings: package `outsider`, and tests that it works like ours."""
