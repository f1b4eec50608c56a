"""What people look at: tables and plots. rich and matplotlib live here and in the CLI only."""
