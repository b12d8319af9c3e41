"""What consumers may rely on, as files: a JSON Schema per event class, and an AsyncAPI document."""
