"""The seams between rooms: each room sees the others only as these.

Data walks venue → pipeline → delivery; wishes walk control → storage → venue. Only `composition`
and `bootstrap.py` know which object stands behind a seam.
"""
