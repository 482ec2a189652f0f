"""What an audit looks at: checks, a shelf, each of which says what it found."""
