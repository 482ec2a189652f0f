"""Models over HTTP: `regraft serve`. Needs the extra `serve`; nothing else imports this folder."""
