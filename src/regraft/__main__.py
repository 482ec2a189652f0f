"""Run the command line with `python -m regraft`."""

from regraft.doors.cli import main

if __name__ == "__main__":
    main()
