def write_page(*a, **k):
    raise SystemExit("later")
