"""`make demo`: two real apps in sandboxes, seen and edited in a real browser, all as a plain user of one namespace."""
