"""`python -m regraft` is the command line."""

from regraft.doors.cli import main

if __name__ == "__main__":
    main()
