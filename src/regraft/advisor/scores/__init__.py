"""The shelf of transferability scores: one file each, a number for how well features tell classes without training."""
