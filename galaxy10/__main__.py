"""`python -m galaxy10`: the galaxy10 command."""

from galaxy10.cli.entry import main

if __name__ == "__main__":
    main()
