"""`python -m galaxy10`: the galaxy10 command."""

from galaxy10.cli import main

main()
