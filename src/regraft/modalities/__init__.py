"""What an example is: one folder per kind of data; nothing else knows of pixels, words or samples."""
