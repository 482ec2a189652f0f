"""The verbs in a browser, on this machine: data, audits, runs, models. What is done lies in files of one folder."""
