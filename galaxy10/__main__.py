"""`python -m galaxy10`: the galaxy10 command."""

from galaxy10.cli.main import main

main()
