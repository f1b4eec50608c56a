"""The chapter's small experiments; each yields titled values and knows nothing of the CLI."""
