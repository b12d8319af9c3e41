"""Who is measured: each is a process of its own that is asked for its figures."""
