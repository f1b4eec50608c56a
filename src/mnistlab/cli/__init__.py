"""The command line: one file a command. Typer lives here only."""
