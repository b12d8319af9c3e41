"""What was recorded, once more through the way of an event."""
