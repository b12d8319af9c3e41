"""From a fact to an event in its place: continuity, numbering, markers."""
