"""What operators may draw and be woken by: one table of metrics, its text, and its description."""
