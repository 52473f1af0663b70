"""`oombot` on the command line."""

from oombot.cli import main

if __name__ == "__main__":
    main()
