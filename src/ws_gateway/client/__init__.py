"""For those who read what the gateway delivers."""
