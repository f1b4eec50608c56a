"""Studies of training: many seeds, two runs, a repeat, which rate, from baseline to best."""
