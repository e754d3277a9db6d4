"""Run the `galaxy10` command as `python -m galaxy10`."""

from galaxy10.cli.entry import main

if __name__ == "__main__":
    main()
