"""What becomes of the figures: a table, JSON, a plot and the page in docs."""
