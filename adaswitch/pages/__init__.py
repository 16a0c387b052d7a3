"""A run as a page to look at: one HTML file, or the same page live on this machine."""
