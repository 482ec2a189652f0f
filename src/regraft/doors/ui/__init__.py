"""Local web interface to the commands: data, audits, runs, models. All state is in the files of one folder."""
