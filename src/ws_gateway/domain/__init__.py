"""Words of the gateway without any I/O: topic, event, subscription."""
