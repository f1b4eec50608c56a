"""The page of `mnistlab play`: draw a digit, and see what a run's model makes of it."""
