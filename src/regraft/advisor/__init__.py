"""What to reuse and how much of it to retrain: transferability scores, what training costs here, and the ranking."""
