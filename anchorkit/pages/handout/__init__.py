"""The handout: the anchor board of a run as one HTML file that needs neither a network nor Python."""
