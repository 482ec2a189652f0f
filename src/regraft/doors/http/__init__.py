"""HTTP server for models: `regraft serve`. Needs the extra `serve`; no other code imports this folder."""
