"""``python -m pmbench``: the command line, where the console script is not on the path."""

from pmbench.cli import main

if __name__ == "__main__":
    main()
