"""What a person sees of the gateway: a page, and the stream of pictures it is drawn from."""
