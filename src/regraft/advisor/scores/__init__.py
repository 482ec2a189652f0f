"""The shelf of transferability scores: numbers for how well features tell classes without training."""
