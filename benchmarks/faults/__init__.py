"""The study of the diagnosis: healthy runs, faults put into them on purpose, and what is said of each."""
